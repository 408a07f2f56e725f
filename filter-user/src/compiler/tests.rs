//! Compiled tables decide as a walk over the rules does, packet by packet.

use std::collections::HashMap;

use proptest::prelude::*;
use xdpfw_common::{
    Reason,
    verdict::{Host, Outcome, Segment, judge},
    wire::ipv4::Addresses,
};

use super::*;
use std::net::Ipv4Addr;

use crate::policy::{Flow, Kind, Rule, What, WhatText};

const EPHEMERAL: PortRange = PortRange {
    first: 32768,
    last: 60999,
};

/// The tables, as the kernel program sees them.
struct Compiled {
    /// Whether the host has a socket for every packet, or none at all.
    sockets: bool,
    config: Config,
    listed: Box<PortBitmaps>,
    ports: [HashMap<PortKey, u32>; 2],
    decisions: HashMap<ClassKey, Decision>,
}

impl From<Tables> for Compiled {
    fn from(tables: Tables) -> Self {
        Self {
            sockets: false,
            config: tables.config,
            listed: tables.listed,
            ports: [
                tables.local.into_iter().collect(),
                tables.remote.into_iter().collect(),
            ],
            decisions: tables.decisions.into_iter().collect(),
        }
    }
}

impl Host for Compiled {
    fn config(&self) -> &Config {
        &self.config
    }

    fn is_closed(&self, transport: Transport, port: u16) -> bool {
        self.listed.is_closed(transport, port)
    }

    fn is_listed(&self, side: Side, transport: Transport, port: u16) -> bool {
        self.listed.contains(side, transport, port)
    }

    fn class_of(&self, side: Side, transport: Transport, port: u16) -> Option<u32> {
        self.ports[side as usize]
            .get(&PortKey::new(transport, port))
            .copied()
    }

    fn decision(&self, local: u32, remote: u32) -> Option<Decision> {
        self.decisions.get(&ClassKey { local, remote }).copied()
    }

    fn has_socket(&self, _: &Addresses, _: &Segment, _: bool) -> bool {
        self.sockets
    }
}

fn frame(transport: Transport, local: u16, remote: u16) -> Vec<u8> {
    let [local, remote] = [local.to_be_bytes(), remote.to_be_bytes()];
    let mut frame = vec![0; 12];
    frame.extend([0x08, 0x00]);
    let len = match transport {
        Transport::Tcp => 40,
        Transport::Udp => 28,
    };
    frame.extend([0x45, 0, 0, len, 0, 0, 0, 0, 64, transport.protocol(), 0, 0]);
    frame.extend([192, 0, 2, 1, 192, 0, 2, 2]);
    frame.extend([remote, local].concat());
    match transport {
        Transport::Tcp => frame.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x02, 0, 0, 0, 0, 0, 0]),
        Transport::Udp => frame.extend([0, 8, 0, 0]),
    }
    frame
}

fn compiled(policy: &Policy) -> Compiled {
    let slots: Vec<u32> = (0..policy.rules.len() as u32)
        .map(|slot| slot + 7)
        .collect();
    compile(policy, EPHEMERAL, &slots).unwrap().into()
}

fn ask(tables: &Compiled, transport: Transport, local: u16, remote: u16) -> Outcome {
    judge(&frame(transport, local, remote)[..], tables)
}

/// What a walk over the rules says: reason, and slot of the rule.
fn walk(policy: &Policy, transport: Transport, local: u16, remote: u16) -> (Reason, Option<u32>) {
    let flow = Flow {
        source: Ipv4Addr::new(192, 0, 2, 1).into(),
        destination: Ipv4Addr::new(192, 0, 2, 2).into(),
        interface: None,
        kind: match transport {
            Transport::Tcp => Kind::Tcp { local, remote },
            Transport::Udp => Kind::Udp { local, remote },
        },
    };
    let found = policy
        .rules
        .iter()
        .position(|rule| rule.what.matches(&flow, EPHEMERAL));
    match found {
        Some(index) => (
            match policy.rules[index].action {
                Action::Allow => Reason::RuleAllow,
                Action::Deny => Reason::RuleDeny,
            },
            Some(index as u32 + 7),
        ),
        None if policy.default == DefaultAction::Pass => (Reason::DefaultPass, None),
        None => (Reason::DefaultDrop, None),
    }
}

