//! Reads a frame: fixed headers with etherparse, and by hand what the filter is stricter
//! about.

use std::net::IpAddr;

use etherparse::{
    EtherType, Ethernet2HeaderSlice, IpNumber, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice,
    Ipv6HeaderSlice, Ipv6RawExtHeaderSlice, SingleVlanHeaderSlice, TcpHeaderSlice, UdpHeaderSlice,
};

/// VLAN tags that the filter looks behind.
const MAX_TAGS: usize = 2;
/// Extension headers that the filter looks behind.
const MAX_EXTENSIONS: usize = 8;
/// Length of the shortest TCP header, in bytes.
const TCP: usize = 20;
/// Length of the longest TCP header, in bytes.
const LONGEST_TCP: usize = 60;
/// Length of the UDP header, and of the shortest ICMP message, in bytes.
const EIGHT: usize = 8;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Address resolution.
    Arp,
    /// Neither IP nor address resolution.
    NonIp,
    /// More VLAN tags than the filter looks behind.
    TooManyTags,
    /// Cut short, or contradicting itself: how.
    Malformed(&'static str),
    /// An IP packet.
    Ip(Ip),
}

/// An IP packet that is what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip {
    /// Where it says that it comes from.
    pub source: IpAddr,
    /// Where it goes to.
    pub destination: IpAddr,
    /// What it carries.
    pub content: Content,
}

/// What an IP packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A fragment other than the first.
    LaterFragment,
    /// A TCP segment.
    Tcp {
        /// The peer's port.
        source: u16,
        /// This host's port.
        destination: u16,
        /// The flags.
        flags: Flags,
    },
    /// A UDP datagram.
    Udp {
        /// The peer's port.
        source: u16,
        /// This host's port.
        destination: u16,
    },
    /// ICMP over IPv4, of this type.
    Icmp(u8),
    /// ICMPv6 over IPv6, of this type.
    Icmp6(u8),
    /// Anything else: the protocol number.
    Other(u8),
}

/// The TCP flags that the filter looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "that is what flags are")]
pub struct Flags {
    /// Opens a connection.
    pub syn: bool,
    /// The acknowledgment number counts.
    pub ack: bool,
    /// No more data.
    pub fin: bool,
    /// Ends a connection at once.
    pub rst: bool,
    /// Push or urgent.
    pub other: bool,
}

impl Flags {
    /// Whether they ask for a new connection.
    pub const fn open(self) -> bool {
        self.syn && !self.ack && !self.fin && !self.rst
    }

    /// Whether no stack sends them.
    pub const fn are_impossible(self) -> bool {
        let none = !(self.syn || self.ack || self.fin || self.rst || self.other);
        none || self.syn && self.fin || self.syn && self.rst || self.fin && !self.ack
    }
}

type Result<T> = std::result::Result<T, &'static str>;

impl Packet {
    /// Reads a frame that begins with an Ethernet header.
    pub fn of_ethernet(frame: &[u8]) -> Self {
        Self::ethernet(frame).unwrap_or_else(Self::Malformed)
    }

    /// Reads a packet that begins with an IP header.
    pub fn of_ip(packet: &[u8]) -> Self {
        let ip = match packet.first().map(|first| first >> 4) {
            Some(4) => ipv4(packet),
            Some(6) => ipv6(packet),
            // Nothing but IP is there to be carried.
            _ => Err("version"),
        };
        ip.map_or_else(Self::Malformed, Self::Ip)
    }

    fn ethernet(frame: &[u8]) -> Result<Self> {
        let header = Ethernet2HeaderSlice::from_slice(frame).map_err(|_| "Ethernet header")?;
        let mut ether_type = header.ether_type();
        let mut rest = &frame[header.slice().len()..];
        let mut tags = 0;
        while matches!(
            ether_type,
            EtherType::VLAN_TAGGED_FRAME | EtherType::PROVIDER_BRIDGING
        ) {
            if tags == MAX_TAGS {
                return Ok(Self::TooManyTags);
            }
            let tag = SingleVlanHeaderSlice::from_slice(rest).map_err(|_| "VLAN tag")?;
            ether_type = tag.ether_type();
            rest = &rest[tag.slice().len()..];
            tags += 1;
        }
        match ether_type {
            EtherType::IPV4 => ipv4(rest).map(Self::Ip),
            EtherType::IPV6 => ipv6(rest).map(Self::Ip),
            EtherType::ARP => Ok(Self::Arp),
            _ => Ok(Self::NonIp),
        }
    }
}

