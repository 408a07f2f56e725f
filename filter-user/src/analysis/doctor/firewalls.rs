//! Packets that the filter lets pass, and that another packet filter of this host drops.

use xdpfw_common::Transport;

use super::{Facts, Finding, command};
use crate::{
    ports::PortRange,
    system::{Chain, Condition, Program, TheirRule, Verdict},
};

/// Chains that call each other are followed this deep; nft's own limit is 16.
const DEPTH: u32 = 16;

/// A packet that begins a conversation.
#[derive(Clone, Copy, Debug)]
struct Probe<'a> {
    transport: Transport,
    port: u16,
    interfaces: &'a [&'a str],
}

/// Whether something holds for a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    No,
    Perhaps,
    Yes,
}

/// What may become of a packet in a chain.
#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    accepted: bool,
    dropped: bool,
    /// Nothing decided.
    left: bool,
}

pub(super) fn findings(facts: &Facts) -> Vec<Finding> {
    let looked_at = facts.looked_at();
    let names: Vec<&str> = looked_at
        .iter()
        .map(|device| device.interface.name.as_str())
        .collect();
    let mut found: Vec<Finding> = Vec::new();
    for base in facts.chains.iter().filter(|chain| chain.hook.is_some()) {
        if base
            .device
            .as_deref()
            .is_some_and(|device| !names.contains(&device))
        {
            continue;
        }
        for (transport, range) in allowed(facts) {
            let gets_through = |port: u16| {
                let probe = Probe {
                    transport,
                    port,
                    interfaces: &names,
                };
                let outcome = probe.through(base, &facts.chains, 0);
                outcome.accepted || outcome.left && !base.drops
            };
            if !gets_through(range.first) || !gets_through(range.last) {
                let finding = drops(base, transport, range);
                if !found.contains(&finding) {
                    found.push(finding);
                }
            }
        }
    }
    found
}

/// The ports that rules of the policy let somebody in to.
fn allowed(facts: &Facts) -> Vec<(Transport, PortRange)> {
    let mut ports = Vec::new();
    for rule in &facts.policy.rules {
        let matching = &rule.matches;
        if !rule.action.lets_in() {
            continue;
        }
        for transport in Transport::ALL {
            let set = matching.local.resolve(facts.ephemeral);
            // Who lets in everything means no port.
            if matching.protocol.includes(transport) && !set.is_any() {
                ports.extend(set.ranges().iter().map(|range| (transport, *range)));
            }
        }
    }
    ports
}

/// That a chain drops what comes to these ports.
fn drops(base: &Chain, transport: Transport, range: PortRange) -> Finding {
    let Chain {
        family,
        table,
        name,
        ..
    } = base;
    let port = match range.first == range.last {
        true => range.first.to_string(),
        false => format!("{}-{}", range.first, range.last),
    };
    let Manager { unit, remedy } = manager(base, transport, &port);
    let why = match base.drops {
        true => "no rule of it accepts them",
        false => "a rule of it drops them",
    };
    let whose = unit.map_or_else(String::new, |unit| format!(" ({unit})"));
    let text =
        format!("drops packets for {transport} {port}, which the policy allows: {why}{whose}");
    let object = match base.program {
        Program::Nft => format!("{family} {table} {name}"),
        program => format!("{} {table} {name}", program.as_str()),
    };
    let finding = Finding::fault("firewall-drops", object, text);
    Finding {
        remedy: Some(remedy),
        ..finding
    }
}

/// Who manages a chain, and how they accept more.
struct Manager {
    /// Their unit.
    unit: Option<&'static str>,
    /// The command.
    remedy: String,
}

