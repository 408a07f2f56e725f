//! Builds frames: correct ones with etherparse, and malformed ones from these.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use etherparse::{
    EtherType, Ethernet2Header, IpFragOffset, IpNumber, Ipv4Header, Ipv4Options, Ipv6Header,
    SingleVlanHeader, TcpHeader, UdpHeader, VlanId,
};
use xdpfw_tests::packets::flags;

use crate::extension::Extension;

/// The peer's port where the case is about the local one.
pub(crate) const REMOTE: u16 = 40_000;
/// Length of the Ethernet header, in bytes.
pub(crate) const ETHERNET: usize = 14;
/// Length of the IPv4 header without options, in bytes.
pub(crate) const IPV4: usize = 20;
/// Length of the IPv6 header, in bytes.
pub(crate) const IPV6: usize = 40;
/// Length of the TCP header without options, in bytes.
pub(crate) const TCP: usize = TcpHeader::MIN_LEN;
/// Length of the UDP header, in bytes.
pub(crate) const UDP: usize = UdpHeader::LEN;
/// Length of what all ICMP messages begin with, in bytes.
pub(crate) const ICMP: usize = 8;
/// Shortest Ethernet frame, without the check sequence, in bytes.
pub(crate) const SHORTEST_FRAME: usize = 60;

const TTL: u8 = 64;

/// The version of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V4,
    V6,
}

impl Version {
    pub(crate) const ALL: [Self; 2] = [Self::V4, Self::V6];

    pub(crate) const fn ether_type(self) -> EtherType {
        match self {
            Self::V4 => EtherType::IPV4,
            Self::V6 => EtherType::IPV6,
        }
    }

    /// The version of ICMP that belongs to it.
    pub(crate) const fn icmp(self) -> IpNumber {
        match self {
            Self::V4 => IpNumber::ICMP,
            Self::V6 => IpNumber::IPV6_ICMP,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// The same of both versions.
pub(crate) fn both<T>(make: impl Fn(Version) -> T) -> [T; 2] {
    Version::ALL.map(make)
}

/// An IP packet in the making, from the peer to the host.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    version: Version,
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
    protocol: IpNumber,
    options: Vec<u8>,
    fragment: (u16, bool),
    extensions: Vec<Extension>,
    payload: Vec<u8>,
    claimed: Option<u16>,
}

/// A packet with this payload.
pub(crate) fn packet(version: Version, protocol: IpNumber, payload: &[u8]) -> Packet {
    Packet {
        version,
        source: match version {
            Version::V4 => Ipv4Addr::new(10, 0, 0, 2).into(),
            Version::V6 => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2).into(),
        },
        destination: match version {
            Version::V4 => Ipv4Addr::new(10, 0, 0, 1).into(),
            Version::V6 => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).into(),
        },
        ttl: TTL,
        protocol,
        options: Vec::new(),
        fragment: (0, false),
        extensions: Vec::new(),
        payload: payload.to_vec(),
        claimed: None,
    }
}

/// A segment that asks for a connection to a local port.
pub(crate) fn tcp(version: Version, local: u16) -> Packet {
    tcp_from(version, REMOTE, local)
}

pub(crate) fn tcp_from(version: Version, remote: u16, local: u16) -> Packet {
    packet(version, IpNumber::TCP, &segment(remote, local, flags::SYN))
}

/// A datagram to a local port.
pub(crate) fn udp(version: Version, local: u16) -> Packet {
    udp_from(version, REMOTE, local)
}

pub(crate) fn udp_from(version: Version, remote: u16, local: u16) -> Packet {
    packet(version, IpNumber::UDP, &datagram(remote, local))
}

/// An ICMP message of the version that belongs to this one of IP.
pub(crate) fn icmp(version: Version, message: u8) -> Packet {
    let mut header = [0; ICMP];
    header[0] = message;
    packet(version, version.icmp(), &header)
}

