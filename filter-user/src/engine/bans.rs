//! Who is banned, and why: a file beside the history of the policies, which outlasts reboots, and the
//! table in the kernel, which goes by it. Changes need no new generation.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use anyhow::{Context as _, Result};
use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use xdpfw_common::abi::Ban;

use super::{Engine, History, history::MODE, temporary::operators, whole_file::Prepared};
use crate::{
    datapath::{Bans, Deadline, Generation},
    system::{Place, PlaceError},
};

/// Its name in the directory of the history.
const NAME: &str = "bans.json";
/// What it says that it is.
const SCHEMA: &str = "xdpfw.banned/1";
/// The bit of [`Ban::origins`] of the operator's own.
const MANUAL: u32 = 1 << 0;

/// A ban by the operator, or by what he has do it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Banned {
    /// Who.
    pub prefix: IpNet,
    /// Since when.
    pub since: Timestamp,
    /// Until when; `None` for good.
    pub until: Option<Timestamp>,
    /// Why, in the operator's words.
    pub why: Option<String>,
    /// Whether even its answers are dropped.
    pub hard: bool,
}

/// Why nobody is banned, or nothing known of it.
#[derive(Debug, thiserror::Error)]
pub enum BanError {
    /// It would end the operator's session.
    #[error(
        "refused; {prefix} holds {peer}, your SSH session's other end (--force bans it all the same)"
    )]
    Operator {
        /// What was to be banned.
        prefix: IpNet,
        /// The other end.
        peer: IpAddr,
    },
    /// The file is something else, or breaks off.
    #[error("{}: no list of bans: {why} (remove it to begin without any)", path.display())]
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

#[derive(Serialize, Deserialize)]
struct File {
    schema: String,
    bans: Vec<Banned>,
}

/// All bans of the operator's, by prefix.
#[derive(Debug)]
pub struct BanList {
    path: PathBuf,
    bans: BTreeMap<IpNet, Banned>,
}

impl BanList {
    /// Those of the network namespace of a history, without those that are over.
    ///
    /// # Errors
    ///
    /// The file cannot be read, others may write it, or it is something else.
    pub fn read(history: &History) -> Result<Self, BanError> {
        let path = history.beside(NAME);
        let mut bans = BTreeMap::new();
        if let Some(bytes) = Place::find(&path)?.read()? {
            let damaged = |why: String| BanError::Damaged {
                path: path.clone(),
                why,
            };
            let file: File =
                serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
            if file.schema != SCHEMA {
                return Err(damaged(format!("it is `{}`", file.schema.escape_debug())));
            }
            let now = Timestamp::now();
            let lasts = |ban: &Banned| ban.until.is_none_or(|until| until > now);
            bans.extend(
                file.bans
                    .into_iter()
                    .filter(lasts)
                    .map(|ban| (ban.prefix, ban)),
            );
        }
        Ok(Self { path, bans })
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Banned> {
        self.bans.values()
    }

    /// Writes it to the disk, to be put in its place by [`Prepared::replace`].
    fn prepare(&self, history: &History) -> Result<Prepared> {
        let file = File {
            schema: SCHEMA.to_owned(),
            bans: self.bans.values().cloned().collect(),
        };
        let mut contents = serde_json::to_vec(&file)?;
        contents.push(b'\n');
        let prepare = || -> Result<Prepared> {
            history.prepare()?;
            Ok(Prepared::write(Place::find(&self.path)?, &contents, MODE)?)
        };
        prepare().with_context(|| format!("cannot save the bans in {}", self.path.display()))
    }
}

impl Banned {
    /// As the kernel has it.
    fn in_kernel(&self) -> (IpNet, Ban) {
        let left = self
            .until
            .map(|until| until.duration_since(Timestamp::now()));
        let until = left.map_or(u64::MAX, |left| {
            Deadline::after(left.try_into().unwrap_or_default()).nanoseconds()
        });
        let ban = Ban {
            until,
            packets: 0,
            origins: MANUAL,
            hard: self.hard.into(),
            len: 0,
            padding: [0; 2],
        };
        (self.prefix, ban)
    }
}

impl Engine {
    /// Bans prefixes, each in place of a ban that it has.
    ///
    /// # Errors
    ///
    /// One of them holds the operator's other end and it is not `forced`, there is no room, or the
    /// disk or the kernel refuses. Then nothing has changed.
    pub fn ban(&self, history: &History, bans: &[Banned], forced: bool) -> Result<()> {
        let peers = match forced {
            true => Vec::new(),
            false => operators()?,
        };
        for ban in bans {
            if let Some(&peer) = peers.iter().find(|peer| ban.prefix.contains(*peer)) {
                let prefix = ban.prefix;
                return Err(BanError::Operator { prefix, peer }.into());
            }
        }
        let before = BanList::read(history)?;
        let mut list = BanList::read(history)?;
        for ban in bans {
            list.bans.insert(ban.prefix, ban.clone());
        }
        let saving = list.prepare(history)?;
        if let Some(mut table) = self.bans()? {
            let written: Vec<_> = bans.iter().map(Banned::in_kernel).collect();
            if let Err(error) = table.add(&written) {
                for ban in bans {
                    drop(table.remove(&ban.prefix));
                }
                drop(load(&before, &mut table));
                return Err(error);
            }
        }
        Ok(saving.replace()?)
    }

