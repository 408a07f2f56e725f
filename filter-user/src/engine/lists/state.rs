//! What is known of lists beside their prefixes: which bit of a ban is whose, what went wrong, and
//! which table has what was read last.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    engine::{History, history::MODE, whole_file},
    policy::MAX_BANNING,
    system::Place,
};

/// Its name beside the history.
const NAME: &str = "lists/state.json";
/// What it says that it is.
const SCHEMA: &str = "xdpfw.lists-state/1";

/// What is known of all lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    schema: String,
    /// The table that has the bans of lists as they are kept; of another one, nothing is known.
    table: Option<TableId>,
    lists: BTreeMap<String, ListState>,
}

/// Tells a table from all others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct TableId {
    boot: String,
    number: u32,
}

/// What is known of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ListState {
    /// Its bit in bans, from 1 on; `None` while it has none there.
    pub(super) number: Option<u32>,
    /// What tells which list that was whose prefixes are there.
    #[serde(default)]
    pub(super) in_table: Option<String>,
    /// When it was to be read last.
    pub(super) attempted: Option<Timestamp>,
    /// Why it was not.
    pub(super) error: Option<String>,
    /// What is not banned of it, since it holds the other end of a session.
    #[serde(default)]
    pub(super) left_out: Vec<IpNet>,
}

impl State {
    /// What is known. What cannot be understood is not.
    ///
    /// # Errors
    ///
    /// It cannot be read, or others may write it.
    pub(super) fn read(history: &History) -> Result<Self> {
        let bytes = Place::find(&history.beside(NAME))?.read()?;
        let state = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Ok(state
            .filter(|state: &Self| state.schema == SCHEMA)
            .unwrap_or_default())
    }

    /// Keeps it.
    ///
    /// # Errors
    ///
    /// The disk refuses.
    pub(super) fn write(&self, history: &History) -> Result<()> {
        let state = Self {
            schema: SCHEMA.to_owned(),
            ..self.clone()
        };
        let mut bytes = serde_json::to_vec(&state)?;
        bytes.push(b'\n');
        let write = || -> Result<()> {
            history.prepare()?;
            Ok(whole_file::write(
                Place::find(&history.beside(NAME))?,
                &bytes,
                MODE,
            )?)
        };
        write().context("cannot save what is known of lists")
    }

    /// Keeps it, and that no table has what is kept: what follows may be cut short.
    ///
    /// # Errors
    ///
    /// The disk refuses.
    pub(super) fn write_unsure(&self, history: &History) -> Result<()> {
        let unsure = Self {
            table: None,
            ..self.clone()
        };
        unsure.write(history)
    }

    /// The names of lists that have a bit in bans, by its number.
    pub(super) fn numbers(&self) -> Vec<(u32, String)> {
        let lists = self.lists.iter();
        lists
            .filter_map(|(name, list)| Some((list.number?, name.clone())))
            .collect()
    }

    /// What is known of a list.
    pub(super) fn of(&self, name: &str) -> ListState {
        self.lists.get(name).cloned().unwrap_or_default()
    }

    /// The same, to be changed.
    pub(super) fn of_mut(&mut self, name: &str) -> &mut ListState {
        self.lists.entry(name.to_owned()).or_default()
    }

    /// The names that something is known of.
    pub(super) fn names(&self) -> Vec<String> {
        self.lists.keys().cloned().collect()
    }

    /// Forgets a list.
    pub(super) fn forget(&mut self, name: &str) {
        self.lists.remove(name);
    }

    /// Whether a list bans.
    pub(super) fn has_numbers(&self) -> bool {
        self.lists.values().any(|list| list.number.is_some())
    }

    /// The lists that have a number, with it.
    pub(super) fn numbered(&self) -> Vec<(String, u32)> {
        let numbered = self.lists.iter();
        numbered
            .filter_map(|(name, list)| Some((name.clone(), list.number?)))
            .collect()
    }

    /// The number of a list, which gets one if it has none; `None` if there is none left.
    pub(super) fn number(&mut self, name: &str) -> Option<u32> {
        if let Some(number) = self.of(name).number {
            return Some(number);
        }
        let used: Vec<u32> = self.lists.values().filter_map(|list| list.number).collect();
        let number = (1..=MAX_BANNING as u32).find(|number| !used.contains(number))?;
        self.of_mut(name).number = Some(number);
        Some(number)
    }

    /// Whether a table has what is kept.
    pub(super) fn trusts(&self, number: u32) -> bool {
        let known = self.table.as_ref();
        known.is_some_and(|table| table.number == number && Some(&table.boot) == boot().as_ref())
    }

    /// Notes which table has what is kept; `None` for none.
    pub(super) fn set_table(&mut self, number: Option<u32>) {
        self.table = number.and_then(|number| {
            Some(TableId {
                boot: boot()?,
                number,
            })
        });
    }
}

/// What tells this boot from others: the kernel counts tables anew in each.
fn boot() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}
