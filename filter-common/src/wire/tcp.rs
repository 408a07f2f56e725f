//! Reads TCP headers (RFC 9293): the ports, and whether the flags make sense.

use core::fmt::{self, Write as _};

use network_types::tcp::TcpHdr;

use super::{Frame, Malformation, byte, ip::Payload};

/// Length of the header without options, in bytes.
const LEN: usize = TcpHdr::LEN;
/// Where data offset and control bits are in the header, in bytes.
const CONTROL_OFFSET: usize = 12;

/// The view of a TCP header. Fields are read when asked for.
#[derive(Clone, Copy)]
pub struct Tcp<'a>(&'a TcpHdr);

impl Tcp<'_> {
    /// Source port, host byte order.
    #[inline(always)]
    pub const fn source(self) -> u16 {
        u16::from_be_bytes(self.0.source)
    }

    /// Destination port, host byte order.
    #[inline(always)]
    pub const fn destination(self) -> u16 {
        u16::from_be_bytes(self.0.dest)
    }

    /// The control bits.
    #[inline(always)]
    pub const fn flags(self) -> Flags {
        Flags::new(byte(self.0, CONTROL_OFFSET + 1))
    }
}

/// The six classic control bits: FIN, SYN, RST, PSH, ACK, URG from bit 0 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Flags(u8);

impl Flags {
    const FIN: u8 = 1 << 0;
    const SYN: u8 = 1 << 1;
    /// The bit that ends a connection at once.
    pub const RST: u8 = 1 << 2;
    /// The bit that says that the acknowledgment number counts.
    pub const ACK: u8 = 1 << 4;
    /// The bits of what accepts a connection.
    pub const SYN_ACK: u8 = Self::SYN | Self::ACK;
    const ALL: u8 = 0x3f;
    /// None set.
    pub const NONE: Self = Self(0);

    /// The flags in the fourteenth byte of a TCP header. The two ECN bits
    /// (RFC 3168) say nothing about a segment's sense and are left out.
    #[inline(always)]
    pub const fn new(bits: u8) -> Self {
        Self(bits & Self::ALL)
    }

    /// The bits, as the header has them.
    #[inline(always)]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether no stack sends these: none (NULL scan), SYN with FIN or RST, or
    /// FIN without ACK (FIN and XMAS scan).
    #[inline(always)]
    pub const fn are_impossible(self) -> bool {
        IMPOSSIBLE >> self.0 & 1 != 0
    }

    const fn impossible(self) -> bool {
        self.0 == 0
            || self.0 & (Self::SYN | Self::FIN) == Self::SYN | Self::FIN
            || self.0 & (Self::SYN | Self::RST) == Self::SYN | Self::RST
            || self.0 & (Self::FIN | Self::ACK) == Self::FIN
    }

    /// Whether the segment accepts a connection: SYN with ACK.
    #[inline(always)]
    pub const fn accepts(self) -> bool {
        self.0 & (Self::SYN | Self::ACK | Self::RST) == Self::SYN | Self::ACK
    }

    /// Whether the segment ends a connection at once.
    #[inline(always)]
    pub const fn resets(self) -> bool {
        self.0 & Self::RST != 0
    }

    /// Whether the sender has no more data.
    #[inline(always)]
    pub const fn finishes(self) -> bool {
        self.0 & Self::FIN != 0
    }

    /// Whether the segment asks for a new connection: a bare SYN, which is never
    /// impossible.
    #[inline(always)]
    pub const fn open_connection(self) -> bool {
        self.0 & (Self::SYN | Self::ACK | Self::FIN | Self::RST) == Self::SYN
    }
}

/// A letter for each flag that is set, from bit 0 on: `SA` accepts a connection.
impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        "FSRPAU"
            .chars()
            .enumerate()
            .filter(|(bit, _)| self.0 >> bit & 1 != 0)
            .try_for_each(|(_, letter)| f.write_char(letter))
    }
}

/// Bit `f`: the flags `f` are impossible. One shift in the packet path.
const IMPOSSIBLE: u64 = {
    let mut set = 0;
    let mut bits = 0;
    while bits <= Flags::ALL {
        if Flags(bits).impossible() {
            set |= 1 << bits;
        }
        bits += 1;
    }
    set
};

/// Reads the TCP header at the start of a payload.
///
/// A first fragment must hold all 20 bytes: with less, a later fragment could
/// choose the flags (RFC 1858, tiny fragments).
#[inline(always)]
pub fn parse<'a, F: Frame + ?Sized>(
    frame: &'a F,
    payload: &Payload,
) -> Result<Tcp<'a>, Malformation> {
    if payload.len < LEN {
        return Err(Malformation::TcpTruncated);
    }
    let header = frame
        .read::<TcpHdr>(payload.offset)
        .ok_or(Malformation::TcpTruncated)?;
    // Data offset and control bits share two bytes, which the library shows as
    // a bit field; the packet path wants the bytes.
    let data_offset = usize::from(byte(header, CONTROL_OFFSET) >> 4) * 4;
    // Options may go on in the next fragment; nothing here depends on them.
    if data_offset < LEN || !payload.can_hold(data_offset) {
        return Err(Malformation::TcpDataOffset);
    }
    Ok(Tcp(header))
}
