//! Turns a policy into the tables the kernel program reads. Pure.
//!
//! What a packet pays must not grow with the number of rules. So each dimension
//! maps its field to a *class* (two values are in one class when exactly the same
//! rules match them; recursive flow classification, Gupta and McKeown 1999), and a
//! diagram leads from class to class to the rule that wins (firewall decision
//! diagrams, Gouda and Liu 2004): at most one question for each dimension, and only
//! where the answer matters. First match is settled here.

mod builder;
mod diagram;
mod dimension;
mod fragments;
mod prefixes;
pub mod simulate;
mod time;

use std::{borrow::Cow, collections::BTreeMap, fmt, time::Duration};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use xdpfw_common::{
    Transport,
    abi::{
        self, ACTION_ALLOW, ACTION_COOKIES, ACTION_DENY, ACTION_LIMIT, COOKIE_SACK, COOKIE_SCALE,
        COOKIE_TIMESTAMPS, Config, EdgeKey, Ends, ICMP_ERRORS_PASS, ICMP_ERRORS_RELATED, LocalKey,
        MAX_ENDS, MAX_RULES, Node, PortBitmaps, ProtocolKind, REPLIES_FLOWS, REPLIES_OFF,
        REPLIES_SOCKETS,
    },
};

use self::{
    builder::Builder,
    diagram::{Diagram, Dimensions, MAX_EDGES},
    dimension::{ANY_FAMILY, Classes, Dimension, V4, V6, for_each_range, interfaces, macs},
    prefixes::addresses,
};
pub use self::{prefixes::Prefix, time::Clocks};
use crate::{
    policy::{
        Action, DefaultAction, Fragments, IcmpErrors, Limit, NonIp, Policy, Replies, Rule, RuleId,
        Scope, Until,
    },
    ports::{PortRange, PortSet},
    text::fnv,
};

/// Most entries in the lists of rules that match a port, all ports together.
const MAX_PORT_RULES: usize = 1 << 24;

/// What a policy means depends on this of its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// The ports that the host hands out to clients.
    pub ephemeral: PortRange,
    /// The numbers of those interfaces that rules name and that exist: with each name first its
    /// own, then those of its members, which packets of a bond carry under native XDP.
    pub interfaces: Vec<(String, u32)>,
    /// What its clocks show; rules that have ended by then match nothing.
    pub clocks: Clocks,
    /// The prefixes in those lists that rules are for, by name. A list that is not here has none.
    pub lists: BTreeMap<String, Vec<IpNet>>,
    /// What its SYN cookies carry besides the size of segments; `None` if nothing.
    pub cookies: Option<CookieOptions>,
}

/// What connections that are opened by SYN cookies have, if the other end offers it, too, besides
/// timestamps, which carry it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CookieOptions {
    /// Selective acknowledgments (RFC 2018).
    pub sack: bool,
    /// By how many bits this host's windows are shifted, 14 at most (RFC 7323); `None` if they are not
    /// scaled.
    pub scale: Option<u8>,
}

impl CookieOptions {
    /// As the eBPF program has it.
    fn bits(self) -> u32 {
        let scale = self.scale.map_or(COOKIE_SCALE, u32::from);
        COOKIE_TIMESTAMPS | if self.sack { COOKIE_SACK } else { 0 } | scale
    }
}

impl Environment {
    /// A policy with the prefixes of lists in the place of their names. A rule for nothing but empty
    /// lists matches nobody, so there it has ended.
    fn expand<'a>(&self, policy: &'a Policy) -> Cow<'a, Policy> {
        let mut rules = policy.rules.iter();
        if rules.all(|rule| rule.matches.from_lists.is_empty()) {
            return Cow::Borrowed(policy);
        }
        let mut policy = policy.clone();
        for rule in &mut policy.rules {
            let lists = std::mem::take(&mut rule.matches.from_lists);
            if lists.is_empty() {
                continue;
            }
            let of_lists = lists.iter().filter_map(|name| self.lists.get(name));
            rule.matches.from.extend(of_lists.flatten());
            if rule.matches.from.is_empty() {
                rule.until = Some(Until::past());
            }
        }
        Cow::Owned(policy)
    }
}

/// A compiled policy.
pub struct Tables {
    /// The policy's switches.
    pub config: Config,
    /// Which ports can be matched at all.
    pub listed: Box<PortBitmaps>,
    /// The nodes where the ways to a decision begin.
    pub local: Vec<(LocalKey, Node)>,
    /// The ways on.
    pub edges: Vec<(EdgeKey, Node)>,
    /// Classes of remote ports.
    pub remote: Vec<(LocalKey, u32)>,
    /// Classes of interfaces, by their numbers.
    pub interfaces: Vec<(u32, u32)>,
    /// Classes of MAC addresses.
    pub macs: Vec<([u8; 6], u32)>,
    /// Classes of source addresses, IPv4 and IPv6.
    pub sources: [Vec<(Prefix, u32)>; 2],
    /// Classes of destination addresses, IPv4 and IPv6.
    pub destinations: [Vec<(Prefix, u32)>; 2],
    /// When rules end.
    pub ends: Ends,
    /// The limits of rules, by their slots.
    pub limits: Vec<(u32, abi::Limit)>,
    /// Places in the policy of the rules that decide for no packet.
    unreached: Vec<usize>,
}

