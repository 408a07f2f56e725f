//! The counters: packets and bytes for each reason and rule, and drops for each local port.

use core::ops::{Add, AddAssign};

use bytemuck::{Pod, Zeroable};

use super::{
    SharedMap,
    ports::{PORTS, index},
    tables::MAX_RULES,
};
use crate::{reason::Reason, wire::Transport};

/// Per-CPU array of [`Block`]s: totals, and drops per local port.
pub const COUNTERS: SharedMap = SharedMap {
    since: 9,
    ..SharedMap::of_counters("COUNTERS", "counters")
};
/// Per-CPU array of [`Overflows`], one for each block.
pub const OVERFLOWS: SharedMap = SharedMap::of_counters("OVERFLOWS", "overflows");
/// Per-CPU array of [`Counter`]s, one for each rule slot.
pub const RULE_HITS: SharedMap = SharedMap::of_counters("RULE_HITS", "rule_hits");

/// The section of [`names::INTERFACES_COUNTED`], which is a map of one element.
pub const INTERFACES_COUNTED: SharedMap = SharedMap {
    since: 9,
    ..SharedMap::of_counters(".bss.counted", "interfaces_counted")
};

/// Names of the globals.
pub mod names {
    /// Global, an [`InterfaceSlots`](super::InterfaceSlots), alone in the section that
    /// [`INTERFACES_COUNTED`](super::INTERFACES_COUNTED) names.
    pub const INTERFACES_COUNTED: &str = "INTERFACES_COUNTED";
}

/// Slots of the counters per interface: one for each of the first interfaces, and the first one,
/// [`OTHER_INTERFACES`], for all others.
pub const INTERFACE_SLOTS: usize = 16;
/// The slot of interfaces that have none of their own.
pub const OTHER_INTERFACES: usize = 0;
/// Places by which interfaces find their slot: that of an interface is its index modulo this.
pub const INTERFACE_PLACES: usize = 1024;
/// Bytes of the name of an interface (`IFNAMSIZ` in linux/if.h).
pub const INTERFACE_NAME: usize = 16;

/// Where each interface is counted, and what is counted where. A name keeps its slot until the
/// counters are set to zero, though the interface may come back with another index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct InterfaceSlots {
    /// The slot of each place.
    pub slots: [u8; INTERFACE_PLACES],
    /// The name of the interface of each slot, with zeros behind it. The program does not read
    /// them.
    pub names: [[u8; INTERFACE_NAME]; INTERFACE_SLOTS],
}

impl InterfaceSlots {
    /// No interface has a slot of its own.
    pub const EMPTY: Self = Self {
        slots: [OTHER_INTERFACES as u8; INTERFACE_PLACES],
        names: [[0; INTERFACE_NAME]; INTERFACE_SLOTS],
    };
}

/// Local ports counted in one [`Block`]: as many as an element of a per-CPU array can hold
/// [`Overflows`] of, so that few look-ups read all.
pub const PORTS_PER_BLOCK: usize = 8192;

/// Blocks of counters: the ports of both transports.
pub const BLOCKS: usize = 2 * PORTS / PORTS_PER_BLOCK;

/// Slots of the per-rule counters: each rule has one, and the rules of two
/// generations share none unless they are the same.
pub const RULE_SLOTS: usize = 2 * MAX_RULES;

/// Packets and bytes. Bytes are those of whole frames, from the first header on, without
/// the checksum that follows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[repr(C)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Counter {
    /// Counts one more packet.
    #[inline(always)]
    pub const fn count(&mut self, bytes: u64) {
        self.packets += 1;
        self.bytes += bytes;
    }
}

impl Add for Counter {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self {
            packets: self.packets + other.packets,
            bytes: self.bytes + other.bytes,
        }
    }
}

impl AddAssign for Counter {
    #[inline(always)]
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// The counters of [`PORTS_PER_BLOCK`] local ports, and the totals of the packets to them:
/// one look-up finds both. The totals of the host are the sum over all blocks. Packets
/// without ports are counted in block 0.
///
/// A scan touches the counters of all ports. They are short, so that most of them stay in
/// the caches next to a CPU. What does not fit is in [`Overflows`], which hardly any packet
/// touches.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Block {
    /// Indexed by the interface's slot and [`Reason::slot`].
    pub totals: [[Counter; Reason::SLOTS]; INTERFACE_SLOTS],
    /// Packets dropped, by local port, as far as 16 bits hold them; see [`port_counter`].
    pub drops: [u16; PORTS_PER_BLOCK],
}

/// How often each counter in [`Block::drops`] has overflowed, from [`u16::MAX`] to 0. It is
/// written right after the overflow: who reads it, then the counter, then it again, has
/// both of one moment if it has not changed.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Overflows {
    /// By local port, in the order of [`Block::drops`].
    pub ports: [u32; PORTS_PER_BLOCK],
}

/// Packets that one overflow in [`Overflows`] stands for.
pub const PER_OVERFLOW: u64 = 1 << u16::BITS;

/// Where the drops of a local port are counted: block and place in the block.
#[inline(always)]
pub const fn port_counter(transport: Transport, port: u16) -> (u32, usize) {
    let index = transport as usize * PORTS + index(port);
    ((index / PORTS_PER_BLOCK) as u32, index % PORTS_PER_BLOCK)
}

const _: () = {
    assert!(size_of::<Counter>() == 16);
    assert!(size_of::<Block>() == 16 * 512 + 16 * 1024);
    assert!(INTERFACE_SLOTS.is_power_of_two() && INTERFACE_PLACES.is_power_of_two());
    assert!(size_of::<Overflows>() == 32 * 1024);
    // The kernel's bound for a per-CPU element (PCPU_MIN_UNIT_SIZE).
    assert!(size_of::<Block>() <= 32 * 1024 && size_of::<Overflows>() <= 32 * 1024);
};