    /// Ends the bans of prefixes, or all; those that were banned.
    ///
    /// # Errors
    ///
    /// The disk or the kernel refuses.
    pub fn unban(&self, history: &History, prefixes: Option<&[IpNet]>) -> Result<Vec<IpNet>> {
        let mut list = BanList::read(history)?;
        let mut ended: Vec<IpNet> = match prefixes {
            None => std::mem::take(&mut list.bans).into_keys().collect(),
            Some(prefixes) => prefixes
                .iter()
                .filter(|prefix| list.bans.remove(prefix).is_some())
                .copied()
                .collect(),
        };
        let saving = list.prepare(history)?;
        if let Some(mut table) = self.bans()? {
            for prefix in &ended {
                table.remove(prefix)?;
            }
            tidy(&list, &mut table)?;
        }
        saving.replace()?;
        for prefix in self.unban_openers(prefixes)? {
            if !ended.contains(&prefix) {
                ended.push(prefix);
            }
        }
        Ok(ended)
    }

    /// The bans, each with the packets that were dropped for it; `None` while nothing is filtered.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or the kernel refuses.
    pub fn banned(&self, history: &History) -> Result<Vec<(Banned, Option<u64>)>> {
        let list = BanList::read(history)?;
        let table = self.bans()?;
        let mut banned = Vec::new();
        for ban in list.iter() {
            let known = match &table {
                Some(table) => table.get(&ban.prefix)?.map(|known| known.packets),
                None => None,
            };
            banned.push((ban.clone(), known));
        }
        Ok(banned)
    }

    fn bans(&self) -> Result<Option<Bans>> {
        let live = self.live.as_ref();
        live.map(|live| live.generation.bans()).transpose()
    }
}

/// Puts the bans of the file into the table of a generation, which has none yet.
///
/// # Errors
///
/// The file cannot be read, there is no room, or the kernel refuses.
pub(super) fn restore(generation: &Generation) -> Result<()> {
    let list = BanList::read(&History::own())?;
    match list.bans.is_empty() {
        true => Ok(()),
        false => load(&list, &mut generation.bans()?),
    }
}

fn load(list: &BanList, table: &mut Bans) -> Result<()> {
    let bans: Vec<_> = list.iter().map(Banned::in_kernel).collect();
    table.add(&bans)
}

fn tidy(list: &BanList, table: &mut Bans) -> Result<()> {
    let left: Vec<(IpNet, bool)> = list.iter().map(|ban| (ban.prefix, ban.hard)).collect();
    table.tidy(&left)
}
