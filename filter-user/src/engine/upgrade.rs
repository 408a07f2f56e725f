//! Takes the place of an older version of xdpfw, without a gap and without losing what it counted
//! and remembers.

use anyhow::{Context as _, Result};
use xdpfw_common::abi::{BANS, Holds, SHARED_MAPS};

use super::{Engine, Error, bans, transaction::take_over, trusted::entrust};
use crate::{
    compiler,
    datapath::{Generation, Lock, Older, Record, Store},
};

/// What was carried over from an older version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgraded {
    /// The version of its state.
    pub from: u32,
    /// Why its counters begin at zero, or its flows are not known, if that is so.
    pub dropped: Vec<&'static str>,
}

impl Engine {
    /// As [`exclusive`](Self::exclusive); first, this version takes the place of an older one.
    ///
    /// # Errors
    ///
    /// As there, or what the older version left cannot be read. It stays in force.
    pub fn upgraded() -> Result<(Self, Option<Upgraded>)> {
        let lock = Lock::exclusive()?;
        let upgraded = match Store::older()? {
            Some(older) if older.is_in_force()? => {
                Some(upgrade(&older).context("the older version stays in force")?)
            }
            Some(older) => {
                // What it left, or a namespace that had this one's number before.
                older.forget(&Store::beside_older()?)?;
                None
            }
            None => None,
        };
        Ok((Self::settled(lock)?, upgraded))
    }

    /// As [`exclusive`](Self::exclusive); first, what an older version left is taken off. Returns
    /// whether there was any.
    ///
    /// # Errors
    ///
    /// As there, or a pin cannot be removed.
    pub fn without_older() -> Result<(Self, bool)> {
        let lock = Lock::exclusive()?;
        let older = Store::older()?;
        if let Some(older) = &older {
            older.clear(&Store::beside_older()?)?;
        }
        Ok((Self::settled(lock)?, older.is_some()))
    }
}

fn upgrade(older: &Older) -> Result<Upgraded> {
    let mut upgraded = Upgraded {
        from: older.version(),
        dropped: Vec::new(),
    };
    let store = Store::beside_older()?;
    let Some(old) = older.generation()? else {
        // Nothing is in force.
        older.clear(&store)?;
        return Ok(upgraded);
    };
    if let Some(deadline) = old.deadline() {
        return Err(Error::Temporary {
            purpose: old.purpose(),
            until: Some(deadline.on_the_wall()),
        }
        .into());
    }
    if store.current()?.is_none() {
        let generation = carry_over(&store, &old)?;
        log::debug!("generation {} is in force", generation.record().generation);
    }
    for (holds, text) in [
        (
            Holds::Counters,
            "its counters do not fit this one, and begin at zero",
        ),
        (
            Holds::Flows,
            "what it remembers of flows does not fit this one",
        ),
    ] {
        let mut maps = SHARED_MAPS.iter().filter(|map| map.holds == holds);
        if maps.any(|map| !old.keeps(*map)) {
            upgraded.dropped.push(text);
        }
    }
    older.hand_over(&store)?;
    store.count_apart()?;
    older.forget(&store)?;
    Ok(upgraded)
}

/// Puts the policy of an older version in force for this one's dispatchers, which no interface
/// runs yet.
fn carry_over(store: &Store, old: &Generation) -> Result<Generation> {
    let made = || -> Result<Generation> {
        store.retain(&[])?;
        let record = Record {
            generation: old.record().generation + 1,
            ..old.record().clone()
        };
        let tables = compiler::compile(&record.policy, &record.environment, &record.slots)
            .map_err(|error| Error::TooComplex(error.message(&record.policy)))?;
        let candidate = store.build(record, &tables, Some(old), Some(old), None, None)?;
        let flows = SHARED_MAPS.iter().filter(|map| map.holds == Holds::Flows);
        if { flows }.any(|map| !old.keeps(*map)) {
            take_over(&mut candidate.flows()?, candidate.record(), None)?;
        }
        entrust(&candidate)?;
        let generation = candidate.commit()?;
        if !old.keeps(BANS) {
            bans::restore(&generation)?;
        }
        Ok(generation)
    };
    made().inspect_err(|_| drop(store.clear()))
}
