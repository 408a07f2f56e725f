//! The table of bans: who is dropped where a rule or the default would let him in. All generations
//! share it, and packets read it while it is written.
//!
//! A prefix may be banned by several: by the operator, whose bit is [`MANUAL`], and by lists, each of
//! which has a bit of its own. It is banned until the last of them takes it back.
//!
//! No packet is misjudged meanwhile: a block is marked before somebody of it is banned, and a ban is
//! gone before the mark is. What stays banned is not touched.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use anyhow::{Context as _, Result};
use aya::maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, MapInfo, lpm_trie::Key};
use ipnet::IpNet;
use xdpfw_common::abi::{
    BAN_BLOCK_COUNT, BAN_BLOCKS, BANNED, BANNED_NETS, BANS, BANS_ANY, BANS_HARD, BANS_OF_LISTS,
    BLOCK_BITS4, BLOCK_BITS6, Ban, BanBlock, BanKey, EXACT, Source, V4, ban_key, ban_place,
};

use super::{pins::PinDirectory, syscall};
use crate::lists::PrefixSet;

/// Bytes of a [`Ban`].
const BAN: usize = size_of::<Ban>();
/// Keys that are read or written in one call.
const BATCH: usize = 10_000;
/// The bit of [`Ban::origins`] of the operator's own.
pub const MANUAL: u32 = 1 << 0;
/// Words of a [`BanBlock`].
const WORDS: usize = size_of::<BanBlock>() / size_of::<u64>();

/// A key of the trie as the kernel has it: length, then address.
type NetKey = [u8; size_of::<u32>() + size_of::<Source>()];

/// The table, open.
pub struct Bans {
    exact: HashMap<MapData, BanKey, [u8; BAN]>,
    /// The same map, for calls that aya has not.
    exact_map: OwnedFd,
    nets: LpmTrie<MapData, Source, [u8; BAN]>,
    /// The same map.
    nets_map: OwnedFd,
    blocks: Array<MapData, BanBlock>,
    /// The same map.
    blocks_map: OwnedFd,
    banned: Array<MapData, u32>,
    /// Of the map of single sources: its number, and its room.
    number: u32,
    room: [u32; 2],
}

impl Bans {
    pub(super) fn open(directory: &PinDirectory) -> Result<Self> {
        let open = |pin| MapData::from_pin(directory.pin(pin)).context("cannot open the bans");
        let exact = open(BANS.pin)?;
        let nets = open(BANNED_NETS.pin)?;
        let info = exact.info()?;
        Ok(Self {
            number: info.id(),
            room: [info.max_entries(), nets.info()?.max_entries()],
            exact: Map::HashMap(exact).try_into()?,
            exact_map: syscall::open_pin(&directory.pin(BANS.pin))?,
            nets: Map::LpmTrie(nets).try_into()?,
            nets_map: syscall::open_pin(&directory.pin(BANNED_NETS.pin))?,
            blocks: Map::Array(open(BAN_BLOCKS.pin)?).try_into()?,
            blocks_map: syscall::open_pin(&directory.pin(BAN_BLOCKS.pin))?,
            banned: Map::Array(open(BANNED.pin)?).try_into()?,
        })
    }

    /// The kernel's number for it, by which it is known again.
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// For how many single sources and for how many other prefixes it has room.
    pub const fn room(&self) -> [u32; 2] {
        self.room
    }

