//! Bans: sources whose packets are dropped where they would pass.

use bytemuck::{Pod, Zeroable};

use super::{Holds, SharedMap};
use crate::wire::ip::Addresses;

/// Names of the globals of bans.
pub mod names {
    /// A `u32`, [`BANS_ANY`](super::BANS_ANY) and its like, in the section that
    /// [`BANNED`](super::BANNED) names.
    pub const BANNED: &str = "BANNED";
}

/// Hash map ([`BanKey`] → [`Ban`]) of single sources: IPv4 addresses, and the /64 that an IPv6 host
/// picks its addresses from (RFC 4291, section 2.5.4).
pub const BANS: SharedMap = SharedMap::of_bans("BANS", "bans");
/// Trie ([`Source`] → [`Ban`]) of all other prefixes.
pub const BANNED_NETS: SharedMap = SharedMap::of_bans("BANNED_NETS", "banned_nets");
/// Array of [`BanBlock`]s: a bit for each [block](ban_place) of sources, set if any of it is banned.
/// Bits may be set too many; in front of the other two, they make the packets of everybody else cost
/// one load.
pub const BAN_BLOCKS: SharedMap = SharedMap::of_bans("BAN_BLOCKS", "ban_blocks");
/// Trie ([`Source`] → [`Trusted`]) of who is never banned, whatever the others say. Asked only about
/// somebody who is in them.
pub const TRUSTED: SharedMap = SharedMap {
    name: "TRUSTED",
    pin: "trusted",
    holds: Holds::Trust,
    since: 10,
};
/// The section of [`names::BANNED`], which is a map of one element.
pub const BANNED: SharedMap = SharedMap::of_bans(".bss.banned", "banned");

/// In [`names::BANNED`]: somebody is banned.
pub const BANS_ANY: u32 = 1 << 0;
/// The same, and also from answering what this host asked.
pub const BANS_HARD: u32 = 1 << 1;

/// In [`names::BANNED`]: some of them are those of lists. Programs do not ask for it.
pub const BANS_OF_LISTS: u32 = 1 << 2;

/// Bans at most, by [`BANS`] and by [`BANNED_NETS`], where no lists ban.
pub const MAX_BANS: [u32; 2] = [1 << 18, 1 << 16];

/// Prefixes in [`TRUSTED`] at most.
pub const MAX_TRUSTED: u32 = 1 << 12;

/// What [`TRUSTED`] says of a prefix: why, in the bits below. Packets only ask whether it is there.
pub type Trusted = u32;
/// In [`Trusted`]: the policy says so.
pub const TRUSTED_BY_POLICY: Trusted = 1 << 0;
/// A default route leads to it.
pub const TRUSTED_GATEWAY: Trusted = 1 << 1;
/// This host asks it for names.
pub const TRUSTED_RESOLVER: Trusted = 1 << 2;
/// The other end of an operator's session.
pub const TRUSTED_SESSION: Trusted = 1 << 3;

/// A source as the maps have it: an IPv6 address, or [`V4`] and an IPv4 address and zeros. In network
/// byte order.
pub type Source = [u8; 16];
/// What [`BANS`] knows a source by: the first 64 bits of it.
pub type BanKey = [u8; 8];

/// What stands in front of an IPv4 address: it makes all of them 64 bits long, and no host takes an IPv6
/// packet from a source with it, since `ff00::/8` is for groups (RFC 4291, section 2.7).
pub const V4: [u8; 4] = [0xff; 4];
/// Bits of a [`BanKey`].
pub const EXACT: u8 = 64;

/// A ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Ban {
    /// Until when, in nanoseconds of `CLOCK_BOOTTIME`; [`u64::MAX`] for good.
    pub until: u64,
    /// Packets that were dropped for it. Many CPUs add to it.
    pub packets: u64,
    /// Who wants it: bit 0 is the operator, the others are lists by their numbers.
    pub origins: u32,
    /// 1: what answers this host is dropped, too.
    pub hard: u8,
    /// Length of the prefix, of a [`Source`]: behind a ban that is over, a wider one may be.
    pub len: u8,
    /// Always zero.
    pub padding: [u8; 2],
}

/// The bits of some blocks: a line of the cache.
pub type BanBlock = [u64; 8];

/// How many bits of an IPv4 address tell its block.
pub const BLOCK_BITS4: u8 = 24;
/// The same of an IPv6 address. Blocks share bits, as there are more of them.
pub const BLOCK_BITS6: u8 = 32;
/// Bits for the blocks of each version of IP.
const BITS: u32 = 1 << 24;
/// Elements of [`BAN_BLOCKS`].
pub const BAN_BLOCK_COUNT: u32 = 2 * BITS / (8 * size_of::<BanBlock>() as u32);

/// Where the bit is of the block that a source is in: the element, the word in it, and the bit.
#[inline(always)]
pub const fn ban_place(source: &Source) -> (u32, usize, u64) {
    let [a, b, c, d, e, f, g, ..] = *source;
    let first = u32::from_be_bytes([a, b, c, d]);
    let number = if first == u32::from_be_bytes(V4) {
        u32::from_be_bytes([0, e, f, g])
    } else {
        // Fibonacci hashing: the upper bits of the product depend on all bits.
        BITS | (first.wrapping_mul(0x9e37_79b9) >> 8)
    };
    (number >> 9, (number >> 6) as usize & 7, 1 << (number & 63))
}

/// What [`BANS`] knows a source by.
#[inline(always)]
pub const fn ban_key(source: &Source) -> BanKey {
    let [a, b, c, d, e, f, g, h, ..] = *source;
    [a, b, c, d, e, f, g, h]
}

/// The source of a packet that comes in with these addresses.
#[inline(always)]
pub const fn ban_source(addresses: &Addresses<'_>) -> Source {
    match addresses {
        Addresses::V4(ends) => {
            let [v0, v1, v2, v3] = V4;
            let [a, b, c, d] = *ends.remote;
            [v0, v1, v2, v3, a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        Addresses::V6(ends) => *ends.remote,
    }
}

const _: () = assert!(size_of::<Ban>() == 24);
