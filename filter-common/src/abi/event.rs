//! Events: what the program reports of packets while somebody listens.
//!
//! Up to [`LISTENERS`] listen at once. Each has a ring of its own, and says in its [`Listener`]
//! what it wants and until when it listens. One global tells packets whether anybody does:
//! [`Listened`].

use core::net::{IpAddr, Ipv6Addr};

use bytemuck::{Pod, Zeroable};

use super::{
    NO_KIND, SharedMap,
    tables::{NO_RULE, ProtocolKind},
};
use crate::{
    reason::Reason,
    wire::{Malformation, ethernet::MAX_VLAN_TAGS, tcp::Flags},
};

/// Names of the globals.
pub mod names {
    /// Global, a [`Listened`](super::Listened), alone in the section that
    /// [`LISTENED`](super::LISTENED) names.
    pub const LISTENED: &str = "LISTENED";
    /// Read-only global, a `u32`: the lower bits of the generation's number.
    pub const GENERATION: &str = "GENERATION";
}

/// How many can listen at once.
pub const LISTENERS: usize = 4;

/// Ring buffers of [`Report`]s, one for each listener: such a buffer has one reader.
pub const REPORTS: [SharedMap; LISTENERS] = [
    SharedMap::of_events("REPORTS_0", "reports_0"),
    SharedMap::of_events("REPORTS_1", "reports_1"),
    SharedMap::of_events("REPORTS_2", "reports_2"),
    SharedMap::of_events("REPORTS_3", "reports_3"),
];
/// Array of the [`Listener`]s.
pub const LISTENING: SharedMap = SharedMap::of_events("LISTENING", "listening");
/// Per-CPU array of a [`Missed`] for each listener.
pub const MISSED: SharedMap = SharedMap::of_events("MISSED", "missed");
/// The section of [`names::LISTENED`], which is a map of one element.
pub const LISTENED: SharedMap = SharedMap::of_events(".bss.listened", "listened");

/// Bytes of a ring buffer: two thousand reports.
pub const RING_BYTES: u32 = 1 << 19;

/// How many reports of one reason a CPU writes for a listener in a second, at most.
pub const REPORTS_PER_SECOND: u64 = 10_000;
/// How many it may write at once, after a pause.
pub const REPORTS_AT_ONCE: u64 = 2_000;

/// Bytes of a packet that a report can hold: all headers that most stacks send.
pub const HEAD: usize = 128;

/// A packet, the verdict on it, and why.
///
/// The kernel program writes it, so no reader may rely on its values: the methods check
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Event {
    /// The source address, in network byte order; IPv4 is mapped into IPv6 (RFC 4291,
    /// section 2.5.5.2). Zero without a family.
    pub source: [u8; 16],
    /// The destination address, in the same way.
    pub destination: [u8; 16],
    /// Slot of the counters of the rule that decided, or [`NO_RULE`].
    pub slot: u32,
    /// Index of the interface that the packet came in on.
    pub interface: u32,
    /// Length of the packet in bytes, as it is counted.
    pub len: u32,
    /// The peer's port, in network byte order; zero for a packet without ports.
    pub remote: [u8; 2],
    /// This host's port, in network byte order; for a packet without ports the ICMP type,
    /// or the protocol number.
    pub local: [u8; 2],
    /// [`Reason::slot`] of the reason for the verdict, or [`NOTICES`].
    pub reason: u8,
    /// The [`ProtocolKind`], or [`NO_KIND`].
    pub kind: u8,
    /// Version of IP: 4 or 6. 0: the packet's addresses are not known.
    pub family: u8,
    /// What is wrong with the packet: [`Malformation::code`], or 0 for nothing.
    pub malformation: u8,
    /// Identifiers of the VLANs, the outer one first, in network byte order. Places without
    /// one are zero.
    pub vlans: [[u8; 2]; MAX_VLAN_TAGS],
    /// How many there are.
    pub vlan_count: u8,
    /// The control bits of TCP, as [`Flags::bits`] has them; zero for all else.
    pub flags: u8,
    /// Of a notice: [`NOTICE_SCAN`] or [`NOTICE_LIMIT`], and [`NOTICE_BAN`]. 0 of a packet.
    pub notice: u8,
    /// Of a scan: the bits that its ports have set, as [`likely_ports`](crate::scan::likely_ports)
    /// takes them. Else zero.
    pub evidence: u8,
}

/// What is reported of a packet: what it is and what became of it, when, and its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Report {
    /// When, in nanoseconds of `CLOCK_BOOTTIME`.
    pub at: u64,
    /// The packet, and the verdict on it.
    pub event: Event,
    /// How many bytes of `head` are the packet's; 0 if the listener asks for none.
    pub captured: u16,
    /// The lower bits of the number of the generation that judged: its record says which rule
    /// [`Event::slot`] is of.
    pub generation: u16,
    /// The packet's first bytes, from its link-layer header on, if it has one.
    pub head: [u8; HEAD],
}

/// Somebody who listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Listener {
    /// Until when it listens, in ticks (`jiffies`), unless it says a later time before. Who was
    /// killed does not.
    pub until: u64,
    /// What it wants to know.
    pub wanted: Wanted,
}

