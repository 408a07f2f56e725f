//! What goes into the history, and which policy of it is which.

use anyhow::{Context as _, Result};

use super::{Change, Entry, History, HistoryError};
use crate::{
    engine::{Engine, PolicyFile},
    policy::{Policy, PolicyDocument},
};

/// What is said of a policy that there was before any that is recorded.
const BEFORE: &str = "before the history began";
/// What is said of a policy that another command did not get to record, or no command made.
const MISSED: &str = "not recorded when it was made";

impl Engine {
    /// Puts the policy that a change has just put in force or saved into the history, and
    /// returns its number. In front of it comes the policy that it has replaced, if the history
    /// does not have that one as its last: of a command that was killed, of a full disk, of an
    /// editor, of a version without a history.
    ///
    /// What is live in this engine is what was in force before the change.
    ///
    /// # Errors
    ///
    /// The history cannot be read or written. The change is made all the same.
    pub fn record(&self, history: &History, file: &PolicyFile, change: Change) -> Result<u64> {
        let last = history.numbers()?.last().copied();
        // One that cannot be read is not what was replaced.
        let mut newest = last.and_then(|number| history.read(number).ok());
        let mut next = last.map_or(1, |number| number + 1);
        let text = file.contents();
        let mut write = |change, text| -> Result<Entry> {
            let entry = Entry {
                number: next,
                change,
                text,
            };
            next += 1;
            history
                .write(&entry)
                .with_context(|| format!("cannot write policy {}", entry.number))?;
            Ok(entry)
        };
        if let Some(replaced) = self.missed(file, newest.as_ref())?
            && replaced != text
        {
            let summary = if last.is_some() { MISSED } else { BEFORE };
            newest = Some(write(Change::unknown(summary), replaced)?);
        }
        match newest {
            Some(entry) if entry.text == text => Ok(entry.number),
            _ => write(change, text.into_owned()).map(|entry| entry.number),
        }
    }

    /// The text of the policy that was in force before a change, or saved while nothing was,
    /// unless it is the newest of the history.
    fn missed(&self, file: &PolicyFile, newest: Option<&Entry>) -> Result<Option<String>> {
        if newest.is_some_and(|newest| self.is_current(newest, Some(file))) {
            return Ok(None);
        }
        let is_current = |saved: &Policy| {
            let live = self.live.as_ref();
            live.is_none_or(|live| saved.same_verdicts(&live.generation.record().policy))
        };
        if let Some(saved) = file.saved()
            && file.saved_policy().is_some_and(is_current)
        {
            return Ok(Some(String::from_utf8_lossy(saved).into_owned()));
        }
        let Some(live) = &self.live else {
            return Ok(None);
        };
        let document = PolicyDocument::of(&live.generation.record().policy)?;
        Ok(Some(document.contents().into_owned()))
    }

    /// Whether a policy of the history is what is in force, or what is saved while nothing is.
    fn is_current(&self, entry: &Entry, file: Option<&PolicyFile>) -> bool {
        let file = file.filter(|file| file.saved() == Some(entry.text.as_bytes()));
        match (&self.live, file.and_then(PolicyFile::saved_policy)) {
            (None, saved) => saved.is_some(),
            // A large policy need not be read twice.
            (Some(live), Some(saved)) => saved.same_verdicts(&live.generation.record().policy),
            (Some(_), None) => self.is_in_force(entry),
        }
    }

    /// Whether a policy of the history judges as what is in force.
    pub fn is_in_force(&self, entry: &Entry) -> bool {
        self.live.as_ref().is_some_and(|live| {
            let policy = &live.generation.record().policy;
            let document = entry.document();
            document.is_ok_and(|document| document.policy().same_verdicts(policy))
        })
    }

    /// The policy before the last change: the one in front of what is in force, or saved while
    /// nothing is.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be read.
    pub fn previous(
        &self,
        history: &History,
        file: Option<&PolicyFile>,
    ) -> Result<Entry, HistoryError> {
        let numbers = history.numbers()?;
        let (&last, before) = numbers.split_last().ok_or(HistoryError::Empty)?;
        let newest = history.read(last)?;
        if !self.is_current(&newest, file) {
            return Ok(newest);
        }
        let &previous = before.last().ok_or(HistoryError::First(last))?;
        history.read(previous)
    }
}
