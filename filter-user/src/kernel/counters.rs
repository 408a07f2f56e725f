//! The counters, read from the kernel and summed over its CPUs.

use std::path::Path;

use anyhow::{Context as _, Result};
use aya::{
    maps::{Map, MapData, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use xdpfw_common::{
    Reason, Transport, Verdict,
    abi::{BLOCKS, Block, Counter, PORTS_PER_BLOCK, port_counter},
};

use super::Record;

/// Words in a [`Block`]: aya reads arrays of words, and would have to know the
/// block's own type to read that.
const BLOCK_WORDS: usize = size_of::<Block>() / size_of::<u64>();
/// Words in a [`Counter`].
const COUNTER_WORDS: usize = size_of::<Counter>() / size_of::<u64>();

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Packets.
    pub packets: u64,
    /// Bytes: frames from the Ethernet header on, without the check sequence.
    pub bytes: u64,
}

impl Tally {
    fn add(&mut self, other: &Counter) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

impl std::ops::Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            packets: self.packets + other.packets,
            bytes: self.bytes + other.bytes,
        }
    }
}

/// All counters at one time.
#[derive(Clone, Debug)]
pub struct Snapshot {
    reasons: [Tally; Reason::SLOTS],
    /// Block after block.
    drops: Vec<u64>,
    rules: Vec<Tally>,
}

impl Snapshot {
    /// No packet seen, of a policy with so many rules.
    pub fn empty(rules: usize) -> Self {
        Self {
            reasons: [Tally::default(); Reason::SLOTS],
            drops: vec![0; BLOCKS * PORTS_PER_BLOCK],
            rules: vec![Tally::default(); rules],
        }
    }

    /// Packets judged for a reason.
    pub const fn reason(&self, reason: Reason) -> Tally {
        self.reasons[reason.slot()]
    }

    /// Packets that passed, or that were dropped.
    pub fn total(&self, verdict: Verdict) -> Tally {
        Reason::ALL
            .iter()
            .filter(|reason| reason.verdict() == verdict)
            .map(|&reason| self.reason(reason))
            .fold(Tally::default(), std::ops::Add::add)
    }

    /// Packets to a local port that were dropped.
    pub fn dropped(&self, transport: Transport, port: u16) -> u64 {
        let (block, place) = port_counter(transport, port);
        self.drops[block as usize * PORTS_PER_BLOCK + place]
    }

    /// Packets that each rule decided, in the order of the rules.
    pub fn rules(&self) -> &[Tally] {
        &self.rules
    }
}

/// A generation's counters, open: they can be read even after the generation
/// has been removed.
pub struct CounterMaps {
    blocks: PerCpuArray<MapData, [u64; BLOCK_WORDS]>,
    hits: PerCpuArray<MapData, [u64; COUNTER_WORDS]>,
    slots: Vec<u32>,
}

impl CounterMaps {
    pub(super) fn open(counters: &Path, rule_hits: &Path, record: &Record) -> Result<Self> {
        Ok(Self {
            blocks: open(counters)?.try_into()?,
            hits: open(rule_hits)?.try_into()?,
            slots: record.slots.clone(),
        })
    }

    /// Reads all of them.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn read(&self) -> Result<Snapshot> {
        let mut snapshot = Snapshot::empty(self.slots.len());
        for index in 0..BLOCKS {
            let mut sum = [0; BLOCK_WORDS];
            for cpu in self.blocks.get(&(index as u32), 0)?.iter() {
                for (sum, word) in sum.iter_mut().zip(cpu) {
                    *sum += word;
                }
            }
            let block: Block = bytemuck::cast(sum);
            for (tally, counter) in snapshot.reasons.iter_mut().zip(&block.totals) {
                tally.add(counter);
            }
            snapshot.drops[index * PORTS_PER_BLOCK..][..PORTS_PER_BLOCK]
                .copy_from_slice(&block.drops);
        }
        for (tally, slot) in snapshot.rules.iter_mut().zip(&self.slots) {
            for cpu in self.hits.get(slot, 0)?.iter() {
                tally.add(&bytemuck::cast(*cpu));
            }
        }
        Ok(snapshot)
    }
}

/// Sets counters of rules to zero.
pub(super) fn clear_slots(rule_hits: &Path, slots: &[u32]) -> Result<()> {
    if slots.is_empty() {
        return Ok(());
    }
    let mut hits = PerCpuArray::<_, [u64; COUNTER_WORDS]>::try_from(open(rule_hits)?)?;
    let cpus = nr_cpus().map_err(|(path, error)| anyhow::anyhow!("cannot read {path}: {error}"))?;
    for &slot in slots {
        let zero = PerCpuValues::try_from(vec![[0; COUNTER_WORDS]; cpus])?;
        hits.set(slot, zero, 0)?;
    }
    Ok(())
}

fn open(path: &Path) -> Result<Map> {
    let data = MapData::from_pin(path)
        .with_context(|| format!("cannot open the counters at {}", path.display()))?;
    Ok(Map::PerCpuArray(data))
}
