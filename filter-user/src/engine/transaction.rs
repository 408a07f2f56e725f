//! Makes one change to the filter, from the policy to the kernel.
//!
//! The steps, in this order: check that it locks nobody out; build the new generation;
//! attach interfaces that join; replace the policy file; store the generation; tidy up.
//! Whatever fails before the store is taken back. After the store the change is made, and a
//! failure to tidy up is no failure of it: the next change tidies up, too.

use anyhow::Result;
use jiff::Timestamp;

use super::{
    Engine, Error, Join, Joined, PolicySource,
    egress::{attach_wanted, detach_unwanted, records_answers},
    environment::{Facts, environment},
    guard::{self, Guard},
    seed::seed,
    slots::Slots,
    undo::Undo,
};
use crate::{
    compiler,
    datapath::{Candidate, FlowMaps, Generation, Probe, Record, Store, wants_frags},
    policy::Policy,
};

/// Where the counters of a new generation begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Counting {
    /// Where those of the generation in force are; those of rules as far as the rule stays
    /// the same.
    #[default]
    On,
    /// At zero.
    Anew,
}

/// A change that is not made before [`Transaction::commit`].
#[must_use = "a change is nothing until it is committed"]
pub struct Transaction<'a> {
    engine: &'a Engine,
    source: &'a dyn PolicySource,
    join: Option<Join>,
    counting: Counting,
    traced: bool,
    guarded: bool,
    facts: Facts,
}

/// What a change has done.
#[derive(Debug)]
pub struct Applied {
    /// The generation in force; `None` if nothing is filtered.
    pub generation: Option<Generation>,
    /// Names of the interfaces that are filtered.
    pub interfaces: Vec<String>,
    /// Whether the kernel or the policy file was touched.
    pub changed: bool,
    /// The size of the new generation in a line, if one was built.
    pub summary: Option<String>,
    /// What became of the interfaces that were to join.
    pub joined: Joined,
    /// Why what leaves by some interfaces is not recorded.
    pub unrecorded: Vec<String>,
}

impl<'a> Transaction<'a> {
    pub(super) const fn new(engine: &'a Engine, source: &'a dyn PolicySource) -> Self {
        Self {
            engine,
            source,
            join: None,
            counting: Counting::On,
            traced: false,
            guarded: false,
            facts: Facts::Followed,
        }
    }

    /// Also attaches interfaces. The first ones bring the filter up.
    pub fn join(self, join: Join) -> Self {
        let join = Some(join);
        Self { join, ..self }
    }

    /// Says where the counters begin.
    pub fn counting(self, counting: Counting) -> Self {
        Self { counting, ..self }
    }

    /// Says whether the generation reports each packet.
    pub fn traced(self, traced: bool) -> Self {
        Self { traced, ..self }
    }

    /// Says whether to refuse what would cut the operator's SSH session.
    pub fn guarded(self, guarded: bool) -> Self {
        Self { guarded, ..self }
    }

    /// Says which facts of the host the policy goes by.
    pub fn facts(self, facts: Facts) -> Self {
        Self { facts, ..self }
    }

    /// Makes the change.
    ///
    /// # Errors
    ///
    /// One of its steps fails. The filter and the policy file are as before.
    pub fn commit(mut self) -> Result<Applied> {
        let join = self.join.take();
        if join.is_none() && self.engine.live.is_none() {
            // Nothing is filtered, and nothing is to be.
            let changed = self.source.is_changed();
            self.source.save()?;
            return Ok(Applied {
                generation: None,
                interfaces: Vec::new(),
                changed,
                summary: None,
                joined: Joined::default(),
                unrecorded: Vec::new(),
            });
        }
        let needed = self.needs_generation()?;
        match &self.engine.live {
            None => self.start(join.unwrap_or_default()),
            Some(_) => self.swap(join, needed),
        }
    }

