//! Goes on where something ended while no command ran: a change that nobody confirmed, a
//! bypass, a command that was killed.

use std::fmt;

use anyhow::{Context as _, Result};
use jiff::Timestamp;

use super::{
    Engine, History, PolicyFile, egress::detach_unwanted, rehearsal::policies, source::MODE,
    whole_file::Prepared,
};
use crate::{
    datapath::{Generation, Purpose, Record},
    system::Place,
    text::clock_time,
};

/// Something that was in force for a while only, and is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// What it was for.
    pub purpose: Purpose,
    /// When it ended.
    pub at: Timestamp,
    /// The command that made it, if it is known.
    pub command: Option<String>,
}

impl Engine {
    /// Whether something ended since the last command.
    pub(super) fn is_settled(&self) -> Result<bool> {
        let Some(live) = &self.live else {
            return Ok(true);
        };
        Ok(live.over.is_empty()
            && !live.generation.is_confirmed()
            && (live.generation.deadline().is_some() || live.generation.unsaved()?.is_none()))
    }

    /// Puts in order what is over, and returns it.
    ///
    /// # Errors
    ///
    /// The kernel refuses. What judges packets is right already.
    pub(super) fn settle(&mut self) -> Result<Vec<Ended>> {
        let Some(live) = &self.live else {
            return Ok(Vec::new());
        };
        let ended = live.over.iter().map(Ended::of).collect();
        let generation = &live.generation;
        // First what is not filtered any more: it must not meet a policy that is for others.
        for index in live.over.iter().flat_map(|over| &over.record().joined) {
            self.store.detach(*index)?;
        }
        if !live.over.is_empty() && generation.purpose() == Purpose::Nothing {
            self.store.clear()?;
        } else {
            if !live.over.is_empty() || generation.is_confirmed() {
                self.store.put_in_front(generation)?;
                let filtered: Vec<u32> = self
                    .store
                    .attached()?
                    .iter()
                    .map(|one| one.interface.index)
                    .collect();
                if generation.deadline().is_none() {
                    let shadow = generation.shadow()?;
                    let policies = policies(generation.record(), shadow.as_ref());
                    detach_unwanted(&self.store, &policies, &filtered)?;
                }
            }
            if generation.deadline().is_none()
                && let Some(late) = Late::prepare(generation)?
            {
                late.save(generation)?;
                self.record_late(generation.record());
            }
            let kept = std::iter::once(generation).chain(&live.behind);
            let kept: Vec<u64> = kept.map(|one| one.record().generation).collect();
            self.store.retain(&kept)?;
        }
        let is_back = !live.over.is_empty();
        self.live = self.store.live()?;
        if let Some(live) = self.live.as_ref().filter(|_| is_back) {
            self.settle_lists(&live.generation);
        }
        Ok(ended)
    }

    /// Puts a change into the history whose command was killed before it could.
    fn record_late(&self, record: &Record) {
        let (Some(path), Some(change)) = (&record.origin, &record.change) else {
            return;
        };
        let history = History::own();
        let recorded = PolicyFile::open(path)
            .map_err(Into::into)
            .and_then(|file| self.record(&history, &file, change.clone()));
        if let Err(error) = recorded {
            log::warn!("`{}` is not in the history: {error:#}", change.command);
        }
    }
}

impl Ended {
    fn of(generation: &Generation) -> Self {
        let change = generation.record().change.as_ref();
        Self {
            // It is shown in a line.
            command: change.map(|change| change.command.replace(['\n', '\r'], " ")),
            purpose: generation.purpose(),
            at: generation
                .deadline()
                .map_or_else(Timestamp::now, |deadline| deadline.on_the_wall()),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.purpose, &self.command) {
            (Purpose::Policy, Some(command)) => {
                write!(f, "went back: `{command}` was not confirmed by")
            }
            (Purpose::Policy, None) => f.write_str("went back: the change was not confirmed by"),
            (Purpose::Bypass, _) => f.write_str("the bypass ended at"),
            (Purpose::Panic, _) => f.write_str("the panic ended at"),
            (Purpose::Nothing | Purpose::Rehearsal, _) => {
                f.write_str("not filtered any more since")
            }
        }?;
        write!(f, " {}", clock_time(self.at))
    }
}

/// A policy file that a generation still has to replace.
pub(super) struct Late {
    /// `None` if it must not be replaced.
    prepared: Option<Prepared>,
}

impl Late {
    /// Writes the file of a generation beside the old one, if it is still to be replaced.
    /// Whoever edited that since means what it says now.
    pub(super) fn prepare(generation: &Generation) -> Result<Option<Self>> {
        let Some(unsaved) = generation.unsaved()? else {
            return Ok(None);
        };
        let place = Place::find(&unsaved.path)?;
        let now = place.read()?;
        let text = unsaved.text.as_bytes();
        if now.as_deref() == Some(text) {
            return Ok(Some(Self { prepared: None }));
        }
        if now.as_deref() != unsaved.before.as_deref().map(str::as_bytes) {
            log::warn!(
                "{}: edited before the rules in force were saved to it, so these are not \
                 (see `xdpfw apply --check`)",
                unsaved.path.display()
            );
            return Ok(Some(Self { prepared: None }));
        }
        let prepared = Prepared::write(place, text, MODE)
            .with_context(|| format!("cannot save {}", unsaved.path.display()))?;
        Ok(Some(Self {
            prepared: Some(prepared),
        }))
    }

    /// Puts it in its place.
    pub(super) fn save(self, generation: &Generation) -> Result<()> {
        if let Some(prepared) = self.prepared {
            prepared.replace().context("cannot save the policy file")?;
        }
        generation.set_saved()
    }
}
