//! What the meaning of a policy depends on: facts of this host, and how they differ from
//! those that the policy in force was made with.

use std::{collections::BTreeSet, fmt, time::Duration};

use anyhow::Result;
use jiff::SignedDuration;

use super::{Error, cookies::cookie_options, lists::of_rules};
use crate::{
    compiler::Environment,
    datapath::{Live, Record, clocks},
    duration::Seconds,
    netlink::{Interface, carriers, interfaces},
    policy::Policy,
    ports::{NamedRange, PortRange, PortWord},
    system,
};

/// Which facts of the host a change goes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Facts {
    /// Those that the generation in force was made with: no rule means anything else after
    /// the change.
    Kept,
    /// Those of now; a rule for an interface that was renamed follows it.
    #[default]
    Followed,
    /// Those of now; where a rule could follow a renamed interface or be for the one that has
    /// its name now, it is for the latter.
    Renewed,
}

/// A fact that is not any more what the policy in force was made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FactChange {
    /// The host hands out other ports to clients, and a rule names these.
    Ephemeral {
        /// What they were.
        before: PortRange,
        /// What they are.
        now: PortRange,
    },
    /// An interface that a rule names has another name.
    Renamed {
        /// The name in the rule.
        name: String,
        /// The name it has.
        now: String,
    },
    /// The same, and another interface has the name that is in the rule.
    Swapped {
        /// The name in the rule.
        name: String,
        /// The name that the interface has by now that the rule was for.
        now: String,
    },
    /// An interface that a rule names came, or came back.
    Came {
        /// Its name.
        name: String,
    },
    /// The wall clock was set, and the kernel ends rules by what it showed before.
    Clock {
        /// How far forward.
        by: SignedDuration,
    },
    /// The kernel takes other TCP options from SYN cookies, and a rule answers with them.
    Cookies,
    /// A bond, team or VRF that a rule names has other members.
    Members {
        /// Its name.
        name: String,
    },
}

impl FactChange {
    /// What kind it is, in a word that stays.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Ephemeral { .. } => "ephemeral-changed",
            Self::Renamed { .. } | Self::Swapped { .. } => "interface-renamed",
            Self::Came { .. } => "interface-came",
            Self::Members { .. } => "members-changed",
            Self::Clock { .. } => "clock-jumped",
            Self::Cookies => "syn-cookie-options",
        }
    }

    /// The command that has the policy in force go by the fact, if one does.
    pub const fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Ephemeral { .. }
            | Self::Came { .. }
            | Self::Members { .. }
            | Self::Clock { .. }
            | Self::Cookies => Some("xdpfw apply"),
            Self::Renamed { .. } => None,
            Self::Swapped { .. } => Some("xdpfw apply --force"),
        }
    }
}

impl fmt::Display for FactChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ephemeral { before, now } => write!(
                f,
                "the ephemeral ports are {now} now, and were {before} when the rules were put in \
                 force"
            ),
            Self::Renamed { name, now } => write!(
                f,
                "rules for {} follow that interface, which is called {} now, until the filter \
                 goes down; the policy should name it so",
                name.escape_debug(),
                now.escape_debug()
            ),
            Self::Swapped { name, now } => write!(
                f,
                "rules for {} are in force for the interface that is called {} now, and another \
                 one has the name",
                name.escape_debug(),
                now.escape_debug()
            ),
            Self::Came { name } => write!(
                f,
                "the interface {}, which rules name, came after these were put in force",
                name.escape_debug()
            ),
            Self::Members { name } => write!(
                f,
                "the interface {}, which rules name, has other members than when these were put \
                 in force",
                name.escape_debug()
            ),
            Self::Cookies => f.write_str(
                "the settings of TCP, or of a socket that listens, are others than when SYN cookies \
                 were put in force, so connections that they open may stall",
            ),
            Self::Clock { by } => write!(
                f,
                "the clock was set {} {} after rules with an end were put in force",
                in_words(*by),
                if by.is_negative() { "back" } else { "forward" }
            ),
        }
    }
}

/// A jump of a clock, to the second.
fn in_words(by: SignedDuration) -> String {
    let seconds = (by.unsigned_abs() + Duration::from_millis(500)).as_secs();
    match Seconds::new(seconds) {
        Ok(seconds) => seconds.to_string(),
        Err(_) => format!("{seconds}s"),
    }
}

/// How far the clocks may be from those that a generation was made with: nothing is made anew for
/// what rounding and scheduling do to them.
const EXACT: SignedDuration = SignedDuration::from_secs(2);

/// Whether a policy means the same under both environments.
pub(super) fn are_alike(policy: &Policy, one: &Environment, other: &Environment) -> bool {
    let Environment {
        ephemeral,
        interfaces,
        clocks,
        lists,
        cookies,
    } = one;
    *ephemeral == other.ephemeral
        && *lists == other.lists
        && *interfaces == other.interfaces
        && *cookies == other.cookies
        && (!policy.has_ends() || clocks.jump_since(&other.clocks).abs() <= EXACT)
}

