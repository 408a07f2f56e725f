//! What IPv4 and IPv6 packets have in common: addresses, the protocol, and where the
//! payload is.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use network_types::ip::{Ipv4Hdr, Ipv6Hdr};

use super::Frame;

/// A valid IP packet.
#[derive(Clone, Copy, Debug)]
pub struct Ip<'a> {
    /// The addresses.
    pub addresses: Addresses<'a>,
    /// Offset of the header from the start of the frame.
    pub header: usize,
    /// IP protocol number of the payload, behind all extension headers.
    pub protocol: u8,
    /// Whether the packet is a fragment without the transport header.
    pub non_initial_fragment: bool,
    /// The payload.
    pub payload: Payload,
}

/// Where an IP packet's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Offset from the start of the frame, behind all IP options and extension headers.
    pub offset: usize,
    /// Length in bytes, by the packet's own account: what follows it in the frame is
    /// padding. Of a packet that is longer than any header can say, as much as one can.
    pub len: usize,
    /// "More fragments" and the fragment offset as an IPv4 header has them: few
    /// packets get as far as asking.
    pub(super) fragment: u16,
}

impl Payload {
    /// "More fragments" and the fragment offset of an IPv4 header, in network byte order.
    pub(super) const FRAGMENT: u16 = 0x3fff_u16.to_be();

    /// Whether the payload can hold the length that its own header claims: of
    /// a first fragment, nobody knows.
    #[inline(always)]
    pub const fn can_hold(&self, claimed: usize) -> bool {
        claimed <= self.len || self.fragment & Self::FRAGMENT != 0
    }
}

/// The addresses of a packet, in its headers. Read when asked for: most packets are judged
/// without them.
#[derive(Clone, Copy, Debug)]
pub enum Addresses<'a> {
    /// In an IPv4 header.
    V4(Ends<'a, 4>),
    /// In an IPv6 header.
    V6(Ends<'a, 16>),
}

/// The addresses of both ends of a conversation, in network byte order.
#[derive(Clone, Copy, Debug)]
pub struct Ends<'a, const LEN: usize> {
    /// The peer's: the source on ingress.
    pub remote: &'a [u8; LEN],
    /// This host's: the destination on ingress.
    pub local: &'a [u8; LEN],
}

impl<const LEN: usize> Ends<'_, LEN> {
    /// Those of the answer.
    #[inline(always)]
    const fn turned(self) -> Self {
        let Self { remote, local } = self;
        Self {
            remote: local,
            local: remote,
        }
    }
}

impl<'a> Addresses<'a> {
    /// Those of a packet that comes in with this header.
    #[inline(always)]
    pub const fn of_ipv4(header: &'a Ipv4Hdr) -> Self {
        Self::V4(Ends {
            remote: &header.src_addr,
            local: &header.dst_addr,
        })
    }

    /// The same for IPv6.
    #[inline(always)]
    pub const fn of_ipv6(header: &'a Ipv6Hdr) -> Self {
        Self::V6(Ends {
            remote: &header.src_addr,
            local: &header.dst_addr,
        })
    }

    /// Those of the answer, whose source is this packet's destination.
    #[inline(always)]
    pub const fn turned(self) -> Self {
        match self {
            Self::V4(ends) => Self::V4(ends.turned()),
            Self::V6(ends) => Self::V6(ends.turned()),
        }
    }

    /// The peer's address.
    #[inline(always)]
    pub const fn remote(&self) -> IpAddr {
        match self {
            Self::V4(ends) => v4(*ends.remote),
            Self::V6(ends) => v6(*ends.remote),
        }
    }

    /// This host's address.
    #[inline(always)]
    pub const fn local(&self) -> IpAddr {
        match self {
            Self::V4(ends) => v4(*ends.local),
            Self::V6(ends) => v6(*ends.local),
        }
    }
}

#[inline(always)]
const fn v4([a, b, c, d]: [u8; 4]) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

#[inline(always)]
const fn v6(address: [u8; 16]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from_bits(u128::from_be_bytes(address)))
}

/// The version field of the header at `offset`, or `None` when the frame ends before.
#[inline(always)]
pub fn version<F: Frame + ?Sized>(frame: &F, offset: usize) -> Option<u8> {
    // Two bytes, as all headers are of even length.
    frame.read::<[u8; 2]>(offset).map(|[first, _]| first >> 4)
}

/// Version, source and destination of the header at `offset`. IPv4 addresses are mapped
/// into IPv6 (RFC 4291, section 2.5.5.2), so that all bytes have a value.
#[inline(always)]
pub fn addresses<F: Frame + ?Sized>(frame: &F, offset: usize) -> Option<(u8, Ipv6Addr, Ipv6Addr)> {
    let mapped = |[a, b, c, d]: [u8; 4]| Ipv4Addr::new(a, b, c, d).to_ipv6_mapped();
    let version = version(frame, offset)?;
    if version == 6 {
        let header: &Ipv6Hdr = frame.read(offset)?;
        let [source, destination] = [header.src_addr, header.dst_addr].map(Ipv6Addr::from);
        Some((version, source, destination))
    } else {
        let header: &Ipv4Hdr = frame.read(offset)?;
        let [source, destination] = [header.src_addr, header.dst_addr].map(mapped);
        Some((version, source, destination))
    }
}
