//! Assigns counters to rules from one generation to the next. Pure.

use std::collections::{HashMap, HashSet};

use xdpfw_common::abi::RULE_SLOTS;

use crate::{
    datapath::Record,
    policy::{Policy, Rule, RuleId},
};

/// Slots of the counters for the rules of a policy.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Slots {
    /// A slot for each rule, in their order.
    pub(super) of_rules: Vec<u32>,
    /// Those that no rule of the previous generation counts in.
    pub(super) fresh: Vec<u32>,
}

impl Slots {
    /// Gives every rule a slot: the one it had, if it was the same rule, else one
    /// that nothing counts in, those `behind` included, which may be in force again.
    pub(super) fn assign(policy: &Policy, previous: Option<&Record>, behind: &[&Record]) -> Self {
        let old: HashMap<RuleId, (&Rule, u32)> = previous
            .into_iter()
            .flat_map(|previous| previous.policy.rules.iter().zip(&previous.slots))
            .map(|(rule, &slot)| (rule.id, (rule, slot)))
            .collect();
        let unchanged = |rule: &Rule| {
            let &(old, slot) = old.get(&rule.id)?;
            (old.action == rule.action && old.matches == rule.matches).then_some(slot)
        };
        let all = previous.into_iter().chain(behind.iter().copied());
        let taken: HashSet<u32> = all
            .flat_map(|record| record.slots.iter().copied())
            .collect();
        // Enough for two generations that have no rule in common.
        let mut free = (0..RULE_SLOTS as u32).filter(|slot| !taken.contains(slot));
        let mut fresh = Vec::new();
        let of_rules = policy.rules.iter().map(|rule| {
            unchanged(rule).unwrap_or_else(|| {
                let slot = free.next().unwrap_or_default();
                fresh.push(slot);
                slot
            })
        });
        Self {
            of_rules: of_rules.collect(),
            fresh,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(rules: &[(u32, &str)]) -> Policy {
        record(rules, &vec![0; rules.len()]).policy
    }

    fn record(rules: &[(u32, &str)], slots: &[u32]) -> Record {
        let rules = rules.iter().zip(slots);
        let rules: Vec<_> = rules
            .map(|(&(id, words), &slot)| (id, words, slot))
            .collect();
        Record::of_tests(&rules)
    }

    #[test]
    fn a_rule_that_stays_keeps_its_slot_and_a_new_one_shares_none() {
        let previous = record(&[(1, "ssh"), (2, "https")], &[0, 1]);
        let slots = Slots::assign(&policy(&[(3, "http"), (2, "https")]), Some(&previous), &[]);
        assert_eq!(slots.of_rules, [2, 1]);
        assert_eq!(slots.fresh, [2]);
    }

    #[test]
    fn an_id_that_means_another_rule_gets_another_slot() {
        let previous = record(&[(1, "ssh")], &[0]);
        let slots = Slots::assign(&policy(&[(1, "http")]), Some(&previous), &[]);
        assert_eq!((slots.of_rules, slots.fresh), (vec![1], vec![1]));
    }

    #[test]
    fn what_may_be_in_force_again_keeps_its_slots() {
        let previous = record(&[(1, "ssh")], &[0]);
        let behind = record(&[(1, "ssh"), (2, "https")], &[0, 1]);
        let slots = Slots::assign(&policy(&[(3, "http")]), Some(&previous), &[&behind]);
        assert_eq!(slots.of_rules, [2]);
    }

    #[test]
    fn the_first_generation_begins_at_zero() {
        let slots = Slots::assign(&policy(&[(4, "ssh"), (9, "http")]), None, &[]);
        assert_eq!(slots.of_rules, [0, 1]);
    }
}