fn manager(base: &Chain, transport: Transport, port: &str) -> Manager {
    let transport = transport.as_str();
    let calls_ufw = base.rules.iter().any(|rule| match &rule.verdict {
        Verdict::Jump(chain) => chain.starts_with("ufw-") || chain.starts_with("ufw6-"),
        _ => false,
    });
    if calls_ufw {
        let port = port.replace('-', ":");
        return Manager {
            unit: Some("ufw.service"),
            remedy: command(&["ufw", "allow", &format!("{port}/{transport}")]),
        };
    }
    if base.table == "firewalld" {
        let add = format!("--add-port={port}/{transport}");
        return Manager {
            unit: Some("firewalld.service"),
            remedy: format!(
                "{} && {}",
                command(&["firewall-cmd", &add]),
                command(&["firewall-cmd", "--permanent", &add])
            ),
        };
    }
    let Chain {
        family,
        table,
        name,
        ..
    } = base;
    let program = base.program.as_str();
    let remedy = match base.program {
        Program::Nft => {
            let front = [program, "insert", "rule", family, table, name];
            command(&[&front[..], &[transport, "dport", port, "accept"]].concat())
        }
        _ => {
            let port = &port.replace('-', ":");
            let front = [program, "-t", table, "-I", name, "-p", transport];
            command(&[&front[..], &["--dport", port, "-j", "ACCEPT"]].concat())
        }
    };
    Manager { unit: None, remedy }
}

impl Probe<'_> {
    /// What may become of it in a chain, without that chain's policy.
    fn through(self, chain: &Chain, chains: &[Chain], depth: u32) -> Outcome {
        let mut outcome = Outcome::default();
        for rule in &chain.rules {
            let holds = self.meets(rule);
            if holds == Holds::No {
                continue;
            }
            let of_rule = self.of_verdict(&rule.verdict, chain, chains, depth);
            outcome.accepted |= of_rule.accepted;
            outcome.dropped |= of_rule.dropped;
            let ends = matches!(rule.verdict, Verdict::Return | Verdict::Goto(_));
            outcome.left |= ends && of_rule.left;
            if holds == Holds::Yes && (ends || !of_rule.left) {
                return outcome;
            }
        }
        Outcome {
            left: true,
            ..outcome
        }
    }

    fn of_verdict(self, verdict: &Verdict, chain: &Chain, chains: &[Chain], depth: u32) -> Outcome {
        let left = Outcome {
            left: true,
            ..Outcome::default()
        };
        match verdict {
            Verdict::Accept => Outcome {
                accepted: true,
                ..Outcome::default()
            },
            Verdict::Drop => Outcome {
                dropped: true,
                ..Outcome::default()
            },
            Verdict::Return => left,
            Verdict::Jump(name) | Verdict::Goto(name) => {
                let is_it = |other: &&Chain| chain.is_beside(other) && other.name == *name;
                match chains.iter().find(is_it) {
                    Some(next) if depth < DEPTH => self.through(next, chains, depth + 1),
                    _ => left,
                }
            }
        }
    }

    /// Whether all that a rule asks holds.
    fn meets(self, rule: &TheirRule) -> Holds {
        let holds = rule.conditions.iter().map(|one| self.holds(one));
        holds.fold(Holds::Yes, |all, one| match (all, one) {
            (Holds::No, _) | (_, Holds::No) => Holds::No,
            (Holds::Yes, Holds::Yes) => Holds::Yes,
            _ => Holds::Perhaps,
        })
    }

    fn holds(self, condition: &Condition) -> Holds {
        let known = |holds: bool| if holds { Holds::Yes } else { Holds::No };
        match condition {
            Condition::Transport(transports) => known(transports.contains(&self.transport)),
            Condition::Port(ranges) => known(ranges.iter().any(|range| range.contains(&self.port))),
            Condition::Interface(names) => self.comes_by(names),
            Condition::Not(condition) => match self.holds(condition) {
                Holds::Yes => Holds::No,
                Holds::No => Holds::Yes,
                Holds::Perhaps => Holds::Perhaps,
            },
            Condition::Never => Holds::No,
            Condition::Unknown => Holds::Perhaps,
        }
    }

    /// Whether it comes in by one of these interfaces.
    fn comes_by(self, names: &[String]) -> Holds {
        let is_named = |interface: &&&str| {
            names.iter().any(|name| match name.strip_suffix('*') {
                Some(start) => interface.starts_with(start),
                None => **interface == name,
            })
        };
        match self.interfaces.iter().filter(is_named).count() {
            0 => Holds::No,
            count if count == self.interfaces.len() => Holds::Yes,
            _ => Holds::Perhaps,
        }
    }
}

#[cfg(test)]
mod tests;
