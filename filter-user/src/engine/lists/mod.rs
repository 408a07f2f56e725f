//! Lists of addresses: what was read of them last, the bans that they make, and what rules are for.
//!
//! What was read is kept beside the history of the policies, so that it is there at boot, without any
//! network. Nothing is fetched here but in [`refresh`].

mod of_rules;
mod refresh;
mod saved;
mod state;
mod table;

use anyhow::Result;
use jiff::Timestamp;

pub use self::refresh::{Outcome, Refresh};
pub(super) use self::{
    of_rules::of_rules,
    table::{ban_room, carry_bans, empty_unused, spare},
};
use self::{
    saved::{Saved, SavedHead},
    state::State,
};
use super::{Engine, History};
use crate::{
    datapath::Generation,
    lists::Read,
    policy::{List, ListSource, Policy},
};

/// What is known of a list.
#[derive(Clone, Debug)]
pub struct ListStatus {
    /// Its name.
    pub name: String,
    /// Whether it bans.
    pub bans: bool,
    /// How many prefixes of IPv4 and of IPv6 it has; of one that was never read, none.
    pub entries: [usize; 2],
    /// When it was read.
    pub refreshed: Option<Timestamp>,
    /// Packets that were dropped for it; `None` if it does not ban, or nothing is filtered.
    pub hits: Option<u64>,
    /// Why it was not read anew.
    pub error: Option<String>,
    /// Prefixes that are not banned, since they hold the other end of a session.
    pub left_out: Vec<ipnet::IpNet>,
}

impl ListStatus {
    /// Of a list that was never read.
    fn new(list: &List) -> Self {
        let entries = match &list.source {
            ListSource::Prefixes(prefixes) => Read::from_prefixes(list, prefixes).prefixes.counts(),
            _ => [0; 2],
        };
        Self {
            name: list.name.clone(),
            bans: list.ban,
            entries,
            refreshed: None,
            hits: None,
            error: None,
            left_out: Vec::new(),
        }
    }

    /// Takes over what is kept of the list.
    fn read(&mut self, history: &History, list: &List) -> Result<()> {
        if let Some(saved) = SavedHead::read_for(history, list)? {
            self.entries = saved.counts();
            self.refreshed = Some(saved.refreshed);
        }
        let known = State::read(history)?.of(&list.name);
        (self.error, self.left_out) = (known.error, known.left_out);
        Ok(())
    }
}

impl Engine {
    /// What is known of the lists of a policy.
    ///
    /// # Errors
    ///
    /// What is kept of them cannot be read, or the kernel refuses.
    pub fn lists(&self, history: &History, policy: &Policy) -> Result<Vec<ListStatus>> {
        let mut lists = lists_without_hits(history, policy);
        if !policy.lists.iter().any(|list| list.ban) {
            return Ok(lists);
        }
        let state = State::read(history)?;
        if let Some(hits) = self.hits_of_lists(&state)? {
            for list in lists.iter_mut().filter(|list| list.bans) {
                let number = state.of(&list.name).number;
                list.hits = Some(number.map_or(0, |number| hits[number as usize]));
            }
        }
        Ok(lists)
    }

    /// The prefixes that a list bans, each with the packets that were dropped for it; `None` while
    /// nothing is filtered.
    ///
    /// # Errors
    ///
    /// What is kept of it cannot be read, or the kernel refuses.
    pub fn banned_by(
        &self,
        history: &History,
        list: &List,
    ) -> Result<Vec<(ipnet::IpNet, Option<u64>)>> {
        let state = State::read(history)?;
        let number = state.of(&list.name).number;
        let table = self.live().map(|live| live.generation.bans()).transpose()?;
        if let (Some(number), Some(table)) = (number, table) {
            let entries = table.entries()?.into_iter();
            let mut found: Vec<_> = entries
                .filter(|(_, ban)| ban.origins & 1 << number != 0)
                .map(|(prefix, ban)| (prefix, Some(ban.packets)))
                .collect();
            found.sort_unstable();
            return Ok(found);
        }
        let saved = Saved::read_for(history, list)?;
        let prefixes = saved.map(|saved| saved.prefixes).unwrap_or_default();
        Ok(prefixes.iter().map(|prefix| (prefix, None)).collect())
    }

    /// The packets that were dropped for each number of a list; `None` while nothing is filtered.
    fn hits_of_lists(&self, state: &State) -> Result<Option<[u64; 32]>> {
        let Some(live) = self.live() else {
            return Ok(None);
        };
        let mut hits = [0; 32];
        if state.has_numbers() {
            for (_, ban) in live.generation.bans()?.entries()? {
                // One that several want counts for each.
                for (number, hits) in hits.iter_mut().enumerate() {
                    *hits += u64::from(ban.origins >> number & 1) * ban.packets;
                }
            }
        }
        Ok(Some(hits))
    }

    /// Empties the table of bans, where nothing is filtered any more: the kernel frees a big one that
    /// is full in one go.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn empty_bans(&self) -> Result<()> {
        match self.live() {
            Some(live) => live.generation.bans()?.empty_trie(),
            None => Ok(()),
        }
    }

    /// Has the table of bans say what the lists of the policy in force do. What cannot be done is
    /// said in a line, and done the next time.
    pub(super) fn settle_lists(&self, generation: &Generation) {
        if let Err(error) = table::settle(generation) {
            log::warn!(
                "the bans of lists are not all in force: {error:#} (say `xdpfw lists refresh`)"
            );
        }
    }
}

/// What is known of the lists of a policy, but for the packets that were dropped for them, which take
/// longer to count. Of one whose files cannot be read, that is why.
pub fn lists_without_hits(history: &History, policy: &Policy) -> Vec<ListStatus> {
    let lists = policy.lists.iter();
    lists
        .map(|list| {
            let mut status = ListStatus::new(list);
            if let Err(error) = status.read(history, list) {
                status.error = Some(format!("{error:#}"));
            }
            status
        })
        .collect()
}

/// The lists that have bits in bans, by the numbers of these.
///
/// # Errors
///
/// What is known of them cannot be read.
pub(super) fn numbers(history: &History) -> Result<Vec<(u32, String)>> {
    Ok(State::read(history)?.numbers())
}

/// Reads the lists of a policy that are on this host and were not read before, so that they are
/// there when it is put in force. Those that cannot be read are named.
pub(super) fn read_local(history: &History, policy: &Policy) {
    for list in &policy.lists {
        let read = match &list.source {
            ListSource::Url(_) => continue,
            _ if matches!(SavedHead::read_for(history, list), Ok(Some(_))) => continue,
            _ => refresh::read_list(list, std::time::Duration::ZERO),
        };
        let saved = read.map_err(anyhow::Error::from).and_then(|read| {
            if read.garbage.count() > 0 {
                log::warn!("list {}: {}", list.name, read.garbage);
            }
            Saved::of(list, read.prefixes).write(history)
        });
        if let Err(error) = saved {
            log::warn!("list {} is not read: {error:#}", list.name);
        }
    }
}
