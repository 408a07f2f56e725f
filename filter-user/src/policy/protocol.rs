//! The protocols a rule can be for, and their words.

use std::fmt;

use xdpfw_common::{Transport, wire::ipv6};

use crate::names::{icmp, protocols};

/// The protocols a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// TCP and UDP.
    TcpUdp,
    /// ICMP, over IPv4.
    Icmp,
    /// ICMPv6, over IPv6.
    Icmp6,
    /// Echo requests of both, by which ping asks.
    Ping,
    /// The protocol with this number, over IPv4 or IPv6; none of the above.
    Other(u8),
    /// Every IP protocol.
    Any,
}

impl Protocol {
    /// One for each word.
    const WORDS: [Self; 8] = [
        Self::Tcp,
        Self::Udp,
        Self::TcpUdp,
        Self::Icmp,
        Self::Icmp6,
        Self::Ping,
        Self::Other(0),
        Self::Any,
    ];

    /// The word that stands in front of what is matched; `proto` for those by number.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::TcpUdp => "tcp+udp",
            Self::Icmp => "icmp",
            Self::Icmp6 => "icmp6",
            Self::Ping => "ping",
            Self::Other(_) => "proto",
            Self::Any => "any",
        }
    }

    /// The protocol with this number.
    pub const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Icmp,
            6 => Self::Tcp,
            17 => Self::Udp,
            58 => Self::Icmp6,
            number => Self::Other(number),
        }
    }

    /// IP authentication (RFC 4302).
    pub const AH: Self = Self::Other(51);

    /// Whether it is a header of IPv6 that the filter looks behind, and nothing over IPv4: no
    /// packet is judged by it.
    pub const fn is_ipv6_header(self) -> bool {
        matches!(self, Self::Other(number) if ipv6::is_extension(number)) && !self.is_ipv4_only()
    }

    /// Whether IPv4 packets alone are judged by it. Over IPv6, the filter looks behind AH.
    pub const fn is_ipv4_only(self) -> bool {
        matches!(self, Self::Icmp | Self::AH)
    }

    /// The transports whose packets it matches, and whose ports a rule for it may name.
    pub const fn transports(self) -> &'static [Transport] {
        match self {
            Self::Tcp => &[Transport::Tcp],
            Self::Udp => &[Transport::Udp],
            Self::TcpUdp | Self::Any => &Transport::ALL,
            Self::Icmp | Self::Icmp6 | Self::Ping | Self::Other(_) => &[],
        }
    }

    /// Whether it is for packets of this transport.
    pub fn includes(self, transport: Transport) -> bool {
        self.transports().contains(&transport)
    }

    /// Whether a rule for it can name ports.
    pub const fn has_ports(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp | Self::TcpUdp)
    }

    /// Whether it is for messages of ICMP or ICMPv6 alone.
    pub const fn is_icmp(self) -> bool {
        matches!(self, Self::Icmp | Self::Icmp6 | Self::Ping)
    }

    /// Which ICMP it is, if it is one.
    pub const fn icmp(self) -> Option<icmp::Family> {
        match self {
            Self::Icmp => Some(icmp::Family::Icmp),
            Self::Icmp6 => Some(icmp::Family::Icmp6),
            _ => None,
        }
    }

    /// The protocol of a word that stands in front of what is matched; for `proto`, one
    /// whose number is still to be read.
    pub(super) fn from_word(word: &str) -> Option<Self> {
        // As IANA, ip and iptables call it.
        if ["icmpv6", "ipv6-icmp"]
            .iter()
            .any(|alias| alias.eq_ignore_ascii_case(word))
        {
            return Some(Self::Icmp6);
        }
        Self::WORDS
            .into_iter()
            .find(|protocol| protocol.as_str().eq_ignore_ascii_case(word))
    }
}

impl fmt::Display for Protocol {
    /// Its word; of those by number, the name or the number itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Other(number) => match protocols::name_of(number) {
                Some(name) => f.write_str(name),
                None => write!(f, "{number}"),
            },
            protocol => f.write_str(protocol.as_str()),
        }
    }
}
