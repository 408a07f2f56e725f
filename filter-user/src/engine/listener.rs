//! Listens to the filter, through all changes of the policy, for as long as it is up.

use anyhow::Result;
use xdpfw_common::abi::{Missed, Report, Wanted};

use super::Engine;
use crate::datapath::{Generation, Listening, Record};

/// Hears of packets, until dropped.
pub struct Listener {
    listening: Listening,
    generation: Generation,
    /// The one before, of which reports may wait to be read.
    before: Option<Generation>,
}

/// What became of what is listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Followed {
    /// It is as it was.
    Same,
    /// Another generation is in force.
    Changed,
    /// The filter is down, or was since; nothing will be heard any more.
    Ended,
}

impl Listener {
    /// Hears from now on what is `wanted` of the generation in force, given its record, and of
    /// those that come after it.
    ///
    /// # Errors
    ///
    /// Nothing is filtered, `wanted` fails, too many listen already, or the kernel refuses.
    pub fn begin(wanted: impl FnOnce(&Record) -> Result<Wanted>) -> Result<Self> {
        let engine = Engine::shared()?;
        let generation = engine.must_be_up()?.generation.clone();
        let wanted = wanted(generation.record())?;
        Ok(Self {
            listening: engine.store().listen(&generation, &wanted)?,
            generation,
            before: None,
        })
    }

    /// Says what it wants to hear from now on.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn want(&self, wanted: Wanted) -> Result<()> {
        self.listening.want(wanted)
    }

    /// The next report; `None` if there is none by now. It does not wait.
    ///
    /// # Errors
    ///
    /// What the program wrote is no report.
    pub fn hear(&mut self) -> Result<Option<Report>> {
        self.listening.hear()
    }

    /// What was wanted and is not reported, since it began.
    ///
    /// # Errors
    ///
    /// The kernel refuses to tell.
    pub fn missed(&self) -> Result<Missed> {
        self.listening.missed()
    }

    /// Looks whether another generation is in force by now, to be called every second or so. It
    /// waits for commands that change anything.
    ///
    /// # Errors
    ///
    /// The kernel refuses to tell.
    pub fn follow(&mut self) -> Result<Followed> {
        let engine = Engine::shared()?;
        let Some(live) = engine.live() else {
            return Ok(Followed::Ended);
        };
        let generation = &live.generation;
        if generation.program_id() == self.generation.program_id() {
            return Ok(Followed::Same);
        }
        if !self.listening.is_of(generation)? {
            return Ok(Followed::Ended);
        }
        self.before = Some(std::mem::replace(&mut self.generation, generation.clone()));
        Ok(Followed::Changed)
    }

    /// The generation in force, as far as it is known.
    pub const fn generation(&self) -> &Generation {
        &self.generation
    }

    /// The record of the generation that a report with this rule is of: rules that stay are known
    /// by the same number in all.
    pub fn record_of(&self, slot: Option<u32>) -> &Record {
        let knows = |generation: &&Generation| {
            slot.is_none_or(|slot| generation.record().slots.contains(&slot))
        };
        let generations = [Some(&self.generation), self.before.as_ref()];
        let known = generations.into_iter().flatten().find(knows);
        known.unwrap_or(&self.generation).record()
    }
}
