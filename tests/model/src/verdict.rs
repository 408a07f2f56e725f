//! Judges a packet: the rules one by one, then what passes without a rule, then the default.

use std::net::IpAddr;

use crate::{
    conversation::{Conversation, Known, Past},
    packet::{Content, Ip, Message, Packet},
    policy::{Action, Entry, Policy, Replies},
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
#[derive(Clone, Copy)]
pub struct Arrival<'a> {
    /// The bytes.
    pub frame: &'a [u8],
    /// Whether they begin with an Ethernet header; otherwise, with an IP header.
    pub has_ethernet: bool,
    /// The name of the interface.
    pub interface: &'a str,
    /// Whether a socket would be found, whatever socket is looked for.
    pub has_socket: bool,
    /// When, in milliseconds after the policy's time begins.
    pub at: i64,
    /// What left before.
    pub past: &'a dyn Past,
}

impl<'a> Arrival<'a> {
    /// An Ethernet frame, on a host without sockets that never sent anything.
    pub const fn ethernet(interface: &'a str, frame: &'a [u8]) -> Self {
        Self {
            frame,
            has_ethernet: true,
            interface,
            has_socket: false,
            at: 0,
            past: &Known::Nothing,
        }
    }

    /// Where it comes in.
    fn entry(&self) -> Entry<'a> {
        let source = self.frame.get(6..12).filter(|_| self.has_ethernet);
        Entry {
            interface: self.interface,
            mac: source.and_then(|source| source.try_into().ok()),
            at: self.at,
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
        Packet::LinkControl => Opinion::pass("non-ip"),
        Packet::NonIp => Opinion::either(policy.non_ip_pass, "non-ip"),
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
        Content::LaterFragment { protocol } => {
            return judge_fragment(policy, arrival, ip, protocol);
        }
        Content::Tcp { flags, .. } if flags.are_impossible() => return Opinion::drop("bad-flags"),
        _ => {}
    }
    let rule = policy.decision(arrival.entry(), ip);
    let denied = match rule {
        Some((index, Action::Allow)) => {
            return Opinion {
                rule: Some(index),
                ..Opinion::pass("rule")
            };
        }
        None if policy.default_pass => return Opinion::pass("default"),
        Some((_, Action::Deny)) => true,
        None => false,
    };
    let reason = match built_in(policy, ip) {
        Some(reason) if !denied => Some(reason),
        _ => answers(policy, arrival, ip, denied),
    };
    match (reason, rule) {
        (Some(reason), _) => Opinion::pass(reason),
        (None, Some((index, _))) => Opinion {
            rule: Some(index),
            ..Opinion::drop("rule")
        },
        (None, None) => Opinion::drop("default"),
    }
}

/// Judges a fragment other than the first: by the first rule that is for it whatever its
/// ports, unless one in front of it that may be for it does something else.
fn judge_fragment(
    policy: &Policy,
    arrival: &Arrival<'_>,
    ip: &Ip,
    protocol: Option<u8>,
) -> Opinion {
    let mut doubted = Vec::new();
    for (index, rule) in policy.rules.iter().enumerate() {
        if !rule.matches_ends(arrival.entry(), ip) {
            continue;
        }
        match rule.matches_fragment(protocol, ip.source.is_ipv4()) {
            Some(false) => {}
            None => doubted.push(rule.action),
            Some(true) if doubted.iter().any(|&action| action != rule.action) => break,
            Some(true) => {
                return Opinion {
                    rule: Some(index),
                    ..Opinion::either(rule.action == Action::Allow, "rule")
                };
            }
        }
    }
    Opinion::either(policy.fragments_pass, "fragment")
}

/// Why a packet passes that no rule matches, though it answers nothing.
fn built_in(policy: &Policy, ip: &Ip) -> Option<&'static str> {
    match (ip.content, ip.destination) {
        (
            Content::Udp {
                source,
                destination,
            },
            host,
        ) => {
            let is_dhcp = match host {
                IpAddr::V4(_) => (source, destination) == (67, 68),
                // From any port (RFC 8415), and to clients that have no other address yet.
                IpAddr::V6(host) => destination == 546 && host.is_unicast_link_local(),
            };
            (policy.dhcp_client && is_dhcp).then_some("dhcp-client")
        }
        (Content::Icmp6(message), _) if NEIGHBOUR_DISCOVERY.contains(&message.number) => {
            Some("neighbour-discovery")
        }
        (Content::Icmp6(message), _) if MLD.contains(&message.number) => Some("mld"),
        (content, _) if policy.icmp_errors_pass && error(content).is_some() => Some("icmp-error"),
        (Content::Other { protocol: 2, .. }, IpAddr::V4(group)) => {
            (group.is_multicast() && ip.hops == 1).then_some("igmp")
        }
        _ => None,
    }
}

/// The message, if it is an ICMP error.
fn error(content: Content) -> Option<Message> {
    match content {
        Content::Icmp(message) if ICMP_ERRORS.contains(&message.number) => Some(message),
        Content::Icmp6(message) if ICMP6_ERRORS.contains(&message.number) => Some(message),
        _ => None,
    }
}

/// Why a packet passes as an answer, or as an error about a packet that left. Where a rule
/// has denied it, only what was opened from here counts.
fn answers(policy: &Policy, arrival: &Arrival<'_>, ip: &Ip, denied: bool) -> Option<&'static str> {
    let Some(message) = error(ip.content) else {
        let conversation = Conversation::of(ip)?;
        return belongs(policy, arrival, &conversation, denied).then_some("reply");
    };
    let answer = message.quote?.answer()?;
    if answer.source.is_ipv4() != ip.source.is_ipv4() {
        return None;
    }
    let is_let_in = || {
        let rule = policy.decision_from_anyone((arrival.interface, arrival.at), &answer);
        matches!(rule, Some((_, Action::Allow)))
    };
    let is_related =
        belongs(policy, arrival, &Conversation::of(&answer)?, denied) || !denied && is_let_in();
    is_related.then_some("icmp-error")
}

/// Whether a packet of this conversation answers something.
fn belongs(
    policy: &Policy,
    arrival: &Arrival<'_>,
    conversation: &Conversation,
    denied: bool,
) -> bool {
    let known = match policy.replies {
        Replies::Flows => arrival.past.known(conversation),
        Replies::Sockets => Known::Sent,
        Replies::Off => Known::Nothing,
    };
    match known {
        Known::Opened => true,
        Known::PickedUp => !denied,
        Known::Sent => !denied && arrival.has_socket && conversation.may_have_socket(),
        Known::Nothing => false,
    }
}
