//! A place of the table, which all CPUs read and write at once.
//!
//! No two fields change together, so a place may say something that never was: a bit of one source
//! under the name of another, or a count that is one too low or too high for each CPU that writes at
//! the same moment. Nothing depends on more than that.

use core::{cell::UnsafeCell, mem::offset_of};

use super::{
    Kind, Place, PortMark,
    tag::{Tag, wins},
};
use crate::abi::{FOUND, FOUND_CAPPED, ScanConfig, Scanner, setting};

/// A [`Scanner`], as many write it.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Slot {
    who: Field<u64>,
    kind: Field<u8>,
    mark: Field<u8>,
    count: Field<u8>,
    slow_count: Field<u8>,
    packets: Field<u32>,
    first: Field<u32>,
    last: Field<u32>,
    start: Field<u32>,
    found: Field<u32>,
    bits: [Field<u64>; 2],
    slow: [Field<u64>; 2],
}

const _: () = {
    assert!(size_of::<Slot>() == size_of::<Scanner>());
    assert!(offset_of!(Slot, kind) == offset_of!(Scanner, kind));
    assert!(offset_of!(Slot, packets) == offset_of!(Scanner, packets));
    assert!(offset_of!(Slot, first) == offset_of!(Scanner, first));
    assert!(offset_of!(Slot, found) == offset_of!(Scanner, found));
    assert!(offset_of!(Slot, slow) == offset_of!(Scanner, slow));
};

/// A field that others read and write at the same time. For the kernel's virtual machine, `core` has
/// no atomic numbers of all sizes.
#[derive(Debug, Default)]
#[repr(transparent)]
pub(super) struct Field<T>(UnsafeCell<T>);

// SAFETY: it is read and written in one piece.
unsafe impl<T: Copy + Send> Sync for Field<T> {}

impl<T: Copy> Field<T> {
    #[inline(always)]
    pub(super) fn get(&self) -> T {
        // SAFETY: aligned and initialised.
        unsafe { self.0.get().read_volatile() }
    }

    #[inline(always)]
    pub(super) fn set(&self, value: T) {
        // SAFETY: as above.
        unsafe { self.0.get().write_volatile(value) };
    }
}

/// Bits of slow evidence that weigh as much as one that is new, of a source that pauses for a window.
/// With fewer, it gives way to any other: else those who only ever tried one port would keep the table.
const PAUSED: u32 = 8;
/// The same of one that pauses for 32 windows. So whoever fills the table has to go on with it.
const LONG_PAUSED: u32 = 32;

impl Slot {
    /// What came of the source that is here.
    #[inline(always)]
    pub fn set_mark(&self, mark: u8) {
        self.mark.set(mark);
    }

    /// How many bits are set that make a scan: the more of both windows.
    #[inline(always)]
    pub fn evidence(&self) -> u8 {
        let (count, slow) = (self.count.get(), self.slow_count.get());
        if count > slow { count } else { slow }
    }

    /// Whether it is known that the source that is here sent to a port.
    #[inline(always)]
    pub(super) fn knows(&self, PortMark { word, bit, .. }: PortMark) -> bool {
        self.bits[word & 1].get() & bit != 0
    }

    /// Whether another source takes this place, given its luck.
    #[inline(always)]
    fn gives_way(&self, luck: u32, now: u32, config: &ScanConfig) -> bool {
        if self.kind.get() == 0 {
            return true;
        }
        let idle = passed(self.last.get(), now);
        if idle > setting(&config.slow_window) {
            return true;
        }
        let window = setting(&config.window);
        let weight = if idle <= window {
            u32::from(self.count.get())
        } else if idle >> LONG_PAUSED.trailing_zeros() <= window {
            u32::from(self.slow_count.get()) / PAUSED
        } else {
            u32::from(self.slow_count.get()) / LONG_PAUSED
        };
        wins(luck, weight)
    }

    /// Begins anew with the first packet of a source. What is known of the one before is gone before
    /// its name is here.
    #[inline(always)]
    fn begin(&self, who: u64, kind: Kind, mark: PortMark, packets: u32, now: u32) {
        self.kind.set(0);
        self.count.set(1);
        self.slow_count.set(1);
        self.mark.set(0);
        self.packets.set(packets);
        for bits in [&self.bits, &self.slow] {
            bits[mark.word & 1].set(mark.bit);
            bits[!mark.word & 1].set(0);
        }
        self.first.set(now);
        self.start.set(now);
        self.last.set(now);
        self.who.set(who);
        self.kind.set(kind as u8);
    }

    /// Whether the source that is here may be found (again).
    #[inline(always)]
    fn is_to_find(&self, kind: Kind, now: u32, config: &ScanConfig) -> bool {
        let rest = match self.mark.get() {
            0 => return true,
            // The policy bans since.
            FOUND if setting(&config.ban) != 0 && matches!(kind, Kind::Syn) => return true,
            // It may have better luck.
            FOUND_CAPPED => setting(&config.minute),
            _ => setting(&config.rest),
        };
        passed(self.found.get(), now) >= rest
    }
}

/// Notes that a source sent a packet of this kind to a closed port, in its place; `packets` more, if they
/// are counted. Whether it is found to scan by that.
#[inline(always)]
pub fn note(
    (slot, tag): (&Slot, &Tag),
    (place, kind): (Place, Kind),
    (port, packets): (u16, u32),
    now: u32,
    config: &ScanConfig,
) -> bool {
    let mark = place.port(port);
    if slot.who.get() == place.who {
        if passed(slot.last.get(), now) >= setting(&config.second) {
            slot.last.set(now);
        }
        if passed(slot.start.get(), now) > setting(&config.window) {
            slot.bits[0].set(0);
            slot.bits[1].set(0);
            slot.count.set(0);
            slot.start.set(now);
        }
    } else {
        if !tag.is_won(place, now) && !slot.gives_way(mark.luck, now, config) {
            return false;
        }
        tag.set(place, now, 1);
        // One port is no scan.
        slot.begin(place.who, kind, mark, packets, now);
        return false;
    }
    let is_new = set(&slot.bits[mark.word & 1], &slot.count, mark.bit);
    tag.set(place, now, slot.count.get());
    if packets != 0 {
        let so_far = slot.packets.get();
        slot.packets.set(so_far.saturating_add(packets));
    }
    if !is_new {
        return false;
    }
    if passed(slot.first.get(), now) > setting(&config.slow_window) {
        slot.slow[0].set(0);
        slot.slow[1].set(0);
        slot.slow_count.set(0);
        slot.first.set(now);
    }
    set(&slot.slow[mark.word & 1], &slot.slow_count, mark.bit);
    let is_scan = u32::from(slot.count.get()) >= setting(&config.bits)
        || u32::from(slot.slow_count.get()) >= setting(&config.slow_bits);
    if !is_scan || !slot.is_to_find(kind, now, config) {
        return false;
    }
    slot.found.set(now);
    slot.set_mark(FOUND);
    true
}

/// Sets a bit and counts it; whether it was not set before.
#[inline(always)]
fn set(word: &Field<u64>, count: &Field<u8>, bit: u64) -> bool {
    let bits = word.get();
    if bits & bit != 0 {
        return false;
    }
    word.set(bits | bit);
    let so_far = count.get();
    count.set(so_far.saturating_add(1));
    true
}

/// The time that has passed since `then`; none, if another CPU is ahead.
#[inline(always)]
const fn passed(then: u32, now: u32) -> u32 {
    let passed = now.wrapping_sub(then);
    if passed > u32::MAX / 2 { 0 } else { passed }
}