    /// Whether lists ban.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn has_lists(&self) -> Result<bool> {
        Ok(self.banned.get(&0, 0)? & BANS_OF_LISTS != 0)
    }

    /// Bans prefixes for the operator, each in place of a ban of his that it has; packets that were
    /// counted go on to be. Those that are there for another reason stay, too.
    ///
    /// # Errors
    ///
    /// There is no room, or the kernel refuses. Some may be banned then.
    pub fn add(&mut self, bans: &[(IpNet, Ban)]) -> Result<()> {
        let mut blocks = Blocks::new();
        let mut entries = Entries::default();
        let mut flags = BANS_ANY;
        for (prefix, ban) in bans {
            let (source, len) = place_of(prefix);
            blocks.mark(&source, len);
            let mut ban = Ban { len, ..*ban };
            if let Some(known) = self.get(prefix)? {
                ban.packets = known.packets;
                ban.origins |= known.origins;
                if known.origins & !MANUAL != 0 {
                    // Lists ban for good.
                    ban.until = u64::MAX;
                }
            }
            flags |= u32::from(ban.hard) * BANS_HARD;
            entries.push(source, ban);
        }
        self.mark(&blocks)?;
        self.write(&entries)?;
        self.raise(flags)
    }

    /// Ends the operator's ban of a prefix; whether there was one. What lists ban stays banned.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn remove(&mut self, prefix: &IpNet) -> Result<bool> {
        let Some(ban) = self.get(prefix)?.filter(|ban| ban.origins & MANUAL != 0) else {
            return Ok(false);
        };
        let (source, _) = place_of(prefix);
        let origins = ban.origins & !MANUAL;
        let mut entries = Entries::default();
        if origins == 0 {
            entries.push(source, ban);
            self.erase(&entries)?;
        } else {
            let of_lists = Ban {
                origins,
                until: u64::MAX,
                hard: 0,
                ..ban
            };
            entries.push(source, of_lists);
            self.write(&entries)?;
        }
        Ok(true)
    }

    /// Bans prefixes for a list, which has this bit of [`Ban::origins`]. `is_shared` tells which of
    /// them others may have banned already.
    ///
    /// # Errors
    ///
    /// There is no room, or the kernel refuses. Some may be banned then.
    pub fn add_list(
        &mut self,
        origin: u32,
        prefixes: &PrefixSet,
        is_shared: impl Fn(&IpNet) -> bool,
    ) -> Result<()> {
        if prefixes.is_empty() {
            return Ok(());
        }
        let mut blocks = Blocks::new();
        for prefix in prefixes.iter() {
            let (source, len) = place_of(&prefix);
            blocks.mark(&source, len);
        }
        self.mark(&blocks)?;
        let mut entries = Entries::default();
        for prefix in prefixes.iter() {
            let (source, len) = place_of(&prefix);
            let known = match is_shared(&prefix) {
                true => self.get(&prefix)?,
                false => None,
            };
            let new = Ban {
                until: u64::MAX,
                packets: 0,
                origins: 0,
                hard: 0,
                len,
                padding: [0; 2],
            };
            let ban = known.unwrap_or(new);
            let ban = Ban {
                origins: ban.origins | origin,
                until: u64::MAX,
                ..ban
            };
            entries.push(source, ban);
            if entries.len() == BATCH {
                self.write(&std::mem::take(&mut entries))?;
            }
        }
        self.write(&entries)?;
        self.raise(BANS_ANY | BANS_OF_LISTS)
    }

    /// Takes back what a list banned. `others` is what the operator has banned of it, who may have
    /// said an end; `is_shared` as in [`Bans::add_list`].
    ///
    /// # Errors
    ///
    /// The kernel refuses. Some may be banned no more then.
    pub fn remove_list(
        &mut self,
        origin: u32,
        prefixes: &PrefixSet,
        is_shared: impl Fn(&IpNet) -> bool,
        others: impl Fn(&IpNet) -> Option<Ban>,
    ) -> Result<()> {
        let (mut gone, mut kept) = (Entries::default(), Entries::default());
        for prefix in prefixes.iter() {
            let (source, len) = place_of(&prefix);
            let known = match is_shared(&prefix) {
                true => self.get(&prefix)?,
                false => None,
            };
            let origins = known.map_or(0, |ban| ban.origins & !origin);
            // The operator's, which is over by now, is none.
            let manual = others(&prefix).filter(|_| origins & MANUAL != 0);
            let origins = match manual {
                Some(_) => origins,
                None => origins & !MANUAL,
            };
            match known.filter(|_| origins != 0) {
                Some(ban) => kept.push(
                    source,
                    Ban {
                        origins,
                        until: match manual.filter(|_| origins == MANUAL) {
                            Some(manual) => manual.until,
                            None => u64::MAX,
                        },
                        hard: manual.map_or(0, |manual| manual.hard),
                        ..ban
                    },
                ),
                None => gone.push(source, Ban { len, ..NOBODY }),
            }
            if gone.len() == BATCH {
                self.erase(&std::mem::take(&mut gone))?;
            }
        }
        self.erase(&gone)?;
        self.write(&kept)
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

    /// The bans around a source, over or not, the narrowest first.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn around(&self, source: IpAddr) -> Result<Vec<(IpNet, Ban)>> {
        let (source, mut len) = place_of(&IpNet::from(source));
        let mut around = Vec::new();
        match self.exact.get(&ban_key(&source), 0) {
            Ok(ban) => around.push((
                prefix_of(&masked(&source, EXACT), EXACT),
                bytemuck::cast(ban),
            )),
            Err(MapError::KeyNotFound) => {}
            Err(error) => return Err(error).context("cannot read a ban"),
        }
        loop {
            match self.nets.get(&Key::new(u32::from(len), source), 0) {
                Ok(ban) => {
                    let ban: Ban = bytemuck::cast(ban);
                    around.push((prefix_of(&masked(&source, ban.len), ban.len), ban));
                    match ban.len.checked_sub(1) {
                        Some(wider) => len = wider,
                        None => return Ok(around),
                    }
                }
                Err(MapError::KeyNotFound) => return Ok(around),
                Err(error) => return Err(error).context("cannot read a ban"),
            }
        }
    }

    /// All of them, over or not.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn entries(&self) -> Result<Vec<(IpNet, Ban)>> {
        let exact: Vec<(BanKey, Ban)> = syscall::entries(self.exact_map.as_fd(), self.room[0])
            .context("cannot read the bans")?;
        let mut entries = Vec::with_capacity(exact.len());
        for (key, ban) in exact {
            let mut source = [0; size_of::<Source>()];
            source[..key.len()].copy_from_slice(&key);
            entries.push((prefix_of(&source, EXACT), ban));
        }
        for entry in self.nets.iter() {
            let (key, ban) = entry.context("cannot read the bans")?;
            let len = u8::try_from(key.prefix_len())?;
            entries.push((prefix_of(&key.data(), len), bytemuck::cast(ban)));
        }
        Ok(entries)
    }

    /// Takes over all that another table has, into this one, which nothing reads yet.
    ///
    /// # Errors
    ///
    /// There is no room, or the kernel refuses.
    pub fn copy(&mut self, other: &Self) -> Result<()> {
        let mut entries = Entries::default();
        for (prefix, ban) in other.entries()? {
            let (source, _) = place_of(&prefix);
            entries.push(source, ban);
        }
        self.write(&entries)
    }

    /// Empties the trie, a part at a time: the kernel frees one that goes with all that is in it in
    /// one go.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn empty_trie(&mut self) -> Result<()> {
        loop {
            let mut keys: Vec<NetKey> = Vec::new();
            for key in self.nets.keys().take(BATCH) {
                let key = key?;
                keys.push(net_key(&key.data(), u8::try_from(key.prefix_len())?));
            }
            if keys.is_empty() {
                return Ok(());
            }
            syscall::remove(self.nets_map.as_fd(), &keys).context("cannot end bans")?;
        }
    }

    /// Says that nobody is banned, if so: then packets pay one load. And which blocks somebody is
    /// banned of, by the bans of the operator's that are left; where lists ban, more may be marked.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn tidy(&mut self, left: &[(IpNet, bool)]) -> Result<()> {
        let of_lists = self.banned.get(&0, 0)? & BANS_OF_LISTS;
        let hard = left.iter().any(|(_, hard)| *hard);
        if of_lists != 0 {
            let flags = BANS_ANY | of_lists | (u32::from(hard) * BANS_HARD);
            return Ok(self.banned.set(0, flags, 0)?);
        }
        let left = left.iter().map(|(prefix, _)| *prefix);
        self.tidy_all(left, hard, false)
    }

    /// The same by all that are banned. `hard` tells whether somebody is from answering, `of_lists`
    /// whether lists ban.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn tidy_all(
        &mut self,
        left: impl IntoIterator<Item = IpNet>,
        hard: bool,
        of_lists: bool,
    ) -> Result<()> {
        let mut wanted = Blocks::new();
        let mut any = false;
        for prefix in left {
            let (source, len) = place_of(&prefix);
            wanted.mark(&source, len);
            any = true;
        }
        let flags = [
            (any, BANS_ANY),
            (hard, BANS_HARD),
            (of_lists, BANS_OF_LISTS),
        ];
        let flags = flags.into_iter().fold(0, |flags, (is_set, flag)| {
            flags | (u32::from(is_set) * flag)
        });
        if self.banned.get(&0, 0)? != flags {
            self.banned.set(0, flags, 0)?;
        }
        let count = BAN_BLOCK_COUNT as usize;
        let blocks = syscall::elements(self.blocks_map.as_fd(), 0, count, WORDS)
            .context("cannot read the bans")?;
        let blocks = blocks.as_chunks::<WORDS>().0;
        for ((element, block), wanted) in (0..).zip(blocks).zip(wanted.0.as_chunks::<WORDS>().0) {
            if block != wanted {
                self.blocks.set(element, *wanted, 0)?;
            }
        }
        Ok(())
    }

    /// Marks blocks, beside those that are.
    fn mark(&mut self, more: &Blocks) -> Result<()> {
        let marked = (0..).zip(more.0.as_chunks::<WORDS>().0);
        for (element, bits) in marked.filter(|(_, bits)| **bits != [0; WORDS]) {
            let mut block = self.blocks.get(&element, 0)?;
            let before = block;
            for (word, more) in block.iter_mut().zip(bits) {
                *word |= more;
            }
            if block != before {
                self.blocks.set(element, block, 0)?;
            }
        }
        Ok(())
    }

    fn write(&self, entries: &Entries) -> Result<()> {
        entries.exact.in_batches(self.exact_map.as_fd())?;
        entries.nets.in_batches(self.nets_map.as_fd())
    }

    fn erase(&self, entries: &Entries) -> Result<()> {
        for keys in entries.exact.keys.chunks(BATCH) {
            syscall::remove(self.exact_map.as_fd(), keys).context("cannot end bans")?;
        }
        for keys in entries.nets.keys.chunks(BATCH) {
            syscall::remove(self.nets_map.as_fd(), keys).context("cannot end bans")?;
        }
        Ok(())
    }

    /// Says that somebody is banned.
    fn raise(&mut self, flags: u32) -> Result<()> {
        let before = self.banned.get(&0, 0)?;
        match before | flags == before {
            true => Ok(()),
            false => Ok(self.banned.set(0, before | flags, 0)?),
        }
    }
}

