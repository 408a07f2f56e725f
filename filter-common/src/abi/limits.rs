//! Limits: how often each source may do what a rule lets it do.

use bytemuck::{Pod, Zeroable};

use super::{SharedMap, Source};

/// Names of the maps of limits that each generation has for itself.
pub mod names {
    /// Hash map (`u32`, a slot as in [`Node::slot`](crate::abi::Node::slot) → [`Limit`](super::Limit)).
    pub const LIMITS: &str = "LIMITS";
}

/// LRU hash map ([`LimitKey`] → `u64`) of the sources that limits know, and when the next packet of each
/// is due, in nanoseconds of `CLOCK_BOOTTIME` (the generic cell rate algorithm, ITU-T I.371, annex A).
/// Many CPUs write it. When it is full, it forgets who did nothing for the longest time, and who comes
/// again begins anew.
pub const LIMITED: SharedMap = SharedMap::of_limits("LIMITED", "limited");

/// In a value of [`LIMITED`]: it was told that the source is over the limit, and since then the source
/// has not been idle. The time is even without it.
pub const TOLD: u64 = 1;

/// Sources in [`LIMITED`] at most, of all limits together.
pub const MAX_LIMITED: u32 = 1 << 16;

/// What a rule limits. Times are in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Limit {
    /// From one packet to the next, at the rate of the limit. It is even: see [`TOLD`].
    pub interval: u64,
    /// By how much packets may come before their time: `burst` intervals, less one.
    pub tolerance: u64,
    /// How long who is over the limit may open nothing; 0: that has no consequence.
    pub ban: u64,
    /// Tells it from other limits, in [`LimitKey::limit`].
    pub number: u64,
    /// Bits of a [`Source`] over IPv4 and over IPv6 by which sources are told apart; 0 is not at all.
    pub len: [u8; 2],
    /// Always zero.
    pub padding: [u8; 6],
}

/// Whose packets are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct LimitKey {
    /// The source's prefix, with zeros behind.
    pub source: Source,
    /// [`Limit::number`].
    pub limit: u64,
}

const _: () = {
    assert!(size_of::<Limit>() == 40);
    assert!(size_of::<LimitKey>() == 24);
};
