//! What a policy says that its author may not have meant: told, and not refused.

use super::ruling::{Assume, Discovery, NEIGHBOURS, Neighbour, Ruling};
use crate::{
    compiler, host,
    policy::{Policy, Rule, RuleId, Shadowed},
    text::sentence_list,
    view::{self, Printer},
};

/// Warns of what is new with a rule that was just added.
pub(super) fn of_rule(policy: &Policy, rule: &Rule, printer: &mut Printer) {
    interfaces(policy, [rule], printer);
    if let Some(id) = neighbours(policy)
        && id == rule.id
    {
        printer.warning(&neighbours_denied(id));
    }
    let mut shadowed = unreachable(policy);
    shadowed.retain(|shadowed| shadowed.rule == rule.id || shadowed.by.contains(&rule.id));
    of_unreachable(&shadowed, printer);
}

/// Warns of what rules do now that others in front of them are gone.
pub(super) fn of_removal(before: &Policy, after: &Policy, printer: &mut Printer) {
    if let Some(id) = neighbours(after)
        && neighbours(before) != Some(id)
    {
        printer.warning(&neighbours_denied(id));
    }
}

/// Warns of everything in a policy.
pub(super) fn of_policy(policy: &Policy, printer: &mut Printer) {
    interfaces(policy, &policy.rules, printer);
    if let Some(id) = neighbours(policy) {
        printer.warning(&neighbours_denied(id));
    }
    of_unreachable(&unreachable(policy), printer);
}

/// The rules that no packet can reach on this host.
pub(super) fn unreachable(policy: &Policy) -> Vec<Shadowed> {
    // One that is too complex to tell is refused for that.
    compiler::unreachable(policy, host::ephemeral_ports()).unwrap_or_default()
}

/// Warns of rules that no packet can reach.
pub(super) fn of_unreachable(shadowed: &[Shadowed], printer: &mut Printer) {
    for line in view::unreachable_lines(shadowed) {
        printer.warning(&line);
    }
}

/// Warns of rules for interfaces that the filter is not for.
fn interfaces<'a>(
    policy: &Policy,
    rules: impl IntoIterator<Item = &'a Rule>,
    printer: &mut Printer,
) {
    if policy.interfaces.is_empty() {
        // Rules are often written before the first `up`.
        return;
    }
    let mut told: Vec<&str> = Vec::new();
    for rule in rules {
        for name in &rule.what.on {
            if !policy.interfaces.contains(name) && !told.contains(&name.as_str()) {
                told.push(name);
                printer.warning(&format!(
                    "{name}: {} names it, but the policy is for {} (say `xdpfw up {name}`)",
                    rule.id,
                    sentence_list(&policy.interfaces, usize::MAX)
                ));
            }
        }
    }
}

/// The rule that denies neighbour discovery to all of the link.
fn neighbours(policy: &Policy) -> Option<RuleId> {
    let names = policy.interfaces.iter().map(|name| Some(name.as_str()));
    let interfaces: Vec<Option<&str>> = match policy.interfaces.is_empty() {
        true => vec![None],
        false => names.collect(),
    };
    interfaces
        .into_iter()
        .flat_map(|interface| {
            NEIGHBOURS.map(|number| Discovery {
                number,
                from: Neighbour::LinkLocal,
                to: None,
                interface,
            })
        })
        .find_map(|discovery| {
            match Ruling::of(policy, Assume::Best, |what| discovery.matched_by(what)) {
                Ruling::Denied(rule) => Some(rule.id),
                _ => None,
            }
        })
}

fn neighbours_denied(id: RuleId) -> String {
    format!(
        "{id} denies IPv6 neighbour discovery, without which IPv6 ends within minutes (say \
         `xdpfw allow icmp6 133-137 --before {id}`)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Action, What, WhatText};

    fn denies(lines: &[&str], interfaces: &[&str]) -> Option<u32> {
        let rule = |(index, line): (usize, &&str)| {
            let (action, words) = line.split_once(' ').unwrap();
            let (words, on) = words.split_once(" on ").unwrap_or((words, ""));
            let (words, from) = words.split_once(" from ").unwrap_or((words, ""));
            Rule {
                id: RuleId(index as u32 + 1),
                action: match action {
                    "allow" => Action::Allow,
                    _ => Action::Deny,
                },
                what: What::parse(&WhatText {
                    from: (!from.is_empty()).then(|| vec![from]),
                    on: (!on.is_empty()).then(|| vec![on]),
                    ..WhatText::of_words(words)
                })
                .unwrap(),
                comment: None,
            }
        };
        let policy = Policy {
            interfaces: interfaces.iter().copied().map(str::to_owned).collect(),
            rules: lines.iter().enumerate().map(rule).collect(),
            ..Policy::default()
        };
        neighbours(&policy).map(|id| id.0)
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
