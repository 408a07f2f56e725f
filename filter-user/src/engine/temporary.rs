//! What is in force for a while only: changes that are to be confirmed, the bypass, the panic.

use std::net::IpAddr;

use anyhow::{Context as _, Result, anyhow};

use super::{Engine, Error, Facts, InForce, settle::Late};
use crate::{
    datapath::{Deadline, Generation, Purpose, Record},
    duration::Seconds,
    policy::{Action, DefaultAction, IcmpErrors, Match, MatchSpec, Policy, Replies, Rule, RuleId},
    system::Sessions,
};

impl Engine {
    /// Refuses to change what is not there for good.
    ///
    /// # Errors
    ///
    /// A change is not confirmed yet, or a bypass or panic goes on.
    pub fn refuse_while_temporary(&self) -> Result<(), Error> {
        match self.live().and_then(|live| live.temporary().next()) {
            Some(generation) => Err(Error::Temporary {
                purpose: generation.purpose(),
                until: generation.deadline().map(Deadline::on_the_wall),
            }),
            None => Ok(()),
        }
    }

    /// Confirms the change that is pending: it stays, and the policy file says the same.
    /// Returns its generation.
    ///
    /// # Errors
    ///
    /// None is pending, or the kernel refuses.
    pub fn confirm(&mut self) -> Result<Generation> {
        let generation = self.pending()?;
        let late = Late::prepare(&generation)?;
        if generation.is_over() {
            // Since the lock was taken.
            self.live = self.store.live()?;
            self.settle_and_tell();
            return Err(self.nothing_pending().into());
        }
        generation.set_deadline(None)?;
        if let Some(late) = late {
            late.save(&generation)?;
        }
        self.live = self.store.live()?;
        self.settle()?;
        self.settle_lists(&generation);
        Ok(generation)
    }

    /// Takes the change back that is pending.
    ///
    /// # Errors
    ///
    /// None is pending, or the kernel refuses.
    pub fn take_back(&mut self) -> Result<Generation> {
        let generation = self.pending()?;
        self.end(&generation)?;
        Ok(generation)
    }

    /// Ends a bypass or panic; `None` if there is none.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn end_of_purpose(&mut self, purpose: Purpose) -> Result<Option<Generation>> {
        let live = self.must_be_up()?;
        let found = live.temporary().find(|one| one.purpose() == purpose);
        let Some(generation) = found.cloned() else {
            return Ok(None);
        };
        self.end(&generation)?;
        Ok(Some(generation))
    }

    fn end(&mut self, generation: &Generation) -> Result<()> {
        // From here on, packets go by what is behind it.
        generation.end()?;
        self.live = self.store.live()?;
        self.settle().map(drop)
    }

    fn pending(&self) -> Result<Generation, Error> {
        let pending = self.must_be_up()?.pending();
        pending.cloned().ok_or_else(|| self.nothing_pending())
    }

    fn nothing_pending(&self) -> Error {
        match self.refuse_if_gone_back() {
            Err(error) => error,
            Ok(()) => Error::NothingPending,
        }
    }

    /// Refuses if a change went back since the last command.
    ///
    /// # Errors
    ///
    /// One did.
    pub fn refuse_if_gone_back(&self) -> Result<(), Error> {
        let mut ended = self.ended.iter();
        match ended.find(|ended| ended.purpose == Purpose::Policy) {
            Some(ended) => Err(Error::WentBack { at: ended.at }),
            None => Ok(()),
        }
    }

    /// Lets everything pass for a while. Said again, the while begins anew.
    ///
    /// # Errors
    ///
    /// Nothing is filtered, something else is temporary, or the kernel refuses.
    pub fn bypass(&self, lasts: Seconds) -> Result<Deadline> {
        if let Some(deadline) = self.extend(Purpose::Bypass, lasts)? {
            return Ok(deadline);
        }
        self.refuse_while_temporary()?;
        let record = self.must_be_up()?.generation.record();
        let record = Record {
            policy: Policy {
                rules: Vec::new(),
                default: DefaultAction::Pass,
                ..record.policy.clone()
            },
            ..record.clone()
        };
        let source = InForce(&record);
        let change = self.change(&source).facts(Facts::Kept);
        let change = change.for_purpose(Purpose::Bypass).lasting(Some(lasts));
        change.commit()?.deadline.context("a bypass without an end")
    }

    /// Lets nothing pass for a while but what is under way, and what the operators of this host
    /// send, whose addresses are returned. Said again, the while begins anew.
    ///
    /// # Errors
    ///
    /// Nothing is filtered, it would cut an operator (unless `force` says to), or the kernel
    /// refuses.
    pub fn panic(&self, lasts: Seconds, force: bool) -> Result<(Deadline, Vec<IpAddr>)> {
        let peers = operators()?;
        if let Some(deadline) = self.extend(Purpose::Panic, lasts)? {
            return Ok((deadline, peers));
        }
        let record = self.must_be_up()?.generation.record();
        let record = Record {
            policy: Policy {
                rules: rules_for(&peers)?,
                default: DefaultAction::Drop,
                replies: Replies::Flows,
                icmp_errors: IcmpErrors::Related,
                discovery: false,
                ..record.policy.clone()
            },
            ..record.clone()
        };
        let source = InForce(&record);
        let change = self
            .change(&source)
            .for_purpose(Purpose::Panic)
            .lasting(Some(lasts));
        let deadline = change.guarded(!force).commit()?.deadline;
        Ok((deadline.context("a panic without an end")?, peers))
    }

    /// Has what is in force end later, or earlier, if it is for this purpose.
    fn extend(&self, purpose: Purpose, lasts: Seconds) -> Result<Option<Deadline>> {
        let generation = &self.must_be_up()?.generation;
        if generation.purpose() != purpose || generation.is_over() {
            return Ok(None);
        }
        let deadline = Some(Deadline::after(lasts.duration()));
        generation.set_deadline(deadline)?;
        Ok(deadline)
    }
}

/// Where the operators sit.
fn operators() -> Result<Vec<IpAddr>> {
    let sessions = Sessions::current()?.known.into_iter();
    let mut peers: Vec<IpAddr> = sessions.map(|session| session.peer).collect();
    peers.retain(|peer| !peer.is_loopback());
    peers.sort_unstable();
    peers.dedup();
    Ok(peers)
}

/// Rules that let in whatever comes from these addresses.
fn rules_for(peers: &[IpAddr]) -> Result<Vec<Rule>> {
    if peers.is_empty() {
        return Ok(Vec::new());
    }
    let from: Vec<String> = peers.iter().map(IpAddr::to_string).collect();
    let matches = Match::parse(&MatchSpec {
        from: Some(from.iter().map(String::as_str).collect()),
        ..MatchSpec::of_words("any")
    });
    Ok(vec![Rule {
        id: RuleId(1),
        action: Action::Allow,
        matches: matches.map_err(|mistake| anyhow!("{}", mistake.message))?,
        until: None,
        comment: Some("the operator, during the panic".to_owned()),
    }])
}
