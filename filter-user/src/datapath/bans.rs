//! The table of bans: who is dropped where a rule or the default would let him in. All generations
//! share it, and packets read it while it is written.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    os::fd::{AsFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, lpm_trie::Key};
use ipnet::IpNet;
use xdpfw_common::abi::{
    BAN_BLOCKS, BANNED, BANNED_NETS, BANS, BANS_ANY, BANS_HARD, BLOCK_BITS4, BLOCK_BITS6, Ban,
    BanBlock, BanKey, EXACT, Source, V4, ban_key, ban_place,
};

use super::{pins::PinDirectory, syscall};

/// Bytes of a [`Ban`].
const BAN: usize = size_of::<Ban>();
/// Keys that are read or written in one call.
const BATCH: usize = 10_000;

/// The table, open.
pub struct Bans {
    exact: HashMap<MapData, BanKey, [u8; BAN]>,
    /// The same map, for calls that aya has not.
    exact_map: OwnedFd,
    nets: LpmTrie<MapData, Source, [u8; BAN]>,
    blocks: Array<MapData, BanBlock>,
    banned: Array<MapData, u32>,
}

impl Bans {
    pub(super) fn open(directory: &PinDirectory) -> Result<Self> {
        let open = |pin| MapData::from_pin(directory.pin(pin)).context("cannot open the bans");
        Ok(Self {
            exact: Map::HashMap(open(BANS.pin)?).try_into()?,
            exact_map: syscall::open_pin(&directory.pin(BANS.pin))?,
            nets: Map::LpmTrie(open(BANNED_NETS.pin)?).try_into()?,
            blocks: Map::Array(open(BAN_BLOCKS.pin)?).try_into()?,
            banned: Map::Array(open(BANNED.pin)?).try_into()?,
        })
    }

    /// Bans prefixes, each in place of a ban that it has; packets that were counted go on to be.
    /// Those that are there for another reason stay.
    ///
    /// # Errors
    ///
    /// There is no room, or the kernel refuses. Some may be banned then.
    pub fn add(&mut self, bans: &[(IpNet, Ban)]) -> Result<()> {
        let mut blocks: BTreeMap<u32, BanBlock> = BTreeMap::new();
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        let mut nets = Vec::new();
        let mut flags = BANS_ANY;
        for (prefix, ban) in bans {
            let (source, len) = place_of(prefix);
            mark(&mut blocks, &source, len);
            let mut ban = Ban { len, ..*ban };
            if let Some(known) = self.get(prefix)? {
                ban.packets = known.packets;
                ban.origins |= known.origins;
            }
            flags |= u32::from(ban.hard) * BANS_HARD;
            match len {
                EXACT => {
                    keys.push(ban_key(&source));
                    values.push(ban);
                }
                _ => nets.push((Key::new(u32::from(len), source), ban)),
            }
        }
        // Who sees a ban must find its block, and nobody looks before it is said that there are any.
        for (element, bits) in blocks {
            let mut block = self.blocks.get(&element, 0)?;
            if block
                .iter()
                .zip(&bits)
                .any(|(word, more)| word | more != *word)
            {
                for (word, more) in block.iter_mut().zip(bits) {
                    *word |= more;
                }
                self.blocks.set(element, block, 0)?;
            }
        }
        let map = self.exact_map.as_fd();
        for (keys, values) in keys.chunks(BATCH).zip(values.chunks(BATCH)) {
            syscall::update(map, keys, values).map_err(full)?;
        }
        for (key, ban) in nets {
            let ban = bytemuck::cast::<Ban, [u8; BAN]>(ban);
            self.nets
                .insert(&key, ban, 0)
                .map_err(|error| match error {
                    MapError::SyscallError(error) => full(error.io_error),
                    error => error.into(),
                })?;
        }
        let before = self.banned.get(&0, 0)?;
        if before | flags != before {
            self.banned.set(0, before | flags, 0)?;
        }
        Ok(())
    }

    /// Ends the ban of a prefix; whether there was one.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn remove(&mut self, prefix: &IpNet) -> Result<bool> {
        let (source, len) = place_of(prefix);
        let removed = match len {
            EXACT => self.exact.remove(&ban_key(&source)),
            _ => self.nets.remove(&Key::new(u32::from(len), source)),
        };
        match removed {
            Ok(()) => Ok(true),
            Err(MapError::KeyNotFound) => Ok(false),
            Err(error) if is_missing(&error) => Ok(false),
            Err(error) => Err(error).context("cannot end a ban"),
        }
    }

    /// The ban of a prefix, over or not.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn get(&self, prefix: &IpNet) -> Result<Option<Ban>> {
        let (source, len) = place_of(prefix);
        let found = match len {
            EXACT => self.exact.get(&ban_key(&source), 0),
            // What it finds may be wider.
            _ => self.nets.get(&Key::new(u32::from(len), source), 0),
        };
        match found {
            Ok(ban) => {
                let ban: Ban = bytemuck::cast(ban);
                Ok((ban.len == len).then_some(ban))
            }
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error).context("cannot read a ban"),
        }
    }

    /// Says that nobody is banned, if so: then packets pay one load. And which blocks somebody is
    /// banned of, by the bans that are left.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn tidy(&mut self, left: &[(IpNet, bool)]) -> Result<()> {
        let flags = left.iter().fold(0, |flags, (_, hard)| {
            flags | BANS_ANY | (u32::from(*hard) * BANS_HARD)
        });
        self.banned.set(0, flags, 0)?;
        let mut wanted: BTreeMap<u32, BanBlock> = BTreeMap::new();
        for (prefix, _) in left {
            let (source, len) = place_of(prefix);
            mark(&mut wanted, &source, len);
        }
        for element in 0..self.blocks.len() {
            let block = self.blocks.get(&element, 0)?;
            let wanted = wanted.get(&element).copied().unwrap_or_default();
            if block != wanted {
                self.blocks.set(element, wanted, 0)?;
            }
        }
        Ok(())
    }
}

