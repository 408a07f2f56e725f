//! Rules match what they say.

use super::{super::*, parse};
use crate::ports::PortRange;

const EPHEMERAL: PortRange = PortRange {
    first: 32768,
    last: 60999,
};

/// Source and destination, and what the packet carries.
type Sample = ([&'static str; 2], Carried);

/// Source, destination, interface, and what the packet carries.
fn packet(
    source: &str,
    destination: &str,
    interface: Option<&'static str>,
    carries: Carried,
) -> Packet<'static> {
    Packet {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        interface,
        mac: None,
        carries,
    }
}

#[test]
fn a_rule_matches_what_it_says_and_nothing_beside_it() {
    const V4: [&str; 2] = ["192.0.2.7", "198.51.100.1"];
    const V6: [&str; 2] = ["2001:db8::7", "2001:db8:1::1"];
    let tcp = |local| Carried::Tcp {
        local,
        remote: 50000,
    };
    let udp = |local, remote| Carried::Udp { local, remote };
    let cases: &[(&str, &[Sample], &[Sample])] = &[
        (
            "tcp 443",
            &[(V4, tcp(443)), (V6, tcp(443))],
            &[
                (V4, tcp(442)),
                (V4, tcp(444)),
                (V6, udp(443, 50000)),
                (V4, Carried::Other(47)),
            ],
        ),
        (
            "udp any --remote-port 53",
            &[(V4, udp(1, 53)), (V6, udp(60000, 53))],
            &[(V4, udp(53, 54)), (V4, tcp(53))],
        ),
        (
            "icmp echo-request,11-12",
            &[
                (V4, Carried::Icmp(8)),
                (V4, Carried::Icmp(11)),
                (V4, Carried::Icmp(12)),
            ],
            &[
                (V4, Carried::Icmp(0)),
                (V4, Carried::Icmp(10)),
                (V4, Carried::Icmp(13)),
                (V6, Carried::Icmp6(8)),
                (V6, Carried::Other(1)),
            ],
        ),
        (
            "icmp6 echo-request",
            &[(V6, Carried::Icmp6(128))],
            &[
                (V6, Carried::Icmp6(129)),
                (V4, Carried::Icmp(128)),
                (V4, Carried::Other(58)),
            ],
        ),
        (
            "proto gre",
            &[(V4, Carried::Other(47)), (V6, Carried::Other(47))],
            &[
                (V4, Carried::Other(46)),
                (V4, tcp(47)),
                (V4, Carried::Icmp(47)),
            ],
        ),
        (
            "any",
            &[
                (V4, tcp(1)),
                (V6, udp(1, 1)),
                (V4, Carried::Icmp(8)),
                (V6, Carried::Icmp6(135)),
                (V4, Carried::Other(58)),
                (V6, Carried::Other(1)),
            ],
            &[],
        ),
        (
            "any --from 192.0.2.0/29",
            &[(["192.0.2.0", V4[1]], tcp(1)), (V4, Carried::Other(47))],
            &[
                (["192.0.1.255", V4[1]], tcp(1)),
                (["192.0.2.8", V4[1]], tcp(1)),
                (V6, tcp(1)),
                (["::ffff:192.0.2.7", V6[1]], tcp(1)),
            ],
        ),
        (
            "tcp 1 --from 0.0.0.0/0",
            &[(V4, tcp(1))],
            &[(V6, tcp(1)), (V4, tcp(2))],
        ),
        (
            "tcp 1 --from 192.0.2.7 2001:db8::/32 --to 198.51.100.0/24 2001:db8:1::1",
            &[(V4, tcp(1)), (V6, tcp(1))],
            &[
                (["192.0.2.6", V4[1]], tcp(1)),
                ([V4[0], "198.51.101.0"], tcp(1)),
                ([V6[0], "2001:db8:1::2"], tcp(1)),
                (["2001:db9::", V6[1]], tcp(1)),
            ],
        ),
    ];
    for &(line, matched, others) in cases {
        let matching = parse(line).unwrap();
        for (packets, expected) in [(matched, true), (others, false)] {
            for &([source, destination], kind) in packets {
                let packet = packet(source, destination, None, kind);
                assert_eq!(
                    matching.matches(&packet, EPHEMERAL),
                    expected,
                    "{line}: {packet:?}"
                );
            }
        }
    }
    let matching = parse("any --on eth0 eth1.7").unwrap();
    for (interface, expected) in [
        (Some("eth0"), true),
        (Some("eth1.7"), true),
        (Some("eth1"), false),
        (Some("eth00"), false),
        (None, false),
    ] {
        let packet = packet(V4[0], V4[1], interface, tcp(1));
        assert_eq!(
            matching.matches(&packet, EPHEMERAL),
            expected,
            "{interface:?}"
        );
    }
}
