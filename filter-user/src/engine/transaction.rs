//! Makes one change to the filter, from the policy to the kernel.
//!
//! The steps, in this order: build the new generation; check that it locks nobody out; write
//! the policy file beside the old one; attach interfaces that join; store the generation; put
//! the file in its place; tidy up. Whatever fails before the end is taken back. If the command
//! is killed behind the store, the next one goes on: the generation remembers its file until it
//! is in its place. A failure to tidy up is none of the change: the next one tidies up, too.
//!
//! A change that is to be confirmed leaves the file to that.

mod prepare;

use anyhow::Result;

use super::{
    Engine, Error, Following, History, Join, Joined, PolicySource, bans,
    egress::{attach_wanted, detach_unwanted, records_answers},
    environment::{Facts, are_alike, environment},
    guard::{self, Ending, Guard},
    lists::{self, ban_room, carry_bans},
    rehearsal::{Rehearse, is_same, policies},
    seed::seed,
    undo::Undo,
};
use crate::{
    datapath::{Candidate, Change, Deadline, FlowMaps, Generation, Purpose, Record, Store, maker},
    duration::Seconds,
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
    guarded: bool,
    facts: Facts,
    lasts: Option<Seconds>,
    purpose: Purpose,
    change: Option<Change>,
    following: Following,
    rehearse: Rehearse<'a>,
    settles_lists: bool,
}

/// What the guard says of a change that it does not refuse.
#[derive(Debug, Default)]
struct Checked {
    ending: Option<Ending>,
    doubt: Option<Error>,
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
    /// When the change goes back, unless it is confirmed.
    pub deadline: Option<Deadline>,
    /// Whom the change may lock out, which goes back.
    pub doubt: Option<Error>,
    /// The operator's way in that ends by itself, if one does.
    pub ending: Option<Ending>,
    /// Whether a rehearsal goes on, and counts anew.
    pub rehearsed_anew: bool,
}

