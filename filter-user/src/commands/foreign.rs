//! Names the command that a user of another firewall means.

use clap::{Parser as _, error::ErrorKind};

use super::{
    Command,
    ufw::{is_address, shell_word},
};
use crate::cli::Cli;

/// What is said of words for what leaves.
const LEAVES: &str = "what leaves is not filtered (`xdpfw default drop` is for what comes in)";

/// What to say where the command line, without the program's name, is one of ufw, iptables or
/// fail2ban; `None` where it is not.
pub fn exact_command(kind: ErrorKind, words: &[String]) -> Option<String> {
    if !matches!(
        kind,
        ErrorKind::InvalidSubcommand | ErrorKind::UnknownArgument
    ) {
        return None;
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (&first, rest) = command(&words).split_first()?;
    // Whatever was typed, the answer is one line.
    let name = first.escape_debug();
    let say = |command: &str| format!("`{name}` is no command (say `xdpfw {command}`)");
    let no_rule = |error: String| format!("`{name}` is no command, and {error}");
    let rule = |action: &str, rest: &[&str], place: &str| {
        let said = suggested(&[&[action], rest].concat())?;
        Some(said.map_or_else(no_rule, |said| say(&(said + place))))
    };
    let from =
        |addresses: &[&str]| vec!["any".to_owned(), "--from".to_owned(), addresses.join(",")];
    let is_plain = rest.iter().all(|word| !word.starts_with('-'));
    Some(match (first, rest) {
        ("enable" | "on" | "start", _) => say("up IFACE"),
        ("disable" | "off" | "stop", _) => say("down"),
        ("reload" | "restart", _) => say("apply"),
        ("reset", _) => say("down`, then `xdpfw delete --all"),
        ("flush", _) => say("delete --all"),
        ("show" | "ls" | "rules", _) => say("list"),
        ("save", _) => "every change is saved at once (`save` is no command)".to_owned(),
        ("logging", ["off"]) => {
            "nothing is logged (`xdpfw trace` shows packets while it runs)".to_owned()
        }
        ("logging" | "log" | "monitor", _) => say("trace"),
        ("version", _) => say("--version"),
        ("add", [word, rest @ ..]) => return rule(action(word)?, rest, ""),
        ("remove" | "rm" | "del", [word, ..]) if is_number(word) => {
            say("delete ID`, with an id of `xdpfw list")
        }
        ("remove" | "rm" | "del", [_, ..]) => {
            return Some(say(&suggested(&[&["delete"], rest].concat())?.ok()?));
        }
        ("block", [word, ..]) if is_plain && is_address(word) => {
            return rule("deny", &strs(&from(rest)), " --first");
        }
        ("accept" | "permit" | "open" | "drop" | "block" | "reject" | "close", [_, ..]) => {
            return rule(action(first)?, rest, "");
        }
        ("ban", [_, ..]) if is_plain => return rule("deny", &strs(&from(rest)), " --first"),
        ("unban", [_]) if is_plain => {
            return rule("delete", &[&["deny"][..], &strs(&from(rest))].concat(), "");
        }
        ("insert", ["1", word, rest @ ..]) | ("prepend", [word, rest @ ..]) => {
            return rule(action(word)?, rest, " --first");
        }
        ("insert", [number, word, rest @ ..]) if is_number(number) => {
            return rule(
                action(word)?,
                rest,
                " --before ID`, with an id of `xdpfw list",
            );
        }
        ("status", ["numbered" | "verbose", ..]) => {
            let word = rest[0];
            format!("`{word}` is no word of `status` (say `xdpfw list` for the rules)")
        }
        ("default", [action, "incoming", ..]) => {
            let action = match *action {
                "allow" | "pass" => "pass",
                _ => "drop",
            };
            format!("rules are for what comes in (say `xdpfw default {action}`)")
        }
        ("default", [_, "outgoing" | "routed", ..]) => LEAVES.to_owned(),
        _ => return iptables(first, rest),
    })
}

fn strs(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// What another firewall's word for an action is here.
fn action(word: &str) -> Option<&'static str> {
    match word {
        "allow" | "accept" | "permit" | "open" => Some("allow"),
        "deny" | "drop" | "block" | "reject" | "close" => Some("deny"),
        _ => None,
    }
}

/// A command with a rule, as a shell takes it, where this program takes it, too; what it says of
/// the rule, where it is none; `None` where the command line is none.
fn suggested(words: &[&str]) -> Option<Result<String, String>> {
    let mut words = words.to_vec();
    if let Some(at) = words.iter().position(|word| *word == "comment")
        && at + 1 < words.len()
    {
        words[at] = "--comment";
    }
    let cli = Cli::try_parse_from([&["xdpfw"], words.as_slice()].concat()).ok()?;
    let checked = match &cli.command {
        Command::Allow(args) => args.read().and_then(|(_, args)| args.check()),
        Command::Deny(args) => args.check(),
        Command::Limit(args) => args.read().and_then(|(_, args)| args.check()),
        Command::Delete(args) => args.check(),
        _ => return None,
    };
    let words: Vec<String> = words.iter().map(|word| shell_word(word)).collect();
    Some(match checked {
        Ok(()) => Ok(words.join(" ")),
        Err(error) => Err(error.to_string()),
    })
}

/// The words from the command on: those in front are options that hold for every command.
fn command<'a, 'w>(words: &'a [&'w str]) -> &'a [&'w str] {
    match words {
        ["--policy" | "--color", _, rest @ ..]
        | ["--json" | "-q" | "--quiet" | "-v" | "--verbose", rest @ ..] => command(rest),
        [word, rest @ ..] if word.starts_with("--policy=") || word.starts_with("--color=") => {
            command(rest)
        }
        words => words,
    }
}

