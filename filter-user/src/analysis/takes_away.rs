//! Tells whether a change of policy may take a way in away from anybody.

use crate::policy::{Action, DefaultAction, InterfaceList, Policy, Rule};

/// Whether somebody who gets in under a policy perhaps does so no longer under the next one.
/// It is so certainly not if nothing but rules that allow come, and nothing but rules that
/// deny go. A rule that limits may do either.
pub fn takes_away(before: &Policy, after: &Policy) -> bool {
    let settings = |policy: &Policy| Policy {
        rules: Vec::new(),
        interfaces: InterfaceList::default(),
        default: DefaultAction::default(),
        ..policy.clone()
    };
    let is_in = |rule: &Rule, policy: &Policy| policy.rules.iter().any(|other| same(rule, other));
    let outlives = |rule: &Rule, policy: &Policy| {
        let mut same_ones = policy.rules.iter().filter(|other| same(rule, other));
        same_ones.any(|other| other.lasts_as_long_as(rule))
    };
    let lost = before
        .rules
        .iter()
        .any(|rule| rule.action.lets_in() && !outlives(rule, after));
    let denied = after
        .rules
        .iter()
        .any(|rule| rule.action != Action::Allow && !outlives(rule, before));
    let stay: Vec<&Rule> = before
        .rules
        .iter()
        .filter(|rule| is_in(rule, after))
        .collect();
    let stayed: Vec<&Rule> = after
        .rules
        .iter()
        .filter(|rule| is_in(rule, before))
        .collect();
    let in_order = stay.len() == stayed.len()
        && stay
            .iter()
            .zip(&stayed)
            .all(|(one, other)| same(one, other));
    lost || denied
        || before.default == DefaultAction::Pass && after.default != DefaultAction::Pass
        || settings(before) != settings(after)
        || !in_order
}

/// Whether two rules do the same to the same packets, as long as they last.
fn same(one: &Rule, other: &Rule) -> bool {
    one.action == other.action && one.matches == other.matches
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::test_policy::policy;

    #[test]
    fn only_more_allows_and_fewer_denies_take_nothing_away() {
        for (before, after, expected) in [
            (&["allow tcp 22"][..], &["allow tcp 22"][..], false),
            (&["allow tcp 22"], &["allow tcp 443", "allow tcp 22"], false),
            (&["deny tcp 23", "allow tcp 22"], &["allow tcp 22"], false),
            (&["allow tcp 22"], &["allow tcp 22 until 9"], true),
            (&["allow tcp 22 until 8"], &["allow tcp 22 until 9"], false),
            (&["allow tcp 22 until 9"], &["allow tcp 22 until 8"], true),
            (&["deny tcp 22 until 9"], &["deny tcp 22 until 8"], false),
            (&["deny tcp 22 until 8"], &["deny tcp 22"], true),
            (&["allow tcp 22"], &[], true),
            (&["allow tcp 22"], &["allow tcp 22", "deny tcp 23"], true),
            (&["allow tcp 22"], &["allow tcp 22 from 192.0.2.0/24"], true),
            (
                &["allow tcp 22", "deny any"],
                &["deny any", "allow tcp 22"],
                true,
            ),
        ] {
            let [before, after] = [before, after].map(|lines| policy(lines, &["eth0"]));
            assert_eq!(
                takes_away(&before, &after),
                expected,
                "{before:?} {after:?}"
            );
        }
    }

    #[test]
    fn the_default_and_other_settings_count() {
        let drops = policy(&["allow tcp 22"], &["eth0"]);
        let passes = Policy {
            default: DefaultAction::Pass,
            ..drops.clone()
        };
        assert!(!takes_away(&drops, &passes));
        assert!(takes_away(&passes, &drops));
        let other = Policy {
            dhcp_client: false,
            ..drops.clone()
        };
        assert!(takes_away(&drops, &other));
    }
}