    /// Whether the generation in force is not what is asked for.
    fn needs_generation(&self) -> Result<bool> {
        let Some(live) = &self.engine.live else {
            return Ok(true);
        };
        let record = live.generation.record();
        let policy = self.source.policy();
        Ok(self.counting == Counting::Anew
            || self.traced != record.traced
            || !policy.same_verdicts(&record.policy)
            || is_elsewhere(record, self.source)
            || environment(policy, self.facts, Some(live))? != record.environment)
    }

    /// Refuses what would cut the operator's SSH session. Without a candidate, the generation
    /// in force stays, and comes to more interfaces.
    fn check_session(&self, candidate: Option<&mut Candidate<'_>>, joining: &[u32]) -> Result<()> {
        if !self.guarded {
            return Ok(());
        }
        let live = self.engine.live.as_ref();
        let attached = live.map_or(&[][..], |live| &live.attached);
        let before: Vec<u32> = attached.iter().map(|one| one.interface.index).collect();
        if candidate.is_none() && joining.iter().all(|index| before.contains(index)) {
            return Ok(());
        }
        let guard = Guard::of(&[&before, joining].concat())?;
        if guard.is_idle() {
            return Ok(());
        }
        match (candidate, live) {
            (Some(candidate), _) => guard.check(&candidate.probe()?, candidate.record(), live),
            (None, Some(kept)) => {
                let record = kept.generation.record();
                guard.check(&guard::probe_of(record)?, record, live)
            }
            (None, None) => Ok(()),
        }
    }

    /// Brings the filter up where nothing was filtered.
    fn start(&self, join: Join) -> Result<Applied> {
        join.check_not_empty()?;
        // What is pinned is left over: of a namespace that is gone, or of a command that
        // was killed.
        self.engine.store.clear()?;
        let store = Store::create()?;
        // Only litter; what cannot be removed is in nobody's way.
        drop(store.sweep());
        let mut undo = Undo::default();
        undo.push(|| store.clear());
        let steps = || {
            let policy = self.source.policy();
            let mut candidate = self.prepare(&store, None)?;
            let indices: Vec<u32> = join.indices().collect();
            self.check_session(Some(&mut candidate), &indices)?;
            let summary = candidate.summary().to_owned();
            // In force before the first interface asks for it.
            let generation = candidate.commit()?;
            // What is attached is detached with all the rest.
            let mut nothing = Undo::default();
            let unrecorded = attach_wanted(&store, policy, &indices, &mut nothing)?;
            take_over(&mut generation.flows()?, generation.record(), None)?;
            let egress = records_answers(policy);
            let joined = join.attach(&store, &[], egress, &mut nothing)?;
            joined.check_not_empty()?;
            self.source.save()?;
            Ok((summary, generation, joined, unrecorded))
        };
        match steps() {
            Ok((summary, generation, joined, unrecorded)) => Ok(Applied {
                generation: Some(generation),
                interfaces: joined.names(),
                changed: true,
                summary: Some(summary),
                joined,
                unrecorded,
            }),
            Err(error) => Err(undo.run(error)),
        }
    }

    /// Changes the filter while it is up.
    fn swap(&self, join: Option<Join>, needed: bool) -> Result<Applied> {
        let mut undo = Undo::default();
        self.try_swap(join, needed, &mut undo)
            .map_err(|error| undo.run(error))
    }