/// Which packets are reported to a listener: those to which all of it applies. Zero, it is
/// none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Wanted {
    /// Bits of the reasons, by [`Reason::slot`]; and that of [`NOTICES`].
    pub reasons: u32,
    /// Slot of the rule that decides, or [`NO_RULE`] for any and none.
    pub slot: u32,
    /// What is left of the source under `mask`, in the form of [`Event::source`].
    pub source: [u8; 16],
    /// The bits of the source that matter. Zero: a packet without known addresses will do,
    /// too.
    pub mask: [u8; 16],
    /// The packets whose lot is not above this: see [`threshold`].
    pub threshold: u32,
    /// This host's port over TCP or UDP, in network byte order; 0 for any and none.
    pub port: [u8; 2],
    /// [`WANTS_HEAD`] and [`WANTS_DIAGNOSTICS`].
    pub flags: u16,
}

/// Stands for a reason of events that are no packet, but what came of one.
pub const NOTICES: u8 = Reason::SLOTS as u8 - 1;
/// [`Event::notice`]: the packet shows that its source scans.
pub const NOTICE_SCAN: u8 = 1 << 0;
/// [`Event::notice`]: its source was banned for it.
pub const NOTICE_BAN: u8 = 1 << 1;
/// [`Event::notice`]: its source is over the limit of the rule, and was not before.
pub const NOTICE_LIMIT: u8 = 1 << 2;

/// [`Wanted::flags`]: with the packet's first bytes.
pub const WANTS_HEAD: u16 = 1;
/// [`Wanted::flags`]: the program says more of malformed packets in its log.
pub const WANTS_DIAGNOSTICS: u16 = 2;

/// What a listener asked for and did not get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Missed {
    /// Packets above [`REPORTS_PER_SECOND`].
    pub suppressed: u64,
    /// Packets for which its ring had no room.
    pub lost: u64,
}

/// Whether anybody listens, and to how many of the packets. All packets read it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Listened {
    /// The highest [`Wanted::threshold`] of all who listen; 0 if nobody does.
    pub threshold: u32,
    /// Added to the lot of each packet, so that it is not always the same ones.
    pub phase: u32,
}

impl Listened {
    /// From the word that it is written as.
    #[inline(always)]
    pub fn of(word: u64) -> Self {
        bytemuck::cast(word)
    }
}

/// The threshold for one of so many packets; 0 like 1: for all.
pub const fn threshold(sample: u32) -> u32 {
    match sample {
        0 => u32::MAX,
        sample => u32::MAX / sample,
    }
}

/// The lot of the packet that is counted as this one: any number, as likely as any other. It
/// takes one multiplication, where a random number takes a call. The multiples of this
/// fraction of 2^32, the golden ratio, are spread evenly (Knuth, The Art of Computer Programming,
/// section 6.4).
#[inline(always)]
pub const fn lot(count: u64, phase: u32) -> u32 {
    (count as u32).wrapping_mul(0x9e37_79b1).wrapping_add(phase)
}

impl Event {
    /// Why the packet passed or was dropped.
    pub fn reason(&self) -> Option<Reason> {
        Reason::ALL.get(usize::from(self.reason)).copied()
    }

    /// What is wrong with the packet.
    pub fn malformation(&self) -> Option<Malformation> {
        Malformation::from_code(self.malformation)
    }

    /// The kind of the packet's protocol.
    pub fn kind(&self) -> Option<ProtocolKind> {
        ProtocolKind::ALL.get(usize::from(self.kind)).copied()
    }

    /// Source and destination address.
    pub fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        let address = |bytes| {
            let address = Ipv6Addr::from(bytes);
            match self.family {
                4 => address.to_ipv4_mapped().map(IpAddr::V4),
                6 => Some(IpAddr::V6(address)),
                _ => None,
            }
        };
        Some((address(self.source)?, address(self.destination)?))
    }

    /// The peer's port, in host byte order; 0 for a packet without ports.
    pub const fn remote(&self) -> u16 {
        u16::from_be_bytes(self.remote)
    }

    /// This host's port, in host byte order, or what stands in its place.
    pub const fn local(&self) -> u16 {
        u16::from_be_bytes(self.local)
    }

    /// The identifiers of the packet's VLANs, the outer one first.
    pub fn vlans(&self) -> impl Iterator<Item = u16> {
        let vlans = self.vlans.into_iter().map(u16::from_be_bytes);
        vlans.take(usize::from(self.vlan_count))
    }

    /// The control bits of a TCP segment.
    pub fn flags(&self) -> Option<Flags> {
        let is_tcp = self.kind() == Some(ProtocolKind::Tcp);
        is_tcp.then_some(Flags::new(self.flags))
    }

    /// Slot of the counters of the rule that decided.
    pub const fn rule(&self) -> Option<u32> {
        match self.slot {
            NO_RULE => None,
            slot => Some(slot),
        }
    }
}

const _: () = {
    assert!(size_of::<Event>() == 60);
    assert!(size_of::<Wanted>() == 48);
    assert!(size_of::<Listener>() == 56);
    assert!(size_of::<Report>() == 8 + 60 + 4 + HEAD && HEAD <= u16::MAX as usize);
    assert!(size_of::<Listened>() == size_of::<u64>());
    assert!(Reason::SLOTS <= u32::BITS as usize && Reason::ALL.len() <= NOTICES as usize);
    assert!(NO_KIND as usize >= ProtocolKind::ALL.len());
};
