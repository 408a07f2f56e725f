//! Turns a policy into the tables the kernel program reads. Pure.
//!
//! What a packet pays must not grow with the number of rules. So each dimension
//! maps its field to a *class* (two ports are in one class when exactly the same
//! rules match them), and a last table maps the pair of classes to the rule that
//! wins (recursive flow classification, Gupta and McKeown 1999). First match is
//! settled here.

mod classes;

use std::fmt;

use xdpfw_common::{
    Transport,
    abi::{
        ACTION_ALLOW, ACTION_DENY, ClassKey, Config, DHCP_CLIENT, Decision, MAX_RULES, PortBitmaps,
        PortKey, Side, UDP_REPLIES_BOUND, UDP_REPLIES_CONNECTED, UDP_REPLIES_OFF, unlisted_class,
    },
};

use self::classes::{Classes, Constraint};
use crate::{
    policy::{Action, DefaultAction, Fragments, Policy, Rule, RuleId, Shadowed, UdpReplies, What},
    ports::{PortRange, PortSet, PortSpec},
};

/// Most pairs of classes a policy may need: 16 MiB of hash map, filled in a
/// second.
const MAX_DECISIONS: usize = 1 << 18;

/// A compiled policy.
pub struct Tables {
    /// The policy's switches.
    pub config: Config,
    /// Which ports can be matched at all.
    pub listed: Box<PortBitmaps>,
    /// Classes of local ports.
    pub local: Vec<(PortKey, u32)>,
    /// Classes of remote ports.
    pub remote: Vec<(PortKey, u32)>,
    /// The rule for each pair of classes that has one.
    pub decisions: Vec<(ClassKey, Decision)>,
}

/// Why a policy cannot be compiled.
#[derive(Debug, PartialEq, Eq)]
pub enum TooComplex {
    /// More rules than there are counters.
    Rules(usize),
    /// Local and remote ports cross in too many ways.
    Pairs {
        /// How many pairs of classes there would be.
        pairs: usize,
        /// Rules that name remote ports, which is what multiplies.
        rules: Vec<RuleId>,
    },
}

impl fmt::Display for TooComplex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rules(rules) => write!(
                f,
                "{rules} rules are more than the {MAX_RULES} supported (say several ports in one rule)"
            ),
            Self::Pairs { pairs, rules } => {
                write!(
                    f,
                    "{pairs} combinations of local and remote ports are more than the {MAX_DECISIONS} supported (simplify the remote ports of"
                )?;
                for rule in rules.iter().take(3) {
                    write!(f, " {rule}")?;
                }
                let more = rules.len().saturating_sub(3);
                if more > 0 {
                    write!(f, " and {more} more")?;
                }
                f.write_str(")")
            }
        }
    }
}

impl std::error::Error for TooComplex {}

/// Compiles a policy for a host with these ephemeral ports; `slots` are the
/// counters of its rules, in their order.
///
/// # Errors
///
/// The policy is beyond a fixed bound.
pub fn compile(policy: &Policy, ephemeral: PortRange, slots: &[u32]) -> Result<Tables, TooComplex> {
    if policy.rules.len() > MAX_RULES {
        return Err(TooComplex::Rules(policy.rules.len()));
    }
    let mut tables = Tables {
        config: config(policy, ephemeral),
        listed: Box::new(PortBitmaps::EMPTY),
        local: Vec::new(),
        remote: Vec::new(),
        decisions: Vec::new(),
    };
    let rules: Vec<Resolved<'_>> = policy
        .rules
        .iter()
        .map(|rule| Resolved {
            rule,
            local: rule.what.local.resolve(ephemeral),
            remote: rule.what.remote.resolve(ephemeral),
        })
        .collect();
    tables.open_clients(ephemeral);
    let mut pairs = 0;
    for transport in Transport::ALL {
        let (local, remote) = dimensions(&rules, transport, &tables);
        pairs += local.len() * remote.len();
        if pairs > MAX_DECISIONS {
            return Err(TooComplex::Pairs {
                pairs,
                rules: blame(policy),
            });
        }
        tables.add(transport, &local, &remote, |index| {
            decision(&policy.rules[index], slots[index])
        });
    }
    let everything = What::everything();
    if let Some(index) = policy.rules.iter().position(|rule| rule.what == everything) {
        let class = unlisted_class(None);
        tables.config.portless_rules = 1;
        tables.decisions.push((
            ClassKey {
                local: class,
                remote: class,
            },
            decision(&policy.rules[index], slots[index]),
        ));
    }
    Ok(tables)
}

/// The rules that no packet can reach.
pub fn unreachable(_policy: &Policy, _ephemeral: PortRange) -> Vec<Shadowed> {
    Vec::new()
}

