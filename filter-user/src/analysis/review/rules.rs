//! Rules that let in what nobody serves, that never decided anything, and that cannot.

use std::collections::BTreeSet;

use xdpfw_common::Transport;

use super::{
    Facts, Finding, Service,
    remedy::{delete, replace},
};
use crate::{
    analysis::unreachable::covers,
    policy::{Match, Protocol, Rule, RuleId},
    ports::{PortRange, PortSet, PortSpec, PortWord},
    text::{clock_time, sentence_list},
};

/// The kind of a rule that never decided a packet.
pub(super) const UNUSED: &str = "unused-rule";
/// Most items of a rule's lists that are shown.
const ITEMS: usize = 3;
/// Ports of a range above which it is for programs that choose among them (RTP, passive FTP,
/// mosh): one that listens stands for all.
const CHOICE: usize = 100;

/// All findings about rules.
pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let (mut unserved, mut unused) = (Vec::new(), Vec::new());
    for rule in &facts.policy.rules {
        if !rule.action.lets_in() || shadows(facts, rule.id).is_some() {
            continue;
        }
        let nobody = Unserved::of(rule, facts);
        if let Some(nobody) = &nobody {
            unserved.push(nobody.finding(facts));
        }
        // One thing after the other: what is done about the former changes the rule.
        if nobody.is_none() {
            unused.extend(never_hit(rule, facts));
        }
    }
    unserved.extend(unused);
    let shadowed = facts.policy.rules.iter();
    unserved.extend(shadowed.filter_map(|rule| shadowed_by(rule, facts)));
    unserved
}

fn shadows<'a>(facts: &'a Facts<'_>, id: RuleId) -> Option<&'a [RuleId]> {
    let mut shadowed = facts.shadowed.iter();
    let shadowed = shadowed.find(|shadowed| shadowed.rule == id)?;
    Some(&shadowed.by)
}

fn shadowed_by(rule: &Rule, facts: &Facts<'_>) -> Option<Finding> {
    let by = match shadows(facts, rule.id)? {
        [] => "rules in front of it take all its packets".to_owned(),
        [one] => format!("{one} in front of it takes all its packets"),
        several => format!(
            "{} in front of it take all its packets",
            sentence_list(several, ITEMS)
        ),
    };
    let text = format!("{rule:.ITEMS$}: {by}");
    Some(Finding::new("shadowed", rule.id.to_string(), text).say(delete(rule)))
}

/// A rule that never decided a packet.
fn never_hit(rule: &Rule, facts: &Facts<'_>) -> Option<Finding> {
    let hits = facts.hits.as_ref()?;
    if hits.of_rules.get(&rule.id) != Some(&0) {
        return None;
    }
    let since = hits.rules_since.get(&rule.id).unwrap_or(&hits.since);
    let since = clock_time(*since.max(&hits.since));
    let text = format!("{rule:.ITEMS$}: no packet since {since}");
    Some(Finding::new(UNUSED, rule.id.to_string(), text).say(delete(rule)))
}

/// The ports of a rule on which nobody listens.
struct Unserved<'a> {
    rule: &'a Rule,
    missing: Vec<(Transport, PortSet)>,
    /// What of its words is served, by protocol.
    kept: Vec<(Transport, Vec<String>)>,
}

impl<'a> Unserved<'a> {
    /// `None` if there are none, or the rule is for what this host does not serve itself.
    fn of(rule: &'a Rule, facts: &Facts<'_>) -> Option<Self> {
        let matching = &rule.matches;
        if matching.protocol == Protocol::Any || is_for_others(rule, facts) {
            return None;
        }
        let (mut missing, mut kept) = (Vec::new(), Vec::new());
        for &transport in matching.protocol.transports() {
            let ports: BTreeSet<u16> = facts
                .services
                .iter()
                .filter(|service| serves(service, matching, transport))
                .map(|service| service.port)
                .collect();
            let mut none = Vec::new();
            let mut words = Vec::new();
            for &word in matching.local.words() {
                split(
                    word,
                    word.range(facts.ephemeral),
                    &ports,
                    &mut none,
                    &mut words,
                );
            }
            let none: PortSet = none.into_iter().collect();
            if !none.is_empty() {
                missing.push((transport, none));
            }
            if !words.is_empty() {
                kept.push((transport, words));
            }
        }
        (!missing.is_empty()).then_some(Self {
            rule,
            missing,
            kept,
        })
    }

