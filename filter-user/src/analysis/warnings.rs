//! Finds what is legal in a policy and perhaps not meant.

use xdpfw_common::Transport;

use super::{
    Shadowed,
    evaluate::{Decision, evaluate},
    neighbours::{self, Discovery},
    unreachable::{self, unreachable},
};
use crate::{
    policy::{Action, Match, Policy, Protocol, Replies, Rule, RuleId},
    ports::PortRange,
    system::{Socket, SocketState},
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
    /// A rule names an interface whose packets are judged at others.
    JudgedElsewhere {
        /// The interface.
        interface: String,
        /// The first rule that names it.
        rule: RuleId,
        /// The interfaces where its packets are judged.
        instead: Vec<String>,
    },
    /// A rule lets IPsec in, and what that carries is not judged.
    UnjudgedEsp {
        /// The first rule that does.
        rule: RuleId,
        /// A filtered interface behind which IPsec is opened.
        interface: String,
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
    /// A new rule can never match, and would in front of all others.
    TooLate(Shadowed),
    /// Rules in front of a new rule let pass some of what it denies.
    AllowedInFront {
        /// The rule.
        rule: RuleId,
        /// The rules in front of it that allow some of its packets, in their order.
        by: Vec<RuleId>,
    },
    /// A new rule allows some sources what another rule allows all of them, or more.
    OpenToMore {
        /// The rule.
        rule: RuleId,
        /// The rule that allows more.
        by: RuleId,
        /// Where that one lets packets come from; none is everywhere.
        from: Vec<String>,
    },
    /// A rule answers with SYN cookies on ports where both this host listens and NAT sends on to
    /// others: what opens a connection is answered for this host, and what comes next reaches them.
    CookiesBeforeNat {
        /// The rule.
        rule: RuleId,
        /// The ports, of TCP.
        ports: Vec<u16>,
    },
    /// A rule denies answers to what this host asks, which pass only behind the rules.
    AnswersDenied {
        /// The first rule that does.
        rule: RuleId,
        /// What tells answers.
        replies: Replies,
    },
}

/// What is new with a rule that was just added.
pub fn of_rule(policy: &Policy, rule: &Rule, ephemeral: PortRange) -> Vec<Warning> {
    let mut warnings = ah_over_ipv4([rule]);
    if denies_neighbours(policy) == Some(rule.id) {
        warnings.push(Warning::NeighboursDenied(rule.id));
    }
    if denies_answers(policy, rule, ephemeral) {
        warnings.push(answers_denied(policy, rule));
    }
    let mut shadowed = unreachable(policy, ephemeral);
    shadowed.retain(|shadowed| shadowed.rule == rule.id || shadowed.by.contains(&rule.id));
    let late = shadowed
        .iter()
        .position(|shadowed| shadowed.rule == rule.id);
    let late = late.map(|place| shadowed.remove(place));
    warnings.extend(match (wider_allow(policy, rule, ephemeral), late) {
        (_, Some(late)) if takes_otherwise(policy, rule, &late) => Some(Warning::TooLate(late)),
        (Some(wider), _) => Some(Warning::OpenToMore {
            rule: rule.id,
            by: wider.id,
            from: wider.matches.from_words(),
        }),
        (None, Some(late)) => Some(Warning::Unreachable(vec![late])),
        (None, None) => allowed_in_front(policy, rule, ephemeral),
    });
    warnings.extend(not_empty(shadowed));
    warnings
}

/// Whether a rule that is in vain would do something else than those in front of it.
fn takes_otherwise(policy: &Policy, rule: &Rule, shadowed: &Shadowed) -> bool {
    let mut by = shadowed.by.iter().filter_map(|&id| policy.rule(id));
    by.any(|other| other.action != rule.action)
}

/// The rules in front that allow some of what a rule denies, without being exceptions of it.
fn allowed_in_front(policy: &Policy, rule: &Rule, ephemeral: PortRange) -> Option<Warning> {
    if rule.action != Action::Deny {
        return None;
    }
    let in_front = policy.rules.iter().take_while(|other| other.id != rule.id);
    let by: Vec<RuleId> = in_front
        .filter(|other| other.action.lets_in())
        .filter(|other| unreachable::cuts_into(other, rule, ephemeral))
        .map(|other| other.id)
        .collect();
    let rule = rule.id;
    (!by.is_empty()).then_some(Warning::AllowedInFront { rule, by })
}

/// A rule that allows all that this one allows, from more sources.
fn wider_allow<'a>(policy: &'a Policy, rule: &Rule, ephemeral: PortRange) -> Option<&'a Rule> {
    if rule.action != Action::Allow || rule.matches.is_from_anywhere() {
        return None;
    }
    policy.rules.iter().find(|other| {
        other.action == Action::Allow
            && other.id != rule.id
            // What allows everything is no older version of this rule.
            && other.matches.protocol != Protocol::Any
            && unreachable::is_wider(other, rule, ephemeral)
    })
}

