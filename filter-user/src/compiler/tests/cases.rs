//! Policies whose tables are known, or whose rules are in vain, and those that are refused.

use super::*;

pub(super) fn tcp(source: &str, local: u16) -> Packet<'static> {
    Packet {
        source: source.parse().unwrap(),
        destination: if source.contains(':') {
            "2001:db8::99".parse().unwrap()
        } else {
            "198.51.100.1".parse().unwrap()
        },
        interface: Some("eth0"),
        mac: None,
        carries: Carried::Tcp {
            local,
            remote: 50000,
        },
    }
}

#[test]
fn ping_is_the_echo_request_of_both_families() {
    let tables = compiled(&rules(&["allow ping", "deny icmp any", "deny icmp6 any"]));
    let simulation = Simulation::of(&tables);
    for (source, carries, reason) in [
        ("192.0.2.1", Carried::Icmp(8), Reason::RuleAllow),
        ("192.0.2.1", Carried::Icmp(128), Reason::RuleDeny),
        ("192.0.2.1", Carried::Icmp(13), Reason::RuleDeny),
        ("2001:db8::1", Carried::Icmp6(128), Reason::RuleAllow),
        ("2001:db8::1", Carried::Icmp6(8), Reason::RuleDeny),
        ("2001:db8::1", Carried::Icmp6(139), Reason::RuleDeny),
    ] {
        let packet = Packet {
            carries,
            ..tcp(source, 0)
        };
        assert_eq!(ask(&simulation, &packet).reason(), reason, "{carries:?}");
    }
}

#[test]
fn a_deny_in_front_wins_over_an_allow_behind() {
    let tables = compiled(&rules(&["deny tcp 8080", "allow tcp 8000-8100"]));
    let simulation = Simulation::of(&tables);
    for (port, reason) in [
        (7999, Reason::DefaultDrop),
        (8000, Reason::RuleAllow),
        (8079, Reason::RuleAllow),
        (8080, Reason::RuleDeny),
        (8081, Reason::RuleAllow),
        (8100, Reason::RuleAllow),
        (8101, Reason::DefaultDrop),
    ] {
        for source in ["192.0.2.1", "2001:db8::1"] {
            let outcome = ask(&simulation, &tcp(source, port));
            assert_eq!(outcome.reason(), reason, "{port} from {source}");
        }
    }
}

#[test]
fn the_first_of_nested_prefixes_wins_whatever_is_longer() {
    let tables = compiled(&rules(&[
        "allow tcp 22 --from 10.1.2.3",
        "deny tcp 22 --from 10.0.0.0/8",
        "allow tcp 22 --from 10.1.0.0/16",
        "allow tcp 22 --from 2001:db8::/32",
    ]));
    let simulation = Simulation::of(&tables);
    for (source, rule) in [
        ("10.1.2.3", Some(7)),
        ("10.1.2.4", Some(8)),
        ("10.2.0.1", Some(8)),
        ("11.0.0.1", None),
        ("2001:db8::7", Some(10)),
        ("::ffff:10.1.2.3", None),
    ] {
        assert_eq!(ask(&simulation, &tcp(source, 22)).rule(), rule, "{source}");
    }
}

#[test]
fn a_socket_answers_at_any_port_where_sockets_tell() {
    const DHCP: [u16; 2] = [68, 67];
    let answers = |policy: &Policy| {
        let tables = compiled(policy);
        let simulation = Simulation::of(&tables).with_sockets();
        [[40000, 50000], [40000, 53], [9, 53], [9, 50000], DHCP].map(|[local, remote]| {
            let packet = Packet {
                carries: Carried::Udp { local, remote },
                ..tcp("192.0.2.1", 1)
            };
            ask(&simulation, &packet).reason()
        })
    };
    use Reason::{DefaultDrop, DhcpClient, Reply};
    let of = |replies| Policy {
        replies,
        ..Policy::default()
    };
    let with_dhcp = |one| [one, one, one, one, DhcpClient];
    // Nothing has left, so no socket is even asked.
    assert_eq!(answers(&of(Replies::Flows)), with_dhcp(DefaultDrop));
    assert_eq!(answers(&of(Replies::Off)), with_dhcp(DefaultDrop));
    assert_eq!(answers(&of(Replies::Sockets)), with_dhcp(Reply));
    let without_dhcp = Policy {
        dhcp_client: false,
        ..of(Replies::Sockets)
    };
    assert_eq!(answers(&without_dhcp), [Reply; 5]);
}

