//! What was read of a list last, in a file.

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    engine::{History, history::MODE, whole_file::Prepared},
    lists::PrefixSet,
    policy::List,
    system::{Place, PlaceError},
};

/// What the file says that it is.
const SCHEMA: &str = "xdpfw.list-kept/1";
/// More bytes than its first line has.
const MAX_HEAD: usize = 4096;

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

/// The first line of the file, which the prefixes follow: what is known of them without reading them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SavedHead {
    schema: String,
    /// As of [`Saved`].
    pub(super) fingerprint: String,
    /// As of [`Saved`].
    pub(super) refreshed: Timestamp,
    ipv4: usize,
    ipv6: usize,
    /// As [`PrefixSet::by_table`] has it.
    pub(super) by_table: [usize; 2],
}

impl SavedHead {
    /// What is known of what was read of a list as the policy has it now; `None` as of
    /// [`Saved::read_for`].
    ///
    /// # Errors
    ///
    /// Others may write it.
    pub(super) fn read_for(history: &History, list: &List) -> Result<Option<Self>, PlaceError> {
        let head = Self::read(history, &list.name)?;
        Ok(head.filter(|head| head.fingerprint == list.fingerprint()))
    }

    /// What is known of what was read of the list of this name.
    ///
    /// # Errors
    ///
    /// Others may write it.
    pub(super) fn read(history: &History, name: &str) -> Result<Option<Self>, PlaceError> {
        let place = Place::find(&history.beside(&file(name)))?;
        let (Some(start), Some(stat)) = (place.read_start(MAX_HEAD)?, place.stat()) else {
            return Ok(None);
        };
        Ok(Self::parse(&start).and_then(|(head, line)| {
            let is_whole = line.len().saturating_add(head.bytes()) == stat.st_size as usize;
            is_whole.then_some(head)
        }))
    }

    /// How many prefixes of IPv4, and of IPv6.
    pub(super) const fn counts(&self) -> [usize; 2] {
        [self.ipv4, self.ipv6]
    }

    /// How many bytes of prefixes follow.
    const fn bytes(&self) -> usize {
        PrefixSet::bytes_of(self.counts())
    }

    /// The first line of what is in a file, and itself.
    fn parse(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let head: Self = serde_json::from_slice(&bytes[..end]).ok()?;
        (head.schema == SCHEMA).then_some((head, &bytes[..=end]))
    }
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
        let (head, line) = SavedHead::parse(bytes)?;
        let prefixes = PrefixSet::from_bytes(&bytes[line.len()..], head.ipv4)?;
        (prefixes.counts() == head.counts()).then_some(Self {
            name: name.to_owned(),
            fingerprint: head.fingerprint,
            refreshed: head.refreshed,
            prefixes,
        })
    }

    /// Writes it to the disk, to be put in its place by [`Prepared::replace`].
    pub(super) fn prepare(&self, history: &History) -> Result<Prepared> {
        let [ipv4, ipv6] = self.prefixes.counts();
        let head = SavedHead {
            schema: SCHEMA.to_owned(),
            fingerprint: self.fingerprint.clone(),
            refreshed: self.refreshed,
            ipv4,
            ipv6,
            by_table: self.prefixes.by_table(),
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