    fn try_swap<'s>(
        &'s self,
        join: Option<Join>,
        needed: bool,
        undo: &mut Undo<'s>,
    ) -> Result<Applied> {
        let live = self.engine.must_be_up()?;
        let store = &self.engine.store;
        if join.is_some() {
            store.forget_gone()?;
        }
        let joining: Vec<u32> = join.iter().flat_map(Join::indices).collect();
        let mut candidate = match needed {
            true => Some(self.prepare(store, Some(&live.generation))?),
            false => None,
        };
        self.check_session(candidate.as_mut(), &joining)?;
        let summary = candidate.as_ref().map(|one| one.summary().to_owned());
        let policy = self.source.policy();
        let before = live.attached.iter().map(|one| one.interface.index);
        let indices: Vec<u32> = before.chain(joining).collect();
        // Where what leaves is recorded goes by names, too.
        let unrecorded = match self.facts {
            Facts::Kept => Vec::new(),
            Facts::Followed | Facts::Renewed => attach_wanted(store, policy, &indices, undo)?,
        };
        if let Some(candidate) = &candidate {
            let flows = &mut candidate.flows()?;
            take_over(flows, candidate.record(), Some(&live.generation))?;
        }
        let joined = match join {
            Some(join) => join.attach(store, &live.attached, records_answers(policy), undo)?,
            None => Joined::default(),
        };
        let changed = candidate.is_some() || self.source.is_changed() || joined.is_fresh();
        self.source.save()?;
        undo.push(|| self.source.restore());
        let generation = match candidate {
            Some(candidate) => candidate.commit()?,
            None => live.generation.clone(),
        };
        if self.facts != Facts::Kept {
            drop(detach_unwanted(store, policy, &indices));
        }
        drop(store.retain(&[generation.record().generation]));
        let mut interfaces: Vec<String> = live
            .attached
            .iter()
            .map(|one| one.interface.name.clone())
            .collect();
        let others = joined.names().into_iter();
        let new: Vec<String> = others.filter(|name| !interfaces.contains(name)).collect();
        interfaces.extend(new);
        Ok(Applied {
            generation: Some(generation),
            interfaces,
            changed,
            summary,
            joined,
            unrecorded,
        })
    }

    /// Builds the generation. It shares the counters of the one in force.
    fn prepare<'s>(
        &self,
        store: &'s Store,
        in_force: Option<&Generation>,
    ) -> Result<Candidate<'s>> {
        let policy = self.source.policy();
        let number = in_force.map_or(0, |old| old.record().generation);
        // What commands left that were killed.
        store.retain(&[number])?;
        let sharing = in_force.filter(|_| self.counting == Counting::On);
        let slots = Slots::assign(policy, sharing.map(Generation::record));
        let environment = environment(policy, self.facts, self.engine.live.as_ref())?;
        let tables = compiler::compile(policy, &environment, &slots.of_rules)
            .map_err(|error| Error::TooComplex(error.message(policy)))?;
        if let Some(sharing) = sharing {
            sharing.clear_slots(&slots.fresh)?;
        }
        let (frags, clock) = match in_force {
            Some(old) => (old.record().frags, old.record().clock),
            None => {
                let mut probe = Probe::load()?;
                (wants_frags(&mut probe)?, probe.clock()?)
            }
        };
        let record = Record {
            generation: number + 1,
            counting_since: sharing.map_or_else(Timestamp::now, |old| old.record().counting_since),
            traced: self.traced,
            frags,
            clock,
            origin: self.source.origin(),
            policy: Policy::clone(policy),
            environment,
            slots: slots.of_rules,
        };
        store.build(record, &tables, in_force, sharing)
    }
}

/// Whether a policy is from another file than the one in force.
pub(super) fn is_elsewhere(in_force: &Record, source: &dyn PolicySource) -> bool {
    in_force.origin.is_some() && in_force.origin != source.origin()
}

/// Fills the flows of a generation that is about to be in force with what its predecessor
/// does not hand over: with its flows, if the tables have another size; with what was under
/// way, if it recorded none.
fn take_over(flows: &mut FlowMaps, next: &Record, before: Option<&Generation>) -> Result<()> {
    if !next.policy.records_flows() {
        return Ok(());
    }
    match before.filter(|before| before.record().policy.records_flows()) {
        None => seed(flows, &next.clock),
        Some(before) if before.record().flow_sizes() != next.flow_sizes() => {
            flows.add(&before.flows()?.read()?)
        }
        Some(_) => Ok(()),
    }
}
