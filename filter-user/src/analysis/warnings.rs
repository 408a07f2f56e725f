//! Finds what is legal in a policy and perhaps not meant.

use super::{
    Shadowed,
    evaluate::{Decision, evaluate},
    neighbours::{self, Discovery},
    unreachable,
};
use crate::{
    policy::{Match, Policy, Protocol, Rule, RuleId},
    ports::PortRange,
};

/// What the author of a policy may not have meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A rule names an interface that the policy is not for.
    ForeignInterface {
        /// The interface.
        interface: String,
        /// The first rule that names it.
        rule: RuleId,
        /// The interfaces that the policy is for.
        interfaces: Vec<String>,
    },
    /// A rule asks for MAC addresses, which packets of an interface do not have.
    NoMac {
        /// The interface.
        interface: String,
        /// The first rule that asks for them.
        rule: RuleId,
    },
    /// A rule for AH is for IPv4 alone.
    AhOverIpv4(RuleId),
    /// A rule denies IPv6 neighbour discovery to all of the link.
    NeighboursDenied(RuleId),
    /// Rules can never match.
    Unreachable(Vec<Shadowed>),
}

/// What is new with a rule that was just added.
pub fn of_rule(policy: &Policy, rule: &Rule, ephemeral: PortRange) -> Vec<Warning> {
    let mut warnings = foreign_interfaces(policy, [rule]);
    warnings.extend(ah_over_ipv4([rule]));
    if denies_neighbours(policy) == Some(rule.id) {
        warnings.push(Warning::NeighboursDenied(rule.id));
    }
    let mut shadowed = unreachable(policy, ephemeral);
    shadowed.retain(|shadowed| shadowed.rule == rule.id || shadowed.by.contains(&rule.id));
    warnings.extend(not_empty(shadowed));
    warnings
}

/// What rules do now that others in front of them are gone.
pub fn of_removal(before: &Policy, after: &Policy) -> Vec<Warning> {
    let denies = denies_neighbours(after).filter(|&id| denies_neighbours(before) != Some(id));
    denies.map(Warning::NeighboursDenied).into_iter().collect()
}

/// Everything in a policy.
pub fn of_policy(policy: &Policy, ephemeral: PortRange) -> Vec<Warning> {
    let mut warnings = foreign_interfaces(policy, &policy.rules);
    warnings.extend(ah_over_ipv4(&policy.rules));
    warnings.extend(denies_neighbours(policy).map(Warning::NeighboursDenied));
    warnings.extend(not_empty(unreachable(policy, ephemeral)));
    warnings
}

fn not_empty(shadowed: Vec<Shadowed>) -> Option<Warning> {
    (!shadowed.is_empty()).then_some(Warning::Unreachable(shadowed))
}

/// Rules for interfaces that the policy is not for; each interface once.
fn foreign_interfaces<'a>(
    policy: &Policy,
    rules: impl IntoIterator<Item = &'a Rule>,
) -> Vec<Warning> {
    if policy.interfaces.is_empty() {
        // Rules are often written before the first `up`.
        return Vec::new();
    }
    let mut seen: Vec<&str> = Vec::new();
    let mut warnings = Vec::new();
    for rule in rules {
        for name in &rule.matches.on {
            if !policy.interfaces.contains(name) && !seen.contains(&name.as_str()) {
                seen.push(name);
                warnings.push(Warning::ForeignInterface {
                    interface: name.clone(),
                    rule: rule.id,
                    interfaces: policy.interfaces.clone(),
                });
            }
        }
    }
    warnings
}

/// Rules that ask for MAC addresses on interfaces that are `bare` of a link layer; each
/// interface once.
pub fn without_mac<'a>(
    policy: &Policy,
    rules: impl IntoIterator<Item = &'a Rule>,
    bare: &[String],
) -> Vec<Warning> {
    let rules: Vec<&Rule> = rules
        .into_iter()
        .filter(|rule| !rule.matches.mac.is_empty())
        .collect();
    let may_meet = |rule: &Rule, name| match rule.matches.on.as_slice() {
        [] => policy.interfaces.contains(name),
        on => on.contains(name),
    };
    bare.iter()
        .filter_map(|name| {
            let rule = rules.iter().find(|rule| may_meet(rule, name))?;
            Some(Warning::NoMac {
                interface: name.clone(),
                rule: rule.id,
            })
        })
        .collect()
}