/// What a policy depends on: the host's ephemeral ports, and the interfaces it names.
///
/// # Errors
///
/// Netlink does not answer; or the facts are to be followed, and lead two ways; or a rule denies
/// what comes from a list of which nothing is known.
pub(super) fn environment(
    policy: &Policy,
    facts: Facts,
    live: Option<&Live>,
) -> Result<Environment> {
    if let (Facts::Kept, Some(live)) = (facts, live) {
        return Ok(live.generation.record().environment.clone());
    }
    let names = named(policy);
    let known = match names.is_empty() {
        true => Vec::new(),
        false => interfaces()?,
    };
    let mut environment = Environment {
        ephemeral: system::ephemeral_ports(),
        interfaces: Vec::new(),
        clocks: clocks(),
        lists: of_rules(policy, live.map(|live| live.generation.record()))?,
        cookies: cookie_options(
            policy,
            live.and_then(|live| live.generation.record().environment.cookies),
        ),
    };
    for name in names {
        let by_name = known.iter().find(|one| one.name == name);
        let followed = live.and_then(|live| followed(name, live));
        let interface = match (by_name, followed) {
            (Some(by_name), Some(_)) if facts == Facts::Renewed => Some(by_name),
            (Some(by_name), Some(followed)) if by_name.index != followed.index => {
                let (name, now) = (name.to_owned(), followed.name.clone());
                return Err(Error::Swapped { name, now }.into());
            }
            (by_name, followed) => followed.or(by_name),
        };
        if let Some(interface) = interface {
            let entries = carriers(interface.index, &known);
            let entries = entries.into_iter().map(|index| (name.to_owned(), index));
            environment.interfaces.extend(entries);
        }
    }
    Ok(environment)
}

/// The facts of this host that the policy in force depends on and was not made with.
///
/// # Errors
///
/// Netlink does not answer.
pub fn changed_facts(live: &Live) -> Result<Vec<FactChange>> {
    let record = live.generation.record();
    let mut changes = Vec::new();
    let (before, now) = (record.environment.ephemeral, system::ephemeral_ports());
    if before != now && names_ephemeral(&record.policy) {
        changes.push(FactChange::Ephemeral { before, now });
    }
    let cookies = record.environment.cookies;
    if cookies != cookie_options(&record.policy, cookies) {
        changes.push(FactChange::Cookies);
    }
    let now = clocks();
    let by = now.jump_since(&record.environment.clocks);
    // By the clock that the kernel goes by, an end may be ahead that is over by the other one.
    let has_ends = record.policy.without_ended(record.environment.clocks.wall);
    if by.abs() > EXACT && has_ends.has_ends() {
        changes.push(FactChange::Clock { by });
    }
    let names = named(&record.policy);
    if names.is_empty() {
        return Ok(changes);
    }
    let known = interfaces()?;
    for name in names {
        let by_name = known.iter().find(|one| one.name == name);
        let name = || name.to_owned();
        changes.extend(match (by_name, followed(&name(), live)) {
            (Some(one), Some(other)) if one.index == other.index => {
                has_other_members(record, one, &known).then(|| FactChange::Members { name: name() })
            }
            (Some(_), Some(other)) => Some(FactChange::Swapped {
                name: name(),
                now: other.name.clone(),
            }),
            (None, Some(other)) => Some(FactChange::Renamed {
                name: name(),
                now: other.name.clone(),
            }),
            (Some(one), None) => {
                let in_force = &record.environment.interfaces;
                match in_force.contains(&(name(), one.index)) {
                    false => Some(FactChange::Came { name: name() }),
                    true => has_other_members(record, one, &known)
                        .then(|| FactChange::Members { name: name() }),
                }
            }
            (None, None) => None,
        });
    }
    Ok(changes)
}

/// Whether packets of an interface that rules name may carry other numbers than those that the
/// rules were put in force for.
fn has_other_members(record: &Record, interface: &Interface, known: &[Interface]) -> bool {
    let in_force = record.environment.interfaces.iter();
    let in_force = in_force.filter(|(name, _)| *name == interface.name);
    !in_force
        .map(|(_, index)| *index)
        .eq(carriers(interface.index, known))
}

/// The interface that a name of the policy in force stands for, whatever it is called now: one
/// that is filtered all the time cannot be another.
fn followed<'a>(name: &str, live: &'a Live) -> Option<&'a Interface> {
    let mut in_force = live.generation.record().environment.interfaces.iter();
    // Its own number comes before those of its members.
    let (_, index) = in_force.find(|(other, _)| other == name)?;
    let mut attached = live.attached.iter().map(|one| &one.interface);
    attached.find(|interface| interface.index == *index)
}

/// The interfaces that the rules of a policy name.
fn named(policy: &Policy) -> BTreeSet<&str> {
    let rules = policy.rules.iter();
    rules
        .flat_map(|rule| &rule.matches.on)
        .map(String::as_str)
        .collect()
}

fn names_ephemeral(policy: &Policy) -> bool {
    let ephemeral = PortWord::Named(NamedRange::Ephemeral);
    policy.rules.iter().any(|rule| {
        let matches = &rule.matches;
        matches.local.words().contains(&ephemeral) || matches.remote.words().contains(&ephemeral)
    })
}