/// Whether a rule denies answers to much of what this host asks: those to its ephemeral
/// ports, from anywhere. With flows, answers pass in front of the rules.
fn denies_answers(policy: &Policy, rule: &Rule, ephemeral: PortRange) -> bool {
    let matching = &rule.matches;
    if policy.replies == Replies::Flows
        || rule.action != Action::Deny
        || matching.protocol.transports().is_empty()
        || !(matching.is_from_anywhere() && matching.to.is_empty())
    {
        return false;
    }
    let local = matching.local.resolve(ephemeral);
    let denied: u32 = local
        .ranges()
        .iter()
        .map(|range| overlap(*range, ephemeral))
        .sum();
    // One port in a hundred fails a connection in a hundred; a single service is no range.
    denied * 100 > overlap(ephemeral, ephemeral)
}

/// How many ports two ranges have in common.
fn overlap(one: PortRange, other: PortRange) -> u32 {
    let (first, last) = (one.first.max(other.first), one.last.min(other.last));
    (u32::from(last) + 1).saturating_sub(first.into())
}

const fn answers_denied(policy: &Policy, rule: &Rule) -> Warning {
    Warning::AnswersDenied {
        rule: rule.id,
        replies: policy.replies,
    }
}

/// What rules do now that others in front of them are gone.
pub fn of_removal(before: &Policy, after: &Policy) -> Vec<Warning> {
    let denies = denies_neighbours(after).filter(|&id| denies_neighbours(before) != Some(id));
    denies.map(Warning::NeighboursDenied).into_iter().collect()
}

/// Everything in a policy.
pub fn of_policy(policy: &Policy, ephemeral: PortRange) -> Vec<Warning> {
    let mut warnings = ah_over_ipv4(&policy.rules);
    warnings.extend(denies_neighbours(policy).map(Warning::NeighboursDenied));
    let mut rules = policy.rules.iter();
    let denies = rules.find(|rule| denies_answers(policy, rule, ephemeral));
    warnings.extend(denies.map(|rule| answers_denied(policy, rule)));
    warnings.extend(not_empty(unreachable(policy, ephemeral)));
    warnings
}

