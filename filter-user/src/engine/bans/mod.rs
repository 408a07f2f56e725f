//! Who is banned, and why: a journal beside the history of the policies, which outlasts reboots, and
//! the table in the kernel, which goes by it. Changes need no new generation.

mod journal;
mod known;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::PathBuf,
};

use anyhow::Result;
use ipnet::IpNet;
use jiff::Timestamp;
use xdpfw_common::abi::Ban;

pub use self::journal::{BanEvent, BanFollower, BanLine};
use self::{
    journal::Journal,
    known::{KnownBans, prolonged},
};
use super::{Engine, History};
use crate::{
    datapath::{Bans, Generation},
    duration::Seconds,
    system::PlaceError,
};

/// The origin of bans by hand, and by what has a command do it.
pub const BY_HAND: &str = "manual";

/// A ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Banned {
    /// Who.
    pub prefix: IpNet,
    /// Who wants it: [`BY_HAND`], or what it is called that bans by itself.
    pub origin: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when; `None` for good.
    pub until: Option<Timestamp>,
    /// Why, in the words of whoever wants it.
    pub why: Option<String>,
    /// Whether even its answers are dropped.
    pub hard: bool,
    /// How many times it was banned, with this one.
    pub times: u32,
}

/// Somebody who is to be banned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BanWish {
    /// Who.
    pub prefix: IpNet,
    /// How long the first time; `None` for good.
    pub lasts: Option<Seconds>,
    /// Why.
    pub why: Option<String>,
    /// Whether even its answers are to be dropped.
    pub hard: bool,
}

/// Whose bans are to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unban<'a> {
    /// Nobody's.
    Nobody,
    /// Those of these prefixes.
    These(&'a [IpNet]),
    /// All, but those that are to be banned.
    Others,
}

/// A change of the bans of one origin.
#[derive(Clone, Copy, Debug)]
pub struct BanOrders<'a> {
    /// The origin. What ends by hand ends for all.
    pub origin: &'a str,
    /// What ends first.
    pub unban: Unban<'a>,
    /// What begins, each in place of a ban that the prefix has of this origin.
    pub ban: &'a [BanWish],
    /// How many times as long each next ban of a source is; empty: as long.
    pub repeat: &'a [u32],
}

/// What became of it.
#[derive(Clone, Debug, Default)]
pub struct BansChanged {
    /// The bans that began.
    pub banned: Vec<Banned>,
    /// The prefixes of which one ended.
    pub ended: BTreeSet<IpNet>,
}

/// Why nothing is known of bans.
#[derive(Debug, thiserror::Error)]
pub enum BanError {
    /// The file is something else, or damaged.
    #[error(
        "{}: line {line} is damaged: {why} (remove that line, or the file to begin without bans)",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// It cannot be read, or others may write it.
    #[error(transparent)]
    Place(#[from] PlaceError),
}

impl From<BanLine> for Banned {
    fn from(line: BanLine) -> Self {
        Self {
            prefix: line.prefix,
            origin: line.origin,
            since: line.at,
            until: line.until,
            why: line.why,
            hard: line.hard,
            times: line.times.unwrap_or(1),
        }
    }
}

impl Banned {
    /// The line that says so.
    fn line(&self) -> BanLine {
        BanLine {
            event: BanEvent::Ban,
            prefix: self.prefix,
            origin: self.origin.clone(),
            at: self.since,
            until: self.until,
            why: self.why.clone(),
            hard: self.hard,
            times: Some(self.times).filter(|times| *times > 1),
        }
    }

    /// The line that ends it.
    fn end(&self, at: Timestamp) -> BanLine {
        self.line().end(at)
    }