/// An ICMP error of this type about a packet that left, of which it has so much.
pub(crate) fn icmp_error(version: Version, message: u8, about: &[u8]) -> Packet {
    let mut payload = vec![message, 0, 0, 0, 0, 0, 0, 0];
    payload.extend(about);
    packet(version, version.icmp(), &payload)
}

/// A ping.
pub(crate) fn echo(version: Version) -> Packet {
    icmp(
        version,
        match version {
            Version::V4 => 8,
            Version::V6 => 128,
        },
    )
}

pub(crate) fn segment(remote: u16, local: u16, bits: u8) -> Vec<u8> {
    let mut bytes = TcpHeader::new(remote, local, 1, 65_535).to_bytes().to_vec();
    bytes[13] = bits;
    bytes
}

pub(crate) fn datagram(remote: u16, local: u16) -> Vec<u8> {
    let header = UdpHeader {
        source_port: remote,
        destination_port: local,
        length: UDP as u16,
        checksum: 0,
    };
    header.to_bytes().to_vec()
}

impl Packet {
    /// From this address.
    pub(crate) fn source(self, source: impl Into<IpAddr>) -> Self {
        let source = source.into();
        Self { source, ..self }
    }

    /// To this address.
    pub(crate) fn destination(self, destination: impl Into<IpAddr>) -> Self {
        let destination = destination.into();
        Self {
            destination,
            ..self
        }
    }

    /// With this time to live, or hop limit.
    pub(crate) fn ttl(self, ttl: u8) -> Self {
        Self { ttl, ..self }
    }

    /// As it would leave: from the host to the peer. Ports stay where they are.
    pub(crate) fn leaving(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            ..self
        }
    }

    /// With so many bytes behind the transport header, of which UDP knows.
    pub(crate) fn data(mut self, len: usize) -> Self {
        self.payload.resize(self.payload.len() + len, 0x5a);
        if self.protocol == IpNumber::UDP {
            let len = self.payload.len() as u16;
            return self.patched(4, &len.to_be_bytes());
        }
        self
    }

    /// With these bytes in the transport header.
    pub(crate) fn patched(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.payload[offset..][..bytes.len()].copy_from_slice(bytes);
        self
    }

    /// With these TCP flags.
    pub(crate) fn flags(self, bits: u8) -> Self {
        self.patched(13, &[bits])
    }

    /// With only so many bytes of the payload, as its header says, too.
    pub(crate) fn short(mut self, len: usize) -> Self {
        self.payload.truncate(len);
        self
    }

    /// With these IPv4 options.
    pub(crate) fn options(self, options: &[u8]) -> Self {
        assert_eq!(self.version, Version::V4);
        let options = options.to_vec();
        Self { options, ..self }
    }

    /// With this IPv6 extension header behind those it has already.
    pub(crate) fn behind(mut self, extension: Extension) -> Self {
        assert_eq!(self.version, Version::V6);
        self.extensions.push(extension);
        self
    }

    /// With all these.
    pub(crate) fn behind_all(self, extensions: impl IntoIterator<Item = Extension>) -> Self {
        extensions.into_iter().fold(self, Self::behind)
    }

    /// As a fragment from this place on, in units of eight bytes.
    pub(crate) fn fragment(self, offset: u16, more: bool) -> Self {
        match self.version {
            Version::V4 => Self {
                fragment: (offset, more),
                ..self
            },
            Version::V6 => self.behind(Extension::fragment(offset, more)),
        }
    }

    /// With this total length (IPv4) or payload length (IPv6), whatever it really is.
    pub(crate) fn claims(self, len: u16) -> Self {
        Self {
            claimed: Some(len),
            ..self
        }
    }

    /// From the IP header on.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        match (self.version, self.source, self.destination) {
            (Version::V4, IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.bytes4(source, destination)
            }
            (Version::V6, IpAddr::V6(source), IpAddr::V6(destination)) => {
                self.bytes6(source, destination)
            }
            (version, source, destination) => {
                panic!("an {version} packet from {source} to {destination}")
            }
        }
    }

    #[expect(
        clippy::unwrap_used,
        reason = "options and offsets that no header can have are the test's own mistake"
    )]
    fn bytes4(&self, source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
        let (offset, more_fragments) = self.fragment;
        let len = IPV4 + self.options.len() + self.payload.len();
        let mut header = Ipv4Header {
            protocol: self.protocol,
            time_to_live: self.ttl,
            source: source.octets(),
            destination: destination.octets(),
            dont_fragment: false,
            total_len: self.claimed.unwrap_or(len as u16),
            options: Ipv4Options::try_from(&self.options[..]).unwrap(),
            fragment_offset: IpFragOffset::try_new(offset).unwrap(),
            more_fragments,
            ..Ipv4Header::default()
        };
        header.header_checksum = header.calc_header_checksum();
        [&header.to_bytes()[..], &self.payload].concat()
    }

    fn bytes6(&self, source: Ipv6Addr, destination: Ipv6Addr) -> Vec<u8> {
        let (first, chain) = Extension::chain(&self.extensions, self.protocol);
        let payload = [chain, self.payload.clone()].concat();
        let header = Ipv6Header {
            payload_length: self.claimed.unwrap_or(payload.len() as u16),
            next_header: first,
            hop_limit: self.ttl,
            source: source.octets(),
            destination: destination.octets(),
            ..Ipv6Header::default()
        };
        [&header.to_bytes()[..], &payload].concat()
    }

    pub(crate) fn frame(&self) -> Vec<u8> {
        ethernet(self.version.ether_type(), &self.bytes())
    }

    /// Its frame with this byte in the IP header.
    pub(crate) fn with_byte(&self, offset: usize, byte: u8) -> Vec<u8> {
        let mut frame = self.frame();
        frame[ETHERNET + offset] = byte;
        frame
    }

    /// Its frame behind these VLAN tags.
    pub(crate) fn tagged(&self, tags: &[EtherType]) -> Vec<u8> {
        tagged(tags, self.version.ether_type(), &self.bytes())
    }
}

