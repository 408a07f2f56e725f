//! The last review that was saved, in a file that root alone may read, beside the history of the
//! policies; and since when rules are there, by that history.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::Deserialize;

use super::{History, HistoryError, history::MODE, whole_file};
use crate::{
    analysis::review::{Earlier, SCHEMA},
    datapath::Lock,
    policy::{Policy, Rule, RuleId},
    system::{Place, PlaceError},
};

/// Its name in the directory of the history.
const NAME: &str = "review.json";
/// The largest file that is read, in bytes: a review with a million rules has less.
const LARGEST: i64 = 1 << 28;

/// A file that a review is saved in.
#[derive(Clone, Debug)]
pub struct SavedReview {
    path: PathBuf,
}

/// Why there is no review to compare with.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// None was saved yet.
    #[error("no review was saved yet (say `xdpfw review --save`)")]
    None,
    /// There is no such file.
    #[error("{}: no such file (`xdpfw --json review > FILE` makes one)", .0.display())]
    Missing(PathBuf),
    /// It is something else, or breaks off.
    #[error("{}: no saved review: {why} (`xdpfw review --save` makes one)", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It cannot be read, or others may write it.
    #[error(transparent)]
    Place(#[from] PlaceError),
}

#[derive(Deserialize)]
struct Head {
    schema: String,
}

impl SavedReview {
    /// That of the network namespace of this history.
    pub fn last(history: &History) -> Self {
        Self {
            path: history.beside(NAME),
        }
    }

    /// In another file.
    pub fn at(path: &Path) -> Self {
        Self { path: path.into() }
    }

    /// Reads it; `None` if there is no such file.
    ///
    /// # Errors
    ///
    /// It cannot be read, others may write it, or it is something else.
    pub fn read(&self) -> Result<Option<Earlier>, ReviewError> {
        let place = Place::find(&self.path)?;
        let damaged = |why: String| ReviewError::Damaged {
            path: self.path.clone(),
            why,
        };
        if place.stat().is_some_and(|stat| stat.st_size > LARGEST) {
            return Err(damaged("too large".to_owned()));
        }
        let Some(bytes) = place.read()? else {
            return Ok(None);
        };
        let head: Head = serde_json::from_slice(&bytes).map_err(|error| damaged(why(&error)))?;
        if head.schema != SCHEMA {
            let schema: String = head.schema.chars().take(40).collect();
            return Err(damaged(format!("it is `{}`", schema.escape_debug())));
        }
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| damaged(why(&error)))
    }

    /// Why there is none to compare with.
    pub fn missing(&self, is_last: bool) -> ReviewError {
        match is_last {
            true => ReviewError::None,
            false => ReviewError::Missing(self.path.clone()),
        }
    }

    /// Replaces it, whole or not at all.
    ///
    /// # Errors
    ///
    /// Others may write the directory, the disk fails, or another command takes too long.
    pub fn write(&self, history: &History, contents: &[u8]) -> Result<()> {
        // What is written in between has one name.
        let _lock = Lock::exclusive()?;
        let write = || -> Result<()> {
            history.prepare()?;
            Ok(whole_file::write(Place::find(&self.path)?, contents, MODE)?)
        };
        write().with_context(|| format!("cannot save the review in {}", self.path.display()))
    }
}

/// What is wrong with a text that is no such JSON, in a few words.
fn why(error: &serde_json::Error) -> String {
    match error.classify() {
        serde_json::error::Category::Eof => "it breaks off".to_owned(),
        serde_json::error::Category::Data => format!("{error}"),
        _ => "it is no JSON".to_owned(),
    }
}

impl History {
    /// Since when these rules of a policy are there, as far as the history reaches back to a
    /// moment. What it does not know is left out.
    ///
    /// # Errors
    ///
    /// The history cannot be read.
    pub fn rules_since(
        &self,
        rules: &[&Rule],
        not_before: Timestamp,
    ) -> Result<HashMap<RuleId, Timestamp>, HistoryError> {
        let mut since = HashMap::new();
        let mut open: Vec<&Rule> = rules.to_vec();
        for number in self.numbers()?.into_iter().rev() {
            if open.is_empty() {
                break;
            }
            // One that cannot be read tells nothing.
            let Ok(entry) = self.read(number) else { break };
            let Ok(document) = entry.document() else {
                break;
            };
            open.retain(|rule| has(document.policy(), rule));
            since.extend(open.iter().map(|rule| (rule.id, entry.change.at)));
            if entry.change.at < not_before {
                break;
            }
        }
        Ok(since)
    }
}

/// Whether a policy has a rule that counts as this one does.
fn has(policy: &Policy, rule: &Rule) -> bool {
    let same = policy.rule(rule.id);
    same.is_some_and(|same| same.action == rule.action && same.matches == rule.matches)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_no_review_is_named_in_a_line() -> anyhow::Result<()> {
        let directory = tempfile::tempdir_in("/var/tmp").or_else(|_| tempfile::tempdir())?;
        let path = directory.path().join("review.json");
        let whole = r#"{"schema":"xdpfw.review/1","at":"2026-11-28T10:00:00Z","default":"drop",
            "rules":[{"id":"r1","text":"allow tcp 22"}],"findings":[],
            "listening":[{"protocol":"tcp","address":"::","port":22,"process":"sshd",
            "verdict":"pass","more":1}]}"#;
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            SavedReview::at(&path).read()
        };
        let earlier = read(whole)?.unwrap();
        assert_eq!(earlier.listening[0].port, 22);
        for (text, expected) in [
            ("", "it breaks off"),
            (&whole[..whole.len() / 2], "it breaks off"),
            ("version = 1\n", "it is no JSON"),
            ("\u{0}\u{1}", "it is no JSON"),
            ("[]", "invalid length"),
            (r#"{"schema":"xdpfw.list/1"}"#, "it is `xdpfw.list/1`"),
            (r#"{"schema":"xdpfw.review/1"}"#, "missing field"),
            (&whole.replace("22,", "70000,"), "invalid value"),
        ] {
            let said = read(text).unwrap_err().to_string();
            assert!(said.contains(expected), "{text:?}: {said}");
            assert!(!said.contains('\n'), "{said}");
        }
        fs::remove_file(&path)?;
        assert!(SavedReview::at(&path).read()?.is_none());
        Ok(())
    }
}
