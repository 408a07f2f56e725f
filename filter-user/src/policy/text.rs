//! The keys and values of the policy file. A generation records its policy in the same form.

mod lists;
mod values;

use std::collections::BTreeMap;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use self::{
    lists::ListText,
    values::{Words, lengths, macs, names, ports, prefixes, time},
};
use super::{
    Action, DefaultAction, FlowSizes, Fragments, IcmpErrors, InterfaceList, Limit, List,
    MAX_BANNING, Match, MatchSpec, NO_COOKIES, NonIp, Part, Policy, PrefixText, Replies, Rule,
    RuleId, Scan, Scope, Until, is_interface_name, parse_comment, parse_prefixes,
};
use crate::{
    duration::{NoDuration, Seconds},
    names::services,
    ports::PortSpec,
};

/// Of bans that the program makes by itself, which leave alone what is open.
const NEEDS_FLOWS: &str = "needs to know what is open (say `replies = \"flows\"`)";
/// Prefixes that a policy can trust; the kernel has room for those besides that need not be named.
const MAX_TRUSTED: usize = 2048;

/// How many times as long a ban can be made.
const REPEAT: std::ops::RangeInclusive<u32> = 1..=10_000;
/// Numbers that say so at most.
const REPEATS: usize = 16;

/// The only version of the policy's format.
pub const VERSION: u32 = 1;

/// A policy as written, not yet understood.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyText {
    version: u32,
    #[serde(default)]
    interfaces: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    answers_from: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    default: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fragments: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    non_ip: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replies: Option<String>,
    /// What [`PolicyText::replies`] was called before, with values of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    udp_replies: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    icmp_errors: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dhcp_client: Option<bool>,
    discovery: Option<bool>,
    #[serde(
        default,
        deserialize_with = "prefixes",
        skip_serializing_if = "Option::is_none"
    )]
    trusted: Option<Words>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    flows: Option<FlowsText>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    list: BTreeMap<String, ListText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scan: Option<ScanText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ban: Option<BanText>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rule: Vec<RuleText>,
}

/// When a source scans, as written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScanText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ports: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    window: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ban: Option<String>,
}

/// How many flows are remembered, as written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FlowsText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tcp: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    other: Option<u32>,
}

/// What bans are like, as written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BanText {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    repeat: Vec<u32>,
}

/// A rule as written.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleText {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    allow: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deny: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    syn_cookies: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rate: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    burst: Option<u32>,
    #[serde(
        default,
        deserialize_with = "lengths",
        skip_serializing_if = "Option::is_none"
    )]
    per: Option<Words>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    total: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ban: Option<String>,
    #[serde(
        default,
        deserialize_with = "ports",
        skip_serializing_if = "Option::is_none"
    )]
    remote_ports: Option<Words>,
    #[serde(
        default,
        deserialize_with = "prefixes",
        skip_serializing_if = "Option::is_none"
    )]
    from: Option<Words>,
    #[serde(
        default,
        deserialize_with = "prefixes",
        skip_serializing_if = "Option::is_none"
    )]
    to: Option<Words>,
    #[serde(
        default,
        deserialize_with = "names",
        skip_serializing_if = "Option::is_none"
    )]
    on: Option<Words>,
    #[serde(
        default,
        deserialize_with = "macs",
        skip_serializing_if = "Option::is_none"
    )]
    mac: Option<Words>,
    #[serde(
        default,
        deserialize_with = "time",
        skip_serializing_if = "Option::is_none"
    )]
    until: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
}

/// What is wrong with a policy, and where it was written.
#[derive(Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The rule, counted from 0, or `None` for the policy itself.
    pub rule: Option<usize>,
    /// The list, by name, if it is in one.
    pub list: Option<String>,
    /// The key.
    pub key: &'static str,
    /// The item, where the key has a list.
    pub item: usize,
    /// One line: what is wrong, and what would be right.
    pub message: String,
}

impl PolicyText {
    /// The names of services in the words of each rule, in their order.
    pub(super) fn service_names(&self) -> impl Iterator<Item = Vec<&str>> {
        self.rule.iter().map(|rule| {
            let words = [&rule.allow, &rule.deny, &rule.limit];
            let words = words.into_iter().flatten().next().map(String::as_str);
            let words = words.unwrap_or_default();
            let words = words.split(|c: char| c.is_whitespace() || matches!(c, ',' | '/'));
            words
                .filter(|word| services::lookup(word).is_some())
                .collect()
        })
    }
}

