//! Has the table of bans say what lists do: the difference alone is written.

use std::collections::HashMap;

use anyhow::{Context as _, Result, ensure};
use ipnet::IpNet;
use xdpfw_common::abi::MAX_BANS;

use super::{
    saved::{Saved, SavedHead},
    state::State,
};
use crate::{
    datapath::{Bans, Candidate, Generation, MANUAL},
    engine::{History, bans},
    lists::PrefixSet,
    policy::{List, Policy},
    system::authenticated_peers,
};

/// How much more room than it needs now a table is made with, in percent: lists grow.
const SPARE: usize = 25;

/// For how many bans of single sources and of other prefixes a table must have room, under a policy.
///
/// # Errors
///
/// What is kept of lists cannot be read.
pub(in crate::engine) fn ban_room(policy: &Policy) -> Result<[u32; 2]> {
    let mut room = MAX_BANS.map(|room| room as usize);
    if !policy.lists.iter().any(|list| list.ban) {
        return Ok(MAX_BANS);
    }
    let history = History::own();
    let state = State::read(&history)?;
    for list in policy.lists.iter().filter(|list| list.ban) {
        let head = SavedHead::read(&history, &list.name)?;
        if let Some(head) = head.filter(|head| is_to_ban(&head.fingerprint, list, &state)) {
            for (room, more) in room.iter_mut().zip(head.by_table) {
                *room += more;
            }
        }
    }
    Ok(room.map(|room| u32::try_from(room).unwrap_or(u32::MAX)))
}

/// The same with room to spare, for a table that is made anew.
pub(in crate::engine) fn spare(room: [u32; 2]) -> [u32; 2] {
    let grow = |room: u32, least: u32| {
        let lists = u64::from(room - least.min(room));
        let spare = lists * SPARE as u64 / 100;
        u32::try_from(u64::from(room) + spare).unwrap_or(u32::MAX)
    };
    [grow(room[0], MAX_BANS[0]), grow(room[1], MAX_BANS[1])]
}

/// Fills the table of a candidate that has another one than what is in force with what that has, so
/// that nobody is banned no more in between.
///
/// # Errors
///
/// The kernel refuses.
pub(in crate::engine) fn carry_bans(
    candidate: &Candidate<'_>,
    in_force: &Generation,
) -> Result<()> {
    let before = in_force.bans()?;
    let mut next = candidate.bans()?;
    if before.number() == next.number() {
        return Ok(());
    }
    next.copy(&before).context("cannot take over the bans")?;
    let history = History::own();
    let mut state = State::read(&history)?;
    if state.trusts(before.number()) {
        state.set_table(Some(next.number()));
        state.write(&history)?;
    }
    Ok(())
}

/// Empties the table of bans of a generation that is not in force any more, unless the next one has
/// the same.
///
/// # Errors
///
/// The kernel refuses.
pub(in crate::engine) fn empty_unused(before: &Generation, next: &Generation) -> Result<()> {
    let mut unused = before.bans()?;
    match unused.number() == next.bans()?.number() {
        true => Ok(()),
        false => unused.empty_trie(),
    }
}

/// A list as it is to be banned.
struct Wanted {
    fingerprint: String,
    number: u32,
    prefixes: PrefixSet,
    /// What is not banned of it.
    left_out: Vec<IpNet>,
}

/// Has the table of a generation say what the lists of its policy do.
///
/// # Errors
///
/// What is kept of them cannot be read, there is no room, or the kernel refuses.
pub(super) fn settle(generation: &Generation) -> Result<()> {
    let policy = &generation.record().policy;
    let table = generation.bans()?;
    let banning = || policy.lists.iter().filter(|list| list.ban);
    if banning().next().is_none() && !table.has_lists()? {
        return Ok(());
    }
    let history = History::own();
    let mut state = State::read(&history)?;
    if state.trusts(table.number())
        && state.numbered().len() == banning().count()
        && banning().all(|list| state.of(&list.name).in_table.as_ref() == Some(&list.fingerprint()))
    {
        return Ok(());
    }
    settle_with(generation, &history, &mut state, &HashMap::new())
}