    /// Whether it says what a wish does.
    fn is(&self, wish: &BanWish) -> bool {
        let Self { why, hard, .. } = self;
        self.prefix == wish.prefix && *hard == wish.hard && *why == wish.why
    }
}

impl Engine {
    /// Ends bans and begins others.
    ///
    /// # Errors
    ///
    /// The journal is damaged, there is no room, or the disk or the kernel refuses. Then nothing has
    /// changed.
    pub fn change_bans(&self, history: &History, orders: &BanOrders<'_>) -> Result<BansChanged> {
        let journal = Journal::read(history)?;
        let prefixes = prefixes_of(orders);
        let whole = match &prefixes {
            Some(prefixes) => {
                // Prefixes around others that are over are removed: packets look at a few only.
                !journal.is_searched_for(prefixes.len()) || prefixes.iter().any(is_net)
            }
            None => true,
        };
        let named = prefixes.clone();
        let mut known = match prefixes.filter(|_| !whole) {
            Some(prefixes) => journal.of(prefixes.into_iter())?,
            None => journal.all()?,
        };
        let before = known.clone();
        let now = Timestamp::now();
        let (lines, changed) = carry_out(&mut known, orders, now)?;
        let mut table = self.bans()?;
        history.prepare()?;
        let appended = journal.append(&lines)?;
        if let Some(table) = &mut table {
            // Also those that are as they were to be: a command that was killed may not have come to
            // the kernel.
            let named = named.into_iter().flatten();
            let touched: BTreeSet<IpNet> =
                lines.iter().map(|line| line.prefix).chain(named).collect();
            let written = write(table, &known, &touched, now).or_else(|error| {
                // There may be room once those are gone that are over.
                let all = Journal::read(history)?.all()?;
                match sweep(table, &all, now)? {
                    0 => Err(error),
                    _ => write(table, &known, &touched, now),
                }
            });
            if let Err(error) = written {
                drop(write(table, &before, &touched, now));
                journal.take_back(appended)?;
                return Err(error);
            }
        }
        // The bans are changed. What follows is for those to come, and for packets to be faster.
        let mut tidy_up = || -> Result<()> {
            if journal.is_long() {
                let journal = Journal::read(history)?;
                journal.write_anew(&journal.all()?)?;
            }
            match &mut table {
                Some(table) if whole => {
                    sweep(table, &known, now)?;
                    match changed.ended.is_empty() {
                        true => Ok(()),
                        false => tidy(&known, table, now),
                    }
                }
                _ => Ok(()),
            }
        };
        if let Err(error) = tidy_up() {
            log::warn!("{error:#}");
        }
        let mut changed = changed;
        if orders.origin == BY_HAND {
            changed.ended.extend(match orders.unban {
                Unban::Nobody => Vec::new(),
                Unban::These(prefixes) => self.unban_openers(Some(prefixes))?,
                Unban::Others => self.unban_openers(None)?,
            });
        }
        Ok(changed)
    }

    /// The bans in force, each with the packets that were dropped for it; `None` while nothing is
    /// filtered.
    ///
    /// # Errors
    ///
    /// The journal is damaged, or the kernel refuses.
    pub fn banned(&self, history: &History) -> Result<Vec<(Banned, Option<u64>)>> {
        let known = Journal::read(history)?.all()?;
        let table = self.bans()?;
        let mut banned = Vec::new();
        for ban in known.in_force(Timestamp::now()) {
            let packets = match &table {
                Some(table) => table.get(&ban.prefix)?.map(|known| known.packets),
                None => None,
            };
            banned.push((ban.clone(), packets));
        }
        Ok(banned)
    }

    /// How many prefixes are banned.
    ///
    /// # Errors
    ///
    /// The journal is damaged.
    pub fn banned_count(&self, history: &History) -> Result<usize> {
        let known = Journal::read(history)?.all()?;
        let banned = known.in_force(Timestamp::now()).map(|ban| ban.prefix);
        Ok(banned.collect::<HashSet<_>>().len())
    }

