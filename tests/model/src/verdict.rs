//! Judges a packet: the rules one by one, then what passes without a rule, then the default.

use std::net::IpAddr;

use crate::{
    packet::{Content, Ip, Packet},
    policy::{Action, Policy, UdpReplies},
};

/// ICMP errors: unreachable, time exceeded, parameter problem.
const ICMP_ERRORS: [u8; 3] = [3, 11, 12];
/// ICMPv6 errors: unreachable, too big, time exceeded, parameter problem.
const ICMP6_ERRORS: [u8; 4] = [1, 2, 3, 4];
/// Router and neighbour solicitation and advertisement, redirect.
const NEIGHBOUR_DISCOVERY: [u8; 5] = [133, 134, 135, 136, 137];
/// Multicast listener query, report and done, and report of version 2.
const MLD: [u8; 4] = [130, 131, 132, 143];

/// What happens to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on to the host.
    Pass,
    /// It ends.
    Drop,
}

/// A protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// What the model has to say of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opinion {
    /// What happens to it.
    pub verdict: Verdict,
    /// Why, in the user's word.
    pub reason: &'static str,
    /// The rule that decided, by its place in the policy.
    pub rule: Option<usize>,
    /// The local port, if the packet got as far as having one.
    pub port: Option<(Transport, u16)>,
}

impl Opinion {
    const fn new(verdict: Verdict, reason: &'static str) -> Self {
        Self {
            verdict,
            reason,
            rule: None,
            port: None,
        }
    }

    const fn pass(reason: &'static str) -> Self {
        Self::new(Verdict::Pass, reason)
    }

    const fn drop(reason: &'static str) -> Self {
        Self::new(Verdict::Drop, reason)
    }

    const fn either(pass: bool, reason: &'static str) -> Self {
        if pass {
            Self::pass(reason)
        } else {
            Self::drop(reason)
        }
    }

    /// The port at which the packet is counted: drops alone are.
    pub fn counted_at(&self) -> Option<(Transport, u16)> {
        self.port.filter(|_| self.verdict == Verdict::Drop)
    }
}

/// A frame, and where it meets the filter.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The bytes.
    pub frame: &'a [u8],
    /// Whether they begin with an Ethernet header; otherwise, with an IP header.
    pub has_ethernet: bool,
    /// The name of the interface.
    pub interface: &'a str,
    /// Whether a socket would be found, whatever socket is looked for.
    pub has_socket: bool,
}

impl<'a> Arrival<'a> {
    /// An Ethernet frame, on a host without sockets.
    pub const fn ethernet(interface: &'a str, frame: &'a [u8]) -> Self {
        Self {
            frame,
            has_ethernet: true,
            interface,
            has_socket: false,
        }
    }

    /// What it is taken for.
    pub fn packet(&self) -> Packet {
        if self.has_ethernet {
            Packet::of_ethernet(self.frame)
        } else {
            Packet::of_ip(self.frame)
        }
    }
}

/// Judges a frame.
pub fn judge(policy: &Policy, arrival: &Arrival<'_>) -> Opinion {
    match arrival.packet() {
        Packet::Arp => Opinion::pass("arp"),
        Packet::NonIp => Opinion::pass("non-ip"),
        Packet::TooManyTags => Opinion::drop("vlan-depth"),
        Packet::Malformed(_) => Opinion::drop("malformed"),
        Packet::Ip(ip) => Opinion {
            port: match ip.content {
                Content::Tcp { destination, .. } => Some((Transport::Tcp, destination)),
                Content::Udp { destination, .. } => Some((Transport::Udp, destination)),
                _ => None,
            },
            ..judge_ip(policy, arrival, &ip)
        },
    }
}

fn judge_ip(policy: &Policy, arrival: &Arrival<'_>, ip: &Ip) -> Opinion {
    match ip.content {
        Content::LaterFragment => return Opinion::either(policy.fragments_pass, "fragment"),
        Content::Tcp { flags, .. } if flags.are_impossible() => return Opinion::drop("bad-flags"),
        _ => {}
    }
    for (index, rule) in policy.rules.iter().enumerate() {
        if rule.matches(arrival.interface, ip) {
            return Opinion {
                rule: Some(index),
                ..Opinion::either(rule.action == Action::Allow, "rule")
            };
        }
    }
    if policy.default_pass {
        return Opinion::pass("default");
    }
    match passes_by_itself(policy, arrival.has_socket, ip) {
        Some(reason) => Opinion::pass(reason),
        None => Opinion::drop("default"),
    }
}

/// Why a packet passes that no rule matches, though the default is to drop it.
fn passes_by_itself(policy: &Policy, has_socket: bool, ip: &Ip) -> Option<&'static str> {
    match ip.content {
        Content::Tcp { flags, .. } => (!flags.open() && has_socket).then_some("reply"),
        Content::Udp {
            source,
            destination,
        } => {
            let dhcp = match ip.source {
                IpAddr::V4(_) => (67, 68),
                IpAddr::V6(_) => (547, 546),
            };
            if policy.dhcp_client && (source, destination) == dhcp {
                return Some("dhcp-client");
            }
            let (first, last) = policy.ephemeral;
            let may_be_awaited = source < first || first <= destination && destination <= last;
            let is_awaited = policy.udp_replies != UdpReplies::Off && has_socket;
            (may_be_awaited && is_awaited).then_some("reply")
        }
        Content::Icmp(kind) if ICMP_ERRORS.contains(&kind) => Some("icmp-error"),
        Content::Icmp6(kind) if ICMP6_ERRORS.contains(&kind) => Some("icmp-error"),
        Content::Icmp6(kind) if NEIGHBOUR_DISCOVERY.contains(&kind) => Some("neighbour-discovery"),
        Content::Icmp6(kind) if MLD.contains(&kind) => Some("mld"),
        _ => None,
    }
}
