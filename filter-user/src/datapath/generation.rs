//! A generation: one program with its maps, pinned together in one directory.

use anyhow::{Context as _, Result};
use aya::programs::{ProgramFd, ProgramInfo, SchedClassifier};
use xdpfw_common::abi::{Holds, NOTES, SENT, SHARED_MAPS, SharedMap, Wanted, names};

use super::{
    Bridges, FlowMaps,
    counters::{self, CounterMaps, Snapshot},
    object::{self, Object},
    pins::PinDirectory,
    record::Record,
    trace::Events,
};
use crate::compiler::Tables;

/// Pin of a generation's program.
const PROGRAM: &str = "program";
/// Pin of its egress half, if it has one.
const RECORDER: &str = "recorder";
/// Pin of what the generation was made from.
const RECORD: &str = "record";

/// A generation that is pinned in its directory.
#[derive(Clone, Debug)]
pub struct Generation {
    directory: PinDirectory,
    program_id: u32,
    record: Record,
}

/// A generation that was just built, and is not in force yet.
pub(super) struct Built {
    pub(super) program: ProgramFd,
    /// Its egress half, if what leaves is to be recorded.
    pub(super) recorder: Option<ProgramFd>,
    pub(super) object: Object,
    pub(super) generation: Generation,
    /// What it came to, for those who want to know.
    pub(super) summary: String,
}

impl Generation {
    /// The generation pinned in a directory.
    pub(super) fn open(directory: PinDirectory) -> Result<Self> {
        Ok(Self {
            program_id: program_id(&directory)?.context("a generation has no program")?,
            record: Record::from_pin(&directory.pin(RECORD))?,
            directory,
        })
    }

    /// Builds a generation and pins it in a new directory. It takes over the flows of
    /// another one, and the counters of `counters_of`.
    pub(super) fn build(
        directory: PinDirectory,
        record: Record,
        tables: &Tables,
        flows_of: Option<&Self>,
        counters_of: Option<&Self>,
    ) -> Result<Built> {
        let taken_over = |map: SharedMap| {
            let from = match map.holds {
                Holds::Counters => counters_of,
                // These have one size.
                Holds::Flows if map == NOTES || map == SENT => flows_of,
                Holds::Flows => {
                    flows_of.filter(|other| other.record.flow_sizes() == record.flow_sizes())
                }
            };
            from.map(|from| from.directory.pin(map.pin))
        };
        // What leaves is not looked at where nothing is recorded.
        let bridges = match record.policy.records_flows() {
            true => Bridges::of_host()?,
            false => Bridges::default(),
        };
        let mut object = Object::load(tables, &record, &bridges, taken_over)?;
        let name = &object::flavour(names::FILTER, record.frags);
        for map in SHARED_MAPS {
            object.pin_map(map.name, &directory.pin(map.pin))?;
        }
        let recorder = match record.policy.records_flows() {
            true => Some(object.pin_classifier(names::RECORDER, &directory.pin(RECORDER))?),
            false => None,
        };
        record.pin(&directory.pin(RECORD))?;
        object.pin_program(name, &directory.pin(PROGRAM))?;
        let program = ProgramInfo::from_pin(directory.pin(PROGRAM))?;
        let summary = format!(
            "generation {}: {} local and {} remote ports, {} prefixes, {} edges, {} instructions verified",
            record.generation,
            tables.local.len(),
            tables.remote.len(),
            tables.prefixes(),
            tables.edges.len(),
            program.verified_instruction_count().unwrap_or_default()
        );
        Ok(Built {
            program: object.program_fd(name)?,
            recorder,
            object,
            generation: Self {
                directory,
                program_id: program.id(),
                record,
            },
            summary,
        })
    }

    /// What it was made from.
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// The kernel's number for its program.
    pub const fn program_id(&self) -> u32 {
        self.program_id
    }

    /// Opens its counters.
    ///
    /// # Errors
    ///
    /// The generation was removed meanwhile, or the kernel refuses.
    pub fn counters(&self) -> Result<CounterMaps> {
        CounterMaps::open(&self.directory, &self.record)
    }

    /// Reads all its counters.
    ///
    /// # Errors
    ///
    /// As for [`Generation::counters`].
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.counters()?.read()
    }

    /// Opens its flows.
    ///
    /// # Errors
    ///
    /// As for [`Generation::counters`].
    pub fn flows(&self) -> Result<FlowMaps> {
        FlowMaps::open(&self.directory)
    }

    /// The kernel's handle of its egress half, if it has one.
    pub(super) fn recorder(&self) -> Result<Option<ProgramFd>> {
        if !self.directory.has(RECORDER) {
            return Ok(None);
        }
        let program = SchedClassifier::from_pin(self.directory.pin(RECORDER))?;
        Ok(Some(program.fd()?.try_clone()?))
    }

    /// Has it report packets, if it is traced, for as long as the result lives.
    ///
    /// # Errors
    ///
    /// Somebody reads its events already, it was removed meanwhile, or the kernel refuses.
    pub fn events(&self, wanted: &Wanted) -> Result<Events> {
        let mark = self.directory.mark()?.context("it is being read already")?;
        let program = ProgramInfo::from_pin(self.directory.pin(PROGRAM))?;
        Events::of(&program, wanted, mark)
    }

    /// Whether somebody reads its events. Who was killed does not.
    ///
    /// # Errors
    ///
    /// The generation was removed meanwhile.
    pub fn is_read(&self) -> Result<bool> {
        self.directory.is_marked()
    }

    /// Sets the counters of rules to zero, in slots that no packet counts in yet.
    ///
    /// # Errors
    ///
    /// As for [`Generation::counters`].
    pub fn clear_slots(&self, slots: &[u32]) -> Result<()> {
        counters::clear_slots(&self.directory, slots)
    }
}

/// The kernel's number for the program pinned in a generation's directory.
pub(super) fn program_id(directory: &PinDirectory) -> Result<Option<u32>> {
    if !directory.has(PROGRAM) {
        // Left by a command that was killed.
        return Ok(None);
    }
    Ok(Some(ProgramInfo::from_pin(directory.pin(PROGRAM))?.id()))
}
