//! Reads the counters and sums them over the CPUs.

use std::{collections::HashMap, os::fd::AsFd as _};

use anyhow::{Context as _, Result};
use aya::{
    maps::{Array, Map, MapData, PerCpuArray, PerCpuValues},
    util::nr_cpus,
};
use xdpfw_common::{
    Reason, Transport, Verdict,
    abi::{
        BLOCKS, Block, COUNTERS, Counter, INTERFACE_SLOTS, InterfaceSlots, OTHER_INTERFACES,
        OVERFLOWS, PER_OVERFLOW, PORTS_PER_BLOCK, RULE_HITS, SharedMap, port_counter,
    },
};

use super::{Record, interfaces_counted, pins::PinDirectory, syscall};

/// Words in a [`Block`]: aya reads arrays of words, and would have to know the
/// block's own type to read that.
const BLOCK_WORDS: usize = size_of::<Block>() / size_of::<u64>();
/// Rules whose hits are read at once, at most.
const MOST_AT_ONCE: usize = 512;
/// Words in a [`Counter`].
const COUNTER_WORDS: usize = size_of::<Counter>() / size_of::<u64>();

/// All counters at one time.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// By the slot of the interface.
    reasons: [[Counter; Reason::SLOTS]; INTERFACE_SLOTS],
    interfaces: InterfaceSlots,
    /// Block after block.
    drops: Vec<u64>,
    rules: Vec<Counter>,
}

impl Snapshot {
    /// No packet seen, of a policy with so many rules.
    pub fn empty(rules: usize) -> Self {
        Self {
            reasons: [[Counter::default(); Reason::SLOTS]; INTERFACE_SLOTS],
            interfaces: InterfaceSlots::EMPTY,
            drops: vec![0; BLOCKS * PORTS_PER_BLOCK],
            rules: vec![Counter::default(); rules],
        }
    }

    /// Packets judged for a reason.
    pub fn reason(&self, reason: Reason) -> Counter {
        let counters = self.reasons.iter().map(|reasons| reasons[reason.slot()]);
        counters.fold(Counter::default(), std::ops::Add::add)
    }

    /// The interfaces that are counted apart, by name; `None` is all others.
    pub fn interfaces(&self) -> impl Iterator<Item = (Option<String>, InterfaceCounters<'_>)> {
        let slots = self.reasons.iter().enumerate();
        slots.filter_map(|(slot, reasons)| {
            let name = interfaces_counted::name(&self.interfaces, slot);
            let is_other = slot == OTHER_INTERFACES;
            let is_counted = reasons.iter().any(|counter| counter.packets > 0);
            (name.is_some() || is_other && is_counted).then_some((name, InterfaceCounters(reasons)))
        })
    }

    /// Packets that passed, or that were dropped.
    pub fn total(&self, verdict: Verdict) -> Counter {
        total(verdict, |reason| self.reason(reason))
    }

    /// Packets that passed, or that were dropped, of an interface; `None` if it is not counted
    /// apart.
    pub fn of_interface(&self, name: &str, verdict: Verdict) -> Option<Counter> {
        let mut all = self.interfaces();
        let found = all.find(|(other, _)| other.as_deref() == Some(name));
        found.map(|(_, counters)| counters.total(verdict))
    }

    /// The same of all interfaces that are not counted apart.
    pub fn of_others(&self, verdict: Verdict) -> Counter {
        InterfaceCounters(&self.reasons[OTHER_INTERFACES]).total(verdict)
    }

    /// Packets to a local port that were dropped.
    pub fn dropped(&self, transport: Transport, port: u16) -> u64 {
        let (block, place) = port_counter(transport, port);
        self.drops[block as usize * PORTS_PER_BLOCK + place]
    }

    /// Packets that each rule decided, in the order of the rules.
    pub fn rules(&self) -> &[Counter] {
        &self.rules
    }
}

/// The counters of one interface.
#[derive(Clone, Copy, Debug)]
pub struct InterfaceCounters<'a>(&'a [Counter; Reason::SLOTS]);

impl InterfaceCounters<'_> {
    /// Packets judged for a reason.
    pub const fn reason(&self, reason: Reason) -> Counter {
        self.0[reason.slot()]
    }

    /// Packets that passed, or that were dropped.
    pub fn total(&self, verdict: Verdict) -> Counter {
        total(verdict, |reason| self.reason(reason))
    }
}

fn total(verdict: Verdict, counter: impl Fn(Reason) -> Counter) -> Counter {
    let reasons = Reason::ALL
        .iter()
        .filter(|reason| reason.verdict() == verdict);
    let counters = reasons.map(|&reason| counter(reason));
    counters.fold(Counter::default(), std::ops::Add::add)
}

/// A generation's counters, open: they can be read even after the generation
/// has been removed.
pub struct CounterMaps {
    blocks: PerCpuArray<MapData, [u64; BLOCK_WORDS]>,
    overflows: PerCpuArray<MapData, [u32; PORTS_PER_BLOCK]>,
    hits: MapData,
    interfaces: Array<MapData, [u8; size_of::<InterfaceSlots>()]>,
    slots: Vec<u32>,
}

