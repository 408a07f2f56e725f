//! Reviews a host: what listens against what the rules let in, and what became of it. It judges
//! facts, and asks whoever judges packets; it does no I/O itself.

mod crowds;
mod difference;
mod names;
mod question;
mod reach;
mod remedy;
mod rules;
mod services;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use jiff::Timestamp;

pub use self::{
    crowds::{Crowd, crowds, in_use},
    difference::{
        Earlier, EarlierFinding, EarlierRule, EarlierService, SCHEMA, differences, rule_text,
    },
    names::NamedPort,
    question::{Host, Question, Way},
    reach::Asking,
    services::{Reach, Service, services},
};
use super::Shadowed;
use crate::{
    policy::{Policy, RuleId},
    ports::PortRange,
    system::HostServices,
};

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind it is, in a word that stays.
    pub kind: &'static str,
    /// What it is about: a rule, a port, a destination …
    pub object: String,
    /// What is the matter.
    pub text: String,
    /// The command that does something about it, for a shell; `None` if there is none.
    pub remedy: Option<String>,
}

impl Finding {
    fn new(kind: &'static str, object: impl Into<String>, text: String) -> Self {
        Self {
            kind,
            object: object.into(),
            text,
            remedy: None,
        }
    }

    fn say(self, remedy: impl Into<String>) -> Self {
        Self {
            remedy: Some(remedy.into()),
            ..self
        }
    }
}

/// What the counters say of the rules.
#[derive(Clone, Debug)]
pub struct Hits {
    /// Packets that each rule decided.
    pub of_rules: HashMap<RuleId, u64>,
    /// When they were zero.
    pub since: Timestamp,
    /// Of rules that decided none, since when they are there, if that is known to be later.
    pub rules_since: HashMap<RuleId, Timestamp>,
}

/// All that is known.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The rules, without those that have ended.
    pub policy: &'a Policy,
    /// The ports of clients.
    pub ephemeral: PortRange,
    /// What was counted; `None` while nothing is.
    pub hits: Option<Hits>,
    /// What listens, and who reaches it.
    pub services: &'a [Service],
    /// The addresses, and the interfaces that are filtered.
    pub host: &'a Host,
    /// Whether packets are forwarded for others.
    pub forwards: bool,
    /// The rules that can never match.
    pub shadowed: Vec<Shadowed>,
    /// The ports that rules call by names.
    pub names: Vec<NamedPort>,
    /// The names that this host has.
    pub host_services: HostServices,
    /// Interfaces that rules name, and the names that they have now.
    pub renamed: Vec<(String, String)>,
    /// Who takes the ports of clients, the most first.
    pub crowds: &'a [Crowd],
    /// The time.
    pub now: Timestamp,
}

/// All findings, what hurts first in front.
pub fn examine(facts: &Facts<'_>) -> Vec<Finding> {
    let mut findings = crowds::findings(facts);
    findings.extend(services::findings(facts));
    findings.extend(rules::findings(facts));
    findings.extend(names::findings(facts));
    findings
}