fn not_empty(shadowed: Vec<Shadowed>) -> Option<Warning> {
    (!shadowed.is_empty()).then_some(Warning::Unreachable(shadowed))
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
    let may_meet = |rule: &Rule, name: &String| match rule.matches.on.as_slice() {
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

/// Rules that answer with SYN cookies on ports of this host's sockets that are also published.
pub fn cookies_before_nat<'a>(
    rules: impl IntoIterator<Item = &'a Rule>,
    ephemeral: PortRange,
    sockets: &[Socket],
    published: &[(Transport, u16)],
) -> Vec<Warning> {
    let is_listened_to = |port: u16| {
        sockets.iter().any(|socket| {
            socket.transport == Transport::Tcp
                && socket.state == SocketState::Listening
                && socket.local.port() == port
                && !socket.local.ip().is_loopback()
        })
    };
    let ports: Vec<u16> = published
        .iter()
        .filter(|&&(transport, port)| transport == Transport::Tcp && is_listened_to(port))
        .map(|&(_, port)| port)
        .collect();
    let mut warnings = Vec::new();
    for rule in rules {
        let mut ports = ports.clone();
        ports.retain(|&port| rule.matches.local.contains(port, ephemeral));
        // Nobody knows of which addresses the ports are published.
        let is_meant = rule.matches.to.is_empty();
        if rule.action == Action::AllowWithCookies && is_meant && !ports.is_empty() {
            warnings.push(Warning::CookiesBeforeNat {
                rule: rule.id,
                ports,
            });
        }
    }
    warnings
}

/// The rules for AH that say nothing about addresses of IPv4.
fn ah_over_ipv4<'a>(rules: impl IntoIterator<Item = &'a Rule>) -> Vec<Warning> {
    let is_unsaid = |matching: &Match| matching.is_from_anywhere() && matching.to.is_empty();
    let rules = rules
        .into_iter()
        .filter(|rule| rule.matches.protocol == Protocol::AH && is_unsaid(&rule.matches));
    rules.map(|rule| Warning::AhOverIpv4(rule.id)).collect()
}