    fn bans(&self) -> Result<Option<Bans>> {
        let live = self.live.as_ref();
        live.map(|live| live.generation.bans()).transpose()
    }
}

/// Whether it is banned by a trie.
fn is_net(prefix: &IpNet) -> bool {
    prefix.prefix_len() != if prefix.addr().is_ipv4() { 32 } else { 64 }
}

/// The prefixes that orders are about; `None` for all.
fn prefixes_of(orders: &BanOrders<'_>) -> Option<HashSet<IpNet>> {
    let begun = orders.ban.iter().map(|wish| wish.prefix);
    match orders.unban {
        Unban::Others => None,
        Unban::Nobody => Some(begun.collect()),
        Unban::These(prefixes) => Some(begun.chain(prefixes.iter().copied()).collect()),
    }
}

/// Carries out orders on what is known; the lines that say what changed.
fn carry_out(
    known: &mut KnownBans,
    orders: &BanOrders<'_>,
    now: Timestamp,
) -> Result<(Vec<BanLine>, BansChanged)> {
    let mut changed = BansChanged::default();
    let origin = orders.origin;
    let is_theirs = |ban: &Banned| origin == BY_HAND || ban.origin == origin;
    let mut lines: Vec<BanLine> = match orders.unban {
        Unban::Nobody => Vec::new(),
        Unban::These(prefixes) => {
            let bans = prefixes.iter().flat_map(|prefix| known.of(prefix, now));
            bans.filter(|ban| is_theirs(ban))
                .map(|ban| ban.end(now))
                .collect()
        }
        Unban::Others => {
            let kept: HashSet<IpNet> = orders.ban.iter().map(|wish| wish.prefix).collect();
            let bans = known
                .in_force(now)
                .filter(|ban| !kept.contains(&ban.prefix));
            bans.filter(|ban| is_theirs(ban))
                .map(|ban| ban.end(now))
                .collect()
        }
    };
    for line in &lines {
        changed.ended.insert(line.prefix);
        known.add(line.clone());
    }
    for wish in orders.ban {
        let times = known.times(&wish.prefix, origin, now);
        let lasts = wish
            .lasts
            .map(|lasts| prolonged(lasts, times, orders.repeat));
        let until = match lasts {
            Some(lasts) => Some(now.checked_add(lasts.duration())?),
            None => None,
        };
        let ban = Banned {
            prefix: wish.prefix,
            origin: origin.to_owned(),
            since: now,
            until,
            why: wish.why.clone(),
            hard: wish.hard,
            times,
        };
        // Whoever says the same again and again, does not fill the disk.
        let same = known
            .of(&wish.prefix, now)
            .find(|other| other.origin == origin);
        if same.is_none_or(|same| !same.is(wish) || !is_about(same.until, until)) {
            lines.push(ban.line());
            known.add(ban.line());
        }
        changed.banned.push(ban);
    }
    Ok((lines, changed))
}

/// Whether two ends are the same, to the second.
fn is_about(one: Option<Timestamp>, other: Option<Timestamp>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.duration_since(other).unsigned_abs().as_secs() < 1,
        (one, other) => one == other,
    }
}

/// Writes what is known of these prefixes to the table.
fn write(
    table: &mut Bans,
    known: &KnownBans,
    prefixes: &BTreeSet<IpNet>,
    now: Timestamp,
) -> Result<()> {
    let mut added: Vec<(IpNet, Ban)> = Vec::new();
    for prefix in prefixes {
        match known.in_kernel(prefix, now) {
            Some(ban) => added.push((*prefix, ban)),
            None => drop(table.remove(prefix)?),
        }
    }
    match added.is_empty() {
        true => Ok(()),
        false => table.add(&added),
    }
}

/// Removes those from the table that are over; how many there were.
fn sweep(table: &mut Bans, known: &KnownBans, now: Timestamp) -> Result<usize> {
    let mut removed = 0;
    for prefix in known.prefixes() {
        if known.of(&prefix, now).next().is_none() && table.remove(&prefix)? {
            removed += 1;
        }
    }
    Ok(removed)
}

/// The bans in force of this network namespace, as the kernel has them.
///
/// # Errors
///
/// The journal is damaged.
pub(super) fn in_kernel(history: &History) -> Result<HashMap<IpNet, Ban>> {
    let (known, now) = (Journal::read(history)?.all()?, Timestamp::now());
    let bans = known
        .prefixes()
        .filter_map(|prefix| Some((prefix, known.in_kernel(&prefix, now)?)));
    Ok(bans.collect())
}

/// The bans in force of this network namespace.
///
/// # Errors
///
/// The journal is damaged.
pub(super) fn all_in_force() -> Result<Vec<Banned>> {
    let known = Journal::read(&History::own())?.all()?;
    Ok(known.in_force(Timestamp::now()).cloned().collect())
}

/// Puts the bans of the journal into the table of a generation, which has none yet.
///
/// # Errors
///
/// The journal is damaged, there is no room, or the kernel refuses.
pub(super) fn restore(generation: &Generation) -> Result<()> {
    let known = Journal::read(&History::own())?.all()?;
    let now = Timestamp::now();
    let prefixes: BTreeSet<IpNet> = known.in_force(now).map(|ban| ban.prefix).collect();
    match prefixes.is_empty() {
        true => Ok(()),
        false => write(&mut generation.bans()?, &known, &prefixes, now),
    }
}

fn tidy(known: &KnownBans, table: &mut Bans, now: Timestamp) -> Result<()> {
    let left: Vec<(IpNet, bool)> = known
        .in_force(now)
        .map(|ban| (ban.prefix, ban.hard))
        .collect();
    table.tidy(&left)
}

#[cfg(test)]
mod tests;
