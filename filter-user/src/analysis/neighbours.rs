//! Evaluates rules against IPv6 neighbour discovery. Without it nobody on the link finds this
//! host.

use std::net::Ipv6Addr;

use ipnet::{IpNet, Ipv6Net};

use super::evaluate::{Matches, matches_interface, matches_mac};
use crate::policy::{Match, Protocol};

/// The types of its messages: solicitation and advertisement (RFC 4861).
pub(super) const TYPES: [u8; 2] = [135, 136];

/// Messages of neighbour discovery, from any host on the link by its link-local address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Discovery<'a> {
    /// Their type.
    pub(super) number: u8,
    /// The interface they come in by.
    pub(super) interface: Option<&'a str>,
}

/// Link-local addresses (RFC 4291).
const LINK_LOCAL: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10);

impl Discovery<'_> {
    /// Whether a rule matches them.
    pub(super) fn matched_by(&self, matching: &Match) -> Matches {
        let protocol = match matching.protocol {
            Protocol::Any => Matches::Yes,
            Protocol::Icmp6 if matching.types.contains(self.number) => Matches::Yes,
            _ => Matches::No,
        };
        let from = match matching.is_from_anywhere() {
            true => Matches::Yes,
            false => covers(&matching.from, LINK_LOCAL),
        };
        // They go to a group, or to an address that is not known here.
        let to = match matching.to.is_empty() {
            true => Matches::Yes,
            false => Matches::Perhaps,
        };
        let on = matches_interface(matching, self.interface);
        let mac = matches_mac(matching, None);
        protocol.min(from).min(to).min(on).min(mac)
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