impl PolicyText {
    /// Understands the words.
    ///
    /// Rules without an id get the next free ones, in their order.
    ///
    /// # Errors
    ///
    /// The first mistake.
    pub fn read(&self) -> Result<Policy, Mistake> {
        let mistake = |key, message| Mistake {
            rule: None,
            list: None,
            key,
            item: 0,
            message,
        };
        if self.version != VERSION {
            return Err(mistake(
                "version",
                format!("version {} is not known (say {VERSION})", self.version),
            ));
        }
        let mut policy = Policy {
            interfaces: InterfaceList::parse(self.interfaces.clone()).map_err(
                |(item, message)| Mistake {
                    item,
                    ..mistake("interfaces", message)
                },
            )?,
            answers_from: self.answers_from.clone(),
            default: word(&self.default, DefaultAction::from_word, "drop or pass")
                .map_err(|message| mistake("default", message))?,
            fragments: word(&self.fragments, Fragments::from_word, "pass or drop")
                .map_err(|message| mistake("fragments", message))?,
            non_ip: word(&self.non_ip, NonIp::from_word, "pass or drop")
                .map_err(|message| mistake("non_ip", message))?,
            replies: self
                .replies()
                .map_err(|(key, message)| mistake(key, message))?,
            icmp_errors: word(&self.icmp_errors, IcmpErrors::from_word, "related or pass")
                .map_err(|message| mistake("icmp_errors", message))?,
            flows: self
                .flow_sizes()
                .map_err(|message| mistake("flows", message))?,
            scan: self.scan().map_err(|message| mistake("scan", message))?,
            repeat: self.repeat().map_err(|message| mistake("ban", message))?,
            dhcp_client: self.dhcp_client.unwrap_or(true),
            discovery: self.discovery.unwrap_or(false),
            lists: self.lists()?,
            trusted: self.trusted().map_err(|(item, message)| Mistake {
                item,
                ..mistake("trusted", message)
            })?,
            rules: Vec::with_capacity(self.rule.len()),
        };
        if policy.discovery && policy.replies != Replies::Flows {
            let message = "needs what is asked to be recorded (say `replies = \"flows\"`)";
            return Err(mistake("discovery", message.to_owned()));
        }
        if policy.bans_openers() && policy.replies != Replies::Flows {
            return Err(mistake("scan", format!("`ban` {NEEDS_FLOWS}")));
        }
        let names = &policy.answers_from;
        if let Some(item) = names.iter().position(|name| !is_interface_name(name)) {
            let name = names[item].escape_debug();
            let message = format!("`{name}` is not an interface name");
            return Err(Mistake {
                item,
                ..mistake("answers_from", message)
            });
        }
        for (index, text) in self.rule.iter().enumerate() {
            let rule = text.read().map_err(|(key, item, message)| Mistake {
                rule: Some(index),
                list: None,
                key,
                item,
                message,
            })?;
            if let Some((key, message)) = policy.objection(rule.action, &rule.matches) {
                return Err(Mistake {
                    rule: Some(index),
                    ..mistake(key, message)
                });
            }
            policy.rules.push(rule);
        }
        self.settle_ids(&mut policy)?;
        Ok(policy)
    }

    /// The lists, by name.
    fn lists(&self) -> Result<Vec<List>, Mistake> {
        let read = |(name, text): (&String, &ListText)| {
            text.read(name).map_err(|(key, item, message)| Mistake {
                rule: None,
                list: Some(name.clone()),
                key,
                item,
                message,
            })
        };
        let lists: Vec<List> = self.list.iter().map(read).collect::<Result<_, _>>()?;
        match lists.iter().filter(|list| list.ban).nth(MAX_BANNING) {
            None => Ok(lists),
            Some(list) => Err(Mistake {
                rule: None,
                list: Some(list.name.clone()),
                key: "ban",
                item: 0,
                message: format!("more than {MAX_BANNING} lists ban (put some into one file)"),
            }),
        }
    }

