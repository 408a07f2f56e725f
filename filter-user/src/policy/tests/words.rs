//! Words make rules, and rules are written as words that make them again.

use std::net::IpAddr;

use proptest::prelude::*;

use super::{super::*, parse};

#[test]
fn words_are_kept_in_their_order_and_have_one_form() {
    for (line, shown) in [
        ("tcp 443", "tcp 443"),
        ("HTTPS", "tcp 443"),
        ("443/tcp", "tcp 443"),
        ("dns", "tcp+udp 53"),
        ("ping", "ping"),
        ("PING", "ping"),
        ("icmp ping", "icmp echo-request"),
        ("icmp 8", "icmp echo-request"),
        ("echo-request/icmp", "icmp echo-request"),
        ("ICMP any", "icmp any"),
        (
            "icmp 3, 11 12",
            "icmp destination-unreachable,time-exceeded,parameter-problem",
        ),
        ("icmpv6 133-137", "icmp6 133-137"),
        ("ipv6-icmp ping", "icmp6 echo-request"),
        ("proto gre", "proto gre"),
        ("proto 47", "proto gre"),
        ("proto 252", "proto 252"),
        ("proto tcp", "tcp any"),
        ("proto 17", "udp any"),
        ("proto icmp", "icmp any"),
        ("proto 58", "icmp6 any"),
        ("proto ipv6-icmp", "icmp6 any"),
        ("any", "any"),
        (
            "tcp 443 --from 192.0.2.0/24 2001:db8::/32 --to 198.51.100.1 ::1 --on eth0 wg0",
            "tcp 443 --from 192.0.2.0/24,2001:db8::/32 --to 198.51.100.1,::1 --on eth0,wg0",
        ),
        (
            "any --from 192.0.2.9/32, 192.0.2.0/24 192.0.2.9,10.0.0.0/8",
            "any --from 192.0.2.9,192.0.2.0/24,192.0.2.9,10.0.0.0/8",
        ),
        ("any --from any --to ANY --on any", "any"),
        ("any --from 0.0.0.0/0", "any --from 0.0.0.0/0"),
        ("any --from ::/0", "any --from ::/0"),
        (
            "udp any --remote-port 53,ntp",
            "udp any --remote-port 53,123",
        ),
        ("any --remote-port any", "any"),
        (
            "icmp any --from 192.0.2.1 2001:db8::1",
            "icmp any --from 192.0.2.1,2001:db8::1",
        ),
    ] {
        let matching = parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(matching.to_string(), shown, "{line}");
        assert_eq!(parse(shown), Ok(matching), "{line}");
    }
}

#[test]
fn long_lists_are_cut_where_they_are_only_shown() {
    let matching = parse("any --from 10.0.0.1 10.0.0.2 10.0.0.3 --on a b c d").unwrap();
    assert_eq!(
        format!("{matching:.3}"),
        "any --from 10.0.0.1,10.0.0.2,10.0.0.3 --on a,b,c +1"
    );
    let many = Match {
        from: vec!["192.0.2.1".parse::<IpAddr>().unwrap().into(); 100_000],
        ..Match::everything()
    };
    assert_eq!(format!("{many:.1}"), "any --from 192.0.2.1 +99,999");
}

