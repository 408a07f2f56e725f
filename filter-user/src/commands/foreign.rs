//! Names the command that a user of another firewall means.

use clap::error::ErrorKind;

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
    let said = |words: &[&str]| words.join(" ").escape_debug().to_string();
    let rest_said = said(rest);
    let say = |command: &str| format!("`{}` is no command (say `xdpfw {command}`)", said(&[first]));
    Some(match (first, rest) {
        ("enable" | "on" | "start", _) => say("up IFACE"),
        ("disable" | "off" | "stop", _) => say("down"),
        ("reload" | "restart", _) => say("apply"),
        ("reset" | "flush", _) => say("delete --all"),
        ("show" | "ls" | "rules", _) => say("list"),
        ("save", _) => "every change is saved at once (`save` is no command)".to_owned(),
        ("logging" | "log" | "monitor", _) => say("trace"),
        ("version", _) => say("--version"),
        ("add", [_, ..]) => say(&rest_said),
        ("remove" | "rm" | "del", [_, ..]) => say(&format!("delete {rest_said}")),
        ("accept" | "permit" | "open", [_, ..]) => say(&format!("allow {rest_said}")),
        ("drop" | "block" | "reject" | "close", [_, ..]) => say(&format!("deny {rest_said}")),
        ("ban", [_, ..]) => say(&format!("deny any --from {rest_said} --first")),
        ("unban", [_, ..]) => say(&format!("delete deny any --from {rest_said}")),
        ("insert", ["1", _, ..]) => say(&format!("{} --first", said(&rest[1..]))),
        ("insert" | "prepend", [_, ..]) => {
            let number = rest[0].bytes().all(|byte| byte.is_ascii_digit());
            let rule = said(&rest[usize::from(number)..]);
            match first {
                "prepend" => say(&format!("{rule} --first")),
                _ => say(&format!("{rule} --before ID`, with an id of `xdpfw list")),
            }
        }
        ("status", ["numbered" | "verbose", ..]) => {
            format!("`{rest_said}` is no word of `status` (say `xdpfw list` for the rules)")
        }
        ("default", [action, "incoming", ..]) => {
            let action = match *action {
                "allow" | "pass" => "pass",
                _ => "drop",
            };
            format!("rules are for what comes in (say `xdpfw default {action}`)")
        }
        ("default", [_, "outgoing" | "routed", ..]) => {
            "what leaves is not filtered (`xdpfw default drop` is for what comes in)".to_owned()
        }
        _ => return iptables(first, rest),
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
    let command = match (first, rest) {
        ("-L" | "-S" | "--list" | "-nvL" | "-vnL", _) => "list".to_owned(),
        ("-F" | "--flush", _) => "delete --all".to_owned(),
        ("-P", [_, "ACCEPT"]) => "default pass".to_owned(),
        ("-P", [_, "DROP" | "REJECT"]) => "default drop".to_owned(),
        ("-A" | "-I" | "--append" | "--insert", ["INPUT", rest @ ..]) => {
            let rule = iptables_rule(rest)?;
            match first {
                "-I" | "--insert" => format!("{rule} --first"),
                _ => rule,
            }
        }
        ("-D" | "--delete", ["INPUT", rest @ ..]) => match iptables_rule(rest) {
            Some(rule) => format!("delete {rule}"),
            None => "delete ID".to_owned(),
        },
        _ => return None,
    };
    Some(format!(
        "this is iptables' language (say `xdpfw {command}`)"
    ))
}

/// A rule of iptables in our words; `None` where it says more than they can.
fn iptables_rule(words: &[&str]) -> Option<String> {
    let (mut action, mut protocol, mut port, mut options) = (None, None, None, String::new());
    for pair in words.chunks(2) {
        let &[option, value] = pair else { return None };
        let value = value.escape_debug();
        match option {
            "-j" | "--jump" => {
                action = Some(match pair[1] {
                    "ACCEPT" => "allow",
                    "DROP" | "REJECT" => "deny",
                    _ => return None,
                });
            }
            "-p" | "--protocol" => protocol = Some(value.to_string()),
            "-m" | "--match" => {}
            "--dport" | "--dports" => port = Some(value.to_string()),
            "--sport" | "--sports" => options += &format!(" --remote-port {value}"),
            "-s" | "--source" => options += &format!(" --from {value}"),
            "-d" | "--destination" => options += &format!(" --to {value}"),
            "-i" | "--in-interface" => options += &format!(" --on {value}"),
            _ => return None,
        }
    }
    let what = match (protocol, port) {
        (None, None) => "any".to_owned(),
        (None, Some(_)) => return None,
        (Some(protocol), Some(port)) => format!("{protocol} {port}"),
        (Some(protocol), None) => match protocol.as_str() {
            "all" => "any".to_owned(),
            "tcp" | "udp" | "icmp" | "icmpv6" => format!("{protocol} any"),
            _ => format!("proto {protocol}"),
        },
    };
    Some(format!("{} {what}{options}", action?))
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
            ("block 192.0.2.1", "xdpfw deny 192.0.2.1"),
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
        for line in ["alow tcp 443", "-A FORWARD -j DROP", "list extra"] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(
                exact_command(ErrorKind::InvalidSubcommand, &words),
                None,
                "{line}"
            );
        }
    }
}
