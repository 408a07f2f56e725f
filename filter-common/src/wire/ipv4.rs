//! IPv4 (RFC 791): the addresses, and where the transport header starts.

use network_types::ip::Ipv4Hdr;

use super::{Frame, Malformation};

/// Version 4 and the shortest header, five words, in the first byte.
const SHORTEST: u8 = 0x45;
/// Header lengths there are beyond the shortest: up to fifteen words.
const LONGER: u8 = 10;
/// "More fragments" and the fragment offset, in their network byte order.
const FRAGMENT: u16 = 0x3fff_u16.to_be();
/// The fragment offset alone.
const FRAGMENT_OFFSET: u16 = 0x1fff_u16.to_be();

/// A valid IPv4 packet.
#[derive(Clone, Copy, Debug)]
pub struct Ipv4<'a> {
    view: &'a Ipv4Hdr,
    /// Offset of the header from the start of the frame.
    pub header: usize,
    /// IP protocol number of the payload.
    pub protocol: u8,
    /// Whether the packet is a fragment without the transport header.
    pub later_fragment: bool,
    /// The payload.
    pub payload: Payload,
}

impl Ipv4<'_> {
    /// The addresses. Read when asked for: most packets are judged without them.
    #[inline(always)]
    pub const fn addresses(&self) -> Addresses {
        Addresses::of(self.view)
    }
}

/// Where an IP packet's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Offset from the start of the frame, behind all IP options.
    pub offset: usize,
    /// Length in bytes, by the packet's own total length: what follows it in
    /// the frame is padding.
    pub len: usize,
    /// "More fragments" and the fragment offset as the header has them: few
    /// packets get as far as asking.
    fragment: u16,
}

impl Payload {
    /// Whether the payload can hold the length that its own header claims: of
    /// a first fragment, nobody knows.
    #[inline(always)]
    pub const fn can_hold(&self, claimed: usize) -> bool {
        claimed <= self.len || self.fragment & FRAGMENT != 0
    }
}

/// Reads the IPv4 header at `offset`.
#[inline(always)]
pub fn parse<F: Frame + ?Sized>(frame: &F, offset: usize) -> Result<Ipv4<'_>, Malformation> {
    let header = frame
        .read::<Ipv4Hdr>(offset)
        .ok_or(Malformation::Ipv4Truncated)?;
    // One comparison for version and header length.
    if header.vihl.wrapping_sub(SHORTEST) > LONGER {
        return Err(if header.version() == SHORTEST >> 4 {
            Malformation::Ipv4HeaderLength
        } else {
            Malformation::Ipv4Version
        });
    }
    let header_len = usize::from(header.ihl());
    let total_len = usize::from(u16::from_be_bytes(header.tot_len));
    if total_len < header_len || offset + total_len > frame.len() {
        return Err(Malformation::Ipv4TotalLength);
    }
    let fragment = u16::from_ne_bytes(header.frags);
    let len = total_len - header_len;
    Ok(Ipv4 {
        view: header,
        header: offset,
        protocol: header.proto,
        later_fragment: fragment & FRAGMENT_OFFSET != 0,
        payload: Payload {
            offset: offset + header_len,
            len,
            fragment,
        },
    })
}

/// The addresses of an IPv4 packet, network byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The peer's address on ingress.
    pub source: [u8; 4],
    /// This host's address on ingress.
    pub destination: [u8; 4],
}

impl Addresses {
    #[inline(always)]
    const fn of(header: &Ipv4Hdr) -> Self {
        Self {
            source: header.src_addr,
            destination: header.dst_addr,
        }
    }
}

/// Reads the addresses from the IPv4 header at `offset`.
#[inline(always)]
pub fn addresses<F: Frame + ?Sized>(frame: &F, offset: usize) -> Option<Addresses> {
    frame.read::<Ipv4Hdr>(offset).map(Addresses::of)
}
