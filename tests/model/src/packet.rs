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
/// The most that the length in an IP header can say.
const LONGEST: usize = 65_535;
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
    /// Neither IP nor address resolution, but what keeps the link up.
    LinkControl,
    /// None of these.
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
    /// Time to live, or hop limit.
    pub hops: u8,
    /// What it carries.
    pub content: Content,
}

/// What an IP packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A fragment other than the first.
    LaterFragment {
        /// Number of the protocol that it says it is a part of; nobody knows it where it says
        /// that more extension headers follow, since these are in the first fragment.
        protocol: Option<u8>,
    },
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
    /// ICMP over IPv4.
    Icmp(Message),
    /// ICMPv6 over IPv6.
    Icmp6(Message),
    /// Anything else.
    Other {
        /// The protocol number.
        protocol: u8,
        /// The peer's port and this host's, of protocols that begin with them.
        ports: Option<(u16, u16)>,
    },
}

/// An ICMP or ICMPv6 message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its type.
    pub number: u8,
    /// Of an echo: which ping it belongs to.
    pub identifier: u16,
    /// Of an error: the packet that it is about.
    pub quote: Option<Quote>,
}

/// A packet that left, as an error quotes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Where it came from: here, if the error is for us.
    pub source: IpAddr,
    /// Where it went to.
    pub destination: IpAddr,
    /// Number of the protocol behind its IP header.
    pub protocol: u8,
    /// What it carried, as far as every error tells.
    pub start: [u8; EIGHT],
}

/// The TCP flags that the filter looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
    /// None of them.
    pub(crate) const NONE: Self = Self {
        syn: false,
        ack: false,
        fin: false,
        rst: false,
        other: false,
    };

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
            // Port access, station discovery, link aggregation.
            EtherType(0x888e | 0x88cc | 0x8809) => Ok(Self::LinkControl),
            // A length, and the spanning tree behind it.
            EtherType(..0x0600) if rest.starts_with(&[0x42, 0x42]) => Ok(Self::LinkControl),
            _ => Ok(Self::NonIp),
        }
    }
}

fn ipv4(bytes: &[u8]) -> Result<Ip> {
    let header = Ipv4HeaderSlice::from_slice(bytes).map_err(|_| "IPv4 header")?;
    let is_fragment = header.more_fragments() || header.fragments_offset().value() != 0;
    let end = match header.total_len() {
        // Put together by the host itself, and too long to say.
        0 if bytes.len() > LONGEST && header.protocol() == IpNumber::TCP && !is_fragment => LONGEST,
        len => len.into(),
    };
    let payload = bytes
        .get(header.slice().len()..end)
        .ok_or("IPv4 total length")?;
    let is_later = header.fragments_offset().value() != 0;
    let content = if is_later {
        Content::LaterFragment {
            protocol: Some(header.protocol().0),
        }
    } else {
        let is_first = header.more_fragments();
        match header.protocol() {
            IpNumber::TCP => tcp(payload, is_first)?,
            IpNumber::UDP => udp(payload, is_first)?,
            IpNumber::ICMP => Content::Icmp(icmp(payload)?),
            IpNumber(other) => of_other(other, payload),
        }
    };
    Ok(Ip {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        hops: header.ttl(),
        content,
    })
}

fn ipv6(bytes: &[u8]) -> Result<Ip> {
    let header = Ipv6HeaderSlice::from_slice(bytes).map_err(|_| "IPv6 header")?;
    let rest = &bytes[header.slice().len()..];
    let payload = match header.payload_length() {
        // The same.
        0 if rest.len() > LONGEST => &rest[..LONGEST],
        len => rest.get(..len.into()).ok_or("IPv6 payload length")?,
    };
    Ok(Ip {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        hops: header.hop_limit(),
        content: behind_extensions(header.next_header(), payload)?,
    })
}

/// Whether this is the number of an extension header of IPv6 that the filter looks behind.
const fn is_extension(number: IpNumber) -> bool {
    matches!(
        number,
        IpNumber::IPV6_HEADER_HOP_BY_HOP
            | IpNumber::IPV6_ROUTE_HEADER
            | IpNumber::IPV6_DESTINATION_OPTIONS
            | IpNumber::AUTHENTICATION_HEADER
            | IpNumber::IPV6_FRAGMENTATION_HEADER
    )
}

/// What an IPv6 packet carries behind its extension headers.
fn behind_extensions(first: IpNumber, payload: &[u8]) -> Result<Content> {
    let (mut next, mut rest) = (first, payload);
    let mut extensions = 0;
    let mut is_first_fragment = false;
    loop {
        if !is_extension(next) {
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
                    let next = fragment.next_header();
                    return Ok(Content::LaterFragment {
                        protocol: (!is_extension(next)).then_some(next.0),
                    });
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
        IpNumber(other) => of_other(other, rest),
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

/// An ICMP or ICMPv6 message. Whatever it is, what follows its header is read as a quote.
fn icmp(payload: &[u8]) -> Result<Message> {
    let (header, rest) = payload.split_first_chunk::<EIGHT>().ok_or("ICMP")?;
    Ok(Message {
        number: header[0],
        identifier: u16::from_be_bytes([header[4], header[5]]),
        quote: quote(rest),
    })
}

/// The packet that begins here, if it is the first fragment, and there are at least eight
/// bytes behind its IP header. How long it says to be is of no interest: it was longer.
fn quote(bytes: &[u8]) -> Option<Quote> {
    let (source, destination, protocol, rest): (IpAddr, IpAddr, _, _) = match bytes.first()? >> 4 {
        4 => {
            // Not by etherparse, which wants all options to be there.
            let header = bytes.get(..20)?;
            let is_later = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
            let len = usize::from(header[0] & 0xf) * 4;
            if is_later || len < header.len() {
                return None;
            }
            let address = |at| <[u8; 4]>::try_from(&header[at..at + 4]).ok();
            let (source, destination) = (address(12)?, address(16)?);
            (
                source.into(),
                destination.into(),
                header[9],
                bytes.get(len..)?,
            )
        }
        6 => {
            let (header, rest) = Ipv6HeaderSlice::from_slice(bytes)
                .ok()
                .map(|header| (header, &bytes[header.slice().len()..]))?;
            let (source, destination) = (header.source_addr(), header.destination_addr());
            let (protocol, rest) = behind_own_extensions(header.next_header().0, rest)?;
            (source.into(), destination.into(), protocol, rest)
        }
        _ => return None,
    };
    Some(Quote {
        source,
        destination,
        protocol,
        start: *rest.first_chunk()?,
    })
}

/// What stands behind the extension headers that a host sends: options, then a fragment's,
/// which must be the first.
fn behind_own_extensions(mut protocol: u8, mut rest: &[u8]) -> Option<(u8, &[u8])> {
    if [0, 60].contains(&protocol) {
        let header = rest.get(..8)?;
        protocol = header[0];
        rest = rest.get((usize::from(header[1]) + 1) * 8..)?;
    }
    if protocol == 44 {
        let header = rest.get(..8)?;
        if u16::from_be_bytes([header[2], header[3]]) >> 3 != 0 {
            return None;
        }
        protocol = header[0];
        rest = &rest[8..];
    }
    Some((protocol, rest))
}

/// A protocol of which only the ports are read, if it begins with them: DCCP, SCTP, UDP-Lite.
fn of_other(protocol: u8, payload: &[u8]) -> Content {
    let ports = match (protocol, payload) {
        (33 | 132 | 136, &[a, b, c, d, ..]) => {
            Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
        }
        _ => None,
    };
    Content::Other { protocol, ports }
}