    /// Who is never banned; a mistake is at an item of the list.
    fn trusted(&self) -> Result<Vec<IpNet>, (usize, String)> {
        let words = match &self.trusted {
            Some(words) if !words.as_strs().is_empty() => words.as_strs(),
            _ => return Ok(Vec::new()),
        };
        let trusted = parse_prefixes(&words)?;
        if trusted.is_empty() || trusted.iter().any(|prefix| prefix.prefix_len() == 0) {
            return Err((
                0,
                "nobody would ever be banned (name the prefixes)".to_owned(),
            ));
        }
        match trusted.len() <= MAX_TRUSTED {
            true => Ok(trusted),
            false => Err((0, format!("at most {MAX_TRUSTED} prefixes can be trusted"))),
        }
    }

    /// How many times as long each next ban of a source is.
    fn repeat(&self) -> Result<Vec<u32>, String> {
        let repeat = self.ban.as_ref().map(|ban| ban.repeat.clone());
        let repeat = repeat.unwrap_or_default();
        match repeat.iter().find(|times| !REPEAT.contains(times)) {
            Some(times) => Err(format!(
                "repeat: {times} is not within {} to {}",
                REPEAT.start(),
                REPEAT.end()
            )),
            None if repeat.len() > REPEATS => Err(format!("repeat: at most {REPEATS} numbers")),
            None => Ok(repeat),
        }
    }

    /// What tells answers; a mistake is at a key.
    fn replies(&self) -> Result<Replies, (&'static str, String)> {
        if let Some(replies) = self.renamed_replies()? {
            return Ok(replies);
        }
        word(&self.replies, Replies::from_word, "flows, sockets or off")
            .map_err(|message| ("replies", message))
    }

    /// The value of the key that `replies` has replaced, if it is there.
    pub(super) fn renamed_replies(&self) -> Result<Option<Replies>, (&'static str, String)> {
        const KEY: &str = "udp_replies";
        let Some(old) = &self.udp_replies else {
            return Ok(None);
        };
        if self.replies.is_some() {
            return Err((
                KEY,
                "is now called `replies`, which is there, too".to_owned(),
            ));
        }
        match old.as_str() {
            "connected" => Ok(Some(Replies::Sockets)),
            "off" => Ok(Some(Replies::Off)),
            "bound" => Err((
                KEY,
                "`bound` opened every UDP service to whoever picks the source port (say \
                 `replies = \"flows\"` instead)"
                    .to_owned(),
            )),
            other => Err((
                KEY,
                format!(
                    "`{}` is not known (say `replies = \"flows\"` instead)",
                    other.escape_debug()
                ),
            )),
        }
    }

    fn flow_sizes(&self) -> Result<FlowSizes, String> {
        let FlowSizes { mut tcp, mut other } = FlowSizes::default();
        if let Some(text) = &self.flows {
            tcp = text.tcp.unwrap_or(tcp);
            other = text.other.unwrap_or(other);
        }
        for (key, size) in [("tcp", tcp), ("other", other)] {
            if !(FlowSizes::LEAST..=FlowSizes::MOST).contains(&size) {
                let (least, most) = (FlowSizes::LEAST, FlowSizes::MOST);
                return Err(format!("{key} = {size} is not within {least} to {most}"));
            }
        }
        Ok(FlowSizes { tcp, other })
    }

    fn scan(&self) -> Result<Option<Scan>, String> {
        let Some(ScanText { ports, window, ban }) = &self.scan else {
            return Ok(None);
        };
        let ports = ports.unwrap_or(Scan::PORTS);
        if !(Scan::FEWEST..=Scan::MOST).contains(&ports) {
            let (fewest, most) = (Scan::FEWEST, Scan::MOST);
            return Err(format!("ports = {ports} is not within {fewest} to {most}"));
        }
        let duration = |key: &str, text: &Option<String>| -> Result<Option<Seconds>, String> {
            let read = text.as_deref().map(str::parse).transpose();
            read.map_err(|error: NoDuration| format!("{key}: {error}"))
        };
        let window = match duration("window", window)? {
            Some(window) => window,
            None => Seconds::new(Scan::WINDOW).map_err(|error| error.to_string())?,
        };
        if window.duration().as_secs() > Scan::LONGEST {
            return Err(format!("window: at most {}s", Scan::LONGEST));
        }
        let ban = duration("ban", ban)?;
        Ok(Some(Scan { ports, window, ban }))
    }

    /// Whether every rule has its id in writing.
    pub(super) fn has_all_ids(&self) -> bool {
        self.rule.iter().all(|rule| rule.id.is_some())
    }