/// The rules for AH that say nothing about addresses of IPv4.
fn ah_over_ipv4<'a>(rules: impl IntoIterator<Item = &'a Rule>) -> Vec<Warning> {
    let is_unsaid = |matching: &Match| matching.from.is_empty() && matching.to.is_empty();
    let rules = rules
        .into_iter()
        .filter(|rule| rule.matches.protocol == Protocol::AH && is_unsaid(&rule.matches));
    rules.map(|rule| Warning::AhOverIpv4(rule.id)).collect()
}

/// The rule that denies neighbour discovery to all of the link.
fn denies_neighbours(policy: &Policy) -> Option<RuleId> {
    let names = policy.interfaces.iter().map(|name| Some(name.as_str()));
    let interfaces: Vec<Option<&str>> = match policy.interfaces.is_empty() {
        true => vec![None],
        false => names.collect(),
    };
    interfaces
        .into_iter()
        .flat_map(|interface| neighbours::TYPES.map(|number| Discovery { number, interface }))
        .find_map(
            |discovery| match evaluate(policy, |matching| discovery.matched_by(matching)) {
                Decision::Denied(rule) => Some(rule.id),
                _ => None,
            },
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{analysis::test_policy::policy, policy::MacAddress};

    fn denies(lines: &[&str], interfaces: &[&str]) -> Option<u32> {
        denies_neighbours(&policy(lines, interfaces)).map(|id| id.0)
    }

    #[test]
    fn a_rule_for_mac_addresses_is_in_vain_where_there_are_none() {
        let mut policy = policy(
            &["allow tcp 22", "allow tcp 23", "allow tcp 24 on tun1"],
            &["eth0", "tun0"],
        );
        for rule in &mut policy.rules[1..] {
            rule.matches.mac = vec![MacAddress([2, 0, 0, 0, 0, 1])];
        }
        let bare = ["tun0", "tun1", "tun2"].map(str::to_owned);
        let warning = |interface: &str, rule| Warning::NoMac {
            interface: interface.to_owned(),
            rule: RuleId(rule),
        };
        assert_eq!(
            without_mac(&policy, &policy.rules, &bare),
            [warning("tun0", 2), warning("tun1", 3)]
        );
        assert_eq!(without_mac(&policy, &policy.rules[..1], &bare), []);
    }

    #[test]
    fn a_rule_for_ah_is_for_ipv4_and_says_so() {
        let lines = [
            "deny proto ah from 192.0.2.0/24",
            "allow proto ah",
            "allow proto esp",
        ];
        let warnings = of_policy(&policy(&lines, &[]), PortRange::ALL);
        assert_eq!(warnings, [Warning::AhOverIpv4(RuleId(2))]);
    }

    #[test]
    fn what_denies_neighbour_discovery_to_the_link_is_found() {
        for (lines, expected) in [
            (&["deny any"][..], Some(1)),
            (&["deny icmp6 any"], Some(1)),
            (&["deny icmp6 136"], Some(1)),
            (&["deny any from ::/0"], Some(1)),
            (&["deny any from fe80::/10"], Some(1)),
            (&["deny icmp6 133-134"], None),
            (&["deny icmp any"], None),
            (&["deny tcp any"], None),
            (&["deny any from 0.0.0.0/0"], None),
            (&["deny any from 2001:db8::/32"], None),
            (&["deny any from fe80::1"], None),
            (&["allow icmp6 133-137", "deny any"], None),
            (&["allow icmp6 135-136 from fe80::/10", "deny any"], None),
            (&["allow icmp6 135", "deny any"], Some(2)),
            (&["deny any", "allow icmp6 133-137"], Some(1)),
        ] {
            assert_eq!(denies(lines, &[]), expected, "{lines:?}");
            assert_eq!(denies(lines, &["eth0"]), expected, "{lines:?}");
        }
        assert_eq!(denies(&["deny any on eth1"], &["eth0", "eth1"]), Some(1));
        assert_eq!(denies(&["deny any on eth2"], &["eth0", "eth1"]), None);
        assert_eq!(denies(&["deny any on eth2"], &[]), None);
    }
}
