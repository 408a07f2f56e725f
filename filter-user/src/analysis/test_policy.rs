//! Policies in few words, for tests.

use crate::policy::{Action, InterfaceList, Match, MatchSpec, Policy, Rule, RuleId, Until};

/// A policy for these interfaces, whose rules are `allow …` and `deny …`; `from …` and `on …`
/// come last,
/// and behind them `until …`, in seconds after 1970.
pub(super) fn policy(lines: &[&str], interfaces: &[&str]) -> Policy {
    let rule = |(index, line): (usize, &&str)| {
        let (action, words) = line.split_once(' ').unwrap();
        let (words, until) = words.split_once(" until ").unwrap_or((words, ""));
        let (words, on) = words.split_once(" on ").unwrap_or((words, ""));
        let (words, from) = words.split_once(" from ").unwrap_or((words, ""));
        Rule {
            id: RuleId(index as u32 + 1),
            action: match action {
                "allow" => Action::Allow,
                _ => Action::Deny,
            },
            matches: Match::parse(&MatchSpec {
                from: (!from.is_empty()).then(|| vec![from]),
                on: (!on.is_empty()).then(|| vec![on]),
                ..MatchSpec::of_words(words)
            })
            .unwrap(),
            until: until.parse().ok().map(Until::second),
            comment: None,
        }
    };
    Policy {
        interfaces: InterfaceList::of_tests(interfaces),
        rules: lines.iter().enumerate().map(rule).collect(),
        ..Policy::default()
    }
}
