//! Rehearses a policy: a candidate judges each packet, too, and what it would do otherwise is
//! counted, while what is in force stays so.

use anyhow::Result;

use super::{
    Engine, Error, Facts, InForce, PolicyFile, PolicySource as _,
    environment::environment,
    guard::{Guard, probe_of},
    seed::seed,
};
use crate::{
    compiler::{self, Environment},
    datapath::{Differences, FlowMaps, Generation, Live, Purpose, Record, Rehearsal, Unsaved},
    policy::Policy,
};

/// What becomes of a rehearsal with a change.
#[derive(Default)]
pub enum Rehearse<'a> {
    /// It goes on, if there is one.
    #[default]
    GoesOn,
    /// Another one begins.
    Begins(&'a Begin),
    /// It ends. The next generation takes over the flows of this candidate.
    Ends(Option<&'a Generation>),
}

/// A candidate that is to be rehearsed.
pub struct Begin {
    policy: Policy,
    environment: Environment,
    unsaved: Unsaved,
}

/// What has begun.
#[derive(Debug)]
pub struct Begun {
    /// The generation in force.
    pub generation: u64,
    /// Whom the candidate would lock out.
    pub doubt: Option<Error>,
    /// Whether another rehearsal ended for it.
    pub replaces: bool,
}

/// A rehearsal that goes on.
pub struct Rehearsed {
    /// What is in force, or would be but for a bypass or panic.
    pub live: Record,
    /// The candidate.
    pub candidate: Record,
    /// What becomes of the policy file if it is accepted.
    pub unsaved: Unsaved,
    /// What it judges otherwise.
    pub differences: Differences,
}

impl Rehearse<'_> {
    /// Whether the generation in force is not as it is to be.
    pub(super) fn is_change(&self, live: &Generation) -> Result<bool> {
        Ok(match self {
            Self::GoesOn => false,
            Self::Begins(_) => true,
            Self::Ends(_) => live.shadow()?.is_some(),
        })
    }

    /// What is to be rehearsed behind a generation that counts in these slots. `before` is what
    /// is rehearsed now.
    pub(super) fn behind<'b>(
        &self,
        next: &Record,
        in_force: &Generation,
        before: Option<&'b Generation>,
        counts_on: bool,
    ) -> Result<Option<Rehearsal<'b>>> {
        let (policy, environment, unsaved, goes_on) = match (self, before) {
            (Self::Begins(begin), _) => {
                let Begin {
                    policy,
                    environment,
                    unsaved,
                } = begin;
                (policy.clone(), environment.clone(), unsaved.clone(), false)
            }
            (Self::GoesOn, Some(before)) => {
                let Some(unsaved) = before.unsaved()? else {
                    return Ok(None);
                };
                let Record {
                    policy,
                    environment,
                    ..
                } = before.record().clone();
                let goes_on = counts_on && is_same(in_force.record(), next);
                (policy, environment, unsaved, goes_on)
            }
            (Self::GoesOn, None) | (Self::Ends(_), _) => return Ok(None),
        };
        let slots: Vec<u32> = (0..policy.rules.len() as u32).collect();
        let tables = compiler::compile(&policy, &environment, &slots)
            .map_err(|error| Error::TooComplex(error.message(&policy)))?;
        let record = Record {
            origin: Some(unsaved.path.clone()),
            policy,
            environment,
            slots,
            purpose: Purpose::Rehearsal,
            behind: None,
            joined: Vec::new(),
            ..next.clone()
        };
        Ok(Some(Rehearsal {
            record,
            tables,
            unsaved,
            before,
            goes_on,
        }))
    }

    /// Fills the flows of a candidate that has none yet: with those of the generation in front of
    /// it, or with what is under way.
    pub(super) fn fill(&self, candidate: &Generation, front: &Generation) -> Result<()> {
        let record = candidate.record();
        if !record.policy.records_flows() {
            return Ok(());
        }
        let flows: &mut FlowMaps = &mut candidate.flows()?;
        match front.record().policy.records_flows() {
            true => flows.copy(&front.flows()?),
            false => seed(flows, &record.clock),
        }
    }

    /// Whether the flows of the next candidate are new ones.
    pub(super) fn has_new_flows(&self, before: Option<&Generation>, next: &Generation) -> bool {
        let sizes = |generation: &Generation| generation.record().flow_sizes();
        matches!(self, Self::Begins(_)) && before.map(sizes) != Some(sizes(next))
    }
}