    /// Checks that no id stands twice, and gives one to rules that have none.
    fn settle_ids(&self, policy: &mut Policy) -> Result<(), Mistake> {
        let mut seen = std::collections::HashSet::new();
        for (index, rule) in policy.rules.iter().enumerate() {
            if rule.id != UNNAMED && !seen.insert(rule.id) {
                return Err(Mistake {
                    rule: Some(index),
                    list: None,
                    key: "id",
                    item: 0,
                    message: format!("rule id {} stands twice", rule.id),
                });
            }
        }
        let free = policy.free_ids();
        let unnamed = policy.rules.iter_mut().filter(|rule| rule.id == UNNAMED);
        for (rule, id) in unnamed.zip(free) {
            rule.id = id;
        }
        Ok(())
    }
}

impl Policy {
    /// Why no rule like this can be in this policy, whatever its other rules are, and the key that is to
    /// blame; `None` if one can.
    pub fn objection(&self, action: Action, matching: &Match) -> Option<(&'static str, String)> {
        let bans = action.limit().is_some_and(|limit| limit.ban.is_some());
        match self.unknown_list(matching) {
            Some(name) => Some(("from", unknown_list(name))),
            None if bans && self.replies != Replies::Flows => Some(("ban", NEEDS_FLOWS.to_owned())),
            None => None,
        }
    }
}

/// What to say of a list that there is not.
pub fn unknown_list(name: &str) -> String {
    format!("no list `{name}` (say `[list.{name}]` in the policy file)")
}

/// Stands for an id that is still to be given.
const UNNAMED: RuleId = RuleId(0);

impl RuleText {
    /// Understands the words; a mistake is at a key, and an item of its list.
    fn read(&self) -> Result<Rule, (&'static str, usize, String)> {
        let id = match &self.id {
            Some(id) => id.parse().map_err(|message| ("id", 0, message))?,
            None => UNNAMED,
        };
        let said = [
            ("allow", &self.allow),
            ("deny", &self.deny),
            ("limit", &self.limit),
        ];
        let mut said = said
            .into_iter()
            .filter_map(|(key, words)| Some((key, words.as_ref()?)));
        let Some((key, words)) = said.next() else {
            let message = "a rule needs `allow`, `deny` or `limit`".to_owned();
            return Err(("", 0, message));
        };
        if let Some((other, _)) = said.next() {
            let message = format!("a rule has either `{key}` or `{other}`, not both");
            return Err((other, 0, message));
        }
        let action = match key {
            "limit" => Action::Limit(self.read_limit()?),
            _ => self.refuse_limit(key)?,
        };
        let matching = Match::parse(&MatchSpec {
            remote: self.remote_ports.as_ref().map(Words::as_strs),
            from: self.from.as_ref().map(Words::as_strs),
            to: self.to.as_ref().map(Words::as_strs),
            on: self.on.as_ref().map(Words::as_strs),
            mac: self.mac.as_ref().map(Words::as_strs),
            ..MatchSpec::of_words(words)
        })
        .map_err(|error| {
            let key = match error.part {
                Part::Words => key,
                Part::Remote => "remote_ports",
                Part::From => "from",
                Part::To => "to",
                Part::On => "on",
                Part::Mac => "mac",
            };
            (key, error.item, error.message)
        })?;
        if self.syn_cookies && (action != Action::AllowWithCookies || !matching.has_cookies()) {
            return Err(("syn_cookies", 0, NO_COOKIES.to_owned()));
        }
        let comment = self.comment.as_deref().map(parse_comment).transpose();
        let until = self.until.as_deref().map(str::parse).transpose();
        Ok(Rule {
            id,
            action,
            matches: matching,
            until: until.map_err(|message| ("until", 0, message))?,
            comment: comment.map_err(|message| ("comment", 0, message))?,
        })
    }
}

impl RuleText {
    fn read_limit(&self) -> Result<Limit, (&'static str, usize, String)> {
        let Some(rate) = &self.rate else {
            let message = "`limit` needs a rate (say for example `rate = \"10/m\"`)".to_owned();
            return Err(("limit", 0, message));
        };
        let rate = rate.parse().map_err(|message| ("rate", 0, message))?;
        let per = match &self.per {
            None => None,
            Some(words) => {
                let per = words.as_strs().join(",").parse();
                Some(per.map_err(|message| ("per", 0, message))?)
            }
        };
        let ban = self.ban.as_deref().map(str::parse).transpose();
        let ban = ban.map_err(|error: NoDuration| ("ban", 0, error.to_string()))?;
        Limit::new(rate, self.burst, per, self.total, ban)
            .map_err(|(part, message)| (part.as_str(), 0, message))
    }

