//! Shared by the commands that change the policy: what the history keeps of it.

use anyhow::Result;

use crate::{
    datapath::Record,
    engine::{Applied, Change, Engine, History, PolicyFile},
    output::{Printer, summary},
    policy::Policy,
};

/// A change that the history is to keep.
pub(super) struct Recording {
    history: History,
    change: Change,
}

impl Recording {
    /// Begins it: before the change, with the policy that is to be in force.
    pub(super) fn begin(history: History, engine: &Engine, file: &PolicyFile) -> Self {
        let saved = file.saved_policy().cloned();
        // The interfaces are those of the file: the filter may run on more of them without
        // another generation.
        let base = match engine.live() {
            None => saved.unwrap_or_default(),
            Some(live) => {
                let policy = live.generation.record().policy.clone();
                Policy {
                    interfaces: saved.map_or(policy.interfaces, |saved| saved.interfaces),
                    ..policy
                }
            }
        };
        Self {
            history,
            change: Change::of_this_command(summary(&base, file.policy())),
        }
    }

    /// Who changes what.
    pub(super) fn change(&self) -> Change {
        self.change.clone()
    }

    /// Puts the policy into the history, once the change is made and before the lock is given
    /// up.
    pub(super) fn end(self, engine: &Engine, file: &PolicyFile, applied: &Applied) -> Recorded {
        // What is to be confirmed is recorded then.
        match applied.changed && applied.deadline.is_none() {
            true => Recorded(Some(engine.record(&self.history, file, self.change))),
            false => Recorded(None),
        }
    }
}

/// The number that a policy has in the history, or why it is not there; `None` if nothing was
/// changed.
#[must_use = "what is not in the history is to be reported"]
pub(super) struct Recorded(Option<Result<u64>>);

impl Recorded {
    /// Puts a change into the history that was confirmed just now.
    pub(super) fn confirmed(history: &History, engine: &Engine, record: &Record) -> Self {
        let (Some(path), Some(change)) = (&record.origin, &record.change) else {
            return Self(None);
        };
        let recorded = PolicyFile::open(path)
            .map_err(Into::into)
            .and_then(|file| engine.record(history, &file, change.clone()));
        Self(Some(recorded))
    }

    /// Warns if the policy is not in the history; the number if it is.
    pub(super) fn report(self, printer: &mut Printer) -> Option<u64> {
        match self.0? {
            Ok(number) => Some(number),
            Err(error) => {
                printer.warning(&format!(
                    "done, but not in the history: {error:#} (the next change puts it there, too)"
                ));
                None
            }
        }
    }
}
