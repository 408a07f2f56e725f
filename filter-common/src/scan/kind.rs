//! The kinds of packets that scans are made of.

use crate::{
    Reason,
    abi::ProtocolKind,
    verdict::{Fields, Outcome},
    wire::tcp::Flags,
};

/// What a source scans with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Bare SYNs, which ask for connections: the one kind that a source is banned for.
    Syn = 1,
    /// UDP datagrams.
    Udp = 2,
    /// TCP segments without any flag.
    Null = 3,
    /// TCP segments with FIN, PSH and URG.
    Xmas = 4,
    /// TCP segments with FIN alone.
    Fin = 5,
    /// TCP segments with ACK alone.
    Ack = 6,
    /// TCP segments with other flags.
    Other = 7,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Syn,
        Self::Udp,
        Self::Null,
        Self::Xmas,
        Self::Fin,
        Self::Ack,
        Self::Other,
    ];

    /// From its number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// The user's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Syn => "syn",
            Self::Udp => "udp",
            Self::Null => "null",
            Self::Xmas => "xmas",
            Self::Fin => "fin",
            Self::Ack => "ack",
            Self::Other => "other",
        }
    }

    /// What a packet may be part of a scan of, given the verdict on it: it has ports, and is dropped
    /// since nobody is to reach this one, or since no stack sends it.
    #[inline(always)]
    pub fn of(outcome: &Outcome) -> Option<(Self, Fields)> {
        let fields = outcome.fields()?;
        let is_evidence = matches!(
            outcome.reason(),
            Reason::DefaultDrop | Reason::RuleDeny | Reason::BadFlags
        );
        if !is_evidence {
            return None;
        }
        match fields.kind {
            ProtocolKind::Tcp => Some((Self::of_segment(fields.flags), *fields)),
            ProtocolKind::Udp => Some((Self::Udp, *fields)),
            _ => None,
        }
    }

    /// The kind of a TCP segment.
    #[inline(always)]
    pub const fn of_segment(flags: Flags) -> Self {
        if flags.open_connection() {
            return Self::Syn;
        }
        match flags.bits() {
            NULL => Self::Null,
            XMAS => Self::Xmas,
            FIN => Self::Fin,
            Flags::ACK => Self::Ack,
            _ => Self::Other,
        }
    }

    /// Whether a host that nobody scans may send such packets to a port that has sent something
    /// lately: late segments of connections that are over, late answers.
    #[inline(always)]
    pub const fn may_be_late(self) -> bool {
        matches!(self, Self::Udp | Self::Ack | Self::Other)
    }

    /// Whether a packet to this port may look for the way to this host, as traceroute(8) and mtr(8)
    /// do: each of their datagrams goes to another port.
    #[inline(always)]
    pub const fn may_be_traceroute(self, port: u16) -> bool {
        matches!(self, Self::Udp) && port >= TRACEROUTE_PORT
    }

    /// Whether it does, if it may, given how many hops it has left.
    #[inline(always)]
    pub const fn is_traceroute(self, hops_left: u8) -> bool {
        matches!(self, Self::Udp) && hops_left <= TRACEROUTE_HOPS
    }
}

const NULL: u8 = 0;
const FIN: u8 = 1;
const XMAS: u8 = 0b10_1001;

/// The first port of mtr; that of traceroute is 33434.
const TRACEROUTE_PORT: u16 = 33_000;
/// How far both look, unless told otherwise.
const TRACEROUTE_HOPS: u8 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scan_of_nmap_is_of_its_kind() {
        for (bits, kind) in [
            (0b00_0010, Kind::Syn),
            (0b00_0000, Kind::Null),
            (0b10_1001, Kind::Xmas),
            (0b00_0001, Kind::Fin),
            (0b01_0000, Kind::Ack),
            (0b01_0001, Kind::Other),
            (0b01_0010, Kind::Other),
            (0b00_0011, Kind::Other),
        ] {
            assert_eq!(Kind::of_segment(Flags::new(bits)), kind, "{bits:b}");
        }
    }

    #[test]
    fn a_number_is_of_one_kind() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_number(kind as u8), Some(kind));
        }
        assert_eq!(Kind::from_number(0), None);
    }

    #[test]
    fn only_datagrams_that_are_at_their_end_look_for_the_way() {
        assert!(Kind::Udp.may_be_traceroute(33_434) && Kind::Udp.is_traceroute(1));
        assert!(!Kind::Udp.is_traceroute(64));
        assert!(!Kind::Udp.may_be_traceroute(161));
        assert!(!Kind::Syn.may_be_traceroute(33_434));
    }
}
