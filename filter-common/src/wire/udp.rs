//! UDP (RFC 768): the ports.

use network_types::udp::UdpHdr;

use super::{Frame, Malformation, ipv4::Payload};

/// The view of a UDP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp {
    /// Source port, host byte order.
    pub source: u16,
    /// Destination port, host byte order.
    pub destination: u16,
}

/// Reads the UDP header at the start of a payload.
#[inline(always)]
pub fn parse<F: Frame + ?Sized>(frame: &F, payload: &Payload) -> Result<Udp, Malformation> {
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
    Ok(Udp {
        source: u16::from_be_bytes(header.src),
        destination: u16::from_be_bytes(header.dst),
    })
}
