//! Reads IPv6 headers (RFC 8200): the addresses, and where the transport header starts
//! behind the extension headers.

use network_types::ip::Ipv6Hdr;

use super::{
    Frame, Malformation,
    ip::{Addresses, Ip, Payload},
};

/// Most extension headers that a packet may have.
pub const MAX_HEADERS: usize = 8;

/// The longest payload whose length can be said, in bytes.
const MAX_PAYLOAD: usize = u16::MAX as usize;

/// Protocol numbers of the extension headers that are looked behind (IANA, "IPv6
/// Extension Header Types").
pub(crate) mod extension {
    pub(crate) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(crate) const FRAGMENT: u8 = 44;
    /// Authentication (RFC 4302).
    pub(super) const AH: u8 = 51;
    pub(crate) const DESTINATION: u8 = 60;
}

/// Shortest extension header, in bytes; also the whole fragment header.
type Extension = [u8; 8];
const LEN: usize = size_of::<Extension>();
/// In a fragment header's third and fourth byte: the offset, in units of eight bytes.
pub(crate) const FRAGMENT_OFFSET: u16 = 0xfff8;
/// There, too: more fragments follow.
const MORE_FRAGMENTS: u16 = 1;

impl Ip<'_> {
    /// Whether [`protocol`](Self::protocol) is the payload's. Behind the fragment header of a
    /// later fragment may be more extension headers, which are in the first one alone.
    #[inline(always)]
    pub(crate) const fn knows_protocol(&self) -> bool {
        !matches!(self.addresses, Addresses::V6(_)) || !is_extension(self.protocol)
    }
}

/// Reads the IPv6 header at `offset`, and all extension headers.
///
/// A payload length of 0 is an empty payload, unless the frame is longer than any other could
/// say. Then it is all of the frame: a jumbogram (RFC 2675), which is what the kernel makes of TCP
/// segments that it has put together of many (BIG TCP), before Linux 7.0 or so with the option
/// that says the length (`ipv6_hop_jumbo` in net/ipv6/exthdrs.c), which is not read here.
#[inline(always)]
pub fn parse<F: Frame + ?Sized>(frame: &F, offset: usize) -> Result<Ip<'_>, Malformation> {
    let header = frame
        .read::<Ipv6Hdr>(offset)
        .ok_or(Malformation::Ipv6Truncated)?;
    if header.vcf[0] >> 4 != 6 {
        return Err(Malformation::Ipv6Version);
    }
    let mut len = usize::from(u16::from_be_bytes(header.payload_len));
    let start = offset + Ipv6Hdr::LEN;
    if start + len > frame.len() {
        return Err(Malformation::Ipv6PayloadLength);
    }
    // In this order, and with this length in place of the true one, the verifier goes through
    // what follows once, as behind IPv4.
    if frame.len() - start > MAX_PAYLOAD && len == 0 {
        len = MAX_PAYLOAD;
    }
    let mut ip = Ip {
        addresses: Addresses::of_ipv6(header),
        header: offset,
        protocol: header.next_hdr,
        non_initial_fragment: false,
        payload: Payload {
            offset: start,
            len,
            fragment: 0,
        },
    };
    // One after the other instead of in a loop: before Linux 6.5 or so, the verifier takes
    // no loop whose end falls through to its beginning (`check_cfg` in
    // kernel/bpf/verifier.c), and the compiler lays them out as it likes.
    macro_rules! headers {
        ($($number:literal)+) => {
            $(
                if !is_extension(ip.protocol) {
                    return Ok(ip);
                }
                const { assert!($number <= MAX_HEADERS) };
                step_over(frame, &mut ip)?;
                if ip.non_initial_fragment {
                    return Ok(ip);
                }
            )+
        };
    }
    headers!(1 2 3 4 5 6 7 8);
    if is_extension(ip.protocol) {
        return Err(Malformation::TooManyHeaders);
    }
    Ok(ip)
}

/// Whether this is the protocol number of an extension header that is looked behind, so that no
/// IPv6 packet is judged by it.
#[inline(always)]
pub const fn is_extension(protocol: u8) -> bool {
    use extension::{AH, DESTINATION, FRAGMENT, HOP_BY_HOP, ROUTING};
    matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | AH | DESTINATION)
}

/// Reads the extension header in front of the payload, which then begins behind it.
#[inline(always)]
fn step_over<F: Frame + ?Sized>(frame: &F, ip: &mut Ip<'_>) -> Result<(), Malformation> {
    if ip.payload.len < LEN {
        return Err(Malformation::ExtensionTruncated);
    }
    let &[next, length, high, low, ..] = frame
        .read::<Extension>(ip.payload.offset)
        .ok_or(Malformation::ExtensionTruncated)?;
    let len = match ip.protocol {
        extension::FRAGMENT => {
            let fragment = u16::from_be_bytes([high, low]);
            if fragment & FRAGMENT_OFFSET != 0 {
                ip.non_initial_fragment = true;
            } else if fragment & MORE_FRAGMENTS != 0 {
                ip.payload.fragment = Payload::FRAGMENT;
            }
            LEN
        }
        // In units of four bytes, without the first two.
        extension::AH => (usize::from(length) + 2) * 4,
        // In units of eight bytes, without the first.
        _ => (usize::from(length) + 1) * 8,
    };
    ip.protocol = next;
    if len > ip.payload.len {
        return Err(Malformation::ExtensionTruncated);
    }
    // At most 16 KiB, with as many and as long headers as there can be.
    ip.payload.offset = frame.settle(ip.payload.offset + len);
    ip.payload.len -= len;
    Ok(())
}
