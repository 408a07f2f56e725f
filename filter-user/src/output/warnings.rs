//! Renders what the author of a policy may not have meant, a line for each.

use crate::{
    analysis::{Shadowed, Warning},
    policy::RuleId,
    text::{sentence_list, thousands},
};

/// Most rules that can never match with a line of their own.
const LINES: usize = 10;

/// Most rules in front that are named.
const NAMES: usize = 3;

/// A line for each warning, and each rule in it.
pub fn warning_lines(warnings: &[Warning]) -> Vec<String> {
    warnings.iter().flat_map(lines_of).collect()
}

fn lines_of(warning: &Warning) -> Vec<String> {
    match warning {
        Warning::ForeignInterface {
            interface,
            rule,
            interfaces,
        } => vec![format!(
            "{interface}: {rule} names it, but the policy is for {} (say `xdpfw up {interface}`)",
            sentence_list(interfaces, usize::MAX)
        )],
        Warning::JudgedElsewhere {
            interface,
            rule,
            instead,
        } => vec![format!(
            "{interface}: its packets are judged at {}, so {rule} never matches (say `--on {}`)",
            sentence_list(instead, usize::MAX),
            instead.join(",")
        )],
        Warning::UnjudgedEsp { rule, interface } => vec![format!(
            "{rule} lets in IPsec, and what its tunnels carry is not judged in native mode (say \
             `xdpfw down {interface}`, then `xdpfw up {interface} --mode generic`)"
        )],
        Warning::NoMac { interface, rule } => vec![format!(
            "{interface}: its packets have no MAC address, so {rule} never matches there (say \
             `--from`)"
        )],
        Warning::AhOverIpv4(rule) => vec![format!(
            "{rule} is for IPv4 alone: over IPv6, rules judge what is behind AH (say `--from \
             0.0.0.0/0` if that is meant)"
        )],
        Warning::NeighboursDenied(rule) => vec![neighbours_denied(*rule)],
        Warning::Unreachable(shadowed) => unreachable_lines(shadowed),
        Warning::TooLate(shadowed) => {
            vec![format!("{} (say it again with --first)", line(shadowed))]
        }
        Warning::AllowedInFront { rule, by } => {
            let allow = if by.len() == 1 { "allows" } else { "allow" };
            vec![format!(
                "{} in front of {rule} already {allow} some of it (say it again with --first)",
                sentence_list(by, NAMES)
            )]
        }
        Warning::OpenToMore { rule, by, from } => vec![open_to_more(*rule, *by, from)],
        Warning::CookiesBeforeNat { rule, ports } => vec![format!(
            "{rule}: tcp {} is published for what is behind NAT, and would be answered with SYN cookies \
             for a program of this host that listens there, too: in a flood, nobody could connect \
             (say `--to` with other addresses, or leave out --syn-cookies)",
            sentence_list(ports, NAMES)
        )],
        Warning::AnswersDenied { rule, replies } => vec![format!(
            "{rule} denies answers to this host's own connections, too, as `replies` is \
             `{replies}` (say `replies = \"flows\"` in the policy, or name the ports of services)"
        )],
    }
}

fn open_to_more(rule: RuleId, by: RuleId, from: &[String]) -> String {
    let sources = match from {
        [] => "all".to_owned(),
        [one] => one.clone(),
        several => format!("{} prefixes", thousands(several.len() as u64)),
    };
    format!("{rule} restricts nothing: {by} allows it to {sources} (say `xdpfw delete {by}`)")
}

fn neighbours_denied(id: RuleId) -> String {
    format!(
        "{id} denies IPv6 neighbour discovery, without which IPv6 ends within minutes (say \
         `xdpfw allow icmp6 133-137 --before {id}`)"
    )
}

/// A line for each rule that can never match, or for the first of them.
fn unreachable_lines(shadowed: &[Shadowed]) -> Vec<String> {
    let mut lines: Vec<String> = shadowed.iter().take(LINES).map(line).collect();
    if let Some(more) = shadowed.len().checked_sub(LINES).filter(|&more| more > 0) {
        lines.push(format!(
            "{} more rules can never match (`xdpfw --json list` names them all)",
            thousands(more as u64)
        ));
    }
    lines
}

fn line(shadowed: &Shadowed) -> String {
    let Shadowed { rule, by } = shadowed;
    match by.as_slice() {
        [] => format!("{rule} can never match"),
        [one] => format!("{rule} can never match: {one} in front of it takes all its packets"),
        several => format!(
            "{rule} can never match: {} in front of it take all its packets",
            sentence_list(several, NAMES)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shadowed(rule: u32, by: impl IntoIterator<Item = u32>) -> Shadowed {
        Shadowed {
            rule: RuleId(rule),
            by: by.into_iter().map(RuleId).collect(),
        }
    }

    #[test]
    fn the_rules_in_front_are_named() {
        let lines = unreachable_lines(&[
            shadowed(5, [2]),
            shadowed(6, [2, 3]),
            shadowed(7, [2, 3, 1]),
            shadowed(8, 1..=6),
        ]);
        assert_eq!(
            lines,
            [
                "r5 can never match: r2 in front of it takes all its packets",
                "r6 can never match: r2 and r3 in front of it take all its packets",
                "r7 can never match: r2, r3 and r1 in front of it take all its packets",
                "r8 can never match: r1, r2, r3 and 3 more in front of it take all its packets",
            ]
        );
    }

    #[test]
    fn a_flood_of_them_is_cut() {
        let all: Vec<Shadowed> = (2..2_000).map(|rule| shadowed(rule, [1])).collect();
        assert_eq!(unreachable_lines(&all[..10]).len(), 10);
        let lines = unreachable_lines(&all);
        assert_eq!(lines.len(), 11);
        assert!(lines[10].starts_with("1,988 more rules"), "{}", lines[10]);
    }
}