/// A prefix as the table has it.
pub(super) fn place_of(prefix: &IpNet) -> (Source, u8) {
    let mut source = [0; 16];
    match prefix.network() {
        IpAddr::V4(address) => {
            source[..4].copy_from_slice(&V4);
            source[4..8].copy_from_slice(&address.octets());
            (source, prefix.prefix_len() + 32)
        }
        IpAddr::V6(address) => (address.octets(), prefix.prefix_len()),
    }
}

/// The prefix that the table has so.
pub(super) fn prefix_of(source: &Source, len: u32) -> IpNet {
    let len = u8::try_from(len).unwrap_or(u8::MAX);
    let net = match source.split_first_chunk() {
        Some((&V4, [a, b, c, d, ..])) => {
            IpNet::new([*a, *b, *c, *d].into(), len.saturating_sub(32))
        }
        _ => IpNet::new((*source).into(), len),
    };
    net.unwrap_or_else(|_| IpNet::from(IpAddr::from(*source)))
}

/// Marks the blocks of a prefix.
fn mark(blocks: &mut BTreeMap<u32, BanBlock>, source: &Source, len: u8) {
    // Of both versions of IP, the bits that tell the block end at this one.
    let is_ipv4 = source.starts_with(&V4);
    let end = match is_ipv4 {
        true => 32 + BLOCK_BITS4,
        false => BLOCK_BITS6,
    };
    let free = end.saturating_sub(len);
    let first = u128::from_be_bytes(*source);
    for number in 0..1_u128 << free {
        let block = first | number << (128 - u32::from(end));
        let (element, word, bit) = ban_place(&block.to_be_bytes());
        blocks.entry(element).or_default()[word] |= bit;
    }
}

pub(super) fn is_missing(error: &MapError) -> bool {
    matches!(error, MapError::SyscallError(error)
        if error.io_error.raw_os_error() == Some(libc::ENOENT))
}

/// What the kernel says where there is no room.
fn full(error: std::io::Error) -> anyhow::Error {
    match error.raw_os_error() {
        Some(libc::E2BIG | libc::ENOSPC | libc::ENOMEM) => {
            anyhow::anyhow!("there is no room for more bans (say `xdpfw unban`)")
        }
        _ => anyhow::Error::new(error).context("cannot write the bans"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(prefix: &str) -> usize {
        let (source, len) = place_of(&prefix.parse().unwrap());
        let mut blocks = BTreeMap::new();
        mark(&mut blocks, &source, len);
        let bits = blocks
            .values()
            .flatten()
            .map(|word| word.count_ones() as usize);
        bits.sum()
    }

    #[test]
    fn a_prefix_marks_the_blocks_that_it_is_in() {
        assert_eq!(blocks("203.0.113.7/32"), 1);
        assert_eq!(blocks("203.0.113.0/24"), 1);
        assert_eq!(blocks("203.0.112.0/23"), 2);
        assert_eq!(blocks("10.0.0.0/8"), 1 << 16);
        assert_eq!(blocks("0.0.0.0/0"), 1 << 24);
        assert_eq!(blocks("2001:db8::7/128"), 1);
        assert_eq!(blocks("2001:db8::/32"), 1);
        // Some share a bit.
        assert!((8000..=8192).contains(&blocks("2001:e000::/19")));
    }

    /// Each source of a prefix is in a block that is marked.
    #[test]
    fn a_source_is_in_a_block_of_its_prefix() {
        for (prefix, inside) in [
            ("203.0.112.0/23", ["203.0.112.1", "203.0.113.255"]),
            ("203.0.113.64/26", ["203.0.113.64", "203.0.113.127"]),
            ("2001:db8::/30", ["2001:db8::", "2001:dbb:ffff::1"]),
            ("2001:db8:7::/48", ["2001:db8:7::1", "2001:db8:7:ffff::1"]),
        ] {
            let (source, len) = place_of(&prefix.parse().unwrap());
            let mut blocks = BTreeMap::new();
            mark(&mut blocks, &source, len);
            for address in inside {
                let address: IpAddr = address.parse().unwrap();
                let (source, _) = place_of(&IpNet::from(address));
                let (element, word, bit) = ban_place(&source);
                assert_ne!(blocks[&element][word] & bit, 0, "{prefix} {address}");
            }
        }
    }
}
