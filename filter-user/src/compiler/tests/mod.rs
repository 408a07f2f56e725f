//! Compiled tables decide as a walk over the rules does, packet by packet.

mod cases;
mod ends;
mod members;

use std::{collections::HashSet, hash::Hash, net::IpAddr, time::Duration};

use jiff::Timestamp;
use proptest::prelude::*;
use xdpfw_common::{Reason, verdict::Outcome};

use super::{simulate::Simulation, *};
use crate::{
    analysis::unreachable,
    policy::{Carried, Match, MatchSpec, Packet, Until},
};

const EPHEMERAL: PortRange = PortRange {
    first: 32768,
    last: 60999,
};
/// The interfaces of the host, and one that it has not.
const INTERFACES: [(&str, u32); 2] = [("eth0", 2), ("eth1", 3)];
const MISSING: &str = "eth9";
/// MAC addresses that rules name.
const MACS: [&str; 2] = ["02:00:00:00:00:01", "02:00:00:00:00:02"];

fn environment() -> Environment {
    Environment {
        ephemeral: EPHEMERAL,
        interfaces: INTERFACES
            .map(|(name, index)| (name.to_owned(), index))
            .to_vec(),
        clocks: Clocks::BEFORE_ALL,
        lists: Default::default(),
        cookies: None,
    }
}

/// A frame of this packet, a SYN where it is TCP.
fn frame(packet: &Packet<'_>) -> Vec<u8> {
    let ports = |local: u16, remote: u16| [remote.to_be_bytes(), local.to_be_bytes()].concat();
    let (protocol, payload) = match packet.carries {
        Carried::Tcp { local, remote } => {
            let rest = [0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x02, 0, 0, 0, 0, 0, 0];
            (6, [&ports(local, remote)[..], &rest].concat())
        }
        Carried::Udp { local, remote } => (17, [&ports(local, remote)[..], &[0, 8, 0, 0]].concat()),
        Carried::Icmp(message) => (1, vec![message, 0, 0, 0, 0, 0, 0, 0]),
        Carried::Icmp6(message) => (58, vec![message, 0, 0, 0, 0, 0, 0, 0]),
        Carried::Other(protocol) => (protocol, Vec::new()),
    };
    let len = payload.len() as u8;
    let header = match (packet.source, packet.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let fixed = [0x45, 0, 0, 20 + len, 0, 0, 0, 0, 64, protocol, 0, 0];
            let addresses = [source.octets(), destination.octets()].concat();
            [&[0x08, 0x00][..], &fixed, &addresses].concat()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let fixed = [0x60, 0, 0, 0, 0, len, protocol, 64];
            let addresses = [source.octets(), destination.octets()].concat();
            [&[0x86, 0xdd][..], &fixed, &addresses].concat()
        }
        _ => panic!("two families in one packet"),
    };
    let source = packet.mac.map_or([0; 6], |mac| mac.0);
    [&[0; 6][..], &source, &header, &payload].concat()
}

fn slots(policy: &Policy) -> Vec<u32> {
    (7..).take(policy.rules.len()).collect()
}

fn compiled(policy: &Policy) -> Tables {
    let tables = compile(policy, &environment(), &slots(policy)).unwrap();
    assert_unique(&tables.local);
    assert_unique(&tables.edges);
    tables
}

#[track_caller]
fn assert_unique<K: Eq + Hash, V>(entries: &[(K, V)]) {
    let keys: HashSet<&K> = entries.iter().map(|(key, _)| key).collect();
    assert_eq!(keys.len(), entries.len(), "a key stands twice");
}

/// What becomes of a packet.
fn ask(simulation: &Simulation<'_>, packet: &Packet<'_>) -> Outcome {
    let by_name = |name| INTERFACES.iter().find(|(other, _)| *other == name);
    let interface = packet.interface.and_then(by_name);
    let index = interface.map_or(99, |&(_, index)| index);
    simulation.judge(&frame(packet)[..], index)
}

/// What a walk over the rules says: reason, and slot of the rule.
fn walk(policy: &Policy, packet: &Packet<'_>) -> (Reason, Option<u32>) {
    let Some(rule) = policy.first_match(packet, EPHEMERAL) else {
        let built_in = match packet.carries {
            _ if policy.default == DefaultAction::Pass => Reason::DefaultPass,
            // Errors that quote nothing are about nothing.
            Carried::Icmp6(133..=137) => Reason::NeighbourDiscovery,
            Carried::Icmp6(130..=132 | 143) => Reason::Mld,
            _ => Reason::DefaultDrop,
        };
        return (built_in, None);
    };
    let reason = match rule.action {
        Action::Allow | Action::AllowWithCookies | Action::Limit(_) => Reason::RuleAllow,
        Action::Deny => Reason::RuleDeny,
    };
    (reason, Some(rule.id.0 + 6))
}

