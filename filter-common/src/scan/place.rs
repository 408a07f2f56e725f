//! Where a source is in the table, and which bit stands for a port: by hashes that take a secret.

use super::Kind;
use crate::abi::{BanKey, PORT_BITS, SCANNER_COUNT};

/// Odd numbers whose bits are well mixed: those of SplitMix64 and of MurmurHash3's finaliser.
const MIX: [u64; 2] = [0x94d0_49bb_1331_11eb, 0xff51_afd7_ed55_8ccd];

/// A source and the kind of its packets, and their hash: two words, which a function can be handed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// [`Scanner::who`](crate::abi::Scanner::who), as a word.
    pub who: u64,
    /// All that the other methods need.
    pub hash: u64,
}

/// What stands for a port of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortMark {
    /// Which of the two words.
    pub word: usize,
    /// The bit in it.
    pub bit: u64,
    /// Random bits that decide whether the source takes the place of another; the upper ones are of
    /// more bits of the source and the port.
    pub luck: u32,
}

impl Place {
    /// Of a source, under a secret.
    #[inline(always)]
    pub const fn of(source: &BanKey, kind: Kind, secret: &[u64; 2]) -> Self {
        let [before, times] = *secret;
        // What `Scanner::who` does with bytes.
        let kind = [(kind as u8) << 5, 0, 0, 0, 0, 0, 0, 0];
        let who = u64::from_ne_bytes(*source) ^ u64::from_ne_bytes(kind);
        let mut hash = (who.to_be() ^ before).wrapping_mul(times | 1);
        hash = (hash ^ hash >> 32).wrapping_mul(MIX[0]);
        Self { who, hash }
    }

    /// The element of the table.
    #[inline(always)]
    pub const fn index(self) -> u32 {
        (self.hash >> (u64::BITS - SCANNER_COUNT.trailing_zeros())) as u32
    }

    /// The source as a [`Tag`](super::Tag) has it that is made at this time: the time in the upper half, to
    /// which the number of the element is added, since that costs less than to leave it out; and more
    /// bits of the hash in the lower, the last few of which are for the weight.
    #[inline(always)]
    pub const fn tag(self, now: u32) -> u32 {
        const UNUSED: u32 = u64::BITS - SCANNER_COUNT.trailing_zeros() - u16::BITS;
        (now << u16::BITS).wrapping_add((self.hash >> UNUSED) as u32)
    }

    /// What stands for a port, in host byte order.
    #[inline(always)]
    pub const fn port(self, port: u16) -> PortMark {
        // One product alone spreads neighbours more evenly than chance, or less, and the number of
        // bits would not be what so many ports mean.
        let port = (port as u64).wrapping_mul(MIX[1]);
        let hash = (self.hash ^ port).wrapping_mul(MIX[0]);
        let number = (hash >> (u64::BITS - PORT_BITS.trailing_zeros())) as u32;
        PortMark {
            word: (number >> 6) as usize & 1,
            bit: 1 << (number & 63),
            luck: (hash >> (u64::BITS - PORT_BITS.trailing_zeros() - u32::BITS)) as u32,
        }
    }
}
