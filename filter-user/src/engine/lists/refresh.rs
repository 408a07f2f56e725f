//! Reads lists anew: first all of them, without the lock, then what they change is made.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context as _, Result, anyhow, ensure};
use jiff::Timestamp;

use super::{
    saved::{Saved, SavedHead},
    state::State,
    table::{ban_room, settle_with},
};
use crate::{
    engine::{Engine, Facts, History, InForce},
    fetch::{FetchError, fetch},
    lists::{GarbageLines, MAX_UNPACKED, NoList, PrefixSet, Read},
    policy::{List, ListSource, Policy},
    system::{Place, PlaceError},
};

/// How long after a failure a list is due again, if that is sooner than it would be.
const RETRY: Duration = Duration::from_secs(1_800);

/// How long it may take to read what a server has sent: a hundred times what the largest list takes.
const MOST: Duration = Duration::from_secs(120);

/// What is to be read anew, and how.
#[derive(Clone, Copy, Debug)]
pub struct Refresh {
    /// Only lists whose time has come.
    pub due: bool,
    /// Even if it shrinks by more than half.
    pub force: bool,
    /// How long a server may take.
    pub timeout: Duration,
}

/// What has become of a list.
#[derive(Debug)]
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// What has changed, or why nothing has.
    pub result: Result<Refreshed>,
}

/// What has changed in a list.
#[derive(Clone, Debug)]
pub struct Refreshed {
    /// How many prefixes of IPv4 and of IPv6 it has.
    pub entries: [usize; 2],
    /// How many of them are new.
    pub added: usize,
    /// How many it has no more.
    pub removed: usize,
    /// Lines that were none of a list.
    pub garbage: GarbageLines,
}

/// Why a list cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("there is no file {0}")]
    NoFile(String),
    #[error(transparent)]
    NoList(#[from] NoList),
}

/// Reads a list from where it comes from.
pub(super) fn read_list(list: &List, timeout: Duration) -> Result<Read, ReadError> {
    let bytes = match &list.source {
        ListSource::Prefixes(prefixes) => return Ok(Read::from_prefixes(list, prefixes)),
        ListSource::Url(url) => {
            let bytes = fetch(url, list.insecure, timeout)?;
            return Ok(Read::from_bytes_within(list, bytes, MOST)?);
        }
        ListSource::File(path) => {
            let place = Place::find(path)?;
            if place
                .stat()
                .is_some_and(|stat| stat.st_size as u64 > MAX_UNPACKED as u64)
            {
                return Err(NoList::Long.into());
            }
            let none = || ReadError::NoFile(path.display().to_string());
            place.read()?.ok_or_else(none)?
        }
    };
    Ok(Read::from_bytes(list, bytes)?)
}

impl Refresh {
    /// Reads lists of a policy anew, by name or all of them, and has what is in force go by them.
    ///
    /// # Errors
    ///
    /// What is kept of lists cannot be read or written. What went wrong with one is in its outcome.
    pub fn run(&self, policy: &Policy, names: &[String]) -> Result<Vec<Outcome>> {
        let history = History::own();
        let state = State::read(&history)?;
        let now = Timestamp::now();
        let lists: Vec<&List> = policy
            .lists
            .iter()
            .filter(|list| names.is_empty() || names.contains(&list.name))
            .filter(|list| !self.due || is_due(list, &history, &state, now))
            .collect();
        // A server may take its time; other commands do not wait for it.
        let read: Vec<(&List, Result<Read, ReadError>)> = lists
            .into_iter()
            .map(|list| (list, read_list(list, self.timeout)))
            .collect();
        // What rules are for takes a new generation, which may be refused. The others do not wait for it.
        let of_rules: Vec<String> = {
            let engine = Engine::shared()?;
            let in_force = engine.live().map(|live| &live.generation.record().policy);
            let policies = std::iter::once(policy).chain(in_force);
            let lists = policies.flat_map(|policy| policy.lists_of_rules());
            lists.map(|(list, _)| list.name.clone()).collect()
        };
        let (of_rules, others): (Vec<_>, Vec<_>) = read
            .into_iter()
            .partition(|(list, _)| of_rules.contains(&list.name));
        let mut outcomes = Vec::new();
        for read in [others, of_rules] {
            if !read.is_empty() {
                outcomes.extend(Engine::exclusive()?.take(policy, read, self.force)?);
            }
        }
        outcomes.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(outcomes)
    }
}

/// Whether a list is to be read anew.
fn is_due(list: &List, history: &History, state: &State, now: Timestamp) -> bool {
    let known = state.of(&list.name);
    let kept = matches!(SavedHead::read_for(history, list), Ok(Some(_)));
    let wait = match known.error.is_some() || !kept {
        true => list.interval().min(RETRY),
        false => list.interval(),
    };
    let Some(attempted) = known.attempted else {
        return true;
    };
    // The clock may have been set back.
    let since = now.duration_since(attempted);
    since.is_negative() || since.unsigned_abs() >= wait || (!kept && known.error.is_none())
}

