//! What judges packets that nobody has sent, and what was counted of those that came.

use std::collections::{HashMap, HashSet};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use xdpfw_common::{Reason, Transport, abi::Origin};

use crate::{
    analysis::review::{Hits, Question, Service},
    datapath::{Generation, Live, Purpose, Snapshot},
    engine::{Engine, FactChange, History, Judge, changed_facts},
    netlink::Interface,
    output::Printer,
    policy::{Action, DefaultAction, Policy, Rule},
    ports::PortRange,
    system::{Capability, ephemeral_ports},
};

/// Who judges, and by what.
pub(super) struct Bench {
    /// The rules, without those that have ended.
    pub(super) policy: Policy,
    /// The ports that the rules call ephemeral.
    pub(super) ephemeral: PortRange,
    /// The interfaces that are filtered, or would be.
    pub(super) filtered: Vec<(u32, String)>,
    /// What was counted for the rules.
    pub(super) hits: Option<Hits>,
    /// Interfaces that rules name, and the names that they have now.
    pub(super) renamed: Vec<(String, String)>,
    counters: Option<Snapshot>,
    judge: Option<Judge>,
    /// The UDP ports from which this host asked others lately.
    asking: HashSet<u16>,
}

impl Bench {
    /// Of the filter in force. While everything passes, or nothing does, the rules that are there
    /// for good are reviewed.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub(super) fn of_live(
        engine: &Engine,
        live: &Live,
        history: &History,
        now: Timestamp,
        printer: &mut Printer,
    ) -> Result<Self> {
        let is_policy = live.generation.purpose() == Purpose::Policy;
        let generation = match is_policy {
            true => &live.generation,
            false => live.lasting(),
        };
        let record = generation.record();
        let policy = record.policy.without_ended(now).into_owned();
        let counters = generation.snapshot()?;
        let missing = Capability::missing().next();
        if let Some(missing) = missing.filter(|_| is_policy) {
            let missing = missing.as_str();
            printer.note(&format!(
                "judged by the rules: to ask the program itself takes {missing}"
            ));
        }
        let judge = match is_policy && missing.is_none() {
            true => Some(engine.judge()?),
            false => None,
        };
        let renamed = changed_facts(live)?.into_iter();
        let renamed = renamed.filter_map(|change| match change {
            FactChange::Renamed { name, now } => Some((name, now)),
            _ => None,
        });
        let filtered = live.attached.iter();
        Ok(Self {
            ephemeral: record.environment.ephemeral,
            filtered: filtered
                .map(|one| (one.interface.index, one.interface.name.clone()))
                .collect(),
            hits: Some(hits(generation, &policy, &counters, history)),
            counters: Some(counters),
            judge,
            asking: asking(generation)?,
            policy,
            renamed: renamed.collect(),
        })
    }

    /// Of a policy that would be in force on a host with these interfaces.
    pub(super) fn of_policy(policy: &Policy, known: &[Interface], now: Timestamp) -> Self {
        let is_wanted = |one: &&Interface| match policy.interfaces.is_empty() {
            // Those that somebody might name.
            true => one.is_up && !one.is_loopback,
            false => policy.interfaces.contains(&one.name),
        };
        let wanted = known.iter().filter(is_wanted);
        Self {
            filtered: wanted.map(|one| (one.index, one.name.clone())).collect(),
            policy: policy.without_ended(now).into_owned(),
            ephemeral: ephemeral_ports(),
            hits: None,
            renamed: Vec::new(),
            counters: None,
            judge: None,
            asking: HashSet::new(),
        }
    }

    /// What judges, in a word.
    pub(super) const fn judged_by(&self) -> &'static str {
        match self.judge {
            Some(_) => "program",
            None => "rules",
        }
    }

    /// Why a packet would pass or be dropped.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub(super) fn judge(&self, question: &Question<'_>) -> Result<Reason> {
        if let Some(judge) = &self.judge {
            let judged = judge.judge(&question.frame()?, question.way.index);
            return Ok(judged.context("the program does not judge")?.reason);
        }
        let rule = self
            .policy
            .first_match(&question.packet(), self.ephemeral)
            .map(|rule| rule.action);
        Ok(match (rule, self.policy.default) {
            (Some(Action::Allow | Action::AllowWithCookies | Action::Limit(_)), _) => {
                Reason::RuleAllow
            }
            (Some(Action::Deny), _) => Reason::RuleDeny,
            (None, DefaultAction::Pass) => Reason::DefaultPass,
            (None, DefaultAction::Drop) => Reason::DefaultDrop,
        })
    }

    /// Adds to a service what was counted, and whether it asks others.
    pub(super) fn count(&self, service: &mut Service) {
        let (transport, port) = (service.transport, service.port);
        let counters = self.counters.as_ref();
        service.dropped = counters.map_or(0, |counters| counters.dropped(transport, port));
        service.asks = transport == Transport::Udp && self.asking.contains(&port);
    }
}

/// What the counters of a generation say of its rules.
fn hits(generation: &Generation, policy: &Policy, counters: &Snapshot, history: &History) -> Hits {
    let record = generation.record();
    let rules = record.policy.rules.iter().zip(counters.rules());
    let of_rules: HashMap<_, _> = rules
        .map(|(rule, counter)| (rule.id, counter.packets))
        .collect();
    let unused: Vec<&Rule> = policy
        .rules
        .iter()
        .filter(|rule| rule.action.lets_in() && of_rules.get(&rule.id) == Some(&0))
        .collect();
    let since = record.counting_since;
    Hits {
        // Without a history, the counters tell.
        rules_since: history.rules_since(&unused, since).unwrap_or_default(),
        of_rules,
        since,
    }
}

/// The UDP ports of this host in the flows of a generation.
fn asking(generation: &Generation) -> Result<HashSet<u16>> {
    if !generation.record().policy.records_flows() {
        return Ok(HashSet::new());
    }
    let flows = generation.flows()?.read()?.into_iter();
    let asking = flows.filter(|flow| {
        flow.origin == Origin::Local && flow.key.protocol == Transport::Udp.protocol()
    });
    Ok(asking
        .map(|flow| u16::from_be_bytes(flow.key.local_port))
        .collect())
}
