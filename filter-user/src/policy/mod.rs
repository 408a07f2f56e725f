//! The policy: an ordered list of rules and a default, as the user states it.
//! Pure. What it means for packets is decided by the compiler.

mod document;
mod interfaces;
mod limit;
mod list;
mod mac;
mod matching;
mod packet;
mod prefix;
mod protocol;
mod rule;
mod scan;
mod text;
mod until;
mod words;

use std::{borrow::Cow, collections::HashSet, fmt};

use ipnet::IpNet;
use jiff::Timestamp;

use self::prefix::ItemError;
pub use self::{
    document::{EditError, ParseError, PolicyDocument},
    interfaces::InterfaceList,
    limit::{Limit, LimitPart, Rate, Scope},
    list::{Garbage, List, ListSource, MAX_BANNING, check_list_name},
    mac::MacAddress,
    matching::{Families, Match, MatchError, MatchSpec, NO_COOKIES, Part},
    packet::{Carried, Packet},
    prefix::{PrefixText, is_interface_name, parse_prefixes},
    protocol::Protocol,
    rule::{Action, Rule, RuleId, parse_comment},
    scan::Scan,
    text::{PolicyText, RuleText, unknown_list},
    until::Until,
};

/// What happens to a packet that no rule matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultAction {
    /// It is dropped, unless it answers a connection of this host's.
    #[default]
    Drop,
    /// It passes.
    Pass,
}

/// What happens to IP fragments that have no ports, the later ones, where rules leave that open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fragments {
    /// They pass: the first fragment is what the filter judges, and the kernel
    /// discards fragments without one.
    #[default]
    Pass,
    /// They are dropped, and fragmented datagrams with them.
    Drop,
}

/// What tells the answers to this host's own packets from other packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replies {
    /// A record of what left.
    #[default]
    Flows,
    /// Its sockets: for TCP those that do not listen, for UDP those connected to the sender.
    Sockets,
    /// Nothing: no packet passes as an answer.
    Off,
}

/// Which ICMP errors pass that no rule matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IcmpErrors {
    /// Those about a packet that left from here.
    #[default]
    Related,
    /// All.
    Pass,
}

/// What happens to frames that carry neither IP nor ARP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonIp {
    /// They pass.
    #[default]
    Pass,
    /// They are dropped, but for what keeps the link up: EAPOL, LLDP, LACP, STP.
    Drop,
}

/// How many flows are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowSizes {
    /// Open TCP connections.
    pub tcp: u32,
    /// Everything else.
    pub other: u32,
}

impl FlowSizes {
    /// The fewest that a table can have: the kernel moves flows between its CPUs by as many.
    pub const LEAST: u32 = 128;
    /// The most.
    pub const MOST: u32 = 1 << 24;
}

impl Default for FlowSizes {
    fn default() -> Self {
        Self {
            tcp: 65_536,
            other: 65_536,
        }
    }
}

macro_rules! words {
    ($type:ident: $($variant:ident = $word:literal),+) => {
        impl $type {
            /// Every value, in the order they are documented in.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The user's word for it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The value of a word.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == word)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words!(DefaultAction: Drop = "drop", Pass = "pass");
words!(Fragments: Pass = "pass", Drop = "drop");
words!(NonIp: Pass = "pass", Drop = "drop");
words!(Replies: Flows = "flows", Sockets = "sockets", Off = "off");
words!(Garbage: Skip = "skip", Refuse = "refuse");
words!(IcmpErrors: Related = "related", Pass = "pass");

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The interfaces it is for.
    pub interfaces: InterfaceList,
    /// Names of interfaces that are not filtered, but whose packets may be answered on those
    /// that are.
    pub answers_from: Vec<String>,
    /// What happens to what no rule matches.
    pub default: DefaultAction,
    /// What happens to later fragments.
    pub fragments: Fragments,
    /// What happens to frames that carry neither IP nor ARP.
    pub non_ip: NonIp,
    /// What tells answers from other packets.
    pub replies: Replies,
    /// Which ICMP errors pass.
    pub icmp_errors: IcmpErrors,
    /// Whether answers to this host's DHCP client pass.
    pub dhcp_client: bool,
    /// Whether answers pass to what this host asked by multicast DNS and SSDP.
    pub discovery: bool,
    /// Who is never banned, nor limited by source.
    pub trusted: Vec<IpNet>,
    /// How many times as long each next ban of a source is; empty: as long.
    pub repeat: Vec<u32>,
    /// How many flows are remembered.
    pub flows: FlowSizes,
    /// Lists of addresses, by name.
    pub lists: Vec<List>,
    /// When a source scans; `None`: nobody looks.
    pub scan: Option<Scan>,
    /// The rules; the first that matches decides.
    pub rules: Vec<Rule>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            interfaces: InterfaceList::default(),
            answers_from: Vec::new(),
            trusted: Vec::new(),
            repeat: Vec::new(),
            flows: FlowSizes::default(),
            scan: None,
            default: DefaultAction::default(),
            fragments: Fragments::default(),
            non_ip: NonIp::default(),
            replies: Replies::default(),
            icmp_errors: IcmpErrors::default(),
            dhcp_client: true,
            discovery: false,
            lists: Vec::new(),
            rules: Vec::new(),
        }
    }
}