#[test]
fn errors_name_the_word_and_end_with_the_remedy() {
    for (line, message) in [
        ("", "a rule needs a protocol and ports, as in `tcp 443`"),
        (
            "icmp",
            "icmp needs a type (say for example `icmp echo-request` or `icmp any`)",
        ),
        (
            "icmp6",
            "icmp6 needs a type (say for example `icmp6 echo-request` or `icmp6 any`)",
        ),
        (
            "proto",
            "proto needs a protocol (say for example `proto gre`)",
        ),
        (
            "icmp echo-reqest",
            "`echo-reqest` is not an ICMP type (did you mean `echo-request`?)",
        ),
        (
            "proto gr",
            "`gr` is not a protocol (say for example gre or 47)",
        ),
        (
            "proto sctpp",
            "`sctpp` is not a protocol (did you mean `sctp`?)",
        ),
        (
            "proto ipv6-route",
            "no packet is judged by ipv6-route, a header of IPv6 that the filter looks behind (say \
             the protocol behind it, or any)",
        ),
        (
            "proto 0",
            "no packet is judged by hopopt, a header of IPv6 that the filter looks behind (say the \
             protocol behind it, or any)",
        ),
        (
            "proto ipv6-opts",
            "no packet is judged by ipv6-opts, a header of IPv6 that the filter looks behind (say \
             the protocol behind it, or any)",
        ),
        (
            "proto 44",
            "no packet is judged by ipv6-frag, a header of IPv6 that the filter looks behind (say \
             `fragments = \"drop\"` in the policy file)",
        ),
        (
            "hopopt",
            "no packet is judged by hopopt, a header of IPv6 that the filter looks behind (say the \
             protocol behind it, or any)",
        ),
        (
            "ipv6-frag 80",
            "no packet is judged by ipv6-frag, a header of IPv6 that the filter looks behind (say \
             `fragments = \"drop\"` in the policy file)",
        ),
        (
            "proto ah --from 2001:db8::/32",
            "ah is for IPv4, and 2001:db8::/32 is not (over IPv6, say the protocol behind it, or \
             any)",
        ),
        ("proto 256", "protocol 256 is out of range (0-255)"),
        (
            "proto gre,esp",
            "`gre,esp` is not a protocol (say for example gre or 47)",
        ),
        (
            "proto gre esp",
            "`proto gre esp` is more than one protocol (say a rule for each)",
        ),
        (
            "proto any",
            "`proto any` is more than one protocol (say `any`)",
        ),
        ("gre", "`gre` is a protocol without ports (say `proto gre`)"),
        ("gre any", "`gre` has no ports (say `proto gre`)"),
        (
            "ping any",
            "`ping any` is more than pings (say `ping`, or `icmp` or `icmp6` with types)",
        ),
        (
            "packet-too-big",
            "`packet-too-big` is an ICMPv6 type (say `icmp6 packet-too-big`)",
        ),
        (
            "any --from 10.0.0.1/8",
            "10.0.0.1/8 has host bits set (say 10.0.0.0/8 or 10.0.0.1)",
        ),
        (
            "any --from 2001:db8::1/32",
            "2001:db8::1/32 has host bits set (say 2001:db8::/32 or 2001:db8::1)",
        ),
        (
            "any --from ::ffff:192.0.2.0/120",
            "::ffff:192.0.2.0/120 is IPv4 written as IPv6 (say 192.0.2.0/24)",
        ),
        (
            "any --to ::ffff:c000:201",
            "::ffff:c000:201 is IPv4 written as IPv6 (say 192.0.2.1)",
        ),
        (
            "any --from 192.0.2.0/33",
            "prefix length 33 is out of range for IPv4 (0-32)",
        ),
        (
            "any --from 2001:db8::/129",
            "prefix length 129 is out of range for IPv6 (0-128)",
        ),
        (
            "any --from 192.0.2.0/255.255.255.0",
            "192.0.2.0/255.255.255.0 has a netmask for a prefix length (say 192.0.2.0/24)",
        ),
        (
            "any --from 192.0.2.0/",
            "`192.0.2.0/` has no prefix length (say for example 192.0.2.0/32)",
        ),
        (
            "any --from www.example.com",
            "`www.example.com` is a name, and names are never looked up (say its addresses)",
        ),
        (
            "any --from 192.0.2",
            "`192.0.2` is not an address or prefix (say for example 192.0.2.0/24 or 2001:db8::/32)",
        ),
        (
            "any --from 192.0.2.1-192.0.2.9",
            "`192.0.2.1-192.0.2.9` is not an address or prefix (say for example 192.0.2.0/24 or 2001:db8::/32)",
        ),
        (
            "any --from fe80::1%eth0",
            "`fe80::1%eth0` has a zone (say fe80::1 and --on eth0)",
        ),
        (
            "any --from 192.0.2.1,,192.0.2.2",
            "prefix list `192.0.2.1,,192.0.2.2` has an empty item (leave it out)",
        ),
        (
            "any --from",
            "prefix list is empty (say any, or leave it out)",
        ),
        (
            "any --from 192.0.2.1 any",
            "any in a prefix list makes the others meaningless (say any alone, or leave it out)",
        ),
        (
            "any --from 192.0.2.1 --to 2001:db8::1",
            "no packet goes from 192.0.2.1 to 2001:db8::1, which are not of one family (say a rule for each)",
        ),
        (
            "icmp any --from 2001:db8::/32",
            "icmp is for IPv4, and 2001:db8::/32 is not (say icmp6)",
        ),
        (
            "icmp6 any --to 192.0.2.1",
            "icmp6 is for IPv6, and 192.0.2.1 is not (say icmp)",
        ),
        (
            "any --mac 02:00:00:00:00",
            "`02:00:00:00:00` is not a MAC address (say for example 02:00:5e:10:00:01)",
        ),
        (
            "any --mac 2:0:0:0:0:1",
            "`2:0:0:0:0:1` is not a MAC address (say for example 02:00:5e:10:00:01)",
        ),
        (
            "any --mac 02:00:00:00:00:01,02:00:00:00:00:01:02",
            "`02:00:00:00:00:01:02` is not a MAC address (say for example 02:00:5e:10:00:01)",
        ),
        (
            "any --mac +2:00:00:00:00:01",
            "`+2:00:00:00:00:01` is not a MAC address (say for example 02:00:5e:10:00:01)",
        ),
        (
            "any --mac ff:ff:ff:ff:ff:ff",
            "`ff:ff:ff:ff:ff:ff` is the MAC address of a group, and no packet comes from one (say a \
             station's)",
        ),
        (
            "any --mac",
            "MAC address list is empty (say any, or leave it out)",
        ),
        ("any --on eth/0", "`eth/0` is not an interface name"),
        (
            "any --on an-interface-name",
            "`an-interface-name` is not an interface name",
        ),
        (
            "any --on",
            "interface list is empty (say any, or leave it out)",
        ),
        (
            "any --remote-port 53",
            "`any` names no protocol for its remote ports (say tcp, udp or tcp+udp)",
        ),
        (
            "icmp any --remote-port 53",
            "icmp has no ports (leave the remote ports out)",
        ),
        (
            "proto gre --remote-port 53",
            "gre has no ports (leave the remote ports out)",
        ),
        (
            "udp any --remote-port",
            "port list is empty (say a port, a range, a service name or any)",
        ),
    ] {
        assert_eq!(parse(line).unwrap_err(), message, "{line}");
    }
}