/// The same, where some lists were read anew: `before` is what was kept of them until now, by name, if
/// anything was.
pub(super) fn settle_with(
    generation: &Generation,
    history: &History,
    state: &mut State,
    before: &HashMap<String, Option<Saved>>,
) -> Result<()> {
    let policy = &generation.record().policy;
    let mut table = generation.bans()?;
    let manual = bans::in_kernel(history)?;
    let current = current(&table, history, state, before)?;
    let wanted = wanted(policy, history, state)?;
    state.write_unsure(history)?;
    // What lists have now or had, too: it costs no more than a look.
    let is_shared = |number: u32, prefix: &IpNet| {
        let others = current.iter().filter(|(other, _)| **other != number);
        let wanted = wanted.iter().filter(|list| list.number != number);
        manual.contains_key(prefix)
            || others.map(|(_, set)| set).any(|set| set.has(prefix))
            || wanted.map(|list| &list.prefixes).any(|set| set.has(prefix))
    };
    let of_manual = |prefix: &IpNet| manual.get(prefix).copied();
    let nothing = PrefixSet::default();
    let mut removed = false;
    for list in &wanted {
        let before = current.get(&list.number).unwrap_or(&nothing);
        let added = list.prefixes.without(before);
        let origin = 1 << list.number;
        table.add_list(origin, &added, |prefix| is_shared(list.number, prefix))?;
    }
    for (&number, before) in &current {
        let after = wanted.iter().find(|list| list.number == number);
        let gone = before.without(after.map_or(&nothing, |list| &list.prefixes));
        if !gone.is_empty() {
            removed = true;
            table.remove_list(
                1 << number,
                &gone,
                |prefix| is_shared(number, prefix),
                of_manual,
            )?;
        }
    }
    if removed {
        let hard = manual.values().any(|ban| ban.hard != 0);
        let lists = wanted.iter().flat_map(|list| list.prefixes.iter());
        let of_lists = wanted.iter().any(|list| !list.prefixes.is_empty());
        table.tidy_all(lists.chain(manual.keys().copied()), hard, of_lists)?;
    }
    for (name, number) in state.numbered() {
        match wanted.iter().find(|list| list.number == number) {
            Some(list) => {
                let known = state.of_mut(&name);
                known.left_out.clone_from(&list.left_out);
                known.in_table = Some(list.fingerprint.clone());
            }
            None => {
                let known = state.of_mut(&name);
                (known.number, known.in_table) = (None, None);
                known.left_out.clear();
            }
        }
    }
    state.set_table(Some(table.number()));
    state.write(history)
}

/// What each number has in the table.
fn current(
    table: &Bans,
    history: &History,
    state: &State,
    before: &HashMap<String, Option<Saved>>,
) -> Result<HashMap<u32, PrefixSet>> {
    let mut current = HashMap::new();
    if state.trusts(table.number()) {
        for (name, number) in state.numbered() {
            let known = state.of(&name);
            let kept = match before.get(&name) {
                Some(before) => before.clone(),
                None => Saved::read(history, &name)?,
            };
            // Of a list that the policy has otherwise by now, what is kept may be of the new one.
            let is_in_table = |kept: &Saved| known.in_table.as_ref() == Some(&kept.fingerprint);
            let Some(kept) = kept.filter(is_in_table) else {
                return by_origin(table);
            };
            current.insert(number, kept.prefixes.without_nets(&known.left_out));
        }
        return Ok(current);
    }
    by_origin(table)
}

/// The same, as the table itself says.
fn by_origin(table: &Bans) -> Result<HashMap<u32, PrefixSet>> {
    let mut nets: HashMap<u32, Vec<IpNet>> = HashMap::new();
    for (prefix, ban) in table.entries()? {
        let mut origins = ban.origins & !MANUAL;
        while origins != 0 {
            let number = origins.trailing_zeros();
            origins &= origins - 1;
            nets.entry(number).or_default().push(prefix);
        }
    }
    let sets = nets.into_iter();
    Ok(sets
        .map(|(number, nets)| (number, PrefixSet::from_all(nets)))
        .collect())
}

/// Whether what was read of a list of this fingerprint is what the list bans. Of one that bans already,
/// and that the policy has otherwise by now, that is what it had, until it is read anew.
fn is_to_ban(fingerprint: &str, list: &List, state: &State) -> bool {
    let in_table = state.of(&list.name).in_table;
    fingerprint == list.fingerprint() || in_table.as_deref() == Some(fingerprint)
}

/// What is to be banned, by the lists of a policy; a list gets a number here.
fn wanted(policy: &Policy, history: &History, state: &mut State) -> Result<Vec<Wanted>> {
    // Whoever still guesses a password does not take his network out of a list.
    let mut operators = authenticated_peers()?;
    operators.retain(|peer| !peer.is_loopback());
    let mut wanted = Vec::new();
    for list in policy.lists.iter().filter(|list| list.ban) {
        let saved = Saved::read(history, &list.name)?;
        let Some(saved) = saved.filter(|saved| is_to_ban(&saved.fingerprint, list, state)) else {
            continue;
        };
        let mut left_out: Vec<IpNet> = operators
            .iter()
            .filter_map(|peer| saved.prefixes.around(*peer))
            .collect();
        left_out.dedup();
        for prefix in &left_out {
            log::warn!(
                "list {}: {prefix} is not banned; it holds the other end of an SSH session",
                list.name
            );
        }
        let number = state.number(&list.name);
        wanted.push(Wanted {
            fingerprint: saved.fingerprint.clone(),
            number: number.context("no number is left for another list")?,
            prefixes: saved.prefixes.without_nets(&left_out),
            left_out,
        });
    }
    ensure!(
        wanted.iter().all(|list| list.number < 32),
        "{} lists are too many",
        wanted.len()
    );
    Ok(wanted)
}