/// For how many entries there is room in a map that is pinned at a path.
pub(super) fn room_of(pin: impl AsRef<std::path::Path>) -> Result<u32> {
    Ok(MapInfo::from_pin(pin)?.max_entries())
}

/// A ban of nobody, for nothing.
const NOBODY: Ban = Ban {
    until: 0,
    packets: 0,
    origins: 0,
    hard: 0,
    len: 0,
    padding: [0; 2],
};

/// Bans by the map that they are in.
#[derive(Default)]
struct Entries {
    exact: Pairs<BanKey>,
    nets: Pairs<NetKey>,
}

/// Keys, and their bans.
struct Pairs<K> {
    keys: Vec<K>,
    values: Vec<Ban>,
}

impl<K> Default for Pairs<K> {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            values: Vec::new(),
        }
    }
}

impl Entries {
    fn push(&mut self, source: Source, ban: Ban) {
        if ban.len == EXACT {
            self.exact.keys.push(ban_key(&source));
            self.exact.values.push(ban);
        } else {
            self.nets.keys.push(net_key(&source, ban.len));
            self.nets.values.push(ban);
        }
    }

    const fn len(&self) -> usize {
        self.exact.keys.len() + self.nets.keys.len()
    }
}

impl<K: bytemuck::NoUninit> Pairs<K> {
    fn in_batches(&self, map: BorrowedFd<'_>) -> Result<()> {
        let batches = self.keys.chunks(BATCH).zip(self.values.chunks(BATCH));
        for (keys, values) in batches {
            syscall::update(map, keys, values).map_err(full)?;
        }
        Ok(())
    }
}

