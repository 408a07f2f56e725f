//! A generation: one program with its maps, pinned together in one directory.

use anyhow::Result;
use aya::programs::{ProgramFd, ProgramInfo};
use xdpfw_common::abi::{SHARED_MAPS, names};

use super::{
    counters::{self, CounterMaps, Snapshot},
    object::{self, Object},
    pins::PinDirectory,
    record::Record,
    trace::Events,
};
use crate::compiler::Tables;

/// Pin of a generation's program.
const PROGRAM: &str = "program";
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
    pub(super) object: Object,
    pub(super) generation: Generation,
    /// What it came to, for those who want to know.
    pub(super) summary: String,
}

impl Generation {
    /// The generation pinned in a directory.
    pub(super) fn open(directory: PinDirectory) -> Result<Self> {
        Ok(Self {
            program_id: program_id(&directory)?,
            record: Record::from_pin(&directory.pin(RECORD))?,
            directory,
        })
    }

    /// Builds a generation and pins it in a new directory; sharing the counters
    /// of `previous`, if there is one to share with.
    pub(super) fn build(
        directory: PinDirectory,
        record: Record,
        tables: &Tables,
        previous: Option<&Self>,
    ) -> Result<Built> {
        let previous = previous.map(|previous| &previous.directory);
        let mut object = Object::load(tables, previous, record.traced)?;
        let name = &object::flavour(names::FILTER, record.frags);
        for map in SHARED_MAPS {
            object.pin_map(map.name, &directory.pin(map.pin))?;
        }
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

    /// Opens its events, if it is traced.
    ///
    /// # Errors
    ///
    /// The generation was removed meanwhile, or the kernel refuses.
    pub fn events(&self) -> Result<Events> {
        Events::of(&ProgramInfo::from_pin(self.directory.pin(PROGRAM))?)
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
pub(super) fn program_id(directory: &PinDirectory) -> Result<u32> {
    Ok(ProgramInfo::from_pin(directory.pin(PROGRAM))?.id())
}
