//! The generations that take turns with each other: each but the last has a deadline, and
//! behind it the next one.

use anyhow::{Context as _, Result};

use super::{CURRENT, GENERATIONS, Live, Store, egress};
use crate::datapath::{Generation, Purpose, gate::Entry, generation::is_entered_by, object};

/// The generations that packets may meet, as their deadlines say now.
pub(super) struct Stack {
    pub(super) in_force: Generation,
    /// What judges after it, in this order.
    pub(super) behind: Vec<Generation>,
    /// What judged before it; the last one first.
    pub(super) over: Vec<Generation>,
}

impl Live {
    /// The change that is not confirmed yet, if there is one.
    pub fn pending(&self) -> Option<&Generation> {
        self.temporary()
            .find(|generation| generation.purpose() == Purpose::Policy)
    }

    /// What is in force for a while only, or is to be after that; the first one judges.
    pub fn temporary(&self) -> impl Iterator<Item = &Generation> {
        let all = std::iter::once(&self.generation).chain(&self.behind);
        all.filter(|generation| generation.deadline().is_some())
    }

    /// What is there for good: the generation in force, or the one behind all that are
    /// temporary.
    pub fn lasting(&self) -> &Generation {
        self.behind.last().unwrap_or(&self.generation)
    }
}

impl Store {
    /// The generations that packets may meet; `None` if there are none.
    pub(super) fn stack(&self) -> Result<Option<Stack>> {
        let Some(mut in_force) = self.top()? else {
            return Ok(None);
        };
        let behind = |generation: &Generation| match generation.deadline() {
            Some(_) => self.behind(generation),
            None => Ok(None),
        };
        let mut over = Vec::new();
        while in_force.is_over() {
            let Some(next) = behind(&in_force)? else {
                break;
            };
            over.push(std::mem::replace(&mut in_force, next));
        }
        let mut waiting = Vec::new();
        while let Some(next) = behind(waiting.last().unwrap_or(&in_force))? {
            waiting.push(next);
        }
        Ok(Some(Stack {
            in_force,
            behind: waiting,
            over,
        }))
    }

    /// The generation that packets enter by.
    fn top(&self) -> Result<Option<Generation>> {
        let Some(program) = self.program_in_slot()? else {
            return Ok(None);
        };
        let Some(generations) = self.directory_of(GENERATIONS)? else {
            return Ok(None);
        };
        for name in generations.names()? {
            if let Some(directory) = generations.directory(&name)?
                && is_entered_by(&directory, program)?
            {
                return Generation::open(directory).map(Some);
            }
        }
        Ok(None)
    }

    /// The generation behind one, unless somebody removed its pins.
    fn behind(&self, generation: &Generation) -> Result<Option<Generation>> {
        let number = generation.record().behind.unwrap_or_default().to_string();
        let generations = self.directory_of(GENERATIONS)?;
        let directory = match generations {
            Some(generations) => generations.directory(&number)?,
            None => None,
        };
        directory.map(Generation::open).transpose()
    }

    /// Has packets enter a generation that they enter by way of others now.
    ///
    /// # Errors
    ///
    /// The kernel refuses; packets go the way that they went.
    pub fn put_in_front(&self, generation: &Generation) -> Result<()> {
        if !generation.is_confirmed() {
            return self.enter(&generation.entry()?);
        }
        // Nothing is behind its gate any more.
        self.enter(&generation.own_entry()?)?;
        generation.remove_gate()
    }

    /// Has packets enter by these programs, on all interfaces at once.
    pub(super) fn enter(&self, entry: &Entry) -> Result<()> {
        let directory = self.existing()?;
        let (ingress, egress) = (directory.pin(CURRENT), directory.pin(egress::CURRENT));
        let before = self.top()?;
        // First what leaves: until the second store, at most too few answers pass.
        object::store_program(&egress, 0, entry.recorder.as_ref())?;
        object::store_program(&ingress, 0, Some(&entry.program)).inspect_err(|_| {
            let before = before.map_or(Ok(None), |before| before.entry().map(|own| own.recorder));
            if let Ok(recorder) = before {
                drop(object::store_program(&egress, 0, recorder.as_ref()));
            }
        })
    }

    /// The kernel's number for the program in the slot.
    fn program_in_slot(&self) -> Result<Option<u32>> {
        let Some(directory) = self.directory.as_ref().filter(|own| own.has(CURRENT)) else {
            return Ok(None);
        };
        object::program_in(&directory.pin(CURRENT)).context("cannot read what is in force")
    }
}
