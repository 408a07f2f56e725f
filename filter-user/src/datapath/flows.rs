//! Reads and fills the tables of flows.

use std::{io, net::SocketAddr, os::fd::AsFd as _};

use anyhow::{Context as _, Result};
use aya::maps::{Array, Map, MapData, PerCpuArray};
use serde::Serialize;
use xdpfw_common::{
    Transport,
    abi::{
        FLOW_COUNTS, FlowCounts, FlowKey, FlowState, NOTE_BLOCKS, NOTES, NOTES_PER_BLOCK, Note,
        Origin, SENT, SENT_WORDS, SharedMap, Table, flow_counts, flow_table, note_place,
        sent_place,
    },
    flows::note_time,
    wire::ip::{Addresses, Ends},
};

use super::{pins::PinDirectory, syscall};
use crate::policy::FlowSizes;

/// Words of the counts of one table.
const COUNTS: usize = size_of::<FlowCounts>() / size_of::<u64>();
/// How many times as many connections are open as are about to be, or were.
const BRIEF: u32 = 4;
/// Bytes that the kernel takes for a flow: element and key (`htab_elem` in
/// kernel/bpf/hashtab.c), and its share of the buckets.
const BYTES_OF_FLOW: u64 = 48 + 48 + 16 + 16;

/// Something that left and may be answered.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Who sent it.
    pub origin: Origin,
    /// Where it is remembered.
    pub table: Table,
    /// What its answers look like.
    pub key: FlowKey,
    /// What is remembered of it.
    pub state: FlowState,
}

/// How full a table is, and what became of its flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Flows in it.
    pub entries: u64,
    /// Flows that it has room for.
    pub capacity: u64,
    /// Flows that have come in.
    pub inserted: u64,
    /// Flows that had to give way to others.
    pub evicted: u64,
}

/// The tables of a generation, open.
pub struct FlowMaps {
    tables: Vec<(Origin, Table, MapData)>,
    counts: PerCpuArray<MapData, [u64; COUNTS]>,
    notes: Array<MapData, [u32; NOTES_PER_BLOCK]>,
    sent: Array<MapData, u64>,
}

/// How many flows a table has room for; one, where nothing is recorded.
pub(super) fn capacity(table: Table, sizes: Option<FlowSizes>) -> u32 {
    match (sizes, table) {
        (None, _) => 1,
        (Some(sizes), Table::Tcp) => sizes.tcp,
        (Some(sizes), Table::Brief) => (sizes.tcp / BRIEF).max(FlowSizes::LEAST),
        (Some(sizes), Table::Other) => sizes.other,
    }
}

/// Bytes that all tables take together, about, with the notes.
pub fn memory(sizes: Option<FlowSizes>) -> u64 {
    let flows: u64 = Table::ALL
        .into_iter()
        .map(|table| u64::from(capacity(table, sizes)))
        .sum();
    let notes = (NOTE_BLOCKS * size_of::<[u32; NOTES_PER_BLOCK]>()) as u64;
    let sent = (SENT_WORDS * size_of::<u64>()) as u64;
    Origin::ALL.len() as u64 * flows * BYTES_OF_FLOW + notes + sent
}

/// Every table of every origin.
pub(super) fn all_tables() -> impl Iterator<Item = (Origin, Table)> {
    let of = |origin| Table::ALL.map(|table| (origin, table));
    Origin::ALL.into_iter().flat_map(of)
}

impl Flow {
    /// One between these two ends. The kernel tells no interface, so link-local ends are left
    /// out: `None`, as for ends of two families.
    pub fn between(
        origin: Origin,
        transport: Transport,
        remote: SocketAddr,
        local: SocketAddr,
        state: FlowState,
    ) -> Option<Self> {
        let (remote4, local4, remote6, local6);
        let addresses = match (remote, local) {
            (SocketAddr::V4(remote), SocketAddr::V4(local)) => {
                (remote4, local4) = (remote.ip().octets(), local.ip().octets());
                Addresses::V4(Ends {
                    remote: &remote4,
                    local: &local4,
                })
            }
            (SocketAddr::V6(remote), SocketAddr::V6(local)) => {
                (remote6, local6) = (remote.ip().octets(), local.ip().octets());
                Addresses::V6(Ends {
                    remote: &remote6,
                    local: &local6,
                })
            }
            _ => return None,
        };
        // Any number: it stays in the key only where it means something.
        const INTERFACE: u32 = 1;
        let key = FlowKey::new(
            &addresses,
            transport.protocol(),
            remote.port().to_be_bytes(),
            local.port().to_be_bytes(),
            INTERFACE,
        );
        let table = match transport {
            Transport::Tcp => Table::Tcp,
            Transport::Udp => Table::Other,
        };
        (key.interface == 0).then_some(Self {
            origin,
            table,
            key,
            state,
        })
    }
}

