//! SYN cookies: answers to new connections that need no memory (RFC 4987, section 3.6).

use bytemuck::{Pod, Zeroable};

use super::SharedMap;

/// Hash map (`u32`, a slot as in [`Node::slot`](crate::abi::Node::slot) → [`SynCount`]) of the rules
/// whose new connections are counted.
pub const SYN_COUNTS: SharedMap = SharedMap::of_limits("SYN_COUNTS", "syn_counts");

/// Rules in [`SYN_COUNTS`] at most; others never answer with cookies.
pub const MAX_SYN_COUNTS: u32 = 1 << 10;

/// New connections of a rule in a second, from which on they are answered with cookies.
pub const COOKIES_FROM: u64 = 1_000;
/// For how many seconds, from the last one that had so many.
pub const COOKIES_FOR: u64 = 10;

/// [`Config::cookie_options`](crate::abi::Config::cookie_options): answers with cookies have timestamps
/// (RFC 7323), if they were asked for, and in these what else is agreed on. The bits below are those
/// that the kernel reads back from the timestamp (`cookie_timestamp_decode` in
/// net/ipv4/syncookies.c); here, they say what this host offers.
pub const COOKIE_TIMESTAMPS: u32 = 1 << 8;
/// Selective acknowledgments (RFC 2018).
pub const COOKIE_SACK: u32 = 1 << 4;
/// By how many bits a window is shifted; all set, if windows are not scaled.
pub const COOKIE_SCALE: u32 = 0xf;
/// The bits of a timestamp that carry options.
pub const COOKIE_BITS: u32 = 6;

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
