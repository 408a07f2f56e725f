//! What a generation remembers of flows: lets time pass there, and forgets.

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context as _, Result};
use aya::maps::{Array, HashMap, Map, MapData, MapError};
use serde_json::Value;
use xdpfw_common::{
    abi::{
        FlowKey, NOTES, NOTES_PER_BLOCK, Note, NoteBlock, Origin, SENT, SharedMap, Table,
        flow_table, note_place, sent_place,
    },
    flows::note_time,
};

use super::super::counts;

/// A [`FlowKey`], as bytes.
type Key = [u8; size_of::<FlowKey>()];
/// A [`FlowState`](xdpfw_common::abi::FlowState): the time, and flags.
type State = [u64; 2];

const NOTES_OF_PORTS: [Note; Note::COUNT] = [Note::Tcp, Note::Syn, Note::Udp, Note::Other];

/// The tables and notes of a generation.
pub(super) struct Memory {
    tables: Vec<HashMap<MapData, Key, State>>,
    notes: Array<MapData, NoteBlock>,
    sent: Array<MapData, u64>,
    /// Ticks of the kernel's clock in a second.
    pub(super) ticks_per_second: u64,
    /// How much older all is made than it is, in ticks.
    made_older: u64,
}

/// The flows of a sequence.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    pub(super) flows: BTreeSet<Key>,
    /// Their local ports, in network byte order.
    pub(super) ports: BTreeSet<[u8; 2]>,
}

impl Keys {
    pub(super) fn add(&mut self, key: &FlowKey) {
        self.flows.insert(bytemuck::cast(*key));
        self.ports.insert(key.local_port);
    }
}

impl Memory {
    /// Opens that of the generation that is pinned in this directory.
    pub(super) fn open(generation: &Path) -> Result<Self> {
        let open = |map: SharedMap| {
            let path = generation.join(map.pin);
            MapData::from_pin(&path).with_context(|| format!("cannot open {}", path.display()))
        };
        let mut tables = Vec::new();
        for origin in Origin::ALL {
            for table in Table::ALL {
                let table = Map::LruHashMap(open(flow_table(origin, table))?);
                tables.push(table.try_into()?);
            }
        }
        let record = counts::record(generation)?;
        Ok(Self {
            tables,
            notes: Map::Array(open(NOTES)?).try_into()?,
            sent: Map::Array(open(SENT)?).try_into()?,
            ticks_per_second: ticks_per_second(&record)?,
            made_older: 0,
        })
    }

    /// Makes all that is remembered of these flows older by so many ticks.
    pub(super) fn make_older(&mut self, keys: &Keys, ticks: u64) -> Result<()> {
        for table in &mut self.tables {
            for key in &keys.flows {
                if let Some([last_out, flags]) = found(table.get(key, 0))? {
                    table.insert(key, [last_out.saturating_sub(ticks), flags], 0)?;
                }
            }
        }
        // Notes go by a coarser clock, and must not lag behind it for being rounded.
        let before = note_time(self.made_older);
        self.made_older += ticks;
        let units = note_time(self.made_older) - before;
        self.change_notes(keys, |note| match note {
            0 => 0,
            time => time.wrapping_sub(units).max(1),
        })
    }

    /// Forgets these flows.
    pub(super) fn forget(&mut self, keys: &Keys) -> Result<()> {
        for table in &mut self.tables {
            for key in &keys.flows {
                if found(table.get(key, 0))?.is_some() {
                    table.remove(key)?;
                }
            }
        }
        self.change_notes(keys, |_| 0)?;
        for note in NOTES_OF_PORTS {
            for port in &keys.ports {
                let (word, bit) = sent_place(note, *port);
                let others = self.sent.get(&word, 0)? & !bit;
                self.sent.set(word, others, 0)?;
            }
        }
        Ok(())
    }

    fn change_notes(&mut self, keys: &Keys, change: impl Fn(u32) -> u32) -> Result<()> {
        for note in NOTES_OF_PORTS {
            for port in &keys.ports {
                let (index, place) = note_place(note, *port);
                let mut block: [u32; NOTES_PER_BLOCK] = self.notes.get(&index, 0)?;
                block[place] = change(block[place]);
                self.notes.set(index, block, 0)?;
            }
        }
        Ok(())
    }
}

/// What a look-up found, if anything.
fn found<T>(result: Result<T, MapError>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(MapError::KeyNotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn ticks_per_second(record: &Value) -> Result<u64> {
    let ticks = record["clock"]["ticks_per_second"].as_u64();
    ticks.context("the record has no clock")
}
