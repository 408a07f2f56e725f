//! SYN cookies: answers to new connections that need no memory (RFC 4987, section 3.6).

use bytemuck::{Pod, Zeroable};

use super::{Holds, SharedMap};

/// Hash map (`u32`, a slot as in [`Node::slot`](crate::abi::Node::slot) → [`SynCount`]) of the rules
/// whose new connections are counted.
pub const SYN_COUNTS: SharedMap = SharedMap {
    name: "SYN_COUNTS",
    pin: "syn_counts",
    holds: Holds::Limits,
    since: 10,
};

/// Rules in [`SYN_COUNTS`] at most; others never answer with cookies.
pub const MAX_SYN_COUNTS: u32 = 1 << 10;

/// New connections of a rule in a second, from which on they are answered with cookies.
pub const COOKIES_FROM: u64 = 1_000;
/// For how many seconds, from the last one that had so many.
pub const COOKIES_FOR: u64 = 10;

/// How many new connections a rule lets in. Many CPUs write it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct SynCount {
    /// Which second they came in, of `CLOCK_BOOTTIME`.
    pub second: u64,
    /// How many.
    pub count: u64,
    /// Until which second they are answered with cookies.
    pub armed_until: u64,
}

impl SynCount {
    /// Whether they are answered with cookies now.
    #[inline(always)]
    pub const fn is_armed(&self, second: u64) -> bool {
        self.armed_until >= second
    }
}
