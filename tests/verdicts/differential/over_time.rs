//! Holds compiled tables against the model over all of a policy's time, with the code that the
//! program runs: its clock cannot be set, and this one can.

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use xdpfw::{
    compiler::{self, Clocks, Environment, Tables, simulate::Simulation},
    policy::PolicyDocument,
    ports::PortRange,
};
use xdpfw_model::{Arrival, Policy, Verdict, judge};

use super::subject::Interface;

/// A policy's tables.
pub(crate) struct OverTime {
    tables: Tables,
}

/// The same, asked at moments between which nothing changes.
pub(crate) struct Moments<'a> {
    policy: &'a Policy,
    /// Each in milliseconds after the policy's time begins.
    moments: Vec<(i64, Simulation<'a>)>,
}

impl OverTime {
    /// Compiles a policy for a host with these interfaces.
    pub(crate) fn of(policy: &Policy, interfaces: &[Interface]) -> Result<Self> {
        let document = PolicyDocument::parse(policy.to_toml().into_bytes())?;
        let (first, last) = policy.ephemeral;
        let interfaces = interfaces.iter();
        let environment = Environment {
            ephemeral: PortRange { first, last },
            interfaces: interfaces
                .map(|one| (one.name.clone(), one.index))
                .collect(),
            clocks: Clocks {
                wall: Timestamp::from_second(policy.begins)?,
                ..Clocks::BEFORE_ALL
            },
            lists: Default::default(),
            cookies: None,
        };
        let slots: Vec<u32> = (0..).take(policy.rules.len()).collect();
        let tables = compiler::compile(document.policy(), &environment, &slots)
            .ok()
            .context("the policy is too complex")?;
        Ok(Self { tables })
    }

    /// The moments at which rules end, those right before, and the beginning.
    pub(crate) fn moments<'a>(&'a self, policy: &'a Policy) -> Moments<'a> {
        let ends = policy.ends().flat_map(|end| [end - 1, end]);
        let at = |at: i64| {
            let nanoseconds = 1_000_000 * at.unsigned_abs();
            (at, Simulation::of(&self.tables).at(nanoseconds))
        };
        Moments {
            policy,
            moments: [0].into_iter().chain(ends).map(at).collect(),
        }
    }
}

impl Moments<'_> {
    /// Compares what becomes of a frame with an Ethernet header, at one of the moments in turn.
    pub(crate) fn compare(&self, turn: u64, arrival: &Arrival<'_>, interface: u32) -> Result<()> {
        let turn = usize::try_from(turn)? % self.moments.len();
        let (at, simulation) = &self.moments[turn];
        let outcome = simulation.judge(arrival.frame, interface);
        let opinion = judge(
            self.policy,
            &Arrival {
                at: *at,
                ..*arrival
            },
        );
        let passes = outcome.reason().verdict() == xdpfw_common::Verdict::Pass;
        let rule = outcome.rule().map(|slot| slot as usize);
        let are_of_one_mind = passes == (opinion.verdict == Verdict::Pass)
            && outcome.reason().as_str() == opinion.reason
            && rule == opinion.rule;
        ensure!(
            are_of_one_mind,
            "after {at} ms, the tables say {outcome:?} about {:02x?}, and the model {opinion:?}\n{}",
            arrival.frame,
            self.policy.to_toml()
        );
        Ok(())
    }
}
