//! Reads ICMP (RFC 792) and ICMPv6 (RFC 4443) headers: the type, and which ping it is.

use super::{Frame, Malformation, ip::Payload};

/// The header that all messages share; the kernel takes none that is shorter
/// (`icmp_rcv` in net/ipv4/icmp.c, `icmpv6_rcv` in net/ipv6/icmp.c).
type Header = [u8; 8];
/// Its length in bytes. An error quotes the packet it is about behind it.
pub const LEN: usize = size_of::<Header>();

/// Types of the two echo messages, of ICMP and of ICMPv6.
pub const ECHO_REPLY: u8 = 0;
/// As above.
pub const ECHO_REQUEST: u8 = 8;
/// As above.
pub const ECHO_REQUEST6: u8 = 128;
/// As above.
pub const ECHO_REPLY6: u8 = 129;

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its type.
    pub kind: u8,
    /// Of an echo: which ping it belongs to.
    pub identifier: [u8; 2],
}

impl Message {
    /// What stands for a message where there is none.
    pub const NONE: Self = Self {
        kind: 0,
        identifier: [0; 2],
    };
}

/// Reads the header of the message at the start of a payload.
#[inline(always)]
pub fn parse<F: Frame + ?Sized>(frame: &F, payload: &Payload) -> Result<Message, Malformation> {
    if payload.len < LEN {
        return Err(Malformation::IcmpTruncated);
    }
    match frame.read::<Header>(payload.offset) {
        Some(&[kind, _, _, _, a, b, _, _]) => Ok(Message {
            kind,
            identifier: [a, b],
        }),
        None => Err(Malformation::IcmpTruncated),
    }
}

/// Whether an ICMP message reports an error that a host must hear of: destination
/// unreachable, time exceeded, parameter problem. Source quench is obsolete (RFC 6633),
/// a redirect is no error.
#[inline(always)]
pub const fn is_error(message: u8) -> bool {
    matches!(message, 3 | 11 | 12)
}

/// The same of ICMPv6: destination unreachable, packet too big, time exceeded,
/// parameter problem.
#[inline(always)]
pub const fn is_error6(message: u8) -> bool {
    matches!(message, 1..=4)
}

/// Whether an ICMPv6 message belongs to neighbour discovery: router solicitation and
/// advertisement, neighbour solicitation and advertisement, redirect (RFC 4861).
#[inline(always)]
pub const fn is_neighbour_discovery(message: u8) -> bool {
    matches!(message, 133..=137)
}

/// Whether an ICMPv6 message belongs to multicast listener discovery: query, report,
/// done (RFC 2710), report of version 2 (RFC 3810).
#[inline(always)]
pub const fn is_mld(message: u8) -> bool {
    matches!(message, 130..=132 | 143)
}
