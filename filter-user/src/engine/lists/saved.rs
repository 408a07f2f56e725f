//! What was read of a list last, in a file.

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::state::ListState;
use crate::{
    engine::{History, history::MODE, whole_file::Prepared},
    lists::PrefixSet,
    policy::List,
    system::{Place, PlaceError},
};

/// What the file says that it is.
const SCHEMA: &str = "xdpfw.list-kept/1";

/// What was read of a list.
#[derive(Clone, Debug)]
pub(super) struct Saved {
    name: String,
    /// What tells whether it is still what the policy means.
    pub(super) fingerprint: String,
    /// When it was read.
    pub(super) refreshed: Timestamp,
    /// What it is.
    pub(super) prefixes: PrefixSet,
}

/// The first line of the file; the prefixes follow.
#[derive(Serialize, Deserialize)]
struct Head {
    schema: String,
    fingerprint: String,
    refreshed: Timestamp,
    ipv4: usize,
    ipv6: usize,
}

impl Saved {
    /// What was read of a list just now.
    pub(super) fn of(list: &List, prefixes: PrefixSet) -> Self {
        Self {
            name: list.name.clone(),
            fingerprint: list.fingerprint(),
            refreshed: Timestamp::now(),
            prefixes,
        }
    }

    /// What was read of a list as the policy has it now; `None` if there is nothing, or nothing that
    /// can be used.
    ///
    /// # Errors
    ///
    /// Others may write it.
    pub(super) fn read_for(history: &History, list: &List) -> Result<Option<Self>> {
        let saved = Self::read(history, &list.name)?;
        Ok(saved.filter(|saved| saved.fingerprint == list.fingerprint()))
    }

    /// Whether it was read of a list as the policy has it now.
    pub(super) fn is_of(&self, list: &List) -> bool {
        self.fingerprint == list.fingerprint()
    }

    /// Whether it is what the table has of the list.
    pub(super) fn is_in_table(&self, known: &ListState) -> bool {
        known.in_table.as_ref() == Some(&self.fingerprint)
    }

    /// What was read of the list of this name.
    ///
    /// # Errors
    ///
    /// Others may write it.
    pub(super) fn read(history: &History, name: &str) -> Result<Option<Self>, PlaceError> {
        let Some(bytes) = Place::find(&history.beside(&file(name)))?.read()? else {
            return Ok(None);
        };
        // One that is damaged is read anew.
        Ok(Self::parse(name, &bytes))
    }

    fn parse(name: &str, bytes: &[u8]) -> Option<Self> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let head: Head = serde_json::from_slice(&bytes[..end]).ok()?;
        let prefixes = PrefixSet::from_bytes(&bytes[end + 1..], head.ipv4)?;
        let is_whole = head.schema == SCHEMA && prefixes.counts() == [head.ipv4, head.ipv6];
        is_whole.then_some(Self {
            name: name.to_owned(),
            fingerprint: head.fingerprint,
            refreshed: head.refreshed,
            prefixes,
        })
    }

    /// Writes it to the disk, to be put in its place by [`Prepared::replace`].
    pub(super) fn prepare(&self, history: &History) -> Result<Prepared> {
        let [ipv4, ipv6] = self.prefixes.counts();
        let head = Head {
            schema: SCHEMA.to_owned(),
            fingerprint: self.fingerprint.clone(),
            refreshed: self.refreshed,
            ipv4,
            ipv6,
        };
        let mut bytes = serde_json::to_vec(&head)?;
        bytes.push(b'\n');
        bytes.extend(self.prefixes.to_bytes());
        let prepare = || -> Result<Prepared> {
            history.prepare()?;
            let place = Place::find(&history.beside(&file(&self.name)))?;
            Ok(Prepared::write(place, &bytes, MODE)?)
        };
        prepare().with_context(|| format!("cannot save the list {}", self.name))
    }

    /// The same at once.
    pub(super) fn write(&self, history: &History) -> Result<()> {
        Ok(self.prepare(history)?.replace()?)
    }

    /// Removes what was read of the list of this name.
    pub(super) fn remove(history: &History, name: &str) -> Result<()> {
        let place = Place::find(&history.beside(&file(name)))?;
        match place.stat() {
            Some(_) => Ok(crate::engine::whole_file::remove(place)?),
            None => Ok(()),
        }
    }
}

fn file(name: &str) -> String {
    format!("lists/{name}.list")
}
