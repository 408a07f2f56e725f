//! What there is to do, and what has changed.

use super::*;

#[test]
fn what_is_to_be_done_is_found_with_its_command() {
    for (lines, sockets, hit, expected) in [
        (
            &["allow tcp 80"][..],
            &["tcp 0.0.0.0:80"][..],
            &[1][..],
            &[][..],
        ),
        // A port is open if one of its sockets is.
        (
            &["allow tcp 80 from 10.0.0.0/8"],
            &["tcp 0.0.0.0:80", "tcp [::]:80"],
            &[1],
            &[],
        ),
        (
            &[],
            &["tcp 0.0.0.0:6379", "tcp [::]:6379", "udp 0.0.0.0:40000"],
            &[],
            &["listening-dropped tcp 6379 => xdpfw allow tcp 6379"],
        ),
        (&["deny tcp 6379"], &["tcp 0.0.0.0:6379"], &[], &[]),
        (
            &["allow tcp 80"],
            &["tcp 0.0.0.0:80"],
            &[],
            &["unused-rule r1 => xdpfw delete r1"],
        ),
        (
            &["allow ping"],
            &[],
            &[],
            &["unused-rule r1 => xdpfw delete r1"],
        ),
        (&["deny tcp 80"], &[], &[], &[]),
        (
            &["allow tcp 80"],
            &["tcp 127.0.0.1:80"],
            &[1],
            &["nobody-listens r1 => xdpfw delete r1"],
        ),
        (
            &["allow tcp 80,443 from 10.0.0.0/8"],
            &["tcp 0.0.0.0:80"],
            &[1],
            &[
                "nobody-listens r1 => xdpfw allow tcp 80 --from 10.0.0.0/8 --before r1 && \
               xdpfw delete r1",
            ],
        ),
        (
            &["allow tcp 8000-8010"],
            &["tcp 0.0.0.0:8001", "tcp 0.0.0.0:8002"],
            &[],
            &["nobody-listens r1 => xdpfw allow tcp 8001-8002 --before r1 && xdpfw delete r1"],
        ),
        // Ports to choose among.
        (
            &["allow udp 60000-61000"],
            &["udp 0.0.0.0:61000"],
            &[1],
            &[],
        ),
        (&["allow tcp high"], &["tcp 0.0.0.0:8080"], &[1], &[]),
        (
            &["allow tcp+udp 53"],
            &["udp 0.0.0.0:53"],
            &[1],
            &["nobody-listens r1 => xdpfw allow udp 53 --before r1 && xdpfw delete r1"],
        ),
        // What is left of it is said already.
        (
            &["allow tcp 80", "allow tcp 80,81"],
            &["tcp 0.0.0.0:80"],
            &[1],
            &["nobody-listens r2 => xdpfw delete r2"],
        ),
        (
            &["allow tcp 80", "allow tcp 80 from 10.0.0.0/8"],
            &["tcp 0.0.0.0:80"],
            &[1],
            &["shadowed r2 => xdpfw delete r2"],
        ),
    ] {
        assert_eq!(
            found(lines, sockets, hit),
            expected,
            "{lines:?} {sockets:?}"
        );
    }
}

#[test]
fn what_is_for_others_needs_nobody_here() {
    let mut policy = policy(&["allow tcp 80"], &["eth0"]);
    let host = host();
    let services = served(&policy, &[], &[]);
    let hits = |packets| Hits {
        of_rules: HashMap::from([(RuleId(1), packets)]),
        since: SINCE,
        rules_since: HashMap::new(),
    };
    let kinds = |policy: &Policy, forwards, packets| -> Vec<&str> {
        let findings = examine(&Facts {
            forwards,
            hits: Some(hits(packets)),
            ..facts(policy, &services, &host, &[])
        });
        findings.iter().map(|finding| finding.kind).collect()
    };
    assert_eq!(kinds(&policy, false, 1), ["nobody-listens"]);
    assert!(kinds(&policy, true, 1).is_empty());
    let elsewhere: IpNet = "198.51.100.0/24".parse().unwrap();
    policy.rules[0].matches.to = vec![elsewhere];
    assert!(kinds(&policy, false, 1).is_empty());
    assert_eq!(kinds(&policy, false, 0), ["unused-rule"]);
}

#[test]
fn published_ports_that_are_closed_have_a_kind_of_their_own() {
    let policy = policy(&["allow tcp 8081"], &["eth0"]);
    let tcp = Transport::Tcp;
    let sockets = ["tcp 0.0.0.0:8082"];
    let services = served(&policy, &sockets, &[(tcp, 8080), (tcp, 8081), (tcp, 8082)]);
    let findings = examine(&facts(&policy, &services, &host(), &[]));
    assert_eq!(
        shown(&findings),
        [
            "published-port tcp 8080 => xdpfw allow tcp 8080",
            "published-port tcp 8082 => xdpfw allow tcp 8082",
        ]
    );
}

#[test]
fn destinations_that_take_most_ports_are_named() {
    let range = PortRange {
        first: 40000,
        last: 40099,
    };
    let lines: Vec<String> = (0..80)
        .map(|n| format!("tcp 192.0.2.1:{} 203.0.113.1:443", 40000 + n))
        .chain((0..79).map(|n| format!("tcp 192.0.2.1:{} 203.0.113.2:443", 40000 + n)))
        .chain([
            "tcp 0.0.0.0:40099".to_owned(),
            "tcp 192.0.2.1:40099 203.0.113.1:443".to_owned(),
        ])
        .collect();
    let sockets: Vec<Socket> = lines.iter().map(|line| socket(line)).collect();
    assert_eq!(in_use(&sockets, range), 80);
    let crowds = crowds(&sockets, range);
    assert_eq!((crowds[0].in_use, crowds[1].in_use), (80, 79));
    for (lines, more) in [(&[][..], ""), (&["deny udp ephemeral"], " && xdpfw apply")] {
        let policy = policy(lines, &["eth0"]);
        let findings = examine(&Facts {
            ephemeral: range,
            ..facts(&policy, &[], &host(), &crowds)
        });
        let remedy = "sysctl -w net.ipv4.ip_local_port_range='16384 65535'";
        let expected = format!("ephemeral-exhaustion tcp 203.0.113.1:443 => {remedy}{more}");
        assert_eq!(shown(&findings), [expected]);
    }
}

