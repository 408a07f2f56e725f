//! Asks what is in force before a change.

use std::cell::OnceCell;

use anyhow::Result;
use jiff::Timestamp;
use xdpfw_common::abi::Judged;

use super::host::carriers_of;
use crate::{
    analysis::{Knock, Purpose, takes_away},
    compiler,
    datapath::{Live, PacketProbe, Record},
    engine::Error,
    netlink::interfaces,
    policy::{Policy, RuleId},
};

/// What is in force before a change.
pub(super) struct Before<'a> {
    live: Option<&'a Live>,
    /// The numbers that packets may carry that it judges.
    filtered: Vec<u32>,
    /// Loaded only if it is asked.
    probe: OnceCell<PacketProbe>,
}

impl<'a> Before<'a> {
    /// What is in force; nothing, if the filter is not up.
    ///
    /// # Errors
    ///
    /// Netlink does not answer.
    pub(super) fn of(live: Option<&'a Live>) -> Result<Self> {
        let attached = live.map_or(&[][..], |live| &live.attached);
        let attached: Vec<u32> = attached.iter().map(|one| one.interface.index).collect();
        Ok(Self {
            live,
            filtered: carriers_of(&attached, &interfaces()?),
            probe: OnceCell::new(),
        })
    }

    fn is_filtered(&self, index: u32) -> bool {
        self.filtered.contains(&index)
    }

    /// Whether a packet gets in by an interface.
    pub(super) fn lets_in(&self, knock: &Knock, index: u32) -> Result<bool> {
        let Some(live) = self.live.filter(|_| self.is_filtered(index)) else {
            return Ok(true);
        };
        let probe = match self.probe.get() {
            Some(probe) => probe,
            None => {
                let probe = probe_of(live.generation.record())?;
                self.probe.get_or_init(|| probe)
            }
        };
        Ok(is_served(knock.purpose, &probe.judge(&knock.frame, index)?))
    }

    /// The policy in force.
    pub(super) fn policy(&self) -> Option<&Policy> {
        self.live.map(|live| &live.generation.record().policy)
    }

    /// Whether a rule of the next policy can be named: it is in force, or in the file that is
    /// about to be.
    pub(super) fn has(&self, id: RuleId) -> bool {
        self.live
            .is_none_or(|live| live.generation.record().policy.rule(id).is_some())
    }

    /// Whether what is next may keep out what got in.
    pub(super) fn may_lose(&self, next: &Record, filtered: &[u32]) -> bool {
        let Some(live) = self.live else {
            return true;
        };
        // What has ended lets nobody in.
        let now = Timestamp::now();
        let before = live.generation.record().policy.without_ended(now);
        filtered.iter().any(|index| !self.is_filtered(*index))
            || takes_away(&before, &next.policy.without_ended(now))
    }
}

/// A probe of a generation that is pinned already.
///
/// # Errors
///
/// The kernel refuses it.
pub(in crate::engine) fn probe_of(record: &Record) -> Result<PacketProbe> {
    let Record {
        policy,
        environment,
        slots,
        ..
    } = record;
    let tables = compiler::compile(policy, environment, slots)
        .map_err(|error| Error::TooComplex(error.message(policy)))?;
    PacketProbe::load(record, &tables)
}

pub(super) fn is_served(purpose: Purpose, judged: &Judged) -> bool {
    judged
        .reason()
        .is_some_and(|reason| purpose.is_served_by(reason))
}
