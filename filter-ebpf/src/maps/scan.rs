//! The table of scans, and what is known of all of them. All generations share both.

use aya_ebpf::{helpers::bpf_jiffies64, macros::map, maps::Array};
use xdpfw_common::{
    abi::{SCAN_SHIFT, SCANNER_COUNT, ScanConfig, ScanState, Scanner, setting},
    scan::{Slot, Tag},
};

/// Written by the loader; the verifier sees constants.
#[unsafe(no_mangle)]
static SCAN: ScanConfig = ScanConfig {
    bits: 0,
    slow_bits: 0,
    window: 0,
    slow_window: 0,
    second: 0,
    minute: 0,
    rest: 0,
    bans_openers: 0,
    ban: 0,
    secret: [0; 2],
};

// The loader makes it small where scans are not looked for.
#[map]
static SCANNERS: Array<Scanner> = Array::with_max_entries(SCANNER_COUNT, 0);

#[unsafe(no_mangle)]
#[unsafe(link_section = ".bss.scan_tags")]
static mut SCAN_TAGS: [u32; SCANNER_COUNT as usize] = [0; SCANNER_COUNT as usize];

#[map]
static SCAN_STATE: Array<ScanState> = Array::with_max_entries(1, 0);

/// What the policy asks for. The compiler must not see the values, which are written after it is done:
/// [`setting`] reads them.
#[inline(always)]
pub const fn config() -> &'static ScanConfig {
    &SCAN
}

/// Whether scans are looked for.
#[inline(always)]
pub fn is_on() -> bool {
    setting(&SCAN.bits) != 0
}

/// Whether the program may ban sources by itself.
#[inline(always)]
pub fn bans_openers() -> bool {
    setting(&SCAN.bans_openers) != 0
}

/// How long who scans is banned, in nanoseconds; `None`: not at all.
#[inline(always)]
pub fn ban() -> Option<u64> {
    match setting(&SCAN.ban) {
        0 => None,
        nanoseconds => Some(nanoseconds),
    }
}

/// What nobody outside knows.
#[inline(always)]
pub fn secret() -> [u64; 2] {
    [setting(&SCAN.secret[0]), setting(&SCAN.secret[1])]
}

/// The place with this number.
#[inline(always)]
pub fn slot(index: u32) -> Option<&'static Slot> {
    let slot = SCANNERS.get_ptr(index)?;
    // SAFETY: a map value of the same size and alignment, of integers that all are written alone.
    Some(unsafe { &*slot.cast::<Slot>() })
}

/// The tag of the place with this number.
#[inline(always)]
pub fn tag(index: u32) -> &'static Tag {
    let tags = (&raw const SCAN_TAGS).cast::<Tag>();
    // SAFETY: within the array. As above.
    unsafe { &*tags.add((index % SCANNER_COUNT) as usize) }
}

/// What is known of all scans.
#[inline(always)]
pub fn state() -> Option<*mut ScanState> {
    SCAN_STATE.get_ptr_mut(0)
}

/// The time of scans.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: it has no arguments.
    unsafe { bpf_jiffies64() >> SCAN_SHIFT }
}
