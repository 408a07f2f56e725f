//! How one policy differs from another.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use serde::{Serialize, Serializer};

use super::{CHANGED_ITEMS, ITEMS, table};
use crate::{
    policy::{FlowSizes, Match, Policy, PrefixText, Rule, RuleId},
    text::{sentence_list, thousands, write_list},
};

/// Trusted prefixes that a difference names.
const TRUSTED_SHOWN: usize = 8;
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

/// A rule with its id.
#[derive(Debug)]
struct Line(Rule);

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
            let [from, of, scan, trusted, repeat] =
                ["answers_from", "flows", "scan", "trusted", "ban.repeat"];
            let FlowSizes { tcp, other } = policy.flows;
            [
                (from, policy.answers_from.join(",")),
                (of, format!("tcp = {tcp}, other = {other}")),
                (
                    scan,
                    policy
                        .scan
                        .map_or("off".to_owned(), |scan| scan.to_string()),
                ),
                (trusted, sentence_list(&policy.trusted, TRUSTED_SHOWN)),
                (repeat, format!("{:?}", policy.repeat)),
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
        let changes = self.changes(ITEMS).into_iter();
        let line = |Change { head, text, .. }| {
            let line = format!("{head} {text}").replace("  ", " ");
            line.trim_end().to_owned()
        };
        changes.map(line).collect()
    }

    /// Whether lists are too long to be shown whole.
    pub fn is_cut(&self) -> bool {
        self.changes(CHANGED_ITEMS)
            .iter()
            .any(|change| change.is_cut)
    }

    /// What changes, each with lists up to `limit` items.
    fn changes(&self, limit: usize) -> Vec<Change> {
        let added: HashMap<RuleId, &Rule> =
            self.added.iter().map(|line| (line.0.id, &line.0)).collect();
        let one = |sign: char, Line(rule): &Line| Change {
            head: format!("{sign} {}", rule.id),
            text: format!("{rule:.limit$}"),
            items: Vec::new(),
            is_cut: rule.matches.has_more_than(limit),
        };
        let mut changes = Vec::new();
        let mut inside = Vec::new();
        for line in &self.removed {
            match added
                .get(&line.0.id)
                .and_then(|next| inside_lists(&line.0, next, limit))
            {
                Some(change) => inside.push(change),
                None => changes.push(one('-', line)),
            }
        }
        let is_inside = |line: &Line| {
            let head = format!("~ {}", line.0.id);
            inside.iter().any(|change| change.head == head)
        };
        let mut new: Vec<Change> = self
            .added
            .iter()
            .filter(|line| !is_inside(line))
            .map(|line| one('+', line))
            .collect();
        changes.append(&mut new);
        changes.append(&mut inside);
        changes.extend(self.changed.iter().map(|text| Change {
            head: format!("~ {text}"),
            text: String::new(),
            items: Vec::new(),
            is_cut: false,
        }));
        changes
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
        let names = some.interfaces.words().iter();
        names
            .filter(|name| !others.interfaces.words().contains(name))
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

/// A change as it is shown.
struct Change {
    /// How, and of what: `+ r4`.
    head: String,
    text: String,
    /// What comes into lists and what leaves them, in lines below.
    items: Vec<(char, String)>,
    /// Whether some of that is left out.
    is_cut: bool,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Change {
            head, text, items, ..
        } in self.changes(CHANGED_ITEMS)
        {
            writeln!(f, "{}", table::under_itself(&head, &text))?;
            for (sign, text) in items {
                writeln!(f, "{}", table::under_itself(&format!("    {sign}"), &text))?;
            }
        }
        Ok(())
    }
}

/// What comes and goes in the lists of a rule, up to `limit` items each, where two rules differ
/// in nothing else and the lists are too long to be compared by eye.
fn inside_lists(old: &Rule, new: &Rule, limit: usize) -> Option<Change> {
    let (before, after) = (&old.matches, &new.matches);
    let lists = [lists(before), lists(after)];
    let is_long = lists.as_flattened().iter().any(|list| list.len() > ITEMS);
    let alike = old.action == new.action
        && before.words() == after.words()
        && before.remote == after.remote
        && is_long;
    if !alike || before == after {
        return None;
    }
    let [before, after] = lists;
    let mut items = Vec::new();
    let mut counts = [0_u64; 2];
    let mut is_cut = false;
    for (index, (sign, some, others)) in [('+', &after, &before), ('-', &before, &after)]
        .into_iter()
        .enumerate()
    {
        for ((option, some), others) in OPTIONS.into_iter().zip(some).zip(others) {
            let others: HashSet<&String> = others.iter().collect();
            let only: Vec<&String> = some.iter().filter(|item| !others.contains(item)).collect();
            counts[index] += only.len() as u64;
            is_cut |= only.len() > limit;
            if !only.is_empty() {
                let list = List(&only, limit);
                items.push((sign, format!("{option} {list}")));
            }
        }
    }
    let [more, fewer] = counts.map(thousands);
    Some(Change {
        head: format!("~ {}", old.id),
        text: format!("{old:.ITEMS$}   {more} more, {fewer} fewer"),
        items,
        is_cut,
    })
}

/// The options that take the lists of a rule.
const OPTIONS: [&str; 4] = ["--from", "--to", "--on", "--mac"];

/// The lists of a rule, in the order of [`OPTIONS`].
fn lists(matches: &Match) -> [Vec<String>; 4] {
    let Match {
        from, to, on, mac, ..
    } = matches;
    let prefixes = |prefixes: &[_]| {
        prefixes
            .iter()
            .map(|net| PrefixText(net).to_string())
            .collect()
    };
    [
        prefixes(from),
        prefixes(to),
        on.clone(),
        mac.iter().map(ToString::to_string).collect(),
    ]
}

/// Items as the command line takes them, so many at most.
struct List<'a>(&'a [&'a String], usize);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_list(f, self.0.iter(), self.1)
    }
}
