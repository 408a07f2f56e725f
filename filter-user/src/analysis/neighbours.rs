//! Evaluates rules against IPv6 neighbour discovery. Without it nobody on the link finds this
//! host.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};

use super::evaluate::{Matches, matches_interface, matches_mac};
use crate::policy::{Match, Protocol};

/// The types of its messages: solicitation and advertisement (RFC 4861).
pub(super) const TYPES: [u8; 2] = [135, 136];

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
    pub(super) fn matched_by(&self, matching: &Match) -> Matches {
        let protocol = match matching.protocol {
            Protocol::Any => Matches::Yes,
            Protocol::Icmp6 if matching.types.contains(self.number) => Matches::Yes,
            _ => Matches::No,
        };
        let from = match self.from {
            _ if matching.from.is_empty() => Matches::Yes,
            Neighbour::Known(address) => has(&matching.from, address),
            Neighbour::LinkLocal => covers(&matching.from, LINK_LOCAL),
        };
        // Solicitations go to a group or to the address itself.
        let to = if matching.to.is_empty() {
            Matches::Yes
        } else {
            let groups = covers(&matching.to, LINK_GROUPS);
            match self.to.map(|address| has(&matching.to, address)) {
                Some(own) if own == groups => own,
                _ => Matches::Perhaps,
            }
        };
        let on = matches_interface(matching, self.interface);
        let mac = matches_mac(matching, None);
        protocol.min(from).min(to).min(on).min(mac)
    }
}

/// Whether an address is in one of these prefixes.
fn has(prefixes: &[IpNet], address: Ipv6Addr) -> Matches {
    let address = IpAddr::V6(address);
    if prefixes.iter().any(|net| net.contains(&address)) {
        Matches::Yes
    } else {
        Matches::No
    }
}

/// Whether the addresses of `net` are in these prefixes: all in one of them, or some.
fn covers(prefixes: &[IpNet], net: Ipv6Net) -> Matches {
    prefixes
        .iter()
        .map(|prefix| match prefix {
            IpNet::V6(prefix) if prefix.contains(&net) => Matches::Yes,
            IpNet::V6(prefix) if net.contains(prefix) => Matches::Perhaps,
            _ => Matches::No,
        })
        .max()
        .unwrap_or(Matches::No)
}