impl<'a> Transaction<'a> {
    pub(super) const fn new(engine: &'a Engine, source: &'a dyn PolicySource) -> Self {
        Self {
            engine,
            source,
            join: None,
            counting: Counting::On,
            guarded: false,
            facts: Facts::Followed,
            lasts: None,
            purpose: Purpose::Policy,
            change: None,
            following: Following::AsBefore,
            rehearse: Rehearse::GoesOn,
            settles_lists: true,
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

    /// Says whether to refuse what would cut the operator's SSH session.
    pub fn guarded(self, guarded: bool) -> Self {
        Self { guarded, ..self }
    }

    /// Says which facts of the host the policy goes by.
    pub fn facts(self, facts: Facts) -> Self {
        Self { facts, ..self }
    }

    /// Says how long the change is in force, unless it is confirmed. The policy file waits for
    /// that, too.
    pub fn lasting(self, lasts: Option<Seconds>) -> Self {
        Self { lasts, ..self }
    }

    /// Says who changes what, for the history.
    pub fn by(self, change: Change) -> Self {
        let change = Some(change);
        Self { change, ..self }
    }

    /// Says which program is to run behind the filter.
    pub fn following(self, following: Following) -> Self {
        Self { following, ..self }
    }

    /// Says what the generation is for.
    pub(super) fn for_purpose(self, purpose: Purpose) -> Self {
        Self { purpose, ..self }
    }

    /// Says what becomes of a rehearsal.
    pub fn rehearse(self, rehearse: Rehearse<'a>) -> Self {
        Self { rehearse, ..self }
    }

    /// Leaves the bans of lists to the caller.
    pub(super) fn without_settling(self) -> Self {
        Self {
            settles_lists: false,
            ..self
        }
    }

    /// Makes the change.
    ///
    /// # Errors
    ///
    /// One of its steps fails, or something temporary is in force. The filter and the policy
    /// file are as before.
    pub fn commit(mut self) -> Result<Applied> {
        let join = self.join.take();
        if self.purpose == Purpose::Policy {
            self.engine.refuse_while_temporary()?;
        }
        if join.is_none() && self.engine.live.is_none() {
            // Nothing is filtered, and nothing is to be.
            if self.lasts.is_some() {
                return Err(Error::NothingToConfirm.into());
            }
            let changed = self.source.is_changed();
            if let Some(saving) = self.source.prepare()? {
                saving.save()?;
            }
            return Ok(Applied {
                generation: None,
                interfaces: Vec::new(),
                changed,
                summary: None,
                joined: Joined::default(),
                unrecorded: Vec::new(),
                deadline: None,
                doubt: None,
                ending: None,
                rehearsed_anew: false,
            });
        }
        if self.purpose == Purpose::Policy {
            lists::read_local(&History::own(), self.source.policy());
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
            || lacks_room(&live.generation, policy)?
            // After an upgrade.
            || record.maker != maker()
            || self.purpose != record.purpose
            || self.rehearse.is_change(&live.generation)?
            || !policy.same_verdicts(&record.policy)
            || is_elsewhere(record, self.source)
            || record.fallback.as_deref() != self.source.fallback()
            || self.following.is_change(&live.generation)?
            || !are_alike(
                policy,
                &environment(policy, self.facts, Some(live))?,
                &record.environment,
            ))
    }

    /// Refuses what would cut the operator's SSH session. What goes back is not refused.
    fn check_session(
        &self,
        candidate: Option<&mut Candidate<'_>>,
        joining: &[u32],
    ) -> Result<Checked> {
        let mut checked = Checked::default();
        if !self.guarded {
            return Ok(checked);
        }
        match self.guard(candidate, joining) {
            Ok(ending) => checked.ending = ending,
            Err(error) if self.lasts.is_some() && self.purpose == Purpose::Policy => {
                checked.doubt = Some(error.downcast()?);
            }
            Err(error) => return Err(error),
        }
        Ok(checked)
    }

    /// Asks the guard. Without a candidate, the generation in force stays, and comes to more
    /// interfaces.
    fn guard(
        &self,
        candidate: Option<&mut Candidate<'_>>,
        joining: &[u32],
    ) -> Result<Option<Ending>> {
        let live = self.engine.live.as_ref();
        let attached = live.map_or(&[][..], |live| &live.attached);
        let before: Vec<u32> = attached.iter().map(|one| one.interface.index).collect();
        if candidate.is_none() && joining.iter().all(|index| before.contains(index)) {
            return Ok(None);
        }
        let guard = Guard::of(&[&before, joining].concat())?;
        if guard.is_idle() {
            return Ok(None);
        }
        match (candidate, live) {
            (Some(candidate), _) => guard.check(&candidate.probe()?, candidate.record(), live),
            (None, Some(kept)) => {
                let record = kept.generation.record();
                guard.check(&guard::probe_of(record)?, record, live)
            }
            (None, None) => Ok(None),
        }
    }

    /// Brings the filter up where nothing was filtered.
    fn start(&self, join: Join) -> Result<Applied> {
        join.check_not_empty()?;
        // What is pinned is left over: of a namespace that is gone, or of a command that
        // was killed; or its interfaces are in other namespaces now.
        match self.engine.store.moved_away()? {
            0 => {}
            1 => log::warn!("1 interface that is in another network namespace now: detached"),
            n => log::warn!("{n} interfaces that are in other network namespaces now: detached"),
        }
        self.engine.store.clear()?;
        let store = Store::create()?;
        // Only litter; what cannot be removed is in nobody's way.
        drop(store.sweep());
        let mut undo = Undo::default();
        undo.push(|| store.clear());
        // All that is attached is detached with the rest, but what was replaced goes back.
        let mut attaching = Undo::default();
        let steps = || {
            let policy = self.source.policy();
            let nothing = match self.lasts {
                Some(_) => Some(self.prepare_nothing(&store)?.commit()?),
                None => None,
            };
            let mut candidate = self.prepare(&store, nothing.as_ref(), &join.joined(&[]))?;
            let indices: Vec<u32> = join.indices().collect();
            let Checked { ending, doubt } = self.check_session(Some(&mut candidate), &indices)?;
            let summary = candidate.summary().to_owned();
            let saving = self.source.prepare()?;
            if let Some(saving) = &saving {
                candidate.set_unsaved(&saving.unsaved())?;
            }
            // In force before the first interface asks for it.
            let generation = candidate.commit()?;
            if let Err(error) = bans::restore(&generation) {
                log::warn!("nobody is banned any more: {error:#}");
            }
            self.engine.settle_lists(&generation);
            let unrecorded = attach_wanted(&store, &[policy], &indices, &mut attaching)?;
            take_over(&mut generation.flows()?, generation.record(), None)?;
            let egress = records_answers(policy);
            let joined = join.attach(&store, &[], egress, policy.has_cookies(), &mut attaching)?;
            joined.check_not_empty()?;
            let deadline = self.lasts.map(|lasts| Deadline::after(lasts.duration()));
            match saving {
                // It took a while.
                _ if deadline.is_some() => generation.set_deadline(deadline)?,
                Some(saving) => saving.save()?,
                None => {}
            }
            Ok(Applied {
                interfaces: joined.names(),
                generation: Some(generation),
                changed: true,
                summary: Some(summary),
                joined,
                unrecorded,
                deadline,
                doubt,
                ending,
                rehearsed_anew: false,
            })
        };
        let applied = steps().map_err(|error| undo.run(attaching.run(error)))?;
        self.tidy_up(&applied);
        Ok(applied)
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
        let joined_until = join
            .as_ref()
            .map_or_else(Vec::new, |join| match self.lasts {
                Some(_) => join.joined(&live.attached),
                None => Vec::new(),
            });
        let is_confirmable =
            self.lasts.is_some() && (!joined_until.is_empty() || self.source.is_changed());
        let mut candidate = match needed || is_confirmable {
            true => Some(self.prepare(store, Some(&live.generation), &joined_until)?),
            false => None,
        };
        let Checked { ending, doubt } = self.check_session(candidate.as_mut(), &joining)?;
        let summary = candidate.as_ref().map(|one| one.summary().to_owned());
        let shadow = match &candidate {
            Some(candidate) => candidate.shadow()?,
            None => live.generation.shadow()?,
        };
        let policies = match &candidate {
            Some(candidate) => policies(candidate.record(), shadow.as_ref()),
            None => vec![self.source.policy()],
        };
        let policies: Vec<Policy> = policies.into_iter().cloned().collect();
        let policies: Vec<&Policy> = policies.iter().collect();
        let before = live.attached.iter().map(|one| one.interface.index);
        let indices: Vec<u32> = before.chain(joining).collect();
        // Where what leaves is recorded goes by names, too.
        let unrecorded = match self.facts {
            Facts::Kept => Vec::new(),
            Facts::Followed | Facts::Renewed => attach_wanted(store, &policies, &indices, undo)?,
        };
        if let Some(candidate) = &candidate {
            let flows = &mut candidate.flows()?;
            let before = self.flows_of(&live.generation);
            take_over(flows, candidate.record(), Some(before))?;
            carry_bans(candidate, &live.generation)?;
        }
        let changed = candidate.is_some() || self.source.is_changed();
        let saving = self.source.prepare()?;
        if let (Some(candidate), Some(saving)) = (&candidate, &saving) {
            candidate.set_unsaved(&saving.unsaved())?;
        }
        let joined = match join {
            Some(join) => {
                let egress = policies.iter().any(|policy| records_answers(policy));
                let answers = policies.iter().any(|policy| policy.has_cookies());
                join.attach(store, &live.attached, egress, answers, undo)?
            }
            None => Joined::default(),
        };
        let rehearsed = live.generation.shadow()?;
        if let (Some(candidate), Some(shadow)) = (&candidate, &shadow)
            && self.rehearse.has_new_flows(rehearsed.as_ref(), shadow)
        {
            undo.push(|| store.put_in_front(&live.generation));
            candidate.record_ahead()?;
            self.rehearse.fill(shadow, &live.generation)?;
        }
        let rehearsed_anew = matches!(self.rehearse, Rehearse::GoesOn)
            && rehearsed.is_some()
            && shadow.is_some()
            && candidate.as_ref().is_some_and(|candidate| {
                self.counting == Counting::Anew
                    || !is_same(live.generation.record(), candidate.record())
            });
        let generation = match candidate {
            Some(candidate) => {
                let generation = candidate.commit()?;
                undo.push(|| store.put_in_front(&live.generation));
                generation
            }
            None => live.generation.clone(),
        };
        let deadline = self.lasts.and_then(|_| generation.deadline());
        if deadline.is_none()
            && let Some(saving) = saving
        {
            saving.save()?;
        }
        let mut interfaces: Vec<String> = live
            .attached
            .iter()
            .map(|one| one.interface.name.clone())
            .collect();
        let others = joined.names().into_iter();
        let new: Vec<String> = others.filter(|name| !interfaces.contains(name)).collect();
        interfaces.extend(new);
        let applied = Applied {
            generation: Some(generation),
            interfaces,
            changed: changed || joined.is_fresh(),
            summary,
            joined,
            unrecorded,
            deadline,
            doubt,
            ending,
            rehearsed_anew,
        };
        if deadline.is_none() && self.facts != Facts::Kept {
            drop(detach_unwanted(store, &policies, &indices));
        }
        self.tidy_up(&applied);
        Ok(applied)
    }

    /// Removes what the change left behind. What remains is removed by the next one.
    fn tidy_up(&self, applied: &Applied) {
        let Some(generation) = &applied.generation else {
            return;
        };
        if applied.deadline.is_none() {
            drop(generation.set_saved());
            if self.settles_lists && self.purpose == Purpose::Policy {
                self.engine.settle_lists(generation);
            }
            if let Some(live) = &self.engine.live {
                drop(lists::empty_unused(&live.generation, generation));
            }
            drop(self.engine.store.retain(&[generation.record().generation]));
        }
    }
}

/// Whether the bans of a generation have no room for those of a policy's lists.
fn lacks_room(in_force: &Generation, policy: &Policy) -> Result<bool> {
    if !policy.lists.iter().any(|list| list.ban) {
        return Ok(false);
    }
    let room = in_force.bans()?.room();
    let wanted = ban_room(policy)?;
    Ok(room.iter().zip(wanted).any(|(room, wanted)| *room < wanted))
}

/// Whether a policy is from another file than the one in force.
pub(super) fn is_elsewhere(in_force: &Record, source: &dyn PolicySource) -> bool {
    in_force.origin.is_some() && in_force.origin != source.origin()
}

/// Fills the flows of a generation that is about to be in force with what its predecessor
/// does not hand over: with its flows, if the tables have another size; with what was under
/// way, if it recorded none.
pub(super) fn take_over(
    flows: &mut FlowMaps,
    next: &Record,
    before: Option<&Generation>,
) -> Result<()> {
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