fn rule(index: usize, action: Action, words: &str, remote: &str) -> Rule {
    let text = WhatText {
        remote: Some(vec![remote]),
        ..WhatText::of_words(words)
    };
    Rule {
        id: RuleId(index as u32 + 1),
        action,
        what: What::parse(&text).unwrap(),
        comment: None,
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

fn policy() -> impl Strategy<Value = Policy> {
    let protocol = prop::sample::select(vec!["tcp", "udp", "tcp+udp", "any"]);
    let rule_words = (any::<bool>(), protocol, ports(), ports());
    (prop::collection::vec(rule_words, 0..12), any::<bool>()).prop_map(|(rules, pass)| Policy {
        default: if pass {
            DefaultAction::Pass
        } else {
            DefaultAction::Drop
        },
        rules: rules
            .into_iter()
            .enumerate()
            .map(|(index, (allow, protocol, local, remote))| {
                let action = if allow { Action::Allow } else { Action::Deny };
                match protocol {
                    "any" => rule(index, action, "any", "any"),
                    protocol => rule(index, action, &format!("{protocol} {local}"), &remote),
                }
            })
            .collect(),
        ..Policy::default()
    })
}

/// Every port at which some rule can begin or end, and its neighbours.
const PROBES: [u16; 22] = [
    0, 1, 2, 21, 22, 23, 77, 78, 79, 80, 81, 82, 83, 84, 442, 443, 444, 1023, 1024, 40000, 61000,
    65535,
];

proptest! {
    #[test]
    fn compiled_tables_decide_as_a_walk_over_the_rules(policy in policy()) {
        let tables = compiled(&policy);
        for transport in Transport::ALL {
            for local in PROBES {
                for remote in PROBES {
                    let outcome = ask(&tables, transport, local, remote);
                    prop_assert_eq!(
                        (outcome.reason(), outcome.rule()),
                        walk(&policy, transport, local, remote),
                        "{} {} from {}", transport, local, remote
                    );
                }
            }
        }
    }
}

#[test]
fn a_deny_in_front_wins_over_an_allow_behind() {
    let policy = Policy {
        rules: vec![
            rule(0, Action::Deny, "tcp 8080", "any"),
            rule(1, Action::Allow, "tcp 8000-8100", "any"),
        ],
        ..Policy::default()
    };
    let tables = compiled(&policy);
    for (port, reason) in [
        (7999, Reason::DefaultDrop),
        (8000, Reason::RuleAllow),
        (8079, Reason::RuleAllow),
        (8080, Reason::RuleDeny),
        (8081, Reason::RuleAllow),
        (8100, Reason::RuleAllow),
        (8101, Reason::DefaultDrop),
    ] {
        assert_eq!(
            ask(&tables, Transport::Tcp, port, 50000).reason(),
            reason,
            "{port}"
        );
        assert_eq!(
            ask(&tables, Transport::Udp, port, 50000).reason(),
            Reason::DefaultDrop
        );
    }
}

#[test]
fn answers_reach_client_ports_and_come_from_servers() {
    const DHCP: [u16; 2] = [68, 67];
    let answers = |policy: &Policy| {
        let tables = Compiled {
            sockets: true,
            ..compiled(policy)
        };
        [[40000, 50000], [40000, 53], [9, 53], [9, 50000], DHCP]
            .map(|[local, remote]| ask(&tables, Transport::Udp, local, remote).reason())
    };
    use Reason::{DefaultDrop, DhcpClient, Reply};
    let connected = Policy::default();
    assert_eq!(
        answers(&connected),
        [Reply, Reply, Reply, DefaultDrop, DhcpClient]
    );
    let off = Policy {
        udp_replies: UdpReplies::Off,
        ..Policy::default()
    };
    assert_eq!(
        answers(&off),
        [
            DefaultDrop,
            DefaultDrop,
            DefaultDrop,
            DefaultDrop,
            DhcpClient
        ]
    );
    let without_dhcp = Policy {
        dhcp_client: false,
        ..Policy::default()
    };
    assert_eq!(
        answers(&without_dhcp),
        [Reply, Reply, Reply, DefaultDrop, Reply]
    );
}

#[test]
fn ports_of_equal_rules_share_a_class() {
    let policy = Policy {
        rules: vec![rule(0, Action::Allow, "tcp 1000-2000,3000", "any")],
        ..Policy::default()
    };
    let tables = compile(&policy, EPHEMERAL, &[0]).unwrap();
    assert_eq!(tables.local.len(), 1002);
    assert_eq!(tables.decisions.len(), 1);
}

#[test]
fn a_policy_beyond_the_bounds_is_refused_and_names_the_rules() {
    let rules = (0..1200)
        .map(|index| {
            rule(
                index,
                Action::Allow,
                &format!("tcp {}", index + 1),
                &(index + 1).to_string(),
            )
        })
        .collect();
    let policy = Policy {
        rules,
        ..Policy::default()
    };
    let slots: Vec<u32> = (0..1200).collect();
    let Err(refusal) = compile(&policy, EPHEMERAL, &slots) else {
        panic!("compiled");
    };
    assert_eq!(
        refusal.to_string(),
        "1442401 combinations of local and remote ports are more than the 262144 supported \
         (simplify the remote ports of r1 r2 r3 and 1197 more)"
    );
}
