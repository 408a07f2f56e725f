//! Builds the generation of a change: compiles its policy, assigns counters, and says what goes on
//! of those before it.

use anyhow::Result;
use jiff::Timestamp;

use super::{Counting, Transaction};
use crate::{
    compiler::{self, Environment},
    datapath::{Candidate, Generation, Probe, Purpose, Record, Store, Term, wants_frags},
    engine::{
        Error,
        environment::environment,
        lists::{ban_room, spare},
        rehearsal::Rehearse,
        slots::Slots,
        trusted::entrust,
    },
    policy::Policy,
};

impl Transaction<'_> {
    /// Builds the generation. It shares the counters of the one in force. If it is to go back,
    /// some interfaces are filtered only until then.
    pub(super) fn prepare<'s>(
        &self,
        store: &'s Store,
        in_force: Option<&Generation>,
        joined: &[u32],
    ) -> Result<Candidate<'s>> {
        let policy = self.source.policy();
        let live = self.engine.live.as_ref();
        let behind: Vec<&Record> = live
            .iter()
            .flat_map(|live| live.behind.iter().map(Generation::record))
            .collect();
        // What commands left that were killed.
        let kept = in_force
            .into_iter()
            .map(Generation::record)
            .chain(behind.iter().copied());
        store.retain(&kept.map(|record| record.generation).collect::<Vec<_>>())?;
        let sharing = in_force.filter(|_| self.counting == Counting::On);
        let slots = Slots::assign(policy, sharing.map(Generation::record), &behind);
        let environment = environment(policy, self.facts, live)?;
        warn_of_nobody(policy, &environment);
        let mut tables = compiler::compile(policy, &environment, &slots.of_rules)
            .map_err(|error| Error::TooComplex(error.message(policy)))?;
        tables.config.established_only = u32::from(self.purpose == Purpose::Panic);
        if let Some(sharing) = sharing {
            sharing.clear_slots(&slots.fresh)?;
        }
        let term = match (self.lasts, in_force) {
            (Some(lasts), Some(behind)) => Some(Term {
                lasts: lasts.duration(),
                behind,
            }),
            _ => None,
        };
        let record = Record {
            policy: Policy::clone(policy),
            environment,
            slots: slots.of_rules,
            purpose: self.purpose,
            behind: term.map(|term| term.behind.record().generation),
            joined: joined.to_vec(),
            change: self.change.clone(),
            ..self.record(store, in_force, sharing)?
        };
        let before = match in_force {
            Some(in_force) => in_force.shadow()?,
            None => None,
        };
        let rehearsal = match in_force.filter(|_| self.purpose == Purpose::Policy) {
            Some(in_force) => {
                let counts_on = sharing.is_some();
                self.rehearse
                    .behind(&record, in_force, before.as_ref(), counts_on)?
            }
            None => None,
        };
        let flows_of = in_force.map(|in_force| self.flows_of(in_force));
        let candidate =
            store.build(record, &tables, flows_of, sharing, term, rehearsal.as_ref())?;
        entrust(&candidate)?;
        Ok(candidate)
    }

    /// Whose flows the next generation takes over. A candidate that was rehearsed recorded what
    /// its policy needs; what goes back leaves the flows to the one behind it, too.
    pub(super) fn flows_of<'g>(&'g self, in_force: &'g Generation) -> &'g Generation {
        let records = |generation: &Generation| generation.record().policy.records_flows();
        match self.rehearse {
            Rehearse::Ends(Some(candidate))
                if records(candidate) && (self.lasts.is_none() || !records(in_force)) =>
            {
                candidate
            }
            _ => in_force,
        }
    }

    /// Builds what lets everything pass: behind a first generation that is to go back, nothing
    /// is filtered.
    pub(super) fn prepare_nothing<'s>(&self, store: &'s Store) -> Result<Candidate<'s>> {
        let record = Record {
            purpose: Purpose::Nothing,
            then: None,
            ..self.record(store, None, None)?
        };
        let tables = compiler::compile(&record.policy, &record.environment, &[])
            .map_err(|error| Error::TooComplex(error.message(&record.policy)))?;
        store.build(record, &tables, None, None, None, None)
    }

    /// The record of the next generation, but for its policy.
    fn record(
        &self,
        store: &Store,
        in_force: Option<&Generation>,
        sharing: Option<&Generation>,
    ) -> Result<Record> {
        let (frags, clock) = match in_force {
            Some(old) => (old.record().frags, old.record().clock),
            None => {
                let mut probe = Probe::load()?;
                (wants_frags(&mut probe)?, probe.clock()?)
            }
        };
        let policy = Policy::default();
        Ok(Record {
            maker: String::new(),
            generation: store.next_number()?,
            counting_since: sharing.map_or_else(Timestamp::now, |old| old.record().counting_since),
            frags,
            clock,
            origin: self.source.origin(),
            environment: environment(&policy, self.facts, self.engine.live.as_ref())?,
            policy,
            slots: Vec::new(),
            purpose: self.purpose,
            behind: None,
            joined: Vec::new(),
            change: None,
            then: self.following.after(in_force),
            fallback: self.source.fallback().map(str::to_owned),
            ban_room: spare(ban_room(self.source.policy())?),
        })
    }
}

/// Warns of rules that are for nobody, since nothing was read of their lists yet.
fn warn_of_nobody(policy: &Policy, environment: &Environment) {
    for (list, rule) in policy.lists_of_rules() {
        if !environment.lists.contains_key(&list.name) {
            log::warn!(
                "{} lets nobody in by the list {}, of which nothing was read yet (say `xdpfw lists \
                 refresh {}`)",
                rule.id,
                list.name,
                list.name
            );
        }
    }
}