impl CounterMaps {
    /// Those of the generation in this directory.
    pub(super) fn open(directory: &PinDirectory, record: &Record) -> Result<Self> {
        Ok(Self {
            blocks: open(directory, COUNTERS)?.try_into()?,
            overflows: open(directory, OVERFLOWS)?.try_into()?,
            hits: map_data(directory, RULE_HITS)?,
            interfaces: interfaces_counted::open(directory)?,
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
        snapshot.interfaces = bytemuck::pod_read_unaligned(&self.interfaces.get(&0, 0)?);
        for (number, drops) in snapshot.drops.chunks_mut(PORTS_PER_BLOCK).enumerate() {
            let number = number as u32;
            let before = self.overflows.get(&number, 0)?;
            let blocks = self.blocks.get(&number, 0)?;
            let after = self.overflows.get(&number, 0)?;
            for ((block, before), after) in blocks.iter().zip(before.iter()).zip(after.iter()) {
                let block: &Block = bytemuck::cast_ref(block);
                let sums = snapshot.reasons.iter_mut().zip(&block.totals);
                for (sums, totals) in sums {
                    for (sum, &counter) in sums.iter_mut().zip(totals) {
                        *sum += counter;
                    }
                }
                for (place, drops) in drops.iter_mut().enumerate() {
                    *drops += whole(block.drops[place], before[place], after[place]);
                }
            }
        }
        snapshot.rules = self.hits()?;
        Ok(snapshot)
    }

    /// Packets that each rule decided: slots that are next to each other in one call, where the
    /// kernel takes batches (Linux 5.13).
    fn hits(&self) -> Result<Vec<Counter>> {
        let cpus = possible_cpus()?;
        let mut slots: Vec<u32> = self.slots.clone();
        slots.sort_unstable();
        let mut hits = HashMap::new();
        for run in slots.chunk_by(|one, next| next - one <= 1) {
            for some in run.chunks(MOST_AT_ONCE) {
                let map = self.hits.fd().as_fd();
                let words = match syscall::elements(map, some[0], some.len(), cpus * COUNTER_WORDS)
                {
                    Ok(words) => words,
                    Err(error) if syscall::has_no_batch(&error) => self.one_by_one(some)?,
                    Err(error) => return Err(error).context("cannot read the hits of rules"),
                };
                let counters: &[Counter] = bytemuck::cast_slice(&words);
                for (slot, of_cpus) in some.iter().zip(counters.chunks(cpus)) {
                    let all = of_cpus.iter().copied();
                    hits.insert(*slot, all.fold(Counter::default(), std::ops::Add::add));
                }
            }
        }
        let hit = |slot| hits.get(slot).copied().unwrap_or_default();
        Ok(self.slots.iter().map(hit).collect())
    }

    fn one_by_one(&self, slots: &[u32]) -> Result<Vec<u64>> {
        let hits = self.hits.fd().as_fd().try_clone_to_owned()?;
        let hits = Map::PerCpuArray(MapData::from_fd(hits)?);
        let hits = PerCpuArray::<_, [u64; COUNTER_WORDS]>::try_from(hits)?;
        let mut words = Vec::new();
        for slot in slots {
            words.extend(hits.get(slot, 0)?.iter().flatten());
        }
        Ok(words)
    }
}

/// The count whose lower 16 bits were read as `low`, after they had overflowed `before`
/// times, and before they had overflowed `after` times.
fn whole(low: u16, before: u32, after: u32) -> u64 {
    // If they have overflowed meanwhile, nothing tells on which side of it `low` was
    // read. But the count at that moment was one, and is as good.
    let low = if before == after { low } else { 0 };
    u64::from(after) * PER_OVERFLOW + u64::from(low)
}

/// Sets counters of rules to zero, those of the generation in this directory.
pub(super) fn clear_slots(directory: &PinDirectory, slots: &[u32]) -> Result<()> {
    if slots.is_empty() {
        return Ok(());
    }
    let mut hits = PerCpuArray::<_, [u64; COUNTER_WORDS]>::try_from(open(directory, RULE_HITS)?)?;
    let cpus = possible_cpus()?;
    for &slot in slots {
        let zero = PerCpuValues::try_from(vec![[0; COUNTER_WORDS]; cpus])?;
        hits.set(slot, zero, 0)?;
    }
    Ok(())
}

fn possible_cpus() -> Result<usize> {
    nr_cpus().map_err(|(path, error)| anyhow::anyhow!("cannot read {path}: {error}"))
}

fn open(directory: &PinDirectory, map: SharedMap) -> Result<Map> {
    Ok(Map::PerCpuArray(map_data(directory, map)?))
}

fn map_data(directory: &PinDirectory, map: SharedMap) -> Result<MapData> {
    MapData::from_pin(directory.pin(map.pin)).with_context(|| {
        format!(
            "cannot open the counters at {}",
            directory.shown(map.pin).display()
        )
    })
}

#[cfg(test)]
impl Snapshot {
    /// With packets of one byte judged for reasons, and drops of ports.
    pub(crate) fn of_tests(
        reasons: &[(Reason, u64)],
        drops: &[(Transport, u16, u64)],
        rules: &[u64],
    ) -> Self {
        let counter = |packets| Counter {
            packets,
            bytes: packets,
        };
        let mut snapshot = Self::empty(0);
        for &(reason, packets) in reasons {
            snapshot.reasons[0][reason.slot()] = counter(packets);
        }
        for &(transport, port, packets) in drops {
            let (block, place) = port_counter(transport, port);
            snapshot.drops[block as usize * PORTS_PER_BLOCK + place] = packets;
        }
        snapshot.rules = rules.iter().copied().map(counter).collect();
        snapshot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_go_past_sixteen_bits() {
        assert_eq!(whole(7, 0, 0), 7);
        assert_eq!(whole(u16::MAX, 0, 0), 65_535);
        assert_eq!(whole(0, 1, 1), 65_536);
        assert_eq!(whole(7, 3, 3), 3 * 65_536 + 7);
    }

    #[test]
    fn what_is_read_at_the_end_of_sixteen_bits_is_a_count_there_was() {
        // Read just before and just after the end.
        for low in [u16::MAX, 0] {
            assert_eq!(whole(low, 0, 1), 65_536);
        }
        assert_eq!(whole(9, 4, 6), 6 * 65_536);
    }
}