/// The command for a line of iptables: `-A INPUT -s 192.0.2.1 -p tcp --dport 22 -j ACCEPT`.
fn iptables(first: &str, rest: &[&str]) -> Option<String> {
    let say = |command: &str| format!("this is iptables' language (say `xdpfw {command}`)");
    let (before, rule, place) = match (first, rest) {
        ("-L" | "-S" | "--list" | "-nvL" | "-vnL", _) => return Some(say("list")),
        ("-F" | "--flush", [] | ["INPUT"]) => return Some(say("delete --all")),
        ("-P", ["INPUT", "ACCEPT"]) => return Some(say("default pass")),
        ("-P", ["INPUT", "DROP" | "REJECT"]) => return Some(say("default drop")),
        ("-P", ["OUTPUT" | "FORWARD", _]) => return Some(LEAVES.to_owned()),
        ("-A" | "--append", ["INPUT", rest @ ..]) => (&[][..], rest, ""),
        ("-I" | "--insert", ["INPUT", "1", rest @ ..] | ["INPUT", rest @ ..]) => match rest {
            [number, rest @ ..] if is_number(number) => {
                (&[][..], rest, " --before ID`, with an id of `xdpfw list")
            }
            rest => (&[][..], rest, " --first"),
        },
        ("-D" | "--delete", ["INPUT", number]) if is_number(number) => {
            return Some(say("delete ID`, with an id of `xdpfw list"));
        }
        ("-D" | "--delete", ["INPUT", rest @ ..]) => (&["delete"][..], rest, ""),
        _ => return None,
    };
    let rule = iptables_rule(rule)?;
    Some(match suggested(&[before, &strs(&rule)].concat())? {
        Ok(said) => say(&(said + place)),
        Err(error) => format!("this is iptables' language, and {error}"),
    })
}