    /// What a rule without a limit does.
    fn refuse_limit(&self, key: &str) -> Result<Action, (&'static str, usize, String)> {
        let parts = [
            ("rate", self.rate.is_some()),
            ("burst", self.burst.is_some()),
            ("per", self.per.is_some()),
            ("total", self.total),
            ("ban", self.ban.is_some()),
        ];
        match parts.into_iter().find(|(_, is_there)| *is_there) {
            Some((part, _)) => {
                let message = format!("`{key}` has no limit (say `limit` instead)");
                Err((part, 0, message))
            }
            None if key == "allow" => Ok(match self.syn_cookies {
                true => Action::AllowWithCookies,
                false => Action::Allow,
            }),
            None => Ok(Action::Deny),
        }
    }
}

impl From<&Rule> for RuleText {
    fn from(rule: &Rule) -> Self {
        let matching = &rule.matches;
        let words = Some(matching.words());
        let (allow, deny, limit) = match rule.action {
            Action::Allow | Action::AllowWithCookies => (words, None, None),
            Action::Deny => (None, words, None),
            Action::Limit(_) => (None, None, words),
        };
        let limits = rule.action.limit();
        Self {
            id: Some(rule.id.to_string()),
            allow,
            deny,
            limit,
            syn_cookies: rule.action == Action::AllowWithCookies,
            rate: limits.map(|limit| limit.rate.to_string()),
            burst: limits.and_then(|limit| limit.own_burst()),
            per: limits.and_then(|limit| Some(limit.per()?.into_iter().collect())),
            total: limits.is_some_and(|limit| limit.scope == Scope::Total),
            ban: limits.and_then(|limit| Some(limit.ban?.in_one_unit())),
            remote_ports: (matching.remote != PortSpec::any())
                .then(|| matching.remote.words().iter().collect()),
            from: (!matching.is_from_anywhere()).then(|| matching.from_words().iter().collect()),
            to: prefix_words(&matching.to),
            on: (!matching.on.is_empty()).then(|| matching.on.iter().collect()),
            mac: (!matching.mac.is_empty()).then(|| matching.mac.iter().collect()),
            until: rule.until.as_ref().map(Until::to_string),
            comment: rule.comment.clone(),
        }
    }
}

impl From<&Policy> for PolicyText {
    fn from(policy: &Policy) -> Self {
        Self {
            version: VERSION,
            interfaces: policy.interfaces.words().to_vec(),
            answers_from: policy.answers_from.clone(),
            default: Some(policy.default.to_string()),
            fragments: Some(policy.fragments.to_string()),
            non_ip: Some(policy.non_ip.to_string()),
            replies: Some(policy.replies.to_string()),
            udp_replies: None,
            icmp_errors: Some(policy.icmp_errors.to_string()),
            dhcp_client: Some(policy.dhcp_client),
            discovery: Some(policy.discovery),
            trusted: prefix_words(&policy.trusted),
            ban: (!policy.repeat.is_empty()).then(|| BanText {
                repeat: policy.repeat.clone(),
            }),
            flows: Some(FlowsText {
                tcp: Some(policy.flows.tcp),
                other: Some(policy.flows.other),
            }),
            list: policy
                .lists
                .iter()
                .map(|list| (list.name.clone(), ListText::from(list)))
                .collect(),
            scan: policy.scan.map(|scan| ScanText {
                ports: Some(scan.ports),
                window: Some(scan.window.in_one_unit()),
                ban: scan.ban.map(Seconds::in_one_unit),
            }),
            rule: policy.rules.iter().map(RuleText::from).collect(),
        }
    }
}

/// Prefixes as they are written; `None` if there are none.
fn prefix_words(prefixes: &[IpNet]) -> Option<Words> {
    (!prefixes.is_empty()).then(|| prefixes.iter().map(PrefixText).collect())
}

fn word<T: Default>(
    text: &Option<String>,
    from_word: impl Fn(&str) -> Option<T>,
    choices: &str,
) -> Result<T, String> {
    match text {
        None => Ok(T::default()),
        Some(text) => from_word(text)
            .ok_or_else(|| format!("`{}` is not known (say {choices})", text.escape_debug())),
    }
}