impl Engine {
    /// Keeps what was read of lists, and has what is in force go by it.
    fn take(
        &self,
        policy: &Policy,
        read: Vec<(&List, Result<Read, ReadError>)>,
        force: bool,
    ) -> Result<Vec<Outcome>> {
        let history = History::own();
        let mut state = State::read(&history)?;
        let in_force = self.live().map(|live| &live.generation.record().policy);
        let mut before: HashMap<String, Option<Saved>> = HashMap::new();
        let mut outcomes = Vec::new();
        state.write_unsure(&history)?;
        for (list, read) in read {
            let kept = Saved::read(&history, &list.name)?;
            let is_applied = in_force
                .and_then(|policy| policy.list(&list.name))
                .is_none_or(|applied| applied.fingerprint() == list.fingerprint());
            let result = read.map_err(Into::into).and_then(|read| {
                ensure!(
                    is_applied,
                    "the policy file has it otherwise than what is in force (say `xdpfw apply`)"
                );
                let last = kept.as_ref().filter(|kept| kept.is_of(list));
                let last = last.map(|kept| kept.prefixes.clone()).unwrap_or_default();
                check_size(list, &last, &read, force)?;
                let refreshed = Refreshed {
                    entries: read.prefixes.counts(),
                    added: read.prefixes.without(&last).len(),
                    removed: last.without(&read.prefixes).len(),
                    garbage: read.garbage,
                };
                Saved::of(list, read.prefixes)
                    .prepare(&history)
                    .map(|prepared| (refreshed, prepared))
            });
            let result = result.and_then(|(refreshed, prepared)| {
                // From here on, what is kept may not be what the table has.
                before.insert(list.name.clone(), kept);
                prepared.replace()?;
                Ok(refreshed)
            });
            let known = state.of_mut(&list.name);
            known.attempted = Some(Timestamp::now());
            known.error = result.as_ref().err().map(|error| format!("{error:#}"));
            outcomes.push(Outcome {
                name: list.name.clone(),
                result,
            });
        }
        self.forget_lists(policy, &history, &mut state)?;
        state.write_unsure(&history)?;
        if let Err(error) = self.follow_lists(&history, &mut state, &before, force) {
            let why = format!("{error:#}");
            for (name, old) in &before {
                match old {
                    Some(old) => old.write(&history)?,
                    None => Saved::remove(&history, name)?,
                }
            }
            let mut state = State::read(&history)?;
            for outcome in outcomes.iter_mut().filter(|outcome| outcome.result.is_ok()) {
                state.of_mut(&outcome.name).error = Some(why.clone());
                outcome.result = Err(anyhow!("{why}"));
            }
            state.write(&history)?;
        }
        Ok(outcomes)
    }

    /// Has what is in force go by what is kept of lists.
    fn follow_lists(
        &self,
        history: &History,
        state: &mut State,
        before: &HashMap<String, Option<Saved>>,
        force: bool,
    ) -> Result<()> {
        let Some(live) = self.live() else {
            return Ok(());
        };
        let record = live.generation.record();
        let table = live.generation.bans()?;
        let room = table.room();
        let wanted = ban_room(&record.policy)?;
        let is_tight = room.iter().zip(wanted).any(|(room, wanted)| *room < wanted);
        let mut of_rules = record.policy.lists_of_rules();
        if is_tight || of_rules.any(|(list, _)| before.contains_key(&list.name)) {
            self.refuse_while_temporary()?;
            let source = InForce(record);
            // With it, the table is made bigger, if it has to be.
            let change = self.change(&source).facts(Facts::Followed).guarded(!force);
            let applied = change.without_settling().commit()?;
            let generation = applied.generation.context("no generation")?;
            let number = generation.bans()?.number();
            if state.trusts(table.number()) {
                // The bans were taken over.
                state.set_table(Some(number));
            }
            return settle_with(&generation, history, state, before);
        }
        match state.has_numbers() || record.policy.lists.iter().any(|list| list.ban) {
            true => settle_with(&live.generation, history, state, before),
            false => state.write(history),
        }
    }

    /// Forgets the lists that neither the policy in force has nor the file.
    fn forget_lists(&self, policy: &Policy, history: &History, state: &mut State) -> Result<()> {
        let in_force = self.live().map(|live| &live.generation.record().policy);
        for name in state.names() {
            let is_known = policy.list(&name).is_some()
                || in_force.is_some_and(|policy| policy.list(&name).is_some())
                || state.of(&name).number.is_some();
            if !is_known {
                Saved::remove(history, &name)?;
                state.forget(&name);
            }
        }
        Ok(())
    }
}

/// Refuses a list that has lost most of what it had: more often than not, its server is broken.
fn check_size(list: &List, last: &PrefixSet, read: &Read, force: bool) -> Result<()> {
    let (before, after) = (last.len(), read.prefixes.len());
    if force || after * 2 >= before || matches!(list.source, ListSource::Prefixes(_)) {
        return Ok(());
    }
    Err(anyhow!(
        "it shrinks from {before} to {after} prefixes, by more than half; what was read before stays \
         (say `xdpfw lists refresh --force {}` if that is right)",
        list.name
    ))
}
