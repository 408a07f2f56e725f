//! Listens to the filter, through all changes of the policy, for as long as it is up.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use xdpfw_common::abi::{Missed, Report, Wanted};

use super::Engine;
use crate::datapath::{Generation, Listening, Record};

/// How long a report waits until it is known what it is of. Who changes the filter holds the lock
/// for less.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often to try to look what is in force, once it is time to, and for how long to wait in
/// between. Together it is less time than a flood takes to fill a ring.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(10);

/// Hears of packets, until dropped.
pub struct Listener {
    listening: Listening,
    generation: Generation,
    /// The one before, of which reports may wait to be read.
    before: Option<Generation>,
    /// The next report, of a generation that is not known yet; and since when it waits.
    waiting: Option<(Report, Instant)>,
    /// Whether the generation is another one than was told of.
    has_changed: bool,
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
            listening: engine.store().listen(&generation, wanted)?,
            generation,
            before: None,
            waiting: None,
            has_changed: false,
        })
    }

    /// Says what it wants to hear from now on. Rules go by the number in the record of the
    /// generation in force.
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
    /// What the program wrote is no report, or the kernel refuses to tell.
    pub fn hear(&mut self) -> Result<Option<Report>> {
        let now = Instant::now();
        let (report, since) = match self.waiting.take() {
            Some(waiting) => waiting,
            None => match self.listening.hear()? {
                Some(report) => (report, now),
                None => return Ok(None),
            },
        };
        if self.known(&report).is_none() && now - since < PATIENCE {
            self.look()?;
            if self.known(&report).is_none() {
                self.waiting = Some((report, since));
                return Ok(None);
            }
        }
        Ok(Some(report))
    }

    /// What was wanted and is not reported, since it began.
    ///
    /// # Errors
    ///
    /// The kernel refuses to tell.
    pub fn missed(&self) -> Result<Missed> {
        self.listening.missed()
    }

    /// Looks whether another generation is in force by now, to be called every second or so. While
    /// commands change anything, it does not wait for long, and finds nothing new.
    ///
    /// # Errors
    ///
    /// The kernel refuses to tell.
    pub fn follow(&mut self) -> Result<Followed> {
        for _ in 0..TRIES {
            match self.look()? {
                Some(true) => break,
                Some(false) => return Ok(Followed::Ended),
                None => thread::sleep(PAUSE),
            }
        }
        Ok(match std::mem::take(&mut self.has_changed) {
            true => Followed::Changed,
            false => Followed::Same,
        })
    }

    /// Whether anything can still be heard; `None` while a command changes anything.
    fn look(&mut self) -> Result<Option<bool>> {
        let Some(engine) = Engine::at_once()? else {
            return Ok(None);
        };
        let Some(live) = engine.live() else {
            return Ok(Some(false));
        };
        let generation = &live.generation;
        if generation.program_id() == self.generation.program_id() {
            return Ok(Some(true));
        }
        if !self.listening.is_of(generation)? {
            return Ok(Some(false));
        }
        self.before = Some(std::mem::replace(&mut self.generation, generation.clone()));
        self.has_changed = true;
        Ok(Some(true))
    }

    /// The generation in force, as far as it is known.
    pub const fn generation(&self) -> &Generation {
        &self.generation
    }

    /// The record that a report goes by. Where that is gone, since policies changed faster than it
    /// was looked, that of the generation in force.
    pub fn record_of(&self, report: &Report) -> &Record {
        self.known(report).unwrap_or(self.generation.record())
    }

    fn known(&self, report: &Report) -> Option<&Record> {
        let known = [Some(&self.generation), self.before.as_ref()];
        let mut records = known.into_iter().flatten().map(Generation::record);
        records.find(|record| record.generation as u16 == report.generation)
    }
}