fn ipv4(bytes: &[u8]) -> Result<Ip> {
    let header = Ipv4HeaderSlice::from_slice(bytes).map_err(|_| "IPv4 header")?;
    let payload = bytes
        .get(header.slice().len()..usize::from(header.total_len()))
        .ok_or("IPv4 total length")?;
    let is_later = header.fragments_offset().value() != 0;
    let content = if is_later {
        Content::LaterFragment
    } else {
        let is_first = header.more_fragments();
        match header.protocol() {
            IpNumber::TCP => tcp(payload, is_first)?,
            IpNumber::UDP => udp(payload, is_first)?,
            IpNumber::ICMP => Content::Icmp(icmp(payload)?),
            IpNumber(other) => Content::Other(other),
        }
    };
    Ok(Ip {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        content,
    })
}

fn ipv6(bytes: &[u8]) -> Result<Ip> {
    let header = Ipv6HeaderSlice::from_slice(bytes).map_err(|_| "IPv6 header")?;
    let payload = bytes[header.slice().len()..]
        .get(..usize::from(header.payload_length()))
        .ok_or("IPv6 payload length")?;
    Ok(Ip {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        content: behind_extensions(header.next_header(), payload)?,
    })
}

/// What an IPv6 packet carries behind its extension headers.
fn behind_extensions(first: IpNumber, payload: &[u8]) -> Result<Content> {
    let (mut next, mut rest) = (first, payload);
    let mut extensions = 0;
    let mut is_first_fragment = false;
    loop {
        let is_extension = matches!(
            next,
            IpNumber::IPV6_HEADER_HOP_BY_HOP
                | IpNumber::IPV6_ROUTE_HEADER
                | IpNumber::IPV6_DESTINATION_OPTIONS
                | IpNumber::AUTHENTICATION_HEADER
                | IpNumber::IPV6_FRAGMENTATION_HEADER
        );
        if !is_extension {
            break;
        }
        extensions += 1;
        if extensions > MAX_EXTENSIONS {
            return Err("too many extension headers");
        }
        let len;
        (next, len) = match next {
            IpNumber::IPV6_FRAGMENTATION_HEADER => {
                let fragment =
                    Ipv6FragmentHeaderSlice::from_slice(rest).map_err(|_| "fragment header")?;
                if fragment.fragment_offset().value() != 0 {
                    return Ok(Content::LaterFragment);
                }
                is_first_fragment |= fragment.more_fragments();
                (fragment.next_header(), fragment.slice().len())
            }
            IpNumber::AUTHENTICATION_HEADER => {
                // Not by etherparse, which has an opinion on its content, too.
                let (&[next, words], _) = rest.split_first_chunk().ok_or("AH")?;
                (IpNumber(next), (usize::from(words) + 2) * 4)
            }
            _ => {
                let raw =
                    Ipv6RawExtHeaderSlice::from_slice(rest).map_err(|_| "extension header")?;
                (raw.next_header(), raw.slice().len())
            }
        };
        rest = rest.get(len..).ok_or("extension header")?;
    }
    Ok(match next {
        IpNumber::TCP => tcp(rest, is_first_fragment)?,
        IpNumber::UDP => udp(rest, is_first_fragment)?,
        IpNumber::IPV6_ICMP => Content::Icmp6(icmp(rest)?),
        IpNumber(other) => Content::Other(other),
    })
}

/// A TCP segment; with `is_first`, its options may go on in the next fragment.
fn tcp(payload: &[u8], is_first: bool) -> Result<Content> {
    if payload.len() < TCP {
        return Err("TCP header");
    }
    let mut padded = [0; LONGEST_TCP];
    let segment = if is_first && payload.len() < LONGEST_TCP {
        padded[..payload.len()].copy_from_slice(payload);
        &padded[..]
    } else {
        payload
    };
    let header = TcpHeaderSlice::from_slice(segment).map_err(|_| "TCP data offset")?;
    Ok(Content::Tcp {
        source: header.source_port(),
        destination: header.destination_port(),
        flags: Flags {
            syn: header.syn(),
            ack: header.ack(),
            fin: header.fin(),
            rst: header.rst(),
            other: header.psh() || header.urg(),
        },
    })
}

/// A UDP datagram; with `is_first`, it may go on in the next fragment.
fn udp(payload: &[u8], is_first: bool) -> Result<Content> {
    let header = UdpHeaderSlice::from_slice(payload).map_err(|_| "UDP header")?;
    let len = usize::from(header.length());
    if len < EIGHT || len > payload.len() && !is_first {
        return Err("UDP length");
    }
    Ok(Content::Udp {
        source: header.source_port(),
        destination: header.destination_port(),
    })
}

/// The type of an ICMP or ICMPv6 message.
fn icmp(payload: &[u8]) -> Result<u8> {
    payload.get(..EIGHT).map(|header| header[0]).ok_or("ICMP")
}