impl Tables {
    /// Places in the policy of the rules that decide for no packet, in their order.
    pub fn unreached(&self) -> &[usize] {
        &self.unreached
    }

    /// How many prefixes there are in the tries.
    pub fn prefixes(&self) -> usize {
        let tries = self.sources.iter().chain(&self.destinations);
        tries.map(Vec::len).sum()
    }
}

/// Why a policy cannot be compiled.
#[derive(Debug, PartialEq, Eq)]
pub enum TooComplex {
    /// More rules than there are counters.
    Rules(usize),
    /// Rules end at more moments than are told apart.
    Ends(usize),
    /// Rules cross in too many ways; the places of those that do, worst first.
    Combinations(Vec<usize>),
}

impl TooComplex {
    /// What to tell the author of the policy.
    pub fn message(&self, policy: &Policy) -> String {
        match self {
            Self::Rules(rules) => format!(
                "{rules} rules are more than the {MAX_RULES} supported (say several ports or prefixes in one rule)"
            ),
            Self::Ends(ends) => format!(
                "the rules end at {ends} moments, and {MAX_ENDS} are supported (delete some, or give several the same `until` in the policy file)"
            ),
            Self::Combinations(rules) => {
                let ids: Vec<RuleId> = rules
                    .iter()
                    .filter_map(|&rule| Some(policy.rules.get(rule)?.id))
                    .collect();
                format!(
                    "the rules cross in more than the {MAX_EDGES} combinations supported (simplify the addresses, remote ports, interfaces or MAC addresses of {})",
                    Named(&ids)
                )
            }
        }
    }
}

/// Rules by name, the first few of them.
struct Named<'a>(&'a [RuleId]);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, rule) in self.0.iter().take(3).enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{rule}")?;
        }
        match self.0.len().saturating_sub(3) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// Compiles a policy for a host; `slots` are the counters of its rules, in their order.
///
/// # Errors
///
/// The policy is beyond a fixed bound.
pub fn compile(
    policy: &Policy,
    environment: &Environment,
    slots: &[u32],
) -> Result<Tables, TooComplex> {
    let policy = &*environment.expand(policy);
    if policy.rules.len() > MAX_RULES {
        return Err(TooComplex::Rules(policy.rules.len()));
    }
    let rules: Vec<Resolved<'_>> = policy
        .rules
        .iter()
        .map(|rule| Resolved::of(rule, environment.ephemeral))
        .collect();
    let numbered = || (0_u32..).zip(&rules);
    let source = addresses(numbered().map(|(index, rule)| (index, &*rule.rule.matches.from)));
    let destination = addresses(numbered().map(|(index, rule)| (index, &*rule.rule.matches.to)));
    let (numbered_interfaces, interface) = interfaces(policy, environment);
    let (macs, mac) = macs(policy);
    let (ends, time) = time::ends(policy, &environment.clocks)?;
    let mut remote = Vec::new();
    let dimensions = Dimensions {
        interface,
        remote: [
            remote_ports(&rules, Transport::Tcp, &mut remote)?,
            remote_ports(&rules, Transport::Udp, &mut remote)?,
        ],
        destination: destination.dimension,
        source: source.dimension,
        time,
        mac,
    };
    let decisions: Vec<Node> = rules
        .iter()
        .zip(slots)
        .map(|(rule, &slot)| decision(rule.rule, slot))
        .collect();
    let mut builder = Builder {
        rules: &rules,
        diagram: Diagram::new(&dimensions, &decisions),
        tables: Tables {
            config: config(policy, environment),
            listed: Box::new(PortBitmaps::EMPTY),
            local: Vec::new(),
            edges: Vec::new(),
            remote,
            interfaces: numbered_interfaces,
            macs,
            sources: source.prefixes,
            destinations: destination.prefixes,
            ends,
            limits: limits(policy, slots),
            unreached: Vec::new(),
        },
    };
    builder.open_dhcp_client();
    for transport in Transport::ALL {
        builder.add_ports(transport)?;
    }
    builder.add_icmp(ProtocolKind::Icmp, V4)?;
    builder.add_icmp(ProtocolKind::Icmp6, V6)?;
    builder.add_protocols()?;
    builder.add_fragments()?;
    Ok(builder.finish())
}

