//! Scans: who sends to ports that are closed, and whom the program bans by itself for it.

use bytemuck::{Pod, Zeroable};

use super::{BanKey, SharedMap};

/// Names of the globals of scans.
pub mod names {
    /// Read-only global, a [`ScanConfig`](super::ScanConfig).
    pub const SCAN: &str = "SCAN";
    /// Global, the [`Tag`](crate::scan::Tag)s, alone in the section that [`SCAN_TAGS`](super::SCAN_TAGS)
    /// names.
    pub const SCAN_TAGS: &str = "SCAN_TAGS";
}

/// Array of [`Scanner`]s, each in the place that the [hash](crate::scan::Place) of a source and of
/// the kind of its packets names.
pub const SCANNERS: SharedMap = SharedMap::of_bans("SCANNERS", "scanners");
/// The section of [`names::SCAN_TAGS`], which is a map of one element: who is in each of
/// [`SCANNERS`], as [`Tag`](crate::scan::Tag)s. The program finds its way in such a map without a call.
pub const SCAN_TAGS: SharedMap = SharedMap::of_bans(".bss.scan_tags", "scan_tags");
/// Array of one [`ScanState`].
pub const SCAN_STATE: SharedMap = SharedMap::of_bans("SCAN_STATE", "scan_state");
/// Hash map ([`BanKey`] → [`OpenerBan`]) of the sources that may open nothing. A full table evicts
/// what was used least recently.
pub const OPENER_BANS: SharedMap = SharedMap::of_bans("OPENER_BANS", "opener_bans");

/// Elements of [`SCANNERS`], where scans are looked for: a power of two.
pub const SCANNER_COUNT: u32 = 1 << 14;
/// Entries of [`OPENER_BANS`], where the policy has any.
pub const MAX_OPENER_BANS: u32 = 1 << 14;
/// How many sources the program bans in a minute, at most. A flood of forged sources gets no further,
/// and [`MAX_OPENER_BANS`] are enough for what is banned in ten minutes.
pub const OPENER_BANS_PER_MINUTE: u64 = 1_000;

/// Bits for the ports of a source: distinct ports are counted by how many of them are set.
pub const PORT_BITS: u32 = 128;

/// One packet in so many is counted of those that tell nothing new.
pub const SCAN_SAMPLE: u32 = 64;

/// The time of scans: the kernel's ticks, without so many of their lower bits.
pub const SCAN_SHIFT: u32 = 6;

/// What the policy asks for about scans and bans of openers. It is read-only data of the program, so
/// the verifier removes what the policy does not use. Times are in the [time of scans](SCAN_SHIFT).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct ScanConfig {
    /// How many bits are a scan that are set within [`ScanConfig::window`]; 0: scans are not looked
    /// for.
    pub bits: u32,
    /// The same for [`ScanConfig::slow_window`].
    pub slow_bits: u32,
    /// How long the ports are gathered that count together.
    pub window: u32,
    /// The same for slow scans.
    pub slow_window: u32,
    /// A second.
    pub second: u32,
    /// A minute.
    pub minute: u32,
    /// How long a source that was found is not found again.
    pub rest: u32,
    /// 1: the program may ban sources by itself.
    pub bans_openers: u32,
    /// For how long a scan bans its source, in nanoseconds; 0: it does not.
    pub ban: u64,
    /// [`ScanState::secret`].
    pub secret: [u64; 2],
}

/// A source, and what is known of its packets of one kind: a line of the cache.
///
/// The kernel program writes it from all CPUs at once, and no field alone means much. Times are in the
/// [time of scans](SCAN_SHIFT).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Scanner {
    /// The source, as bans know it, and the kind of its packets: see [`Scanner::source`].
    pub who: BanKey,
    /// The [`Kind`](crate::scan::Kind) of its packets; 0: nobody is here.
    pub kind: u8,
    /// What came of it: one of [`FOUND`], [`FOUND_BANNED`], [`FOUND_TRUSTED`], [`FOUND_CAPPED`]; 0
    /// before it was found.
    pub mark: u8,
    /// How many of `bits` are set.
    pub count: u8,
    /// How many of `slow` are set.
    pub slow_count: u8,
    /// Its packets, of which one in [`SCAN_SAMPLE`] was counted.
    pub packets: u32,
    /// When `slow` began: the first packet that counts.
    pub first: u32,
    /// The last packet, to about a second.
    pub last: u32,
    /// When `bits` began.
    pub start: u32,
    /// When it was found last.
    pub found: u32,
    /// Hashed bits of the closed ports that it sent to since `start`.
    pub bits: [u64; 2],
    /// The same since `first`.
    pub slow: [u64; 2],
}

impl Scanner {
    /// The source of packets of a kind as [`Scanner::who`] has it: one comparison tells both.
    #[inline(always)]
    pub const fn who(source: &BanKey, kind: u8) -> BanKey {
        let [a, b, c, d, e, f, g, h] = *source;
        [a ^ kind << 5, b, c, d, e, f, g, h]
    }

    /// The source, as bans know it.
    pub const fn source(&self) -> BanKey {
        Self::who(&self.who, self.kind)
    }
}

/// [`Scanner::mark`]: it is a scan, and nothing more comes of it.
pub const FOUND: u8 = 1;
/// [`Scanner::mark`]: its source was banned.
pub const FOUND_BANNED: u8 = 2;
/// [`Scanner::mark`]: its source would have been banned, and is trusted.
pub const FOUND_TRUSTED: u8 = 3;
/// [`Scanner::mark`]: its source would have been banned, but for
/// [`OPENER_BANS_PER_MINUTE`].
pub const FOUND_CAPPED: u8 = 4;

/// What is known of all scans and of all bans of openers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct ScanState {
    /// Random numbers, the same as long as the filter is up: without them nobody can tell which sources
    /// share a place.
    pub secret: [u64; 2],
    /// Until when somebody is banned at most, in the time of scans.
    pub until: u64,
    /// When the minute began that `banned` is of, in the time of scans.
    pub minute: u64,
    /// How many were banned in that minute.
    pub banned: u64,
    /// How many were not banned, since so many were already.
    pub capped: u64,
    /// When that happened last, in the time of scans; 0 if it never did.
    pub capped_at: u64,
    /// Always zero.
    pub padding: u64,
}

/// A source that may open nothing: its bare SYNs are dropped, and what it sends by UDP without being
/// asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct OpenerBan {
    /// Until when, in nanoseconds of `CLOCK_BOOTTIME`.
    pub until: u64,
    /// Since when, in the same way.
    pub since: u64,
    /// Packets that were dropped for it. Many CPUs add to it.
    pub packets: u64,
    /// Why: an [`OpenerOrigin`].
    pub origin: u32,
    /// Always zero.
    pub padding: u32,
}

/// Why the program bans a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum OpenerOrigin {
    /// It scans ports.
    Scan = 1,
    /// It is above a limit.
    Limit = 2,
}

impl OpenerOrigin {
    /// From its number.
    pub const fn of(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Scan),
            2 => Some(Self::Limit),
            _ => None,
        }
    }

    /// The user's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scan => "scan",
            Self::Limit => "limit",
        }
    }
}

const _: () = {
    assert!(size_of::<Scanner>() == 64 && size_of::<ScanState>() == 64);
    assert!(SCANNER_COUNT.is_power_of_two() && SCAN_SAMPLE.is_power_of_two());
};
