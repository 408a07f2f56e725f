//! Whether what was captured of a frame has all that decides.

use etherparse::{
    Icmpv4Slice, Icmpv6Slice, LaxSlicedPacket, LenSource, TransportSlice,
    err::{Layer, packet::SliceError},
};

/// Shortest headers, in bytes: of TCP, of what ports are in front of, of IPv6.
const TCP: usize = 20;
const PORTS: usize = 8;
const IPV6: usize = 40;
/// The types of ICMP messages that quote the packet they are about (RFC 792), and the first one
/// of ICMPv6 that does not (RFC 4443, section 2.1).
const ICMP_ERRORS: [u8; 5] = [3, 4, 5, 11, 12];
const ICMP6_QUERIES: u8 = 128;

/// Whether a frame of which more was sent ends before the last header that decides. What
/// contradicts itself is whole: it is malformed, whatever follows.
pub(super) fn are_cut(frame: &[u8]) -> bool {
    let Ok(packet) = LaxSlicedPacket::from_ethernet(frame) else {
        return true;
    };
    if let Some((SliceError::Len(error), _)) = &packet.stop_err {
        // Options of TCP decide nothing.
        let is_enough = error.layer == Layer::TcpHeader && error.len >= TCP;
        return error.len_source == LenSource::Slice && !is_enough;
    }
    match &packet.transport {
        Some(TransportSlice::Icmpv4(message)) => is_quote_cut(message),
        Some(TransportSlice::Icmpv6(message)) => is_quote6_cut(message),
        _ => false,
    }
}

fn is_quote_cut(message: &Icmpv4Slice<'_>) -> bool {
    let quote = message.payload();
    let header = |first: &u8| usize::from(first & 0xf) * 4;
    ICMP_ERRORS.contains(&message.type_u8())
        && quote.len() < quote.first().map_or(1, header) + PORTS
}

fn is_quote6_cut(message: &Icmpv6Slice<'_>) -> bool {
    message.type_u8() < ICMP6_QUERIES && message.payload().len() < IPV6 + PORTS
}