/// A rule with its port words turned into ports.
struct Resolved<'a> {
    rule: &'a Rule,
    local: PortSet,
    remote: PortSet,
}

/// The classes of local and of remote ports that the rules for a transport
/// distinguish.
fn dimensions(rules: &[Resolved<'_>], transport: Transport, tables: &Tables) -> (Classes, Classes) {
    let of = |side: Side| {
        let constraints = rules
            .iter()
            .enumerate()
            .filter(|(_, rule)| {
                let What { from, to, on, .. } = &rule.rule.what;
                let everywhere = from.is_empty() && to.is_empty() && on.is_empty();
                everywhere && rule.rule.what.protocol.includes(transport)
            })
            .map(|(index, rule)| {
                let (own, other) = match side {
                    Side::Local => (&rule.local, &rule.remote),
                    Side::Remote => (&rule.remote, &rule.local),
                };
                Constraint {
                    rule: index,
                    ports: own,
                    decides: other.is_any(),
                }
            });
        let used = match side {
            Side::Local => &tables.local,
            Side::Remote => &tables.remote,
        };
        let first = used.iter().map(|&(_, class)| class + 1).max();
        Classes::of(constraints, first, unlisted_class(Some(transport)))
    };
    (of(Side::Local), of(Side::Remote))
}

impl Tables {
    /// Opens the ports to which answers come from anywhere.
    fn open_clients(&mut self, ephemeral: PortRange) {
        let config = self.config;
        if config.dhcp_client != 0 {
            self.listed.open(Transport::Udp, DHCP_CLIENT);
        }
        if config.udp_replies != UDP_REPLIES_OFF {
            for port in ephemeral.first..=ephemeral.last {
                self.listed.open(Transport::Udp, port);
            }
        }
    }

    fn add(
        &mut self,
        transport: Transport,
        local: &Classes,
        remote: &Classes,
        decision: impl Fn(usize) -> Decision,
    ) {
        for (ports, class) in local.listed() {
            for port in ports.first..=ports.last {
                self.local.push((PortKey::new(transport, port), class));
                self.listed.insert(Side::Local, transport, port);
            }
        }
        // What passes by default, or may match by its remote port, is not settled
        // by its local port.
        if self.config.default_pass != 0 || remote.len() > 1 {
            for port in 0..=u16::MAX {
                self.listed.open(transport, port);
            }
        }
        for (ports, class) in remote.listed() {
            self.config.remote_rules = 1;
            for port in ports.first..=ports.last {
                self.remote.push((PortKey::new(transport, port), class));
                self.listed.insert(Side::Remote, transport, port);
            }
        }
        for (local_class, local_rules) in local.all() {
            for (remote_class, remote_rules) in remote.all() {
                if let Some(rule) = first_common(local_rules, remote_rules) {
                    let key = ClassKey {
                        local: local_class,
                        remote: remote_class,
                    };
                    self.decisions.push((key, decision(rule)));
                }
            }
        }
        // A rule for any port at all: no packet is spared the decision.
        if first_common(local.unlisted(), remote.unlisted()).is_some() {
            for port in 0..=u16::MAX {
                self.listed.insert(Side::Local, transport, port);
            }
        }
    }
}

/// The lowest number in both sorted lists.
fn first_common(left: &[usize], right: &[usize]) -> Option<usize> {
    let (short, long) = if left.len() <= right.len() {
        (left, right)
    } else {
        (right, left)
    };
    short
        .iter()
        .copied()
        .find(|rule| long.binary_search(rule).is_ok())
}

fn config(policy: &Policy, ephemeral: PortRange) -> Config {
    Config {
        default_pass: u32::from(policy.default == DefaultAction::Pass),
        drop_fragments: u32::from(policy.fragments == Fragments::Drop),
        udp_replies: match policy.udp_replies {
            UdpReplies::Off => UDP_REPLIES_OFF,
            UdpReplies::Connected => UDP_REPLIES_CONNECTED,
            UdpReplies::Bound => UDP_REPLIES_BOUND,
        },
        dhcp_client: u32::from(policy.dhcp_client),
        ephemeral_first: u32::from(ephemeral.first),
        ephemeral_last: u32::from(ephemeral.last),
        remote_rules: 0,
        portless_rules: 0,
    }
}

const fn decision(rule: &Rule, slot: u32) -> Decision {
    Decision {
        slot,
        action: match rule.action {
            Action::Allow => ACTION_ALLOW,
            Action::Deny => ACTION_DENY,
        },
    }
}

fn blame(policy: &Policy) -> Vec<RuleId> {
    policy
        .rules
        .iter()
        .filter(|rule| rule.what.remote != PortSpec::any())
        .map(|rule| rule.id)
        .collect()
}

#[cfg(test)]
mod tests;