impl From<Packet> for Vec<u8> {
    fn from(packet: Packet) -> Self {
        packet.frame()
    }
}

/// A frame from the peer to the host.
pub(crate) fn ethernet(ether_type: EtherType, payload: &[u8]) -> Vec<u8> {
    let header = Ethernet2Header {
        source: [2, 0, 10, 0, 0, 2],
        destination: [2, 0, 10, 0, 0, 1],
        ether_type,
    };
    [&header.to_bytes()[..], payload].concat()
}

/// A frame with this payload behind these VLAN tags.
pub(crate) fn tagged(tags: &[EtherType], inner: EtherType, payload: &[u8]) -> Vec<u8> {
    let (ether_type, payload) =
        tags.iter()
            .rev()
            .fold((inner, payload.to_vec()), |(ether_type, payload), &tag| {
                let header = SingleVlanHeader {
                    vlan_id: VlanId::ZERO,
                    ether_type,
                    ..SingleVlanHeader::default()
                };
                (tag, [&header.to_bytes()[..], &payload].concat())
            });
    ethernet(ether_type, &payload)
}

/// The frame, and what is left of it when it ends early: all lengths in `range`.
pub(crate) fn cuts(
    frame: &[u8],
    range: impl IntoIterator<Item = usize>,
) -> impl Iterator<Item = Vec<u8>> {
    range.into_iter().map(|len| {
        assert!(
            len < frame.len(),
            "{len} bytes of {} are no cut",
            frame.len()
        );
        frame[..len].to_vec()
    })
}

/// The frame with so many bytes behind the packet.
pub(crate) fn padded(mut frame: Vec<u8>, len: usize) -> Vec<u8> {
    frame.resize(frame.len() + len, 0xff);
    frame
}