/// Whether rules of a generation count where those of another do, and judge alike: then what a
/// candidate judges otherwise is the same.
pub(super) fn is_same(one: &Record, other: &Record) -> bool {
    one.policy.same_verdicts(&other.policy)
        && one.slots == other.slots
        && one.environment == other.environment
}

/// The policies under which packets are judged: the one in force, and the one rehearsed.
pub(super) fn policies<'a>(
    in_force: &'a Record,
    shadow: Option<&'a Generation>,
) -> Vec<&'a Policy> {
    let shadow = shadow.map(|shadow| &shadow.record().policy);
    std::iter::once(&in_force.policy).chain(shadow).collect()
}

impl Engine {
    /// Rehearses the policy of a file behind what is in force, which stays so. A rehearsal that
    /// goes on ends.
    ///
    /// # Errors
    ///
    /// Nothing is filtered, something temporary is in force, or the kernel refuses.
    pub fn rehearse(&self, file: &PolicyFile) -> Result<Begun> {
        self.refuse_while_temporary()?;
        let live = self.must_be_up()?;
        let replaces = live.generation.shadow()?.is_some();
        let begin = Begin {
            policy: file.policy().clone(),
            environment: environment(file.policy(), Facts::Followed, Some(live))?,
            unsaved: Unsaved {
                path: file.origin().unwrap_or_default(),
                before: None,
                text: file.contents().into_owned(),
            },
        };
        let record = live.generation.record();
        let in_force = InForce(record);
        let change = self.change(&in_force).facts(Facts::Kept);
        let applied = change.rehearse(Rehearse::Begins(&begin)).commit()?;
        let generation = applied.generation.as_ref().unwrap_or(&live.generation);
        let doubt = match generation.shadow()? {
            Some(candidate) => doubt(candidate.record(), live)?,
            None => None,
        };
        Ok(Begun {
            generation: generation.record().generation,
            doubt,
            replaces,
        })
    }

    /// Ends the rehearsal.
    ///
    /// # Errors
    ///
    /// None goes on, something temporary is in force, or the kernel refuses.
    pub fn end_rehearsal(&self) -> Result<()> {
        self.refuse_while_temporary()?;
        let live = self.must_be_up()?;
        if live.generation.shadow()?.is_none() {
            return Err(Error::NothingRehearsed.into());
        }
        let record = live.generation.record();
        let in_force = InForce(record);
        let change = self.change(&in_force).facts(Facts::Kept);
        change.rehearse(Rehearse::Ends(None)).commit()?;
        Ok(())
    }

    /// The candidate that is rehearsed, and the generation in front of it.
    ///
    /// # Errors
    ///
    /// Nothing is filtered, nothing is rehearsed, or the kernel refuses.
    pub fn candidate(&self) -> Result<(&Generation, Generation)> {
        let live = self.must_be_up()?;
        find(live)?.ok_or_else(|| Error::NothingRehearsed.into())
    }

    /// The rehearsal that goes on.
    ///
    /// # Errors
    ///
    /// As for [`Engine::candidate`].
    pub fn rehearsed(&self) -> Result<Rehearsed> {
        let (front, candidate) = self.candidate()?;
        Ok(Rehearsed {
            live: front.record().clone(),
            differences: candidate.differences()?,
            unsaved: candidate.unsaved()?.ok_or(Error::NothingRehearsed)?,
            candidate: candidate.record().clone(),
        })
    }
}

/// The first generation that a candidate is behind, of those that may judge, and that candidate.
fn find(live: &Live) -> Result<Option<(&Generation, Generation)>> {
    for generation in std::iter::once(&live.generation).chain(&live.behind) {
        if let Some(candidate) = generation.shadow()? {
            return Ok(Some((generation, candidate)));
        }
    }
    Ok(None)
}

/// What a rehearsal judges otherwise; `None` if there is none.
///
/// # Errors
///
/// The kernel refuses.
pub fn differences(live: &Live) -> Result<Option<u64>> {
    match find(live)? {
        Some((_, candidate)) => Ok(Some(candidate.differences()?.packets())),
        None => Ok(None),
    }
}

/// Whom a candidate would lock out.
fn doubt(candidate: &Record, live: &Live) -> Result<Option<Error>> {
    let attached: Vec<u32> = live
        .attached
        .iter()
        .map(|one| one.interface.index)
        .collect();
    let guard = Guard::of(&attached)?;
    if guard.is_idle() {
        return Ok(None);
    }
    match guard.check(&probe_of(candidate)?, candidate, Some(live)) {
        Ok(_) => Ok(None),
        Err(error) => error.downcast().map(Some),
    }
}
