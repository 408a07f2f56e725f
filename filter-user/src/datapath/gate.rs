//! What stands in front of a generation that is in force for a while only: until its deadline
//! it judges, then the one behind it, whether a process of ours is alive or not.

use std::time::Duration;

use anyhow::Result;
use aya::programs::ProgramFd;
use xdpfw_common::abi::{WAY_AFTER, WAY_BEFORE, names};

use super::{
    Deadline, Generation,
    object::{self, Object},
    pins::PinDirectory,
};

/// Pin of the program in front of the generation's.
const GATE: &str = "gate";
/// The same in front of its egress half.
const GATE_EGRESS: &str = "gate_egress";
/// Pin of the map with the deadline.
const DEADLINE: &str = "deadline";
/// Pins of the program arrays with the ways before and after it. The kernel empties an array
/// that nobody has pinned or open.
const WAYS: &str = "ways";
const WAYS_EGRESS: &str = "ways_egress";

/// That a generation is in force for a while only.
#[derive(Clone, Copy, Debug)]
pub struct Term<'a> {
    /// How long.
    pub lasts: Duration,
    /// What judges after that.
    pub behind: &'a Generation,
}

/// The gate of a generation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gate {
    /// The kernel's number for its program.
    pub(super) program_id: u32,
    /// When the generation ends; `None` if it was confirmed.
    pub(super) deadline: Option<Deadline>,
}

/// The programs that a generation is entered by.
pub(super) struct Entry {
    pub(super) program: ProgramFd,
    /// `None` if nothing is to be recorded.
    pub(super) recorder: Option<ProgramFd>,
}

impl Gate {
    /// The gate pinned in a generation's directory, if it has one.
    pub(super) fn open(directory: &PinDirectory) -> Result<Option<Self>> {
        // Pinned last.
        let Some(program_id) = directory.program_id(GATE)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            program_id,
            deadline: Deadline::read(&directory.pin(DEADLINE))?,
        }))
    }

    /// Loads a gate and pins it: to the generation with these programs, and to the one behind
    /// it. The deadline is past until it is [set](Self::set).
    pub(super) fn build(
        object: &mut Object,
        directory: &PinDirectory,
        frags: bool,
        inside: Entry,
        behind: &Generation,
    ) -> Result<Entry> {
        for (map, pin) in [
            (names::DEADLINE, DEADLINE),
            (names::WAYS, WAYS),
            (names::WAYS_EGRESS, WAYS_EGRESS),
        ] {
            object.pin_map(map, &directory.pin(pin))?;
        }
        Self::set(directory, Some(Deadline::passed()))?;
        let after = behind.entry()?;
        // What records nothing itself leaves it to the other: its flows must be known when its
        // time comes.
        let before = match inside.recorder {
            Some(recorder) => Some(recorder),
            None => behind.entry()?.recorder,
        };
        let (ways, egress) = (directory.pin(WAYS), directory.pin(WAYS_EGRESS));
        object::store_program(&ways, WAY_BEFORE, Some(&inside.program))?;
        object::store_program(&ways, WAY_AFTER, Some(&after.program))?;
        object::store_program(&egress, WAY_BEFORE, before.as_ref())?;
        object::store_program(&egress, WAY_AFTER, after.recorder.as_ref())?;
        let recorder = object.pin_classifier(names::GATE_EGRESS, &directory.pin(GATE_EGRESS))?;
        let gate = object::flavour(names::GATE, frags);
        object.pin_program(&gate, &directory.pin(GATE))?;
        Ok(Entry {
            program: object.program_fd(&gate)?,
            recorder: Some(recorder),
        })
    }

    /// Sets when the generation ends: one store, which packets see at once. `None` confirms it.
    pub(super) fn set(directory: &PinDirectory, deadline: Option<Deadline>) -> Result<()> {
        Deadline::write(deadline, &directory.pin(DEADLINE))
    }

    /// The programs of a gate.
    pub(super) fn entry(directory: &PinDirectory) -> Result<Entry> {
        Ok(Entry {
            program: object::pinned_program(&directory.pin(GATE))?,
            recorder: Some(object::pinned_classifier(&directory.pin(GATE_EGRESS))?),
        })
    }

    /// Removes the gate of a generation that is entered without it by now.
    pub(super) fn remove(directory: &PinDirectory) -> Result<()> {
        [GATE, GATE_EGRESS, WAYS, WAYS_EGRESS, DEADLINE]
            .iter()
            .try_for_each(|name| directory.remove(name))
    }
}
