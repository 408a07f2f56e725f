//! Where a source is in the table, and which bit stands for a port: by hashes that take a secret.

use super::Kind;
use crate::abi::{BanKey, PORT_BITS, SCANNER_COUNT};

/// Odd numbers whose bits are well mixed: those of MurmurHash3's finaliser and of SplitMix64.
const MIX: [u64; 2] = [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53];
const PORT_MIX: [u64; 2] = [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb];

/// The hash of a source and a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u64);

/// What stands for a port of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortMark {
    /// Which of the two words.
    pub word: usize,
    /// The bit in it.
    pub bit: u64,
    /// Random bits that decide whether the source takes the place of another.
    pub luck: u32,
}

impl Place {
    /// Of a source, under a secret.
    #[inline(always)]
    pub const fn of(source: &BanKey, kind: Kind, secret: &[u64; 2]) -> Self {
        let [before, times] = *secret;
        let source = u64::from_ne_bytes(*source);
        let mut hash = (source ^ before).wrapping_mul(times | 1);
        hash = (hash ^ hash >> 32 ^ kind as u64).wrapping_mul(MIX[0]);
        hash = (hash ^ hash >> 29).wrapping_mul(MIX[1]);
        Self(hash)
    }

    /// The element of the table.
    #[inline(always)]
    pub const fn index(self) -> u32 {
        (self.0 >> (u64::BITS - SCANNER_COUNT.trailing_zeros())) as u32
    }

    /// What stands for a port, in host byte order.
    #[inline(always)]
    pub const fn port(self, port: u16) -> PortMark {
        let mut hash = (self.0 ^ port as u64).wrapping_mul(PORT_MIX[0]);
        hash = (hash ^ hash >> 32).wrapping_mul(PORT_MIX[1]);
        let number = (hash >> (u64::BITS - PORT_BITS.trailing_zeros())) as u32;
        PortMark {
            word: (number >> 6) as usize & 1,
            bit: 1 << (number & 63),
            luck: (hash >> 16) as u32,
        }
    }
}