#[test]
fn dhcp_answers_pass_in_their_own_family() {
    let tables = compiled(&Policy::default());
    let simulation = Simulation::of(&tables);
    for (source, destination, local, remote, reason) in [
        ("192.0.2.1", "198.51.100.1", 68, 67, Reason::DhcpClient),
        ("fe80::1", "fe80::2", 546, 547, Reason::DhcpClient),
        // A server over IPv6 may use any port and any address.
        ("2001:db8::1", "fe80::2", 546, 50000, Reason::DhcpClient),
        ("fe80::1", "2001:db8::99", 546, 547, Reason::DefaultDrop),
        ("192.0.2.1", "198.51.100.1", 546, 547, Reason::DefaultDrop),
        ("fe80::1", "fe80::2", 68, 67, Reason::DefaultDrop),
        ("192.0.2.1", "198.51.100.1", 68, 66, Reason::DefaultDrop),
    ] {
        let packet = Packet {
            destination: destination.parse().unwrap(),
            carries: Carried::Udp { local, remote },
            ..tcp(source, 1)
        };
        assert_eq!(
            ask(&simulation, &packet).reason(),
            reason,
            "{source} {local}"
        );
    }
}

#[test]
fn tables_are_no_larger_than_the_policy_asks_for() {
    let sizes = |texts: &[&str]| {
        let policy = rules(texts);
        let tables = compile(&policy, &environment(), &slots(&policy)).unwrap();
        (tables.local.len(), tables.edges.len(), tables.prefixes())
    };
    // The decision stands at the port itself.
    assert_eq!(sizes(&["allow tcp 1000-2000,3000"]), (1002, 0, 0));
    // A rule for all ports needs no entry for any.
    assert_eq!(sizes(&["allow tcp any"]), (0, 0, 0));
    assert_eq!(sizes(&["allow tcp 22 --from 10.0.0.0/8"]), (1, 1, 1));
    // A prefix inside another of the same rule says nothing new, and one that is
    // covered by longer ones is never the longest.
    assert_eq!(
        sizes(&["allow tcp 22 --from 10.0.0.0/8 10.1.0.0/16"]),
        (1, 1, 1)
    );
    let halves = [
        "allow tcp 22 --from 10.0.0.0/9",
        "allow tcp 22 --from 10.128.0.0/9",
        "allow tcp 22 --from 10.0.0.0/8",
    ];
    assert_eq!(sizes(&halves), (1, 2, 2));
}

#[test]
fn a_list_of_denied_addresses_is_stored_once_for_all_ports() {
    let denied =
        (0..300).map(|index| format!("deny any --from 10.{}.{}.0/24", index / 250, index % 250));
    let allowed = (0..1000).map(|index| format!("allow tcp {}", 2 * index + 1));
    let texts: Vec<String> = denied.chain(allowed).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let tables = compiled(&rules(&texts));
    let simulation = Simulation::of(&tables);
    assert_eq!((tables.local.len(), tables.edges.len()), (1000, 300));
    assert_eq!(
        ask(&simulation, &tcp("10.1.49.7", 1999)).rule(),
        Some(7 + 299)
    );
    assert_eq!(
        ask(&simulation, &tcp("10.1.50.7", 1999)).rule(),
        Some(7 + 1299)
    );
    assert_eq!(ask(&simulation, &tcp("10.1.50.7", 2000)).rule(), None);
}

pub(super) fn shadows(texts: &[&str]) -> Vec<(u32, Vec<u32>)> {
    unreachable(&rules(texts), EPHEMERAL)
        .into_iter()
        .map(|shadowed| {
            let by = shadowed.by.into_iter().map(|rule| rule.0).collect();
            (shadowed.rule.0, by)
        })
        .collect()
}

#[test]
fn rules_that_can_never_match_are_named_with_those_in_front() {
    assert_eq!(shadows(&["allow tcp 22", "deny tcp 80"]), []);
    assert_eq!(shadows(&["allow any", "deny tcp 80"]), [(2, vec![1])]);
    assert_eq!(
        shadows(&["deny tcp 80", "deny tcp 443", "allow tcp 80,443"]),
        [(3, vec![1, 2])]
    );
    // The one that covers it alone is named alone.
    assert_eq!(
        shadows(&["deny tcp 80", "allow tcp 1-1000", "allow tcp 80-90"]),
        [(3, vec![2])]
    );
    assert_eq!(
        shadows(&[
            "allow tcp 22 --from 10.0.0.0/9",
            "allow tcp 22 --from 10.128.0.0/9",
            "deny tcp 22 --from 10.0.0.0/8",
        ]),
        [(3, vec![1, 2])]
    );
    assert_eq!(
        shadows(&[
            "deny any --from 10.0.0.0/8",
            "allow tcp 22 --from 10.1.0.0/16"
        ]),
        [(2, vec![1])]
    );
    // IPv6 is left over.
    assert_eq!(shadows(&["deny any --from 0.0.0.0/0", "allow tcp 22"]), []);
    assert_eq!(
        shadows(&[
            "deny any --from 0.0.0.0/0",
            "deny any --from ::/0",
            "allow tcp 22"
        ]),
        [(3, vec![1, 2])]
    );
    assert_eq!(
        shadows(&["deny icmp any", "allow icmp 8", "allow icmp6 128"]),
        [(2, vec![1])]
    );
    assert_eq!(
        shadows(&["allow tcp any", "allow udp any", "deny tcp+udp 53"]),
        [(3, vec![1, 2])]
    );
    assert_eq!(
        shadows(&["allow tcp 1-1023", "allow tcp 1024-65535", "deny tcp any"]),
        [],
        "port 0 is left over"
    );
    assert_eq!(
        shadows(&["allow tcp 22 --on eth0", "deny tcp 22 --on eth0 eth1"]),
        []
    );
    // An interface may come.
    assert_eq!(shadows(&["allow tcp 22 --on eth9", "deny tcp 22"]), []);
    assert_eq!(
        shadows(&["allow tcp 22 --on eth9", "deny tcp 22 --on eth9"]),
        [(2, vec![1])]
    );
}