/// A rule as on the command line: `allow tcp 443 --from 10.0.0.0/8`.
fn rule(index: usize, text: &str) -> Rule {
    let mut words = text.split(' ');
    let action = match words.next() {
        Some("allow") => Action::Allow,
        _ => Action::Deny,
    };
    let mut matching = MatchSpec::default();
    let mut until = None;
    let mut option = None;
    for word in words {
        if let Some(name) = word.strip_prefix("--") {
            option = Some(name);
            continue;
        }
        let part = match option {
            None => {
                matching.words.push(word);
                continue;
            }
            Some("remote-port") => &mut matching.remote,
            Some("from") => &mut matching.from,
            Some("to") => &mut matching.to,
            Some("on") => &mut matching.on,
            Some("mac") => &mut matching.mac,
            Some("until") => {
                until = Some(Until::second(word.parse().unwrap()));
                continue;
            }
            Some(other) => panic!("--{other}"),
        };
        part.get_or_insert_default().push(word);
    }
    Rule {
        id: RuleId(index as u32 + 1),
        action,
        matches: Match::parse(&matching).unwrap_or_else(|error| panic!("{text}: {error}")),
        until,
        comment: None,
    }
}

fn rules(texts: &[&str]) -> Policy {
    let numbered = texts.iter().enumerate();
    Policy {
        rules: numbered.map(|(index, text)| rule(index, text)).collect(),
        ..Policy::default()
    }
}

/// Few distinct ports, so that rules overlap.
fn ports() -> impl Strategy<Value = String> {
    let port = prop_oneof![
        Just(1u16),
        Just(22),
        78..84u16,
        Just(443),
        Just(40000),
        Just(65535)
    ];
    prop_oneof![
        3 => Just("any".to_owned()),
        4 => port.clone().prop_map(|port| port.to_string()),
        3 => (port.clone(), port.clone()).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        1 => prop::collection::vec(port, 2..4).prop_map(|ports| {
            ports.iter().map(u16::to_string).collect::<Vec<_>>().join(",")
        }),
        1 => Just("ephemeral".to_owned()),
        1 => Just("well-known".to_owned()),
    ]
}

const PREFIXES4: [&str; 9] = [
    "0.0.0.0/0",
    "0.0.0.0/1",
    "128.0.0.0/1",
    "10.0.0.0/8",
    "10.0.0.0/9",
    "10.128.0.0/9",
    "10.1.2.0/24",
    "10.1.2.3/32",
    "192.0.2.0/31",
];
const PREFIXES6: [&str; 7] = [
    "::/0",
    "::/64",
    "2001:db8::/32",
    "2001:db8::/33",
    "2001:db8:8000::/33",
    "2001:db8::1/128",
    "2001:db8::/127",
];
const ADDRESSES: [&str; 12] = [
    "10.1.2.3",
    "10.1.2.4",
    "10.200.0.1",
    "192.0.2.1",
    "192.0.2.2",
    "203.0.113.1",
    "2001:db8::1",
    "2001:db8::2",
    "2001:db8:8000::1",
    "2001:db9::1",
    "::ffff:10.1.2.3",
    "fe80::1",
];

/// Options that restrict a rule, of one family or both.
fn restrictions() -> impl Strategy<Value = (String, bool, bool)> {
    let v4 = || prop::sample::subsequence(PREFIXES4.to_vec(), 1..3);
    let v6 = || prop::sample::subsequence(PREFIXES6.to_vec(), 1..3);
    let side = || {
        prop_oneof![
            4 => Just((Vec::new(), true, true)),
            2 => v4().prop_map(|prefixes| (prefixes, true, false)),
            2 => v6().prop_map(|prefixes| (prefixes, false, true)),
            1 => (v4(), v6()).prop_map(|(v4, v6)| ([v4, v6].concat(), true, true)),
        ]
    };
    let on = prop_oneof![
        4 => Just(vec![]),
        2 => Just(vec!["eth0"]),
        1 => Just(vec!["eth1", MISSING]),
        1 => Just(vec![MISSING]),
    ];
    let mac = prop_oneof![
        6 => Just(vec![]),
        2 => Just(vec![MACS[0]]),
        1 => Just(vec![MACS[1], MACS[0]]),
    ];
    (side(), side(), on, mac)
        .prop_filter(
            "a packet has one family",
            |((_, a4, a6), (_, b4, b6), ..)| *a4 && *b4 || *a6 && *b6,
        )
        .prop_map(|((from, a4, a6), (to, b4, b6), on, mac)| {
            let mut text = String::new();
            for (name, words) in [("from", from), ("to", to), ("on", on), ("mac", mac)] {
                if !words.is_empty() {
                    text.push_str(&format!(" --{name} {}", words.join(" ")));
                }
            }
            (text, a4 && b4, a6 && b6)
        })
}

