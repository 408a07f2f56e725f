//! Reads the counters from the pinned maps, and updates the expected ones by the model's
//! opinions.

use std::path::Path;

use anyhow::{Context as _, Result};
use aya::maps::{Map, MapData, PerCpuArray};
use bytemuck::Zeroable as _;
use serde_json::Value;
use xdpfw_common::{
    Reason, Transport,
    abi::{BLOCKS, Block, Counter, port_counter},
};
use xdpfw_model::{Opinion, Transport as ModelTransport, Verdict};

/// Words in a [`Block`]: aya reads arrays of words only.
const BLOCK_WORDS: usize = size_of::<Block>() / size_of::<u64>();
/// Words in a [`Counter`].
const COUNTER_WORDS: usize = size_of::<Counter>() / size_of::<u64>();

/// All counters of a policy at one time, summed over the CPUs.
#[derive(Clone)]
pub(crate) struct Counts {
    blocks: Vec<Block>,
    /// In the order of the rules.
    rules: Vec<Counter>,
}

/// A policy's counters in the kernel.
pub(crate) struct CountMaps {
    blocks: PerCpuArray<MapData, [u64; BLOCK_WORDS]>,
    hits: PerCpuArray<MapData, [u64; COUNTER_WORDS]>,
    /// Where the rules' counters are, in the order of the rules.
    slots: Vec<u32>,
}

impl CountMaps {
    /// Opens those of the generation that is pinned in this directory.
    pub(crate) fn open(generation: &Path) -> Result<Self> {
        let open = |name: &str| {
            let path = generation.join(name);
            MapData::from_pin(&path).with_context(|| format!("cannot open {}", path.display()))
        };
        Ok(Self {
            blocks: Map::PerCpuArray(open("counters")?).try_into()?,
            hits: Map::PerCpuArray(open("rule_hits")?).try_into()?,
            slots: slots(&record(generation)?)?,
        })
    }

    /// Reads all of them.
    pub(crate) fn read(&self) -> Result<Counts> {
        let blocks = (0..BLOCKS as u32).map(|index| self.block(index));
        let rules = (0..self.slots.len()).map(|rule| self.rule(rule));
        Ok(Counts {
            blocks: blocks.collect::<Result<_>>()?,
            rules: rules.collect::<Result<_>>()?,
        })
    }

    /// Whether the counters that a packet with this opinion changes are as expected.
    pub(crate) fn agree(&self, expected: &Counts, opinion: &Opinion) -> Result<bool> {
        let (block, _) = place(opinion);
        let is_same = bytemuck::bytes_of(&self.block(block)?)
            == bytemuck::bytes_of(&expected.blocks[block as usize]);
        Ok(is_same
            && match opinion.rule {
                Some(rule) => self.rule(rule)? == expected.rules[rule],
                None => true,
            })
    }

    fn block(&self, index: u32) -> Result<Block> {
        let mut sum = Block::zeroed();
        for cpu in self.blocks.get(&index, 0)?.iter() {
            let cpu: &Block = bytemuck::cast_ref(cpu);
            // Whatever interface they came in by.
            for totals in &cpu.totals {
                for (sum, &counter) in sum.totals[0].iter_mut().zip(totals) {
                    *sum += counter;
                }
            }
            for (sum, drops) in sum.drops.iter_mut().zip(&cpu.drops) {
                *sum = sum.wrapping_add(*drops);
            }
        }
        Ok(sum)
    }

    fn rule(&self, rule: usize) -> Result<Counter> {
        let mut sum = Counter::zeroed();
        for cpu in self.hits.get(&self.slots[rule], 0)?.iter() {
            let [packets, bytes] = *cpu;
            sum.packets += packets;
            sum.bytes += bytes;
        }
        Ok(sum)
    }
}

/// The record of the generation that is pinned in this directory: JSON in pieces.
pub(super) fn record(generation: &Path) -> Result<Value> {
    let path = generation.join("record");
    let record =
        MapData::from_pin(&path).with_context(|| format!("cannot open {}", path.display()))?;
    let record = aya::maps::Array::<_, [u8; 4096]>::try_from(Map::Array(record))?;
    let pieces: Vec<[u8; 4096]> = record.iter().collect::<Result<_, _>>()?;
    Ok(serde_json::from_slice(pieces.as_flattened())?)
}

