//! Evaluates rules against partly known packets, for warnings: what perhaps gets in counts as
//! getting in.

use crate::policy::{DefaultAction, MacAddress, Match, Policy, Rule};

/// Whether a rule matches partly known packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Matches {
    /// None of them.
    No,
    /// Some of them, or it is not known.
    Perhaps,
    /// All of them.
    Yes,
}

/// What becomes of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision<'a> {
    /// The rule lets them pass.
    Allowed(&'a Rule),
    /// The rule drops them.
    Denied(&'a Rule),
    /// No rule matches.
    Default(DefaultAction),
}

/// What the first rule that matches does with packets. One that matches perhaps counts if it
/// allows.
pub(super) fn evaluate<'a>(
    policy: &'a Policy,
    matches: impl Fn(&Match) -> Matches,
) -> Decision<'a> {
    let counts = |rule: &&Rule| match matches(&rule.matches) {
        Matches::No => false,
        Matches::Yes => true,
        Matches::Perhaps => rule.action.lets_in(),
    };
    match policy.rules.iter().find(counts) {
        None => Decision::Default(policy.default),
        Some(rule) if rule.action.lets_in() => Decision::Allowed(rule),
        Some(rule) => Decision::Denied(rule),
    }
}

/// Whether a rule matches packets that come by this interface, or one that is not known.
pub(super) fn matches_interface(matching: &Match, interface: Option<&str>) -> Matches {
    match interface {
        _ if matching.on.is_empty() => Matches::Yes,
        None => Matches::Perhaps,
        Some(name) if matching.on.iter().any(|on| on == name) => Matches::Yes,
        Some(_) => Matches::No,
    }
}

/// Whether a rule matches packets from this MAC address, or one that is not known.
pub(super) fn matches_mac(matching: &Match, mac: Option<MacAddress>) -> Matches {
    match mac {
        _ if matching.mac.is_empty() => Matches::Yes,
        None => Matches::Perhaps,
        Some(mac) if matching.mac.contains(&mac) => Matches::Yes,
        Some(_) => Matches::No,
    }
}
