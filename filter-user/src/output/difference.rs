//! How one policy differs from another.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use serde::{Serialize, Serializer};

use super::ITEMS;
use crate::{
    policy::{FlowSizes, Match, Policy, Rule, RuleId},
    text::{sentence_list, thousands},
};

/// Most differences in part of a line.
const SHORT: usize = 3;

/// How one policy differs from another.
#[derive(Debug, Serialize)]
pub struct Difference {
    schema: &'static str,
    differs: bool,
    added: Vec<Line>,
    removed: Vec<Line>,
    changed: Vec<String>,
}

/// A rule with its id; cut where it is only shown.
#[derive(Debug)]
struct Line(Rule);

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {:.ITEMS$}", self.0.id, self.0)
    }
}

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}  {}", self.0.id, self.0))
    }
}

impl Difference {
    /// What `next` changes in `base`; the interfaces they name do not count.
    pub fn between(base: &Policy, next: &Policy) -> Self {
        let not_in = |rules: &[Rule], others: &[Rule]| -> Vec<Line> {
            let others: HashMap<RuleId, &Rule> =
                others.iter().map(|rule| (rule.id, rule)).collect();
            rules
                .iter()
                .filter(|rule| others.get(&rule.id) != Some(rule))
                .map(|rule| Line(rule.clone()))
                .collect()
        };
        let mut changed = Vec::new();
        let mut compare = |key: &str, old: &str, new: &str| {
            if old != new {
                changed.push(format!("{key} {old} -> {new}"));
            }
        };
        compare("default", base.default.as_str(), next.default.as_str());
        compare(
            "fragments",
            base.fragments.as_str(),
            next.fragments.as_str(),
        );
        compare("non_ip", base.non_ip.as_str(), next.non_ip.as_str());
        compare("replies", base.replies.as_str(), next.replies.as_str());
        compare(
            "icmp_errors",
            base.icmp_errors.as_str(),
            next.icmp_errors.as_str(),
        );
        compare(
            "dhcp_client",
            &base.dhcp_client.to_string(),
            &next.dhcp_client.to_string(),
        );
        compare(
            "discovery",
            &base.discovery.to_string(),
            &next.discovery.to_string(),
        );
        let [old, new] = [base, next].map(|policy| {
            let [from, of] = ["answers_from", "flows"];
            let FlowSizes { tcp, other } = policy.flows;
            [
                (from, policy.answers_from.join(",")),
                (of, format!("tcp = {tcp}, other = {other}")),
            ]
        });
        for ((key, old), (_, new)) in old.iter().zip(&new) {
            compare(key, old, new);
        }
        let added = not_in(&next.rules, &base.rules);
        let removed = not_in(&base.rules, &next.rules);
        if added.is_empty() && removed.is_empty() && base.rules != next.rules {
            changed.push("the order of the rules".to_owned());
        }
        Self {
            schema: "xdpfw.apply/1",
            differs: !base.same_verdicts(next),
            added,
            removed,
            changed,
        }
    }

    /// It in part of a line: `+ r4 allow tcp 22, - r2 deny any and 3 more`.
    pub fn in_short(&self) -> String {
        sentence_list(&self.short_lines(), SHORT)
    }

    fn short_lines(&self) -> Vec<String> {
        let lines = self.to_string();
        lines.lines().map(|line| line.replace("  ", " ")).collect()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        !self.differs
    }
}

/// What `next` changes in `base`, in part of a line, and which interfaces it names besides or no
/// more: `+ interface eth1`.
pub fn summary(base: &Policy, next: &Policy) -> String {
    let only = |sign: char, some: &Policy, others: &Policy| -> Vec<String> {
        let names = some.interfaces.iter();
        names
            .filter(|name| !others.interfaces.contains(name))
            .map(|name| format!("{sign} interface {name}"))
            .collect()
    };
    let interfaces = [only('-', base, next), only('+', next, base)].concat();
    let difference = Difference::between(base, next).short_lines();
    match [interfaces, difference].concat().as_slice() {
        [] => "nothing but its text".to_owned(),
        lines => sentence_list(lines, SHORT),
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let added: HashMap<RuleId, &Rule> =
            self.added.iter().map(|line| (line.0.id, &line.0)).collect();
        let mut inside = Vec::new();
        for line in &self.removed {
            match added.get(&line.0.id).and_then(|next| beyond(&line.0, next)) {
                Some(change) => inside.push((line, change)),
                None => writeln!(f, "- {line}")?,
            }
        }
        for line in &self.added {
            if inside.iter().all(|(old, _)| old.0.id != line.0.id) {
                writeln!(f, "+ {line}")?;
            }
        }
        for (line, change) in inside {
            writeln!(f, "~ {line}   {change}")?;
        }
        for line in &self.changed {
            writeln!(f, "~ {line}")?;
        }
        Ok(())
    }
}

/// How many prefixes and interfaces come and go, where two rules differ in nothing else and
/// their lists are too long to be shown.
fn beyond(old: &Rule, new: &Rule) -> Option<String> {
    let (before, after) = (&old.matches, &new.matches);
    let is_long = |Match { from, to, on, .. }: &Match| {
        from.len() > ITEMS || to.len() > ITEMS || on.len() > ITEMS
    };
    let alike = old.action == new.action
        && before.words() == after.words()
        && before.remote == after.remote
        && (is_long(before) || is_long(after));
    if !alike || before == after {
        return None;
    }
    let lists = |Match { from, to, on, .. }: &Match| -> HashSet<String> {
        let prefixes = from.iter().map(|net| format!("from {net}"));
        prefixes
            .chain(to.iter().map(|net| format!("to {net}")))
            .chain(on.iter().cloned())
            .collect()
    };
    let (before, after) = (lists(before), lists(after));
    let only = |some: &HashSet<String>, others| thousands(some.difference(others).count() as u64);
    Some(format!(
        "{} more, {} fewer",
        only(&after, &before),
        only(&before, &after)
    ))
}
