//! The TCP options that a cookie itself has no room for. The kernel reads them back from the timestamp
//! that the other end returns, as it does with its own answers (`cookie_init_timestamp` and
//! `cookie_timestamp_decode` in net/ipv4/syncookies.c).

use aya_ebpf::helpers::bpf_ktime_get_ns;
use xdpfw_common::abi::{COOKIE_BITS, COOKIE_SACK, COOKIE_SCALE, COOKIE_TIMESTAMPS};
use xdpfw_ebpf::packet::opaque;

use super::{SCRATCH_SYN, TCP};
use crate::maps::tables::cookie_options;

/// Kinds of options (RFC 9293, RFC 2018, RFC 7323).
const END: u8 = 0;
const NOTHING: u8 = 1;
const SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const TIMESTAMPS: u8 = 8;
/// By how many bits a window is shifted at most (RFC 7323, section 2.3).
const MOST_SCALE: u8 = 14;
/// Options that are looked at; what comes behind them was not asked for. Systems ask for four, and have
/// two or three that do nothing in between.
const MOST: usize = 16;
/// Nanoseconds in a unit of timestamps.
const MILLISECOND: u64 = 1_000_000;

/// What is agreed on with who opens a connection: what he asks for and this host offers.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Options {
    /// As in [`Config::cookie_options`](xdpfw_common::abi::Config::cookie_options), but for the scale,
    /// which is that of his windows.
    bits: u32,
    /// What his clock shows.
    echo: u32,
}

impl Options {
    /// The size of segments alone.
    pub const NONE: Self = Self {
        bits: COOKIE_SCALE,
        echo: 0,
    };

    /// Whether the answer has timestamps. Without them, all else would be lost.
    #[inline(always)]
    pub fn has_timestamps(self) -> bool {
        cookie_options() & self.bits & COOKIE_TIMESTAMPS != 0
    }

    /// The options of the answer behind that for the size of segments.
    #[inline(always)]
    pub fn words(self) -> [u32; 4] {
        let nothing = u32::from(NOTHING);
        let nothing = nothing << 8 | nothing;
        let sack = match self.bits & COOKIE_SACK {
            0 => nothing,
            _ => u32::from(SACK_PERMITTED) << 8 | 2,
        };
        let scale = match self.bits & COOKIE_SCALE {
            COOKIE_SCALE => nothing,
            _ => u32::from(SCALE) << 8 | 3,
        };
        let own_scale = match self.bits & COOKIE_SCALE {
            COOKIE_SCALE => nothing,
            _ => (cookie_options() & COOKIE_SCALE) << 8 | u32::from(NOTHING),
        };
        [
            sack << 16 | u32::from(TIMESTAMPS) << 8 | 10,
            self.timestamp(),
            self.echo,
            scale << 16 | own_scale,
        ]
    }

    /// What this host's clock shows, with the options in its last bits; never ahead of the clock.
    #[inline(always)]
    fn timestamp(self) -> u32 {
        let unit = 1_u64 << COOKIE_BITS;
        // SAFETY: it takes nothing and reads a clock.
        let now = unsafe { bpf_ktime_get_ns() } / MILLISECOND;
        let carried = u64::from(self.bits & (COOKIE_SACK | COOKIE_SCALE));
        let timestamp = now & !(unit - 1) | carried;
        let timestamp = match timestamp > now {
            true => timestamp.wrapping_sub(unit),
            false => timestamp,
        };
        timestamp as u32
    }
}

/// Reads what the packet in question asks for, whose TCP header has so many bytes and is in the scratch.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn read_cookie_options(len: u32) -> u32 {
    let Some(scratch) = SCRATCH_SYN.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: a map value of this type, this CPU's own.
    let scratch = unsafe { &mut *scratch };
    let offered = cookie_options();
    let header = scratch.tcp.as_ptr().cast::<u8>();
    let byte = |at: usize| match at < TCP as usize {
        // SAFETY: the header has room for so many bytes.
        true => unsafe { header.add(at).read() },
        false => END,
    };
    let mut at = 20;
    for _ in 0..MOST {
        // What the verifier knows of it would be another thing each time.
        at = opaque(at) & 0x3f;
        let kind = byte(at);
        let size = byte(at + 1) as usize;
        if kind == END || at >= len as usize {
            break;
        }
        if kind == NOTHING {
            at += 1;
            continue;
        }
        if size < 2 || at + size > len as usize {
            break;
        }
        match (kind, size) {
            (TIMESTAMPS, 10) => {
                scratch.options.bits |= offered & COOKIE_TIMESTAMPS;
                scratch.options.echo =
                    u32::from_be_bytes([byte(at + 2), byte(at + 3), byte(at + 4), byte(at + 5)]);
            }
            (SACK_PERMITTED, 2) => scratch.options.bits |= offered & COOKIE_SACK,
            (SCALE, 3) if offered & COOKIE_SCALE != COOKIE_SCALE => {
                let scale = byte(at + 2).min(MOST_SCALE);
                scratch.options.bits = scratch.options.bits & !COOKIE_SCALE | u32::from(scale);
            }
            _ => {}
        }
        at += size;
    }
    0
}