/// The slots of the rules' counters.
fn slots(record: &Value) -> Result<Vec<u32>> {
    serde_json::from_value(record["slots"].clone()).context("the record has no slots")
}

/// The block that a packet is counted in, and its port's place there.
fn place(opinion: &Opinion) -> (u32, Option<usize>) {
    let Some((transport, port)) = opinion.port else {
        return (0, None);
    };
    let (block, place) = port_counter(common(transport), port);
    (block, Some(place))
}

const fn common(transport: ModelTransport) -> Transport {
    match transport {
        ModelTransport::Tcp => Transport::Tcp,
        ModelTransport::Udp => Transport::Udp,
    }
}

/// The reason that goes by the model's word.
pub(crate) fn reason_of(opinion: &Opinion) -> Result<Reason> {
    let verdict = match opinion.verdict {
        Verdict::Pass => xdpfw_common::Verdict::Pass,
        Verdict::Drop => xdpfw_common::Verdict::Drop,
    };
    Reason::ALL
        .iter()
        .copied()
        .find(|reason| reason.verdict() == verdict && reason.as_str() == opinion.reason)
        .with_context(|| format!("there is no reason {verdict} {}", opinion.reason))
}

impl Counts {
    /// Counts a packet of this length, as the model would have it.
    pub(crate) fn add(&mut self, opinion: &Opinion, len: usize) -> Result<()> {
        self.change(
            opinion,
            |value, by| *value = value.wrapping_add(by),
            len as u64,
        )
    }

    /// Undoes [`add`](Self::add).
    pub(crate) fn take_back(&mut self, opinion: &Opinion, len: usize) -> Result<()> {
        self.change(
            opinion,
            |value, by| *value = value.wrapping_sub(by),
            len as u64,
        )
    }

    fn change(&mut self, opinion: &Opinion, by: fn(&mut u64, u64), len: u64) -> Result<()> {
        let tally = |counter: &mut Counter| {
            by(&mut counter.packets, 1);
            by(&mut counter.bytes, len);
        };
        let (block, place) = place(opinion);
        let block = &mut self.blocks[block as usize];
        tally(&mut block.totals[0][reason_of(opinion)?.slot()]);
        if let Some(place) = place.filter(|_| opinion.counted_at().is_some()) {
            // Its 16 bits; how often they were full is for other tests.
            let mut drops = u64::from(block.drops[place]);
            by(&mut drops, 1);
            block.drops[place] = drops as u16;
        }
        if let Some(rule) = opinion.rule {
            tally(&mut self.rules[rule]);
        }
        Ok(())
    }

    /// What has changed until `after`, in words.
    pub(crate) fn changes_to(&self, after: &Self) -> Vec<String> {
        let mut changes = Vec::new();
        for (index, (old, new)) in self.blocks.iter().zip(&after.blocks).enumerate() {
            for reason in Reason::ALL {
                let [old, new] = [old, new].map(|block| block.totals[0][reason.slot()]);
                if old != new {
                    changes.push(format!(
                        "{} packets, {} bytes {} {reason} in block {index}",
                        new.packets.wrapping_sub(old.packets),
                        new.bytes.wrapping_sub(old.bytes),
                        reason.verdict()
                    ));
                }
            }
        }
        for transport in Transport::ALL {
            for port in 0..=u16::MAX {
                let (block, place) = port_counter(transport, port);
                let [old, new] =
                    [self, after].map(|counts| counts.blocks[block as usize].drops[place]);
                if old != new {
                    changes.push(format!("{} at {transport}/{port}", new.wrapping_sub(old)));
                }
            }
        }
        for (rule, (old, new)) in self.rules.iter().zip(&after.rules).enumerate() {
            if old != new {
                let packets = new.packets.wrapping_sub(old.packets);
                changes.push(format!("{packets} at the rule at {rule}"));
            }
        }
        changes
    }
}

impl PartialEq for Counts {
    fn eq(&self, other: &Self) -> bool {
        self.rules == other.rules
            && bytemuck::cast_slice::<_, u8>(&self.blocks)
                == bytemuck::cast_slice::<_, u8>(&other.blocks)
    }
}
