//! Tells how a verdict came about, and what would change it.

use xdpfw_common::Reason;

use crate::{
    policy::{Action, Packet, Part, Policy, PrefixText, Rule},
    ports::PortRange,
};

/// Rules that are named because a packet nearly fits them.
const NAMED: usize = 5;
/// Items of a list that are named.
const ITEMS: usize = 3;

/// How a verdict came about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Explanation {
    /// The steps that led there, in their order.
    pub path: Vec<String>,
    /// The command that would let the packet pass, if one would and it does not.
    pub remedy: Option<String>,
}

/// Explains a verdict on a packet: `reason`, and the rule that decided, if one did. Of what is
/// no IP packet or cannot be read, no `packet` is known.
pub fn explain(
    policy: &Policy,
    packet: Option<&Packet<'_>>,
    reason: Reason,
    decided: Option<&Rule>,
    ephemeral: PortRange,
) -> Explanation {
    let mut path = match packet {
        Some(packet) if asks_rules(reason) => near_misses(policy, packet, decided, ephemeral),
        _ => Vec::new(),
    };
    path.push(match (decided, packet) {
        (Some(rule), _) => match rule.action {
            Action::Allow | Action::AllowWithCookies => {
                format!("{} allows {:.ITEMS$}", rule.id, rule.matches)
            }
            Action::Deny => format!("{} denies {:.ITEMS$}", rule.id, rule.matches),
            Action::Limit(limit) => {
                format!("{} limits {:.ITEMS$}: {limit}", rule.id, rule.matches)
            }
        },
        (None, Some(packet)) if asks_rules(reason) => match path.is_empty() {
            true => format!("no rule is for {}", subject(packet)),
            false => "no other rule is for it".to_owned(),
        },
        _ => meaning(reason).to_owned(),
    });
    if decided.is_none() && asks_rules(reason) {
        path.push(meaning(reason).to_owned());
    }
    let remedy = packet.and_then(|packet| remedy(policy, packet, reason, decided, ephemeral));
    Explanation { path, remedy }
}

/// Whether a verdict for this reason means that the rules were asked, to the last one.
const fn asks_rules(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::RuleAllow
            | Reason::RuleDeny
            | Reason::DefaultDrop
            | Reason::DefaultPass
            | Reason::FragmentDrop
            | Reason::FragmentPass
    )
}

/// The rules in front of the one that decided that are for such a packet, but for one thing.
fn near_misses(
    policy: &Policy,
    packet: &Packet<'_>,
    decided: Option<&Rule>,
    ephemeral: PortRange,
) -> Vec<String> {
    let in_front = policy
        .rules
        .iter()
        .take_while(|rule| decided.is_none_or(|decided| decided.id != rule.id));
    let near = in_front.filter_map(|rule| {
        let misfit = rule.matches.misfit(packet, ephemeral)?;
        let why = why(rule, misfit, packet)?;
        Some(format!(
            "{} is for {}, but {why}",
            rule.id,
            rule.matches.words()
        ))
    });
    let mut near: Vec<String> = near.collect();
    if near.len() > NAMED {
        let more = near.split_off(NAMED).len();
        near.push(format!("and {more} more like these"));
    }
    near
}

/// Why a rule is not for a packet that it nearly fits; `None` if it has nothing to do with it.
fn why(rule: &Rule, misfit: Part, packet: &Packet<'_>) -> Option<String> {
    let matching = &rule.matches;
    let prefixes = |list: &[ipnet::IpNet]| {
        let shown = list
            .iter()
            .take(ITEMS)
            .map(|net| PrefixText(net).to_string());
        some_of(shown.collect(), list.len())
    };
    let words = |list: &[String]| {
        let shown = list
            .iter()
            .take(ITEMS)
            .map(|word| word.escape_debug().to_string());
        some_of(shown.collect(), list.len())
    };
    Some(match misfit {
        Part::Words => return None,
        Part::Remote => format!("from port {} alone", matching.remote),
        Part::From => format!("from {} alone", words(&matching.from_words())),
        Part::To => format!(
            "to {} alone, not to {}",
            prefixes(&matching.to),
            packet.destination
        ),
        Part::On => format!("on {} alone", words(&matching.on)),
        Part::Mac => {
            let macs = matching.mac.iter().take(ITEMS).map(ToString::to_string);
            format!("from {} alone", some_of(macs.collect(), matching.mac.len()))
        }
    })
}

/// `a, b, c and 7 more`.
fn some_of(shown: Vec<String>, all: usize) -> String {
    let more = all - shown.len();
    match more {
        0 => shown.join(", "),
        _ => format!("{} and {more} more", shown.join(", ")),
    }
}

/// What a rule for a packet would begin with: `tcp 443`.
fn subject(packet: &Packet<'_>) -> String {
    let matching = crate::policy::Match::for_carried(packet.carries);
    matching.words()
}

/// The command that would let a packet pass. Where a rule lets in others of its kind, it opens no
/// more than this.
fn remedy(
    policy: &Policy,
    packet: &Packet<'_>,
    reason: Reason,
    decided: Option<&Rule>,
    ephemeral: PortRange,
) -> Option<String> {
    let what = subject(packet);
    let source = packet.source;
    match (reason, decided) {
        (Reason::DefaultDrop, _) => {
            let is_near = |rule: &Rule| {
                let misfit = rule.matches.misfit(packet, ephemeral);
                rule.action.lets_in() && misfit == Some(Part::From)
            };
            Some(match policy.rules.iter().any(is_near) {
                true => format!("xdpfw allow {what} --from {source}"),
                false => format!("xdpfw allow {what}"),
            })
        }
        (Reason::RuleDeny, Some(rule)) => Some(format!(
            "xdpfw allow {what} --from {source} --before {}",
            rule.id
        )),
        _ => None,
    }
}

/// What a reason means, in part of a sentence.
pub const fn meaning(reason: Reason) -> &'static str {
    match reason {
        Reason::DefaultDrop => "default drop",
        Reason::DefaultPass => "default pass",
        Reason::RuleAllow => "a rule allows it",
        Reason::RuleDeny => "a rule denies it",
        Reason::Reply => "it answers what left from here",
        Reason::DhcpClient => "it answers this host's DHCP client",
        Reason::FragmentPass => {
            "a later fragment, for which no rule can decide: fragments = \"pass\""
        }
        Reason::FragmentDrop => {
            "a later fragment, for which no rule can decide: fragments = \"drop\""
        }
        Reason::Malformed => "its headers contradict themselves or are cut short",
        Reason::BadFlags => "no stack sends these TCP flags",
        Reason::VlanDepth => "it has more VLAN tags than are looked behind",
        Reason::Arp => "address resolution always passes",
        Reason::IcmpError => "an ICMP error about what left from here",
        Reason::NeighbourDiscovery => "neighbour discovery, without which IPv6 stops working",
        Reason::Mld => "multicast listener discovery always passes",
        Reason::NonIpPass => "a frame without IP: non_ip = \"pass\", or the link needs it",
        Reason::Igmp => "group management always passes",
        Reason::NonIpDrop => "a frame without IP: non_ip = \"drop\"",
        Reason::Ban => "its source is banned",
        Reason::Limit => "its source has had its share",
        Reason::SynCookie => "many new connections come, so it is answered with a SYN cookie",
        Reason::BadCookie => "it belongs to no connection, and brings no SYN cookie back",
        Reason::Bypass => "everything passes for a while",
        Reason::NoProgram => "no program is there to judge it",
    }
}
