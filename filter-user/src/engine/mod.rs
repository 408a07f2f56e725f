//! Makes changes to the filter, each as a whole or not at all, and samples its counters.
//! It knows in which order things are done. It never prints, and never knows which command
//! asks.

mod bans;
mod boot;
mod causes;
mod cookies;
mod egress;
mod environment;
mod error;
mod explain;
mod following;
mod guard;
mod history;
mod join;
mod listener;
mod lists;
mod rehearsal;
mod review;
mod sampling;
mod scans;
mod seed;
mod settle;
mod slots;
mod source;
mod temporary;
mod transaction;
mod trusted;
mod undo;
mod upgrade;
mod whole_file;

use std::path::Path;

use anyhow::Result;

pub use self::{
    bans::{
        BY_HAND, BanError, BanEvent, BanFollower, BanLine, BanOrders, BanWish, Banned, BansChanged,
        Unban,
    },
    boot::{Fallback, was_emptied},
    causes::{By, Cause},
    cookies::NoCookies,
    egress::records_answers,
    environment::{FactChange, Facts, changed_facts},
    error::Error,
    explain::{Judge, Judgement},
    following::Following,
    history::{Change, Entry, History, HistoryError},
    join::{Join, Joined, ModeWish, Unfiltered, unfiltered},
    listener::{Followed, Listener},
    lists::{ListStatus, Outcome, Refresh, lists_without_hits},
    rehearsal::{Begun, Rehearse, Rehearsed, differences},
    review::{ReviewError, SavedReview},
    sampling::{Rates, Sample},
    scans::{Fate, Opener, Scanning},
    settle::Ended,
    source::{FileError, InForce, PolicyFile, PolicySource},
    transaction::{Applied, Counting, Transaction},
    trusted::{Trusted, TrustedList},
    upgrade::Upgraded,
};
use crate::datapath::{Live, Lock, Store};

/// The filter of this network namespace, held while this value lives.
#[derive(Debug)]
pub struct Engine {
    store: Store,
    live: Option<Live>,
    /// What ended since the last command.
    ended: Vec<Ended>,
    /// Last, since fields are dropped in this order.
    lock: Lock,
}

impl Engine {
    /// Waits until no other command runs, then looks at the kernel's state. What ended
    /// meanwhile, or was killed, is tidied up, and told.
    ///
    /// # Errors
    ///
    /// Another command takes too long, or the kernel refuses to tell.
    pub fn exclusive() -> Result<Self> {
        Self::settled(Lock::exclusive()?)
    }

    fn settled(lock: Lock) -> Result<Self> {
        let mut engine = Self::locked(lock)?;
        engine.settle_and_tell();
        Ok(engine)
    }

    /// Waits until no other command changes anything, then looks at the kernel's state.
    ///
    /// # Errors
    ///
    /// As for [`Engine::exclusive`].
    pub fn shared() -> Result<Self> {
        let engine = Self::locked(Lock::shared()?)?;
        if engine.is_settled()? {
            return Ok(engine);
        }
        drop(engine);
        drop(Self::exclusive()?);
        Self::locked(Lock::shared()?)
    }

    /// Looks at the kernel's state as it is, if no other command changes anything just now.
    ///
    /// # Errors
    ///
    /// The kernel refuses to tell.
    pub fn at_once() -> Result<Option<Self>> {
        Lock::shared_at_once()?.map(Self::locked).transpose()
    }

    /// Tidies up what ended, and tells it. That it fails is no failure of what is about to be
    /// done, which may well be `down`.
    fn settle_and_tell(&mut self) {
        match self.settle() {
            Ok(ended) => {
                for one in &ended {
                    log::warn!("{one}");
                }
                self.ended.extend(ended);
            }
            Err(error) => log::warn!("what ended is not tidied up: {error:#}"),
        }
    }

    fn locked(lock: Lock) -> Result<Self> {
        let store = Store::open()?;
        Ok(Self {
            live: store.live()?,
            ended: Vec::new(),
            store,
            lock,
        })
    }

    /// Gives up the lock, and leaves nothing in the runtime directory that nobody needs.
    pub fn remove_unused(self) {
        let Self {
            store, live, lock, ..
        } = self;
        // They have it open.
        drop((store, live));
        lock.remove_unused();
    }

    /// What is in force, and where; `None` while nothing is filtered.
    pub const fn live(&self) -> Option<&Live> {
        self.live.as_ref()
    }

    /// The same, where something must be.
    ///
    /// # Errors
    ///
    /// Nothing is filtered.
    pub fn must_be_up(&self) -> Result<&Live, Error> {
        self.live.as_ref().ok_or(Error::NotUp)
    }

    /// The file that the rules in force come from, if it is another one than this.
    pub fn other_origin(&self, file: &PolicyFile) -> Option<&Path> {
        let record = self.live.as_ref()?.generation.record();
        let origin = record.origin.as_deref()?;
        transaction::is_elsewhere(record, file).then_some(origin)
    }

    /// The state in the kernel.
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Begins a change to the policy of `source`.
    pub const fn change<'a>(&'a self, source: &'a dyn PolicySource) -> Transaction<'a> {
        Transaction::new(self, source)
    }
}