impl Policy {
    /// The rule with this id.
    pub fn rule(&self, id: RuleId) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.id == id)
    }

    /// The list of this name.
    pub fn list(&self, name: &str) -> Option<&List> {
        self.lists.iter().find(|list| list.name == name)
    }

    /// The lists that rules are for, each once, with the rule that names it first.
    pub fn lists_of_rules(&self) -> impl Iterator<Item = (&List, &Rule)> {
        self.lists.iter().filter_map(|list| {
            let mut rules = self.rules.iter();
            let rule = rules.find(|rule| rule.matches.from_lists.contains(&list.name))?;
            Some((list, rule))
        })
    }

    /// The list that a rule is for and that there is not.
    fn unknown_list<'a>(&self, matching: &'a Match) -> Option<&'a str> {
        let mut names = matching.from_lists.iter();
        let name = names.find(|name| self.list(name).is_none())?;
        Some(name)
    }

    /// The rule that says the same, whatever its id, limit, comment and end, and the order of its
    /// lists. `action` is the [word](Action::as_str) for what it does.
    pub fn same_rule(&self, action: &str, matching: &Match) -> Option<&Rule> {
        self.rules
            .iter()
            .find(|rule| rule.action.as_str() == action && rule.matches.says_the_same(matching))
    }

    /// Adds a rule, before another or at the end; returns its place.
    pub fn insert(&mut self, rule: Rule, before: Option<RuleId>) -> usize {
        let index = before
            .and_then(|id| self.rules.iter().position(|rule| rule.id == id))
            .unwrap_or(self.rules.len());
        self.rules.insert(index, rule);
        index
    }

    /// An id that no rule has: one above the highest.
    pub fn free_id(&self) -> RuleId {
        // There are more ids than rules fit in memory.
        self.free_ids().next().unwrap_or(RuleId(u32::MAX))
    }

    /// The ids that no rule has: those above the highest first.
    fn free_ids(&self) -> impl Iterator<Item = RuleId> + use<> {
        let used: HashSet<u32> = self.rules.iter().map(|rule| rule.id.0).collect();
        let highest = used.iter().copied().max().unwrap_or(0);
        (highest..=u32::MAX)
            .skip(1)
            .chain(1..highest)
            .filter(move |id| !used.contains(id))
            .map(RuleId)
    }

    /// The rules that have ended.
    pub fn ended(&self, now: Timestamp) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(move |rule| rule.is_over(now))
    }

    /// The same policy without the rules that have ended: they match nothing.
    pub fn without_ended(&self, now: Timestamp) -> Cow<'_, Self> {
        if self.ended(now).next().is_none() {
            return Cow::Borrowed(self);
        }
        let mut policy = self.clone();
        policy.rules.retain(|rule| !rule.is_over(now));
        Cow::Owned(policy)
    }

    /// Whether a rule ends.
    pub fn has_ends(&self) -> bool {
        self.rules.iter().any(|rule| rule.until.is_some())
    }

    /// Whether a rule answers with SYN cookies.
    pub fn has_cookies(&self) -> bool {
        let mut rules = self.rules.iter();
        rules.any(|rule| rule.action == Action::AllowWithCookies)
    }

    /// Whether a rule has a limit.
    pub fn has_limits(&self) -> bool {
        self.rules.iter().any(|rule| rule.action.limit().is_some())
    }

    /// Whether what leaves has to be recorded: flows tell answers from other packets, and
    /// packets are dropped that may be answers.
    pub fn records_flows(&self) -> bool {
        let drops = self.default == DefaultAction::Drop
            || self
                .rules
                .iter()
                .any(|rule| matches!(rule.action, Action::Deny | Action::Limit(_)));
        drops && self.replies == Replies::Flows
    }

    /// Whether the program may ban sources by itself, from opening anything.
    pub fn bans_openers(&self) -> bool {
        let limits = || self.rules.iter().filter_map(|rule| rule.action.limit());
        self.scan.is_some_and(|scan| scan.ban.is_some())
            || limits().any(|limit| limit.ban.is_some())
    }

    /// Whether two policies treat every packet alike, rule for rule: all but
    /// the interfaces they name.
    pub fn same_verdicts(&self, other: &Self) -> bool {
        let Self {
            interfaces: _,
            answers_from,
            flows,
            scan,
            default,
            fragments,
            non_ip,
            replies,
            icmp_errors,
            dhcp_client,
            discovery,
            lists,
            trusted,
            repeat,
            rules,
        } = self;
        *default == other.default
            && *fragments == other.fragments
            && *non_ip == other.non_ip
            && *answers_from == other.answers_from
            && *flows == other.flows
            && *scan == other.scan
            && *replies == other.replies
            && *icmp_errors == other.icmp_errors
            && *dhcp_client == other.dhcp_client
            && *discovery == other.discovery
            && *lists == other.lists
            && *trusted == other.trusted
            && *repeat == other.repeat
            && *rules == other.rules
    }
}

#[cfg(test)]
mod tests;
