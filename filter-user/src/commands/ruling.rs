//! What rules do with packets of which not everything is known: the guard against lockouts
//! and the warnings ask it, each for the answer that it must not be wrong about.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};

use crate::{
    policy::{Action, DefaultAction, Flow, Policy, Protocol, Rule, What},
    ports::PortRange,
};

/// Whether a rule matches packets of which not everything is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Match {
    /// None of them.
    No,
    /// Some of them, or it cannot be told.
    Perhaps,
    /// All of them.
    Yes,
}

/// What to take for true of a rule that matches perhaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Assume {
    /// That it matches if it denies.
    Worst,
    /// That it matches if it allows.
    Best,
}

/// What becomes of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ruling<'a> {
    /// The rule lets them pass.
    Allowed(&'a Rule),
    /// The rule drops them.
    Denied(&'a Rule),
    /// No rule matches.
    Default(DefaultAction),
}

impl<'a> Ruling<'a> {
    /// By the first rule that matches.
    pub(super) fn of(policy: &'a Policy, assume: Assume, matches: impl Fn(&What) -> Match) -> Self {
        let counts = |rule: &&Rule| match (matches(&rule.what), assume) {
            (Match::No, _) => false,
            (Match::Yes, _) => true,
            (Match::Perhaps, Assume::Worst) => rule.action == Action::Deny,
            (Match::Perhaps, Assume::Best) => rule.action == Action::Allow,
        };
        match policy.rules.iter().find(counts) {
            None => Self::Default(policy.default),
            Some(rule) if rule.action == Action::Allow => Self::Allowed(rule),
            Some(rule) => Self::Denied(rule),
        }
    }
}

/// Whether a rule matches packets that come by this interface, or one that is not known.
fn matches_interface(what: &What, interface: Option<&str>) -> Match {
    match interface {
        _ if what.on.is_empty() => Match::Yes,
        None => Match::Perhaps,
        Some(name) if what.on.iter().any(|on| on == name) => Match::Yes,
        Some(_) => Match::No,
    }
}

/// Whether a rule matches a packet that is known but for its interface.
pub(super) fn matches_flow(what: &What, flow: &Flow<'_>, ephemeral: PortRange) -> Match {
    if what.matches_anywhere(flow, ephemeral) {
        matches_interface(what, flow.interface)
    } else {
        Match::No
    }
}

/// The types of neighbour discovery without which nobody on the link finds this host:
/// solicitation and advertisement (RFC 4861).
pub(super) const NEIGHBOURS: [u8; 2] = [135, 136];

/// Who sends messages of neighbour discovery.
#[derive(Clone, Copy, Debug)]
pub(super) enum Neighbour {
    /// A router or any other host on the link, by its link-local address.
    LinkLocal,
    /// The host with this address.
    Known(Ipv6Addr),
}

/// Messages of neighbour discovery.
#[derive(Clone, Copy, Debug)]
pub(super) struct Discovery<'a> {
    /// Their type.
    pub(super) number: u8,
    /// Who sends them.
    pub(super) from: Neighbour,
    /// The address of this host's that they are about, where it is known.
    pub(super) to: Option<Ipv6Addr>,
    /// The interface they come in by.
    pub(super) interface: Option<&'a str>,
}

/// Link-local addresses (RFC 4291).
const LINK_LOCAL: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10);

/// Groups on the link, to which solicitations go (RFC 4291).
const LINK_GROUPS: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0), 16);

impl Discovery<'_> {
    /// Whether a rule matches them.
    pub(super) fn matched_by(&self, what: &What) -> Match {
        let protocol = match what.protocol {
            Protocol::Any => Match::Yes,
            Protocol::Icmp6 if what.types.contains(self.number) => Match::Yes,
            _ => Match::No,
        };
        let from = match self.from {
            _ if what.from.is_empty() => Match::Yes,
            Neighbour::Known(address) => has(&what.from, address),
            Neighbour::LinkLocal => covers(&what.from, LINK_LOCAL),
        };
        // Solicitations go to a group or to the address itself.
        let to = if what.to.is_empty() {
            Match::Yes
        } else {
            let groups = covers(&what.to, LINK_GROUPS);
            match self.to.map(|address| has(&what.to, address)) {
                Some(own) if own == groups => own,
                _ => Match::Perhaps,
            }
        };
        let on = matches_interface(what, self.interface);
        protocol.min(from).min(to).min(on)
    }
}

/// Whether an address is in one of these prefixes.
fn has(prefixes: &[IpNet], address: Ipv6Addr) -> Match {
    let address = IpAddr::V6(address);
    if prefixes.iter().any(|net| net.contains(&address)) {
        Match::Yes
    } else {
        Match::No
    }
}

/// Whether the addresses of `net` are in these prefixes: all in one of them, or some.
fn covers(prefixes: &[IpNet], net: Ipv6Net) -> Match {
    prefixes
        .iter()
        .map(|prefix| match prefix {
            IpNet::V6(prefix) if prefix.contains(&net) => Match::Yes,
            IpNet::V6(prefix) if net.contains(prefix) => Match::Perhaps,
            _ => Match::No,
        })
        .max()
        .unwrap_or(Match::No)
}
