//! Names in rules that have come to mean something else: of services, by this host's own list, and
//! of interfaces.

use xdpfw_common::Transport;

use super::{Facts, Finding, remedy::replace};
use crate::{
    policy::{Match, Rule, RuleId},
    ports::{PortSpec, PortWord},
};

/// A port that a rule calls by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPort {
    /// The rule.
    pub rule: RuleId,
    /// The name, as it is written.
    pub name: String,
    /// The protocol.
    pub transport: Transport,
    /// The port that it means there.
    pub port: u16,
}

/// The names that mean something else elsewhere on this host.
pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let of = |named: &NamedPort| {
        let NamedPort {
            rule,
            name,
            transport,
            port,
        } = named;
        let here = facts.host_services.port(*transport, name)?;
        let rule = facts.policy.rule(*rule).filter(|_| here != *port)?;
        let text = format!(
            "`{name}` in {} is {transport} {port}, and {transport} {here} in /etc/services",
            rule.id
        );
        let object = format!("{} {name}", rule.id);
        let finding = Finding::new("name-changed", object, text);
        Some(Finding {
            remedy: renumbered(rule, *port, here, facts),
            ..finding
        })
    };
    let services = facts.names.iter().filter_map(of);
    let interfaces = facts.renamed.iter();
    services
        .chain(interfaces.flat_map(|(name, now)| renamed(name, now, facts)))
        .collect()
}

/// The rules for an interface that has another name now.
fn renamed<'a>(
    name: &'a str,
    now: &'a str,
    facts: &'a Facts<'_>,
) -> impl Iterator<Item = Finding> + 'a {
    let rules = facts.policy.rules.iter();
    let rules = rules.filter(move |rule| rule.matches.on.iter().any(|on| on == name));
    rules.map(move |rule| {
        let mut by = rule.matches.clone();
        for on in by.on.iter_mut().filter(|on| *on == name) {
            now.clone_into(on);
        }
        let text = format!("{rule:.3}: that interface is called {now} now");
        let finding = Finding::new("name-changed", format!("{} {name}", rule.id), text);
        Finding {
            remedy: replace(rule, &[by], facts.now),
            ..finding
        }
    })
}

/// The commands that put the host's own port in the place of the other one.
fn renumbered(rule: &Rule, port: u16, here: u16, facts: &Facts<'_>) -> Option<String> {
    let matching = &rule.matches;
    let words: Vec<String> = matching
        .local
        .words()
        .iter()
        .map(|word| match *word {
            PortWord::Port(other) if other == port => here.to_string(),
            other => other.to_string(),
        })
        .collect();
    let local = PortSpec::parse(&words.join(","), matching.protocol.transports()).ok()?;
    let by = Match {
        local,
        ..matching.clone()
    };
    replace(rule, &[by], facts.now)
}