/// A rule with its port words turned into ports.
pub(crate) struct Resolved<'a> {
    pub(crate) rule: &'a Rule,
    /// This host's ports.
    pub(crate) local: PortSet,
    /// The peers' ports.
    pub(crate) remote: PortSet,
}

impl<'a> Resolved<'a> {
    /// A rule on a host with these ephemeral ports.
    pub(crate) fn of(rule: &'a Rule, ephemeral: PortRange) -> Self {
        Self {
            rule,
            local: rule.matches.local.resolve(ephemeral),
            remote: rule.matches.remote.resolve(ephemeral),
        }
    }
}

/// Classes of remote ports for a transport; its entries of the table are added.
fn remote_ports(
    rules: &[Resolved<'_>],
    transport: Transport,
    table: &mut Vec<(LocalKey, u32)>,
) -> Result<Dimension, TooComplex> {
    let mut classes = Classes::default();
    let restricting = || {
        let numbered = (0_u32..).zip(rules);
        numbered.filter(|(_, rule)| {
            rule.rule.matches.protocol.includes(transport) && !rule.remote.is_any()
        })
    };
    for (rule, _) in restricting() {
        classes.restrict(rule);
    }
    let mut matching = 0;
    for_each_range(
        restricting().map(|(index, rule)| (index, &rule.remote)),
        |_| false,
        |range, rules| {
            matching += rules.len();
            if matching > MAX_PORT_RULES {
                return Err(TooComplex::Combinations(places(&rules)));
            }
            let class = classes.class(&rules, ANY_FAMILY);
            if class != 0 {
                let ports = range.first..=range.last;
                table.extend(ports.map(|port| (LocalKey::new(transport.into(), port), class)));
            }
            Ok(())
        },
    )?;
    Ok(classes.finish())
}

fn places(rules: &[u32]) -> Vec<usize> {
    rules.iter().map(|&rule| rule as usize).collect()
}

fn config(policy: &Policy, environment: &Environment) -> Config {
    Config {
        default_pass: u32::from(policy.default == DefaultAction::Pass),
        drop_fragments: u32::from(policy.fragments == Fragments::Drop),
        replies: match policy.replies {
            Replies::Off => REPLIES_OFF,
            Replies::Sockets => REPLIES_SOCKETS,
            Replies::Flows => REPLIES_FLOWS,
        },
        dhcp_client: u32::from(policy.dhcp_client),
        icmp_errors: match policy.icmp_errors {
            IcmpErrors::Related => ICMP_ERRORS_RELATED,
            IcmpErrors::Pass => ICMP_ERRORS_PASS,
        },
        discovery: u32::from(policy.discovery),
        drop_non_ip: u32::from(policy.non_ip == NonIp::Drop),
        established_only: 0,
        syn_cookies: u32::from(policy.has_cookies()),
        cookie_options: environment.cookies.map_or(0, CookieOptions::bits),
        listed_kinds: 0,
        questions: 0,
        rest: [Node::NO_RULE; ProtocolKind::ALL.len()],
        fragments: [Node::NO_RULE; ProtocolKind::ALL.len()],
    }
}

/// The limits of a policy's rules, by their slots.
pub fn limits(policy: &Policy, slots: &[u32]) -> Vec<(u32, abi::Limit)> {
    let rules = policy.rules.iter().zip(slots);
    let limits = rules.filter_map(|(rule, &slot)| {
        let limit = rule.action.limit()?;
        Some((slot, limit_of(rule.id, &limit)))
    });
    limits.collect()
}

fn limit_of(id: RuleId, limit: &Limit) -> abi::Limit {
    let nanoseconds = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let interval = nanoseconds(limit.rate.interval()) & !abi::TOLD;
    abi::Limit {
        interval,
        tolerance: interval.saturating_mul(u64::from(limit.burst) - 1),
        ban: limit.ban.map_or(0, |ban| nanoseconds(ban.duration())),
        // Another limit of the same rule begins anew.
        number: u64::from(id.0) << 32 | u64::from(fnv(limit.to_string().as_bytes()) as u32),
        len: match limit.scope {
            Scope::Total => [0; 2],
            // A source of IPv4 has 32 bits in front.
            Scope::Per { ipv4, ipv6 } => [32 + ipv4, ipv6],
        },
        padding: [0; 6],
    }
}

const fn decision(rule: &Rule, slot: u32) -> Node {
    Node {
        slot,
        action: match rule.action {
            Action::Allow => ACTION_ALLOW,
            Action::Deny => ACTION_DENY,
            Action::Limit(_) => ACTION_LIMIT,
            Action::AllowWithCookies => ACTION_COOKIES,
        },
        ..Node::NO_RULE
    }
}

#[cfg(test)]
mod tests;