/// A rule of iptables in our words; `None` where it says more than they can.
fn iptables_rule(words: &[&str]) -> Option<Vec<String>> {
    let (mut action, mut protocol, mut port) = (None, None, None);
    let mut options: Vec<String> = Vec::new();
    for pair in words.chunks(2) {
        let &[option, value] = pair else { return None };
        let name = match option {
            "-j" | "--jump" => {
                action = Some(match value {
                    "ACCEPT" => "allow",
                    "DROP" | "REJECT" => "deny",
                    _ => return None,
                });
                continue;
            }
            "-p" | "--protocol" => {
                protocol = Some(value.to_ascii_lowercase());
                continue;
            }
            "--dport" | "--dports" => {
                port = Some(value);
                continue;
            }
            "-m" | "--match" => continue,
            "--sport" | "--sports" => "--remote-port",
            "-s" | "--source" => "--from",
            "-d" | "--destination" => "--to",
            // `+` is for all names that begin so.
            "-i" | "--in-interface" if !value.ends_with('+') => "--on",
            _ => return None,
        };
        options.extend([name.to_owned(), value.to_owned()]);
    }
    let protocol = protocol.filter(|protocol| protocol != "all");
    let what = match (protocol.as_deref(), port) {
        (None, None) => vec!["any"],
        (None, Some(_)) => return None,
        (Some(protocol), Some(port)) => vec![protocol, port],
        (Some("tcp" | "udp" | "icmp" | "icmpv6" | "ipv6-icmp"), None) => {
            vec![protocol.as_deref()?, "any"]
        }
        (Some(protocol), None) => vec!["proto", protocol],
    };
    let mut rule = vec![action?.to_owned()];
    rule.extend(what.into_iter().map(str::to_owned));
    rule.extend(options);
    Some(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exact_command_is_named() {
        for (line, expected) in [
            ("enable", "xdpfw up IFACE"),
            ("disable", "xdpfw down"),
            ("reload", "xdpfw apply"),
            ("reset", "xdpfw delete --all"),
            ("show added", "xdpfw list"),
            ("logging on", "xdpfw trace"),
            ("status numbered", "xdpfw list"),
            (
                "insert 1 deny from 192.0.2.1",
                "xdpfw deny from 192.0.2.1 --first",
            ),
            ("insert 3 allow ssh", "xdpfw allow ssh --before ID"),
            ("default deny incoming", "xdpfw default drop"),
            ("default allow incoming", "xdpfw default pass"),
            ("default deny outgoing", "not filtered"),
            ("--json --policy p.toml show", "xdpfw list"),
            (
                "block 192.0.2.1",
                "xdpfw deny any --from 192.0.2.1 --first`",
            ),
            ("block tcp 25", "xdpfw deny tcp 25`"),
            (
                "ban 192.0.2.1 192.0.2.2",
                "xdpfw deny any --from 192.0.2.1,192.0.2.2 --first`",
            ),
            ("unban 192.0.2.1", "xdpfw delete deny any --from 192.0.2.1`"),
            ("open 8080", "`tcp 8080` or `udp 8080`"),
            ("rm 1", "xdpfw delete ID"),
            ("del allow ssh", "xdpfw delete allow ssh`"),
            ("insert 1 reject 22/tcp", "xdpfw deny 22/tcp --first`"),
            (
                "insert 1 allow 22/tcp comment it's",
                r"--comment 'it'\''s' --first`",
            ),
            ("logging off", "nothing is logged"),
            ("-P OUTPUT ACCEPT", "what leaves"),
            ("-P FORWARD DROP", "what leaves"),
            ("-P INPUT ACCEPT", "xdpfw default pass"),
            ("-F", "xdpfw delete --all"),
            (
                "-I INPUT 1 -s 192.0.2.1 -j DROP",
                "xdpfw deny any --from 192.0.2.1 --first`",
            ),
            (
                "-I INPUT 3 -p tcp -j ACCEPT",
                "xdpfw allow tcp any --before ID",
            ),
            ("-A INPUT -p sctp --dport 22 -j ACCEPT", "`proto sctp`"),
            ("ban 192.0.2.1", "xdpfw deny any --from 192.0.2.1 --first"),
            (
                "-A INPUT -s 192.0.2.1 -p tcp -m tcp --dport 22 -j ACCEPT",
                "xdpfw allow tcp 22 --from 192.0.2.1`",
            ),
            (
                "-I INPUT -s 192.0.2.1 -j DROP",
                "xdpfw deny any --from 192.0.2.1 --first",
            ),
            ("-D INPUT 3", "xdpfw delete ID"),
            ("-P INPUT DROP", "xdpfw default drop"),
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let said = exact_command(ErrorKind::InvalidSubcommand, &words).expect(line);
            assert!(said.contains(expected), "{line}: {said}");
        }
        for line in [
            "alow tcp 443",
            "list extra",
            // Nothing is named that is not what was said, or no command.
            "-A FORWARD -j DROP",
            "-F OUTPUT",
            "-A INPUT -i eth+ -p tcp --dport 22 -j ACCEPT",
            "-D INPUT -m state --state NEW -j DROP",
            "add rule inet filter input tcp dport 22 accept",
            "insert rule inet filter input tcp dport 22 accept",
            "insert 1",
            "insert r2 allow ssh",
            "unban --all",
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(
                exact_command(ErrorKind::InvalidSubcommand, &words),
                None,
                "{line}"
            );
        }
    }
}
