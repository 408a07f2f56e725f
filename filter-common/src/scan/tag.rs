//! What a place tells most packets without being looked at.

use super::{Place, Slot, sketch::Field};
use crate::abi::{PORT_BITS, ScanConfig, setting};

/// Where the weight of the evidence is, and its highest value.
const WEIGHT: u32 = 0b1111;
/// The weight of a source that has set all bits: no port of it is new.
const ALL: u32 = WEIGHT;
/// The tag of a place where nobody has been.
const NOBODY: u32 = 0;

/// Who has a place, when it sent last, and how much is known of it, in so few bytes that the tags of all
/// places stay in a cache that the places do not.
///
/// The source is a hash of 12 bits, and the time the lower 16 bits: another source is taken for this one
/// now and then, and one that was here hours ago for one of this moment. Neither takes a place from a
/// source of which more is known than one port; they have a packet ignored, or made to need luck.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Tag(Field<u32>);

impl Tag {
    /// Whether a packet to a port needs no look at the place, or changes nothing there: what it tells is
    /// known, or the place is another source's. Most packets of a scan and of a flood end with that.
    ///
    /// Who has the luck to get the place from another one gets the tag first, and the place with its next
    /// packet. Most sources of a flood have none.
    #[inline(always)]
    pub fn settles<'a>(
        &self,
        place: Place,
        (port, is_counted): (u16, bool),
        now: u32,
        config: &ScanConfig,
        slot: impl FnOnce() -> Option<&'a Slot>,
    ) -> bool {
        let tag = self.0.get();
        let new = place.tag(now);
        // Rounded up, since the lower halves may borrow from the time.
        let since = new.wrapping_sub(tag).wrapping_add(u16::MAX.into());
        let idle = since >> u16::BITS;
        if is_same(new, tag) {
            return !is_counted
                && idle < setting(&config.second)
                && (tag & WEIGHT == ALL
                    || slot().is_some_and(|slot| slot.knows(place.port(port))));
        }
        if tag == NOBODY || idle > setting(&config.window) {
            return false;
        }
        if wins(place.port(port).luck, tag & WEIGHT) {
            self.0.set(new & !WEIGHT | 1);
        }
        true
    }

    /// Whether a source has the tag of a place, but not yet the place.
    #[inline(always)]
    pub(super) fn is_won(&self, place: Place, now: u32) -> bool {
        let tag = self.0.get();
        is_same(place.tag(now), tag) && tag & WEIGHT == 1
    }

    /// Notes that a source has the place, and how much is known of it.
    #[inline(always)]
    pub(super) fn set(&self, place: Place, now: u32, count: u8) {
        let weight = match u32::from(count) {
            PORT_BITS.. => ALL,
            count if count < ALL => count,
            _ => ALL - 1,
        };
        self.0.set(place.tag(now) & !WEIGHT | weight);
    }
}

/// Whether two tags are of one source.
#[inline(always)]
const fn is_same(one: u32, other: u32) -> bool {
    (one ^ other) as u16 & !(WEIGHT as u16) == 0
}

/// Whether a source with this luck takes the place of one whose evidence has a weight: one of sixteen,
/// with a weight of one, and one of four of those with each one more.
#[inline(always)]
pub(super) const fn wins(luck: u32, weight: u32) -> bool {
    let weight = if weight < WEIGHT { weight } else { WEIGHT };
    // As a long word, which may lose all its bits.
    (luck as u64) >> (u32::BITS - 2 - 2 * weight) == 0
}