fn rule_text() -> impl Strategy<Value = String> {
    let kind = (0..8_usize, ports(), ports(), 0..4_usize);
    let until = prop_oneof![2 => Just(0), 1 => 1..4];
    (any::<bool>(), kind, restrictions(), until).prop_map(
        |(allow, (kind, local, remote, message), (options, v4, v6), until)| {
            let message = ["any", "3", "8,128,135", "130-136"][message];
            let matching = match kind {
                0 | 1 => format!("tcp {local} --remote-port {remote}"),
                2 => format!("udp {local} --remote-port {remote}"),
                3 => format!("tcp+udp {local}"),
                4 if v4 => format!("icmp {message}"),
                5 if v6 => format!("icmp6 {message}"),
                6 if message == "3" => "ping".to_owned(),
                6 => "proto gre".to_owned(),
                _ => "any".to_owned(),
            };
            let until = match until {
                0 => String::new(),
                until => format!(" --until {}", 100 * until),
            };
            format!(
                "{} {matching}{options}{until}",
                if allow { "allow" } else { "deny" }
            )
        },
    )
}

fn policy() -> impl Strategy<Value = Policy> {
    (prop::collection::vec(rule_text(), 0..14), any::<bool>()).prop_map(|(texts, pass)| {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        Policy {
            default: if pass {
                DefaultAction::Pass
            } else {
                DefaultAction::Drop
            },
            ..rules(&texts)
        }
    })
}

/// When rules are asked, in seconds: from before the first of them ends to after the last.
const TIMES: [i64; 8] = [0, 99, 100, 199, 200, 250, 300, 400];

/// Every port at which some rule can begin or end, and its neighbours.
const PROBES: [u16; 22] = [
    0, 1, 2, 21, 22, 23, 77, 78, 79, 80, 81, 82, 83, 84, 442, 443, 444, 1023, 1024, 40000, 61000,
    65535,
];

fn packet() -> impl Strategy<Value = Packet<'static>> {
    let port = || prop::sample::select(&PROBES[..]);
    let message = || prop::sample::select(&[0, 3, 8, 11, 128, 129, 130, 134, 135, 137, 143][..]);
    let address = || prop::sample::select(&ADDRESSES[..]);
    let kinds = (0..6_usize, port(), port(), message());
    let interface = prop::sample::select(&[Some("eth0"), Some("eth1"), None][..]);
    let mac = prop::sample::select(&[Some(MACS[0]), Some(MACS[1]), None][..]);
    (kinds, address(), address(), interface, mac).prop_map(
        |((kind, local, remote, message), source, destination, interface, mac)| {
            let source: IpAddr = source.parse().unwrap();
            let destination: IpAddr = destination.parse().unwrap();
            // Of one family.
            let destination = if source.is_ipv4() == destination.is_ipv4() {
                destination
            } else {
                source
            };
            let kind = match kind {
                0 | 1 => Carried::Tcp { local, remote },
                2 => Carried::Udp { local, remote },
                3 | 4 if source.is_ipv4() => Carried::Icmp(message),
                3 | 4 => Carried::Icmp6(message),
                _ => Carried::Other([47, 50, 1, 58][usize::from(local) % 4]),
            };
            let kind = match kind {
                Carried::Other(1) if source.is_ipv4() => Carried::Other(2),
                Carried::Other(58) if source.is_ipv6() => Carried::Other(2),
                // This one has a reason of its own.
                Carried::Udp { local, remote } if remote == 67 || remote == 547 => {
                    Carried::Udp { local, remote: 66 }
                }
                kind => kind,
            };
            Packet {
                source,
                destination,
                interface,
                mac: mac.map(|mac| mac.parse().unwrap()),
                carries: kind,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn compiled_tables_decide_as_a_walk_over_the_rules(
        policy in policy(),
        wall in prop::sample::select(&[0, 0, 150, 200][..]),
        times in prop::sample::subsequence(&TIMES[..], 2),
        packets in prop::collection::vec((packet(), 0..2_usize), 200),
    ) {
        // Some rules may have ended before.
        let clocks = Clocks {
            wall: Timestamp::from_second(wall).unwrap(),
            boot: Duration::from_secs(7),
        };
        let environment = Environment { clocks, ..environment() };
        let tables = compile(&policy, &environment, &slots(&policy)).unwrap();
        let mut won = vec![false; policy.rules.len()];
        let at = |second: i64| {
            let second = second.max(wall);
            let now = Timestamp::from_second(second).unwrap();
            let boot = 7 + second.abs_diff(wall);
            let simulation = Simulation::of(&tables).at(boot * 1_000_000_000);
            (simulation, policy.without_ended(now))
        };
        let at: Vec<_> = times.iter().copied().map(at).collect();
        for (packet, time) in &packets {
            let (simulation, policy) = &at[*time];
            let outcome = ask(simulation, packet);
            prop_assert_eq!(
                (outcome.reason(), outcome.rule()),
                walk(policy, packet),
                "{:?} at {}", packet, times[*time]
            );
            if let Some(slot) = outcome.rule() {
                won[slot as usize - 7] = true;
            }
        }
        // Nobody is called unreachable who was reached.
        for shadowed in unreachable(&policy, EPHEMERAL) {
            prop_assert!(!won[shadowed.rule.0 as usize - 1], "{:?}", shadowed);
            prop_assert!(!shadowed.by.is_empty(), "{:?}", shadowed);
        }
    }
}