#[test]
fn an_error_tells_which_item_it_is_in() {
    let text = MatchSpec {
        from: Some(vec!["10.0.0.0/8", "192.0.2.1", "10.0.0.1/8", "x"]),
        ..MatchSpec::of_words("any")
    };
    let error = Match::parse(&text).unwrap_err();
    assert_eq!((error.part, error.item), (Part::From, 2));
}

#[test]
fn an_error_is_one_line_whatever_was_written() {
    for word in ["a\nb", "\u{1b}[2J", "1%2\n3", "1/\n2", "::1%a\nb"] {
        let words = Some(vec![word]);
        for text in [
            MatchSpec {
                from: words.clone(),
                ..MatchSpec::of_words("any")
            },
            MatchSpec {
                on: words.clone(),
                ..MatchSpec::of_words("any")
            },
        ] {
            let message = Match::parse(&text).unwrap_err().to_string();
            assert!(!message.contains(['\n', '\u{1b}']), "{message:?}");
        }
    }
}

fn prefix() -> impl Strategy<Value = String> {
    prop_oneof![
        (any::<u32>(), 0..=32u8).prop_map(|(bits, length)| {
            ipnet::Ipv4Net::new(bits.into(), length)
                .unwrap()
                .trunc()
                .to_string()
        }),
        (any::<u128>(), 0..=128u8)
            .prop_map(|(bits, length)| {
                ipnet::Ipv6Net::new(bits.into(), length)
                    .unwrap()
                    .trunc()
                    .to_string()
            })
            .prop_filter("maps IPv4", |text| !text.starts_with("::ffff:")),
    ]
}