    fn finding(&self, facts: &Facts<'_>) -> Finding {
        let rule = self.rule;
        let missing: Vec<String> = self
            .missing
            .iter()
            .map(|(transport, ports)| format!("{transport} {}", shortened(ports)))
            .collect();
        let mut text = match self.kept.is_empty() {
            true => format!("{rule:.ITEMS$}: nobody listens there"),
            false => format!(
                "{rule:.ITEMS$}: nobody listens on {}",
                sentence_list(&missing, ITEMS)
            ),
        };
        let local = facts.services.iter().find(|service| {
            let mut missing = self.missing.iter();
            service.address.is_loopback()
                && missing.any(|(transport, ports)| {
                    *transport == service.transport && ports.contains(service.port)
                })
        });
        if let Some(service) = local {
            text.push_str(&format!(
                " ({} listens on {} alone)",
                service.who(),
                service.at()
            ));
        }
        let finding = Finding::new("nobody-listens", rule.id.to_string(), text);
        let mut narrowed = self.narrowed();
        narrowed.retain(|matching| !is_said_before(rule, matching, facts));
        let remedy = match narrowed.as_slice() {
            [] => Some(delete(rule)),
            narrowed => replace(rule, narrowed, facts.now),
        };
        Finding { remedy, ..finding }
    }

    /// What is left of the rule without them.
    fn narrowed(&self) -> Vec<Match> {
        let with = |protocol: Protocol, words: &[String]| -> Option<Match> {
            let local = PortSpec::parse(&words.join(","), protocol.transports()).ok()?;
            Some(Match {
                protocol,
                local,
                ..self.rule.matches.clone()
            })
        };
        let both = match self.kept.as_slice() {
            [(_, one), (_, other)] if one == other => with(Protocol::TcpUdp, one),
            _ => None,
        };
        if let Some(both) = both {
            return vec![both];
        }
        let of = |(transport, words): &(Transport, Vec<String>)| {
            let protocol = match transport {
                Transport::Tcp => Protocol::Tcp,
                Transport::Udp => Protocol::Udp,
            };
            with(protocol, words)
        };
        self.kept.iter().filter_map(of).collect()
    }
}

/// Whether a rule in front of another one takes all that this one would if it matched something
/// else.
fn is_said_before(rule: &Rule, matching: &Match, facts: &Facts<'_>) -> bool {
    let other = Rule {
        matches: matching.clone(),
        ..rule.clone()
    };
    let rules = facts.policy.rules.iter();
    let mut in_front = rules.take_while(|one| one.id != rule.id);
    in_front.any(|one| covers(one, &other, facts.ephemeral))
}

/// Splits one word of a rule into what is served and what is not.
fn split(
    word: PortWord,
    range: PortRange,
    ports: &BTreeSet<u16>,
    none: &mut Vec<PortRange>,
    kept: &mut Vec<String>,
) {
    let mut served = ports.range(range.first..=range.last).copied().peekable();
    if served.peek().is_none() {
        none.push(range);
        return;
    }
    let size = usize::from(range.last - range.first) + 1;
    if !matches!(word, PortWord::Range(_)) || size > CHOICE {
        kept.push(word.to_string());
        return;
    }
    let served: PortSet = served.map(PortRange::single).collect();
    let others = (range.first..=range.last).filter(|&port| !served.contains(port));
    none.extend(others.map(PortRange::single));
    kept.extend(served.ranges().iter().map(ToString::to_string));
}

/// Whether a service is one that a rule lets packets to.
fn serves(service: &Service, matching: &Match, transport: Transport) -> bool {
    let families = matching.families();
    let is_its_family = match service.address {
        std::net::IpAddr::V4(_) => families.ipv4,
        std::net::IpAddr::V6(address) => {
            families.ipv6 || address.is_unspecified() && service.takes_ipv4 && families.ipv4
        }
    };
    let is_there = service.address.is_unspecified()
        || matching.to.is_empty()
        || matching.to.iter().any(|net| net.contains(&service.address));
    service.transport == transport && !service.address.is_loopback() && is_its_family && is_there
}

/// Whether a rule lets in what is for others, who are behind this host: by its addresses, or as
/// packets come that nobody here would take.
fn is_for_others(rule: &Rule, facts: &Facts<'_>) -> bool {
    let to = &rule.matches.to;
    let own = &facts.host.own;
    if !to.is_empty() {
        return !to.iter().any(|net| own.iter().any(|own| net.contains(own)));
    }
    let hits = facts.hits.as_ref();
    let is_hit = hits.is_some_and(|hits| hits.of_rules.get(&rule.id).is_some_and(|&hits| hits > 0));
    facts.forwards && is_hit
}

/// The first ranges of a set, and how many there are more.
fn shortened(ports: &PortSet) -> String {
    let ranges = ports.ranges();
    if ports.is_any() || ranges.len() <= ITEMS * 2 {
        return ports.to_string();
    }
    let (first, more) = ranges.split_at(ITEMS * 2);
    let first: PortSet = first.iter().copied().collect();
    let more: PortSet = more.iter().copied().collect();
    format!("{first} and {} more", more.len())
}
