//! What the shell may complete an argument to. It needs no root, changes nothing, and what it
//! cannot find out it does not offer.

use std::{env, ffi::OsStr, path::PathBuf};

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, ValueCompleter};

use super::context::default_policy;
use crate::{
    engine::{History, PolicyFile},
    names::{protocols, services},
    netlink,
    output::ITEMS,
    policy::Action,
    ports::NamedRange,
    text::visible,
};

/// Words that the packets of a rule may begin with.
const FIRST_WORDS: [&str; 8] = [
    "tcp", "udp", "tcp+udp", "icmp", "icmp6", "ping", "proto", "any",
];

/// What an argument takes.
#[derive(Clone, Copy)]
pub(super) enum Values {
    /// Interfaces, with commas between them.
    Interfaces,
    /// The id of a rule.
    Id,
    /// The words of a rule, behind its action.
    Rule,
    /// Numbers of the history.
    Policies,
    /// Ids, or the words of a rule with its action.
    IdsOrRule,
}

impl Values {
    /// The completion of an argument that takes these.
    pub(super) fn completer(self) -> ArgValueCompleter {
        ArgValueCompleter::new(self)
    }
}

impl ValueCompleter for Values {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        let Some(current) = current.to_str() else {
            return Vec::new();
        };
        // In a list, the item behind the last comma.
        let (before, item) = current.split_at(current.rfind(',').map_or(0, |comma| comma + 1));
        let mut candidates = match self {
            Self::Interfaces => interfaces(),
            Self::Id => ids(),
            Self::Policies => policies(),
            Self::Rule => words(item),
            Self::IdsOrRule if Action::WORDS.into_iter().any(is_said) => words(item),
            Self::IdsOrRule => {
                let actions = Action::WORDS.map(Into::into);
                ids().into_iter().chain(actions).collect()
            }
        };
        let begun = |candidate: &CompletionCandidate| {
            let value = candidate.get_value().to_str();
            value.is_some_and(|value| value.starts_with(item))
        };
        candidates.retain(begun);
        candidates
            .into_iter()
            .map(|candidate| candidate.add_prefix(before))
            .collect()
    }
}

/// The words of a rule that begin with `start`: protocols, ranges of ports and services, those
/// that are only registered where there is nothing else; behind `proto`, the protocols of IP.
fn words(start: &str) -> Vec<CompletionCandidate> {
    if is_said("proto") {
        return protocols::names().map(Into::into).collect();
    }
    let ranges = NamedRange::ALL.map(NamedRange::as_str);
    let words = FIRST_WORDS.into_iter().chain(ranges);
    let mut begun = words
        .chain(services::common_names())
        .filter(|word| word.starts_with(start))
        .peekable();
    match begun.peek() {
        Some(_) => begun.map(Into::into).collect(),
        None => services::registered_names().map(Into::into).collect(),
    }
}

/// Whether the command line has this word in front of the last one.
fn is_said(said: &str) -> bool {
    let words: Vec<_> = env::args_os().collect();
    words
        .split_last()
        .is_some_and(|(_, before)| before.iter().any(|word| word == said))
}

/// The interfaces of this host.
fn interfaces() -> Vec<CompletionCandidate> {
    let names = netlink::interfaces().unwrap_or_default().into_iter();
    names
        .map(|interface| interface.name)
        .filter(|name| is_one_word(name))
        .map(CompletionCandidate::from)
        .collect()
}

/// Whether every shell takes this name for a word and nothing else: it puts on the command line
/// what it is offered, and an interface may be called `$(reboot)`.
fn is_one_word(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte))
}

/// The rules of the policy file, if this user may read it.
fn ids() -> Vec<CompletionCandidate> {
    let Ok(file) = PolicyFile::open(&policy_path()) else {
        return Vec::new();
    };
    let rules = file.policy().rules.iter();
    rules
        .map(|rule| {
            let text = format!("{rule:.ITEMS$}");
            CompletionCandidate::new(rule.id.to_string())
                .help(Some(visible(&text).into_owned().into()))
        })
        .collect()
}

/// The policies of the history, if this user may read it; the newest first.
fn policies() -> Vec<CompletionCandidate> {
    let history = History::own();
    let numbers = history.numbers().unwrap_or_default();
    let entries = numbers.into_iter().rev();
    let entries = entries.filter_map(|number| history.read(number).ok());
    entries
        .map(|entry| {
            let command = visible(&entry.change.command).into_owned();
            CompletionCandidate::new(entry.number.to_string()).help(Some(command.into()))
        })
        .collect()
}

/// The policy file that the words on the command line, or the environment, name.
fn policy_path() -> PathBuf {
    let mut words = env::args_os();
    let mut named = env::var_os("XDPFW_POLICY");
    while let Some(word) = words.next() {
        if word == "--policy" {
            named = words.next();
        } else if let Some(path) = word
            .to_str()
            .and_then(|word| word.strip_prefix("--policy="))
        {
            named = Some(path.into());
        }
    }
    named.map_or_else(default_policy, PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_interface_is_offered_that_a_shell_would_run() {
        for name in ["eth0", "br-0a1b", "eth0.100", "wg_home", "lan@7"] {
            assert!(is_one_word(name), "{name}");
        }
        for name in [
            "$(reboot)",
            "`id`",
            "a;b",
            "a|b",
            "a&",
            "*",
            "a'b",
            "~",
            "a\\b",
            "é",
        ] {
            assert!(!is_one_word(name), "{name}");
        }
    }
}