fn net_key(source: &Source, len: u8) -> NetKey {
    let mut key = [0; size_of::<NetKey>()];
    let (place, address) = key.split_at_mut(size_of::<u32>());
    place.copy_from_slice(&u32::from(len).to_ne_bytes());
    address.copy_from_slice(source);
    key
}

/// The prefix that the table has so.
pub(super) fn prefix_of(source: &Source, len: u8) -> IpNet {
    let address: IpAddr = match source {
        [v0, v1, v2, v3, a, b, c, d, ..] if [*v0, *v1, *v2, *v3] == V4 => {
            Ipv4Addr::new(*a, *b, *c, *d).into()
        }
        _ => Ipv6Addr::from(*source).into(),
    };
    let len = match address {
        IpAddr::V4(_) => len.saturating_sub(32),
        IpAddr::V6(_) => len,
    };
    IpNet::new_assert(address, len)
}

/// The first bits of a source, with zeros behind.
fn masked(source: &Source, len: u8) -> Source {
    let bits = u128::from_be_bytes(*source);
    let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
    (bits & mask).to_be_bytes()
}

/// A bit for each block.
struct Blocks(Vec<u64>);

impl Blocks {
    fn new() -> Self {
        Self(vec![0; BAN_BLOCK_COUNT as usize * WORDS])
    }

    /// Marks the blocks of a prefix.
    fn mark(&mut self, source: &Source, len: u8) {
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
            self.0[element as usize * WORDS + word] |= bit;
        }
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
        let mut blocks = Blocks::new();
        blocks.mark(&source, len);
        blocks.0.iter().map(|word| word.count_ones() as usize).sum()
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
            let mut blocks = Blocks::new();
            blocks.mark(&source, len);
            for address in inside {
                let address: IpAddr = address.parse().unwrap();
                let (source, _) = place_of(&IpNet::from(address));
                let (element, word, bit) = ban_place(&source);
                assert_ne!(
                    blocks.0[element as usize * WORDS + word] & bit,
                    0,
                    "{prefix} {address}"
                );
            }
        }
    }

    #[test]
    fn the_table_has_one_place_for_a_prefix() {
        for prefix in [
            "203.0.113.7/32",
            "0.0.0.0/0",
            "10.0.0.0/8",
            "2001:db8::/64",
            "2001:db8::1/128",
            "::/0",
        ] {
            let prefix: IpNet = prefix.parse().unwrap();
            let (source, len) = place_of(&prefix);
            assert_eq!(prefix_of(&source, len), prefix);
        }
    }
}
