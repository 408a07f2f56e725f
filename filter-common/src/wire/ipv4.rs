//! Reads IPv4 headers (RFC 791): the addresses, and where the transport header starts.

use network_types::ip::{IpProto, Ipv4Hdr};

use super::{
    Frame, Malformation,
    ip::{Addresses, Ip, Payload},
};

/// Version 4 and the shortest header, five words, in the first byte.
const SHORTEST: u8 = 0x45;
/// The longest packet whose total length can be said, in bytes.
const MAX_LEN: usize = u16::MAX as usize;
/// Header lengths there are beyond the shortest: up to fifteen words.
const LONGER: u8 = 10;
/// The fragment offset, without the flags, in network byte order.
const FRAGMENT_OFFSET: u16 = 0x1fff_u16.to_be();

/// Reads the IPv4 header at `offset`.
#[inline(always)]
pub fn parse<F: Frame + ?Sized>(frame: &F, offset: usize) -> Result<Ip<'_>, Malformation> {
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
    let fragment = u16::from_ne_bytes(header.frags);
    let mut total_len = usize::from(u16::from_be_bytes(header.tot_len));
    if total_len < header_len || offset + total_len > frame.len() {
        total_len = aggregate(frame, offset, header)?;
    }
    let len = total_len - header_len;
    Ok(Ip {
        addresses: Addresses::of_ipv4(header),
        header: offset,
        protocol: header.proto,
        non_initial_fragment: fragment & FRAGMENT_OFFSET != 0,
        payload: Payload {
            offset: offset + header_len,
            len,
            fragment,
        },
    })
}

/// Length of a TCP segment that the kernel itself has put together of many (BIG TCP): where it
/// is more than the total length can say, that is 0, and the kernel takes the frame's (`iph_totlen`
/// in include/linux/ip.h).
///
/// The longest that can be said stands for all that are longer. No header asks for more, and to
/// the verifier this is a length like any other, behind which it need not go through all again.
#[cold]
#[inline(always)]
fn aggregate<F: Frame + ?Sized>(
    frame: &F,
    offset: usize,
    header: &Ipv4Hdr,
) -> Result<usize, Malformation> {
    let is_whole = u16::from_ne_bytes(header.frags) & Payload::FRAGMENT == 0;
    if header.tot_len == [0; 2]
        && frame.len() - offset > MAX_LEN
        && header.proto == IpProto::Tcp as u8
        && is_whole
    {
        Ok(MAX_LEN)
    } else {
        Err(Malformation::Ipv4TotalLength)
    }
}
