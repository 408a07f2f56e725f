//! Reads UDP headers (RFC 768): the ports.

use network_types::udp::UdpHdr;

use super::{Frame, Malformation, ip::Payload};

/// The view of a UDP header. Fields are read when asked for.
#[derive(Clone, Copy)]
pub struct Udp<'a>(&'a UdpHdr);

impl Udp<'_> {
    /// Source port, host byte order.
    #[inline(always)]
    pub const fn source(self) -> u16 {
        u16::from_be_bytes(self.0.src)
    }

    /// Destination port, host byte order.
    #[inline(always)]
    pub const fn destination(self) -> u16 {
        u16::from_be_bytes(self.0.dst)
    }
}

/// Reads the UDP header at the start of a payload.
#[inline(always)]
pub fn parse<'a, F: Frame + ?Sized>(
    frame: &'a F,
    payload: &Payload,
) -> Result<Udp<'a>, Malformation> {
    if payload.len < UdpHdr::LEN {
        return Err(Malformation::UdpTruncated);
    }
    let header = frame
        .read::<UdpHdr>(payload.offset)
        .ok_or(Malformation::UdpTruncated)?;
    let length = usize::from(u16::from_be_bytes(header.len));
    if length < UdpHdr::LEN || !payload.can_hold(length) {
        return Err(Malformation::UdpLength);
    }
    Ok(Udp(header))
}
