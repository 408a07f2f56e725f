//! Judges whether a packet is within a limit.

use crate::abi::{Limit, LimitKey, Source, TOLD};

/// What becomes of a packet, and when the next one of its source is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// It passes, and the source has been idle: the next one is due at this time.
    Fresh(u64),
    /// It passes, and the next one is due later by the interval.
    Within,
    /// It came too early.
    Over,
}

/// Judges a packet that comes now, of a source whose next packet is `due`.
#[inline(always)]
pub const fn take(limit: &Limit, due: u64, now: u64) -> Take {
    if due <= now {
        Take::Fresh(first_due(limit, now))
    } else if due - now <= limit.tolerance {
        Take::Within
    } else {
        Take::Over
    }
}

/// When the next packet is due of a source that begins now.
#[inline(always)]
pub const fn first_due(limit: &Limit, now: u64) -> u64 {
    now.wrapping_add(limit.interval) & !TOLD
}

/// By what a limit knows a source.
#[inline(always)]
pub const fn key(limit: &Limit, source: &Source, is_ipv6: bool) -> LimitKey {
    let len = limit.len[is_ipv6 as usize];
    let [high, low] = halves(source);
    // A shift by all bits of a word is none.
    let (high, low) = match len {
        0 => (0, 0),
        1..=64 => (high & (u64::MAX << (64 - len)), 0),
        _ => (high, low & (u64::MAX << ((128 - len) & 63))),
    };
    let (high, low) = (high.to_be_bytes(), low.to_be_bytes());
    let mut prefix = [0; 16];
    let mut place = 0;
    while place < 8 {
        prefix[place] = high[place];
        prefix[place + 8] = low[place];
        place += 1;
    }
    LimitKey {
        source: prefix,
        limit: limit.number,
    }
}

/// A source as two numbers.
#[inline(always)]
const fn halves(source: &Source) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *source;
    [
        u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        u64::from_be_bytes([i, j, k, l, m, n, o, p]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn limit(burst: u64, len: [u8; 2]) -> Limit {
        Limit {
            interval: SECOND,
            tolerance: (burst - 1) * SECOND,
            ban: 0,
            number: 7,
            len,
            padding: [0; 6],
        }
    }

    /// How many packets pass that come at these times, in tenths of a second.
    fn passed(burst: u64, times: impl IntoIterator<Item = u64>) -> usize {
        let limit = limit(burst, [64, 64]);
        let mut due = 0;
        let mut passed = 0;
        for time in times {
            let now = 1_000 * SECOND + time * SECOND / 10;
            match take(&limit, due, now) {
                Take::Fresh(next) => due = next,
                Take::Within => due += limit.interval,
                Take::Over => continue,
            }
            passed += 1;
        }
        passed
    }

    #[test]
    fn a_burst_passes_at_once_and_then_one_in_an_interval() {
        assert_eq!(passed(1, [0; 9]), 1);
        assert_eq!(passed(5, [0; 9]), 5);
        // Ten in a second, for ten seconds.
        assert_eq!(passed(5, 0..100), 14);
        // At the rate, all.
        assert_eq!(passed(1, (0..100).map(|second| second * 10)), 100);
        // Who waits may send a burst again, and no more.
        assert_eq!(passed(5, [[0; 9], [10_000; 9]].concat()), 10);
    }

    #[test]
    fn sources_are_told_apart_by_their_prefix() {
        let source = |byte: u8| {
            let mut source = [0xff; 16];
            source[byte as usize] = 0;
            source
        };
        for (len, apart) in [([0, 0], 0), ([24, 56], 7), ([64, 64], 8), ([96, 128], 16)] {
            let limit = limit(1, len);
            for byte in 0..16 {
                let same = key(&limit, &source(byte), true) == key(&limit, &[0xff; 16], true);
                assert_eq!(same, byte >= apart, "{len:?} {byte}");
            }
        }
        let v4 = key(&limit(1, [56, 64]), &[0xff; 16], false);
        assert_eq!(v4.source[..7], [0xff; 7]);
        assert_eq!(v4.source[7..], [0; 9]);
    }
}