#[test]
fn names_that_mean_something_else_on_this_host_are_found() {
    let policy = policy(&["allow tcp 22,80", "deny tcp 25 on eth0"], &["eth0"]);
    let named = |name: &str, port| NamedPort {
        rule: RuleId(1),
        name: name.to_owned(),
        transport: Transport::Tcp,
        port,
    };
    let findings = examine(&Facts {
        names: vec![named("ssh", 22), named("http", 80), named("none", 7)],
        host_services: HostServices::parse("ssh 2222/tcp\nhttp 80/tcp\n"),
        renamed: vec![("eth0".to_owned(), "wan0".to_owned())],
        services: &served(&policy, &["tcp 0.0.0.0:22", "tcp 0.0.0.0:80"], &[]),
        ..facts(&policy, &[], &host(), &[])
    });
    assert_eq!(
        shown(&findings),
        [
            "name-changed r1 ssh => xdpfw allow tcp 2222,80 --before r1 && xdpfw delete r1",
            "name-changed r2 eth0 => xdpfw deny tcp 25 --on wan0 --before r2 && xdpfw delete r2",
        ]
    );
}

#[test]
fn what_has_changed_since_is_found() {
    let before = serde_json::json!({
        "at": "2026-11-28T10:00:00Z", "default": "pass",
        "rules": [{"id": "r1", "text": "allow tcp 80"}, {"id": "r2", "text": "allow tcp 81"},
            {"id": "r9", "text": "allow\u{1b}[2J tcp 9"}],
        "listening": [
            {"protocol": "tcp", "address": "0.0.0.0", "port": 80, "verdict": "pass"},
            {"protocol": "tcp", "address": "0.0.0.0", "port": 82, "verdict": "pass"},
            {"protocol": "tcp", "address": "0.0.0.0", "port": 83, "process": "a\nb", "verdict": "pass"},
            {"protocol": "tcp", "address": "127.0.0.1", "port": 84, "verdict": "local"},
        ],
        "findings": [{"kind": "unused-rule", "object": "r2"}],
    });
    let earlier: Earlier = serde_json::from_value(before).unwrap();
    let policy = policy(
        &["allow tcp 80", "allow tcp 443", "allow tcp 8080"],
        &["eth0"],
    );
    let sockets = [
        "tcp 0.0.0.0:80",
        "tcp 0.0.0.0:82",
        "tcp 0.0.0.0:85",
        "tcp 127.0.0.1:86",
    ];
    let found = differences(&earlier, &policy, &served(&policy, &sockets, &[]));
    let kinds: Vec<String> = found
        .iter()
        .map(|one| format!("{} {}", one.kind, one.object))
        .collect();
    assert_eq!(
        kinds,
        [
            "verdict-changed tcp 0.0.0.0:82",
            "new-listener tcp 0.0.0.0:85",
            "gone-listener tcp 0.0.0.0:83",
            "changed-rule r2",
            "new-rule r3",
            "gone-rule r9",
            "default-changed default",
        ]
    );
    for one in &found {
        assert!(!one.text.contains(char::is_control), "{}", one.text);
        assert_eq!(one.remedy.as_deref(), Some("xdpfw review --save"));
    }
}

#[test]
fn a_rule_is_not_news_while_the_counters_have_just_begun() {
    let earlier = |counting: Option<&str>| -> Earlier {
        serde_json::from_value(serde_json::json!({
            "at": "2026-11-28T10:00:00Z", "counting_since": counting, "default": "drop",
            "rules": [], "listening": [],
            "findings": [{"kind": "unused-rule", "object": "r2"}],
        }))
        .unwrap()
    };
    let time = |text: &str| -> Timestamp { text.parse().unwrap() };
    let finding = |kind, object: &str| Finding::new(kind, object, String::new());
    let now = time("2026-11-30T10:00:00Z");
    let (unused, closed) = (
        finding("unused-rule", "r1"),
        finding("listening-dropped", "r1"),
    );
    for (then, counting, expected) in [
        // They go on.
        (Some("2026-11-27T10:00:00Z"), "2026-11-27T10:00:00Z", true),
        // They began anew, and count for less or for as long as then.
        (Some("2026-11-27T10:00:00Z"), "2026-11-29T11:00:00Z", false),
        (Some("2026-11-27T10:00:00Z"), "2026-11-29T10:00:00Z", true),
        // A week is long enough.
        (Some("2026-01-01T10:00:00Z"), "2026-11-24T10:00:00Z", false),
        (Some("2026-01-01T10:00:00Z"), "2026-11-23T10:00:00Z", true),
        (None, "2026-11-30T09:59:59Z", true),
    ] {
        let (earlier, counting) = (earlier(then), Some(time(counting)));
        assert_eq!(
            earlier.is_news(&unused, counting, now),
            expected,
            "{then:?}"
        );
        assert!(earlier.is_news(&closed, counting, now));
        assert!(!earlier.is_news(&finding("unused-rule", "r2"), counting, now));
    }
}