#[test]
fn a_free_id_is_above_the_highest_as_long_as_there_is_one() {
    let free = |ids: &[u32]| {
        let rules = ids.iter().map(|&id| Rule {
            id: RuleId(id),
            action: Action::Allow,
            matches: Match::everything(),
            until: None,
            comment: None,
        });
        let policy = Policy {
            rules: rules.collect(),
            ..Policy::default()
        };
        policy.free_id().0
    };
    assert_eq!(free(&[]), 1);
    assert_eq!(free(&[1, 7, 3]), 8);
    assert_eq!(free(&[u32::MAX - 1]), u32::MAX);
    assert_eq!(free(&[1, 2, u32::MAX]), 3);
}

proptest! {
    #[test]
    fn what_is_displayed_parses_to_the_same_rule(
        words in prop::sample::select(vec![
            "tcp 80,443", "udp 1-5", "tcp+udp any", "any", "proto gre", "proto 200", "icmp ping,3-4",
            "icmp6 any",
        ]),
        from in prop::collection::vec(prefix(), 0..5),
        to in prop::collection::vec(prefix(), 0..5),
        on in prop::collection::vec("[a-z][a-z0-9.-]{0,14}", 0..3),
        mac in prop::collection::vec("[0-9a-f][02468ace](:[0-9a-f]{2}){5}|[0-9A-F]4(-[0-9A-F]{2}){5}", 0..3),
    ) {
        let mut line = words.to_owned();
        for (option, items) in [("--from", &from), ("--to", &to), ("--on", &on), ("--mac", &mac)] {
            if !items.is_empty() && items != &["any"] {
                line += &format!(" {option} {}", items.join(" "));
            }
        }
        if let Ok(matching) = parse(&line) {
            prop_assert_eq!(parse(&matching.to_string()), Ok(matching));
        }
    }

    #[test]
    fn no_prefix_panics(text in "[0-9a-f.:/%]{0,24}|.{0,16}") {
        let text = MatchSpec { from: Some(vec![&text]), ..MatchSpec::of_words("any") };
        if let Ok(matching) = Match::parse(&text) {
            prop_assert_eq!(parse(&matching.to_string()), Ok(matching));
        }
    }

    #[test]
    fn a_policy_is_written_so_that_it_reads_back(
        rules in prop::collection::vec(
            (any::<bool>(), prop::sample::select(vec![
                "tcp 80", "udp any --remote-port 53,high", "icmp ping", "icmp6 133-137", "proto esp", "ping",
                "any --on eth0,wg0", "tcp 22 --from 192.0.2.0/24,2001:db8::1 --to ::/0",
            ])), 0..8),
    ) {
        let policy = Policy {
            rules: rules.into_iter().zip(1..).map(|((allow, line), id)| Rule {
                id: RuleId(id),
                action: if allow { Action::Allow } else { Action::Deny },
                matches: parse(line).unwrap(),
                until: (id % 3 == 0).then(|| Until::second(id.into())),
                comment: (id % 2 == 0).then(|| format!("number {id}")),
            }).collect(),
            interfaces: InterfaceList::of_tests(&["en*", "wg0"]),
            answers_from: vec!["eth1".to_owned()],
            flows: FlowSizes { tcp: 1 << 12, other: 1 << 13 },
            ..Policy::default()
        };
        let json = serde_json::to_string(&PolicyText::from(&policy)).unwrap();
        let text: PolicyText = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(&text.read().unwrap(), &policy);

        // As a file, too.
        let document = PolicyDocument::of(&policy).unwrap();
        prop_assert_eq!(document.policy(), &policy);
        let contents = document.contents().into_owned();
        let read = PolicyDocument::parse(contents.clone().into_bytes()).unwrap();
        prop_assert_eq!(read.policy(), &policy, "{}", contents);
    }
}

#[test]
fn names_of_services_are_found_where_they_are_written() {
    let text =
        "version = 1\nrule = [{ allow = 'tcp 443,ssh 8080' }, { deny = 'dns', from = '::/0' },
        { allow = 'icmp echo-request' }, { allow = 'snmp/udp' }, { allow = 'tcp high' }]";
    let document = PolicyDocument::parse(text.into()).unwrap();
    let found: Vec<String> = document
        .named_ports()
        .into_iter()
        .map(|(rule, name, transport, port)| format!("{rule} {name} {transport} {port}"))
        .collect();
    assert_eq!(
        found,
        [
            "r1 ssh tcp 22",
            "r2 dns tcp 53",
            "r2 dns udp 53",
            "r4 snmp udp 161"
        ]
    );
}