#[test]
fn a_rule_that_needs_no_ports_decides_on_later_fragments() {
    let mut later = frame(&tcp("10.1.2.3", 80));
    // The fragment's offset in the IPv4 header.
    later[14 + 7] = 2;
    let decides = |texts: &[&str]| {
        let tables = compiled(&rules(texts));
        Simulation::of(&tables).judge(&later[..], 2).rule()
    };
    for (texts, expected) in [
        (&["deny any"][..], Some(7)),
        (&["deny any --from 10.1.0.0/16"], Some(7)),
        (&["deny any --from 10.2.0.0/16"], None),
        (&["allow tcp any --on eth0"], Some(7)),
        (&["allow tcp any --on eth1"], None),
        (&["allow udp any"], None),
        // Ports decide …
        (&["deny tcp 1-65535"], None),
        (&["deny tcp any --remote-port 443"], None),
        (&["allow tcp 22", "deny any"], None),
        (&["allow tcp 22", "deny tcp 23", "deny any"], None),
        // … or all of them lead to the same.
        (&["deny tcp 22", "deny any"], Some(8)),
        (&["deny tcp 22", "deny tcp any"], Some(8)),
        (&["allow udp 22", "deny any"], Some(8)),
        (&["allow tcp 22 --from 10.2.0.0/16", "deny any"], Some(8)),
        (&["allow tcp 22 --on eth1", "deny any"], Some(8)),
        (&["deny any --from 10.1.2.3", "allow tcp 22"], Some(7)),
    ] {
        assert_eq!(decides(texts), expected, "{texts:?}");
    }
}

#[test]
fn rules_for_ports_do_not_multiply_what_fragments_ask() {
    let ports = (1..=5000).map(|port| format!("allow tcp+udp {port}"));
    let peers =
        (0..5000).map(|index| format!("deny any --from 10.{}.{}.0/24", index / 250, index % 250));
    let texts: Vec<String> = ports.chain(peers).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let tables = compiled(&rules(&texts));
    assert_eq!((tables.local.len(), tables.edges.len()), (10_000, 5000));
}

#[test]
fn a_policy_beyond_the_bounds_is_refused_and_names_the_rules() {
    // Each remote port has another list of prefixes.
    let texts: Vec<String> = (0..800)
        .map(|index| {
            let (b, c) = (index / 256, index % 256);
            format!(
                "allow tcp 22 --from 10.{b}.{c}.0/24 --remote-port 1-{}",
                index + 1
            )
        })
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let policy = rules(&texts);
    let error = compile(&policy, &environment(), &slots(&policy)).err();
    let message = error.expect("too complex").message(&policy);
    assert!(message.contains("combinations"), "{message}");
    assert!(message.contains("more)"), "{message}");

    let many = Policy {
        rules: vec![rule(0, "allow tcp 1"); MAX_RULES + 1],
        ..Policy::default()
    };
    let error = compile(&many, &environment(), &slots(&many)).err();
    assert_eq!(error, Some(TooComplex::Rules(MAX_RULES + 1)));
}

#[test]
fn many_rules_and_prefixes_are_compiled_at_all() {
    let texts: Vec<String> = (0..10_000)
        .map(|index| {
            let (a, b) = (index / 250, index % 250);
            format!("allow tcp {} --from 10.{a}.{b}.0/24", 1 + index % 5000)
        })
        .collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let tables = compiled(&rules(&texts));
    let simulation = Simulation::of(&tables);
    assert_eq!(tables.edges.len(), 10_000);
    assert_eq!(
        ask(&simulation, &tcp("10.39.249.1", 5000)).rule(),
        Some(10_006)
    );
    assert_eq!(ask(&simulation, &tcp("10.39.249.1", 4999)).rule(), None);
}