/// The rule that denies neighbour discovery to all of the link.
fn denies_neighbours(policy: &Policy) -> Option<RuleId> {
    let list = &policy.interfaces;
    let mut interfaces: Vec<Option<&str>> = list.names().map(Some).collect();
    if list.has_patterns() {
        // Of those, only rules tell one from another.
        let named = policy.rules.iter().flat_map(|rule| &rule.matches.on);
        let named = named.filter(|name| list.contains(name));
        interfaces.extend(named.map(|name| Some(name.as_str())));
    }
    if list.is_empty() || list.has_patterns() {
        interfaces.push(None);
    }
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

    const EPHEMERAL: PortRange = PortRange {
        first: 32768,
        last: 60999,
    };

    /// What is said of the last of these rules.
    fn said(lines: &[&str], replies: Replies) -> Vec<Warning> {
        let policy = Policy {
            replies,
            ..policy(lines, &[])
        };
        of_rule(&policy, policy.rules.last().unwrap(), EPHEMERAL)
    }

    #[test]
    fn a_deny_behind_what_allows_its_packets_is_found_and_exceptions_are_not() {
        for (lines, expected) in [
            (&["allow tcp 80", "deny any from 192.0.2.1"][..], &[1][..]),
            (
                &["allow tcp 80", "allow tcp 22", "deny any from 192.0.2.1"],
                &[1, 2],
            ),
            (
                &["allow tcp 22 from 10.0.0.0/8", "deny any from 10.1.0.0/16"],
                &[1],
            ),
            (&["allow tcp 1-1000", "deny tcp 500-2000"], &[1]),
            (&["allow ping", "deny icmp any from 192.0.2.1"], &[1]),
            (&["allow tcp 22 from 10.0.0.0/8", "deny tcp 22"], &[]),
            (&["allow any from 10.0.0.0/8", "deny tcp 23"], &[]),
            (
                &["allow tcp 22 from 10.0.0.0/8", "deny any from 192.0.2.1"],
                &[],
            ),
            (&["allow udp 53", "deny tcp any from 192.0.2.1"], &[]),
            (&["allow ping", "deny tcp any from 192.0.2.1"], &[]),
            (&["deny any from 192.0.2.1", "allow tcp 80"], &[]),
            // For a while is narrower, too.
            (&["allow tcp 80 until 9", "deny tcp 80"], &[]),
            (&["allow tcp 80 until 8", "deny tcp 80 until 9"], &[]),
            (
                &["allow tcp 1-80 until 9", "deny tcp 80-90 from 192.0.2.1"],
                &[1],
            ),
        ] {
            let by: Vec<u32> = match said(lines, Replies::Flows).as_slice() {
                [Warning::AllowedInFront { by, .. }] => by.iter().map(|id| id.0).collect(),
                [] => Vec::new(),
                other => panic!("{lines:?}: {other:?}"),
            };
            assert_eq!(by, expected, "{lines:?}");
        }
    }

    #[test]
    fn a_rule_for_some_beside_one_for_more_is_found_wherever_it_stands() {
        for (lines, expected) in [
            (&["allow tcp 22", "allow tcp 22 from 10.0.0.0/8"][..], true),
            (
                &[
                    "allow tcp 22 from 10.0.0.0/8",
                    "allow tcp 22 from 10.1.0.0/16",
                ],
                true,
            ),
            (
                &[
                    "allow tcp 22 from 10.1.0.0/16",
                    "allow tcp 22 from 10.0.0.0/8",
                ],
                false,
            ),
            (&["allow tcp 80", "allow tcp 22 from 10.0.0.0/8"], false),
            (
                &[
                    "deny tcp 22 from 10.0.0.0/8",
                    "allow tcp 22 from 10.1.0.0/16",
                ],
                false,
            ),
            (
                &[
                    "deny tcp 22",
                    "allow tcp 22 from 10.0.0.0/8",
                    "allow tcp 22 from 10.1.0.0/16",
                ],
                false,
            ),
        ] {
            let said = said(lines, Replies::Flows);
            let found = matches!(said.as_slice(), [Warning::OpenToMore { .. }]);
            assert_eq!(found, expected, "{lines:?}: {said:?}");
        }
        let policy = policy(&["allow tcp 22 from 10.0.0.0/8", "allow tcp 22"], &[]);
        let said = of_rule(&policy, &policy.rules[0], EPHEMERAL);
        assert!(
            matches!(said.as_slice(), [Warning::OpenToMore { .. }]),
            "{said:?}"
        );
    }

    #[test]
    fn a_deny_that_takes_answers_is_found_where_they_pass_behind_the_rules() {
        for (line, expected) in [
            ("deny tcp high", true),
            ("deny udp 1024-65535", true),
            ("deny udp any", true),
            ("deny any", true),
            ("deny tcp 8080", false),
            ("deny tcp 33060", false),
            ("deny tcp 1-1023", false),
            ("deny any from 192.0.2.1", false),
            ("deny icmp any", false),
            ("allow udp any", false),
        ] {
            for (replies, counts) in [
                (Replies::Flows, false),
                (Replies::Sockets, true),
                (Replies::Off, true),
            ] {
                let said = said(&[line], replies);
                let found = said
                    .iter()
                    .any(|one| matches!(one, Warning::AnswersDenied { .. }));
                assert_eq!(found, expected && counts, "{line} with {replies}");
            }
        }
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
    fn cookies_are_in_the_way_of_nat_where_somebody_listens() {
        let lines = [
            "allow tcp 80,8080-8082",
            "allow tcp 8080-8081",
            "allow tcp 8080",
        ];
        let mut policy = policy(&lines, &[]);
        for rule in &mut policy.rules[..2] {
            rule.action = Action::AllowWithCookies;
        }
        policy.rules[1].matches.to = vec!["192.0.2.1/32".parse().unwrap()];
        let socket = |local: &str| Socket {
            transport: Transport::Tcp,
            local: local.parse().unwrap(),
            remote: None,
            state: SocketState::Listening,
            uid: 0,
            inode: 1,
        };
        let sockets = ["0.0.0.0:80", "[::]:8080", "127.0.0.1:8081"].map(socket);
        let published = [8080, 8081, 8082].map(|port| (Transport::Tcp, port));
        let warnings =
            |published| cookies_before_nat(&policy.rules, PortRange::ALL, &sockets, published);
        let warning = Warning::CookiesBeforeNat {
            rule: RuleId(1),
            ports: vec![8080],
        };
        assert_eq!(warnings(&published), [warning]);
        assert_eq!(warnings(&[(Transport::Udp, 80)]), []);
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
