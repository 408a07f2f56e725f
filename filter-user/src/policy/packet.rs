//! A packet as rules see it, and the walk over the rules. Every faster way to decide must
//! agree with this walk.

use std::net::IpAddr;

use super::{MacAddress, Match, Part, Policy, Protocol, Rule};
use crate::{
    names::icmp::{Family, TypeSpec},
    ports::{PortRange, PortSpec},
};

/// A packet on its way in, as far as rules can see it.
///
/// Source and destination are of one family, which is the packet's. IPv6 addresses are
/// what they are: one that maps an IPv4 address is no IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it goes to.
    pub destination: IpAddr,
    /// The interface it comes in by; on one that is not known, no rule with
    /// `--on` matches.
    pub interface: Option<&'a str>,
    /// The Ethernet address it comes from; where it has none, or it is not known, no rule with
    /// `--mac` matches.
    pub mac: Option<MacAddress>,
    /// What it carries.
    pub carries: Carried,
}

/// What a packet carries.
///
/// Only a packet whose header could be read whole is asked about: malformed ones never meet a
/// rule, and later fragments only those that need no ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    /// A TCP segment.
    Tcp {
        /// This host's port: the destination's.
        local: u16,
        /// The peer's port: the source's.
        remote: u16,
    },
    /// A UDP datagram.
    Udp {
        /// This host's port: the destination's.
        local: u16,
        /// The peer's port: the source's.
        remote: u16,
    },
    /// An ICMP message of this type, over IPv4.
    Icmp(u8),
    /// An ICMPv6 message of this type, over IPv6.
    Icmp6(u8),
    /// Another protocol, by its number: also 58 over IPv4 and 1 over IPv6, which
    /// only rules for any protocol match.
    Other(u8),
}

impl Match {
    /// Whether a packet is meant, on a host with these ephemeral ports.
    pub fn matches(&self, packet: &Packet<'_>, ephemeral: PortRange) -> bool {
        self.misfit(packet, ephemeral).is_none()
    }

    /// The first part that does not fit a packet, on a host with these ephemeral ports; `None` if
    /// the packet is meant.
    pub fn misfit(&self, packet: &Packet<'_>, ephemeral: PortRange) -> Option<Part> {
        if !self.matches_words(packet.carries, ephemeral) {
            return Some(Part::Words);
        }
        let fits = [
            (Part::Remote, self.matches_remote(packet.carries, ephemeral)),
            (
                Part::From,
                self.is_from_anywhere() || self.from.iter().any(|net| net.contains(&packet.source)),
            ),
            (
                Part::To,
                self.to.is_empty() || self.to.iter().any(|net| net.contains(&packet.destination)),
            ),
            (
                Part::On,
                self.on.is_empty()
                    || packet
                        .interface
                        .is_some_and(|name| self.on.iter().any(|on| on == name)),
            ),
            (
                Part::Mac,
                self.mac.is_empty() || packet.mac.is_some_and(|mac| self.mac.contains(&mac)),
            ),
        ];
        let mut misfits = fits.into_iter().filter(|(_, fits)| !fits);
        misfits.next().map(|(misfit, _)| misfit)
    }

    /// What the words of a rule for nothing but such packets mean.
    pub fn for_carried(carries: Carried) -> Self {
        let everything = Self::everything();
        let (protocol, word) = match carries {
            Carried::Tcp { local, .. } => (Protocol::Tcp, local.to_string()),
            Carried::Udp { local, .. } => (Protocol::Udp, local.to_string()),
            Carried::Icmp(number) => (Protocol::Icmp, number.to_string()),
            Carried::Icmp6(number) => (Protocol::Icmp6, number.to_string()),
            Carried::Other(number) => (Protocol::Other(number), String::new()),
        };
        let types = |family| TypeSpec::parse(&word, family).unwrap_or_else(|_| TypeSpec::any());
        Self {
            protocol,
            local: match protocol.transports() {
                [] => PortSpec::any(),
                transports => {
                    PortSpec::parse(&word, transports).unwrap_or_else(|_| PortSpec::any())
                }
            },
            types: match protocol.icmp() {
                Some(family) => types(family),
                None => TypeSpec::any(),
            },
            ..everything
        }
    }

    /// Whether messages of this type of ICMP or ICMPv6 are meant.
    pub fn matches_type(&self, family: Family, number: u8) -> bool {
        match (self.protocol, family) {
            (Protocol::Any, _) => true,
            (Protocol::Icmp, Family::Icmp) | (Protocol::Icmp6, Family::Icmp6) => {
                self.types.contains(number)
            }
            (Protocol::Ping, family) => number == family.echo_request(),
            _ => false,
        }
    }

    /// Whether what a packet carries is what stands behind `allow` or `deny`.
    fn matches_words(&self, carries: Carried, ephemeral: PortRange) -> bool {
        match (self.protocol, carries) {
            (Protocol::Any, _) => true,
            (Protocol::Tcp | Protocol::TcpUdp, Carried::Tcp { local, .. })
            | (Protocol::Udp | Protocol::TcpUdp, Carried::Udp { local, .. }) => {
                self.local.contains(local, ephemeral)
            }
            (_, Carried::Icmp(number)) => self.matches_type(Family::Icmp, number),
            (_, Carried::Icmp6(number)) => self.matches_type(Family::Icmp6, number),
            (Protocol::Other(number), Carried::Other(other)) => number == other,
            _ => false,
        }
    }
}

impl Match {
    fn matches_remote(&self, carries: Carried, ephemeral: PortRange) -> bool {
        match carries {
            Carried::Tcp { remote, .. } | Carried::Udp { remote, .. } => {
                self.protocol == Protocol::Any || self.remote.contains(remote, ephemeral)
            }
            Carried::Icmp(_) | Carried::Icmp6(_) | Carried::Other(_) => true,
        }
    }
}

impl Policy {
    /// The first rule that matches a packet, by asking one after the other.
    pub fn first_match(&self, packet: &Packet<'_>, ephemeral: PortRange) -> Option<&Rule> {
        self.rules
            .iter()
            .find(|rule| rule.matches.matches(packet, ephemeral))
    }
}