impl FlowMaps {
    /// Those of the generation in this directory.
    pub(super) fn open(directory: &PinDirectory) -> Result<Self> {
        let tables = all_tables().map(|(origin, table)| {
            let map = open(directory, flow_table(origin, table))?;
            Ok((origin, table, map))
        });
        Ok(Self {
            tables: tables.collect::<Result<_>>()?,
            counts: Map::PerCpuArray(open(directory, FLOW_COUNTS)?).try_into()?,
            notes: Map::Array(open(directory, NOTES)?).try_into()?,
            sent: Map::Array(open(directory, SENT)?).try_into()?,
        })
    }

    /// Every flow, in no order. Packets go on while it is read.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn read(&self) -> Result<Vec<Flow>> {
        let mut flows = Vec::new();
        for (origin, table, map) in &self.tables {
            let entries = syscall::entries(map.fd().as_fd(), map.info()?.max_entries())
                .context("cannot read the flows")?;
            flows.extend(entries.into_iter().map(|(key, state)| Flow {
                origin: *origin,
                table: *table,
                key,
                state,
            }));
        }
        Ok(flows)
    }

    /// How full a table is, which holds these flows among others.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn usage(&self, origin: Origin, table: Table, flows: &[Flow]) -> Result<Usage> {
        let is_here = |flow: &&Flow| flow.origin == origin && flow.table == table;
        let entries = flows.iter().filter(is_here).count() as u64;
        let mut counts = FlowCounts::default();
        for cpu in self.counts.get(&flow_counts(origin, table), 0)?.iter() {
            let FlowCounts { inserted, removed } = bytemuck::cast(*cpu);
            counts.inserted += inserted;
            counts.removed += removed;
        }
        let capacity = self.map(origin, table)?.info()?.max_entries();
        let inserted = counts.inserted.max(entries);
        Ok(Usage {
            entries,
            capacity: capacity.into(),
            inserted,
            evicted: inserted.saturating_sub(counts.removed + entries),
        })
    }

    /// Remembers flows, unless they are known.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn add(&self, flows: &[Flow]) -> Result<()> {
        for flow in flows {
            let map = self.map(flow.origin, flow.table)?;
            match syscall::insert(map.fd().as_fd(), &flow.key, &flow.state) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                result => result.context("cannot remember a flow")?,
            }
        }
        Ok(())
    }

    /// Remembers whatever another generation does, whose packets go on leaving meanwhile.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn copy(&mut self, other: &Self) -> Result<()> {
        self.add(&other.read()?)?;
        for block in 0..NOTE_BLOCKS as u32 {
            let theirs = other.notes.get(&block, 0)?;
            if theirs == [0; NOTES_PER_BLOCK] {
                continue;
            }
            let mut own = self.notes.get(&block, 0)?;
            for (own, theirs) in own.iter_mut().zip(theirs) {
                // What is there was written by a packet, later.
                if *own == 0 {
                    *own = theirs;
                }
            }
            self.notes.set(block, own, 0)?;
        }
        for word in 0..SENT_WORDS as u32 {
            if other.sent.get(&word, 0)? != 0 {
                // All bits: packets that leave set theirs meanwhile, and none may be lost.
                self.sent.set(word, u64::MAX, 0)?;
            }
        }
        Ok(())
    }

    /// Notes that local ports, given in host byte order, have just sent something.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn note(&mut self, note: Note, ports: &[u16], now: u64) -> Result<()> {
        for port in ports {
            let (block, place) = note_place(note, port.to_be_bytes());
            // A note that a packet writes meanwhile is of the same time.
            let mut notes = self.notes.get(&block, 0)?;
            notes[place] = note_time(now);
            self.notes.set(block, notes, 0)?;
            // All bits of the word: packets that leave set theirs meanwhile, and none may be
            // lost.
            let (word, _) = sent_place(note, port.to_be_bytes());
            self.sent.set(word, u64::MAX, 0)?;
        }
        Ok(())
    }

    fn map(&self, origin: Origin, table: Table) -> Result<&MapData> {
        let mut tables = self.tables.iter();
        tables
            .find(|(other, kind, _)| (*other, *kind) == (origin, table))
            .map(|(_, _, map)| map)
            .context("no such table")
    }
}

fn open(directory: &PinDirectory, map: SharedMap) -> Result<MapData> {
    MapData::from_pin(directory.pin(map.pin)).with_context(|| {
        format!(
            "cannot open the flows at {}",
            directory.shown(map.pin).display()
        )
    })
}
