//! Proves which rule decides, over IPv4 and IPv6.

use anyhow::Result;
use etherparse::{EtherType, IpNumber};
use xdpfw_tests::packets::flags;

use crate::{
    filter::{Filter, Programs},
    frame::{
        Packet, REMOTE,
        Version::{self, V4},
        both, echo, packet, segment, tcp, tcp_from, udp, udp_from,
    },
    table::{allowed, case, closed, denied, drops, passes, prove},
};

/// Cases, a line each, of a packet over both versions of IP.
macro_rules! cases {
    ($($name:literal: $make:ident($($port:expr),+) => $expected:expr;)+) => {
        [$(case($name, both(|version| $make(version, $($port),+)), $expected),)+]
    };
}

#[test]
fn local_ports_are_judged_by_the_first_rule_that_matches() -> Result<()> {
    prove(
        r#"
        rule = [
            { allow = "tcp 443" },
            { deny = "tcp 8000-8010" },
            { allow = "tcp 8000-8100" },
            { deny = "tcp 8050" },
            { allow = "udp 53" },
            { allow = "tcp+udp 5060" },
            { allow = "tcp 65000-65535" },
            { deny = "udp 1-1023" },
        ]
        "#,
        &cases! {
            "port below a rule's": tcp(442) => closed("tcp/442");
            "port of a rule": tcp(443) => allowed("r1");
            "port above a rule's": tcp(444) => closed("tcp/444");
            "UDP where TCP is allowed": udp(443) => denied("r8").on("udp/443");
            "below a range": tcp(7999) => closed("tcp/7999");
            "first port of a denied range": tcp(8000) => denied("r2").on("tcp/8000");
            "last port of a denied range": tcp(8010) => denied("r2").on("tcp/8010");
            "first port behind a denied range": tcp(8011) => allowed("r3");
            "deny after allow": tcp(8050) => allowed("r3");
            "last port of an allowed range": tcp(8100) => allowed("r3");
            "above a range": tcp(8101) => closed("tcp/8101");
            "UDP to a TCP range": udp(8011) => closed("udp/8011");
            "allow before a range's deny": udp(53) => allowed("r5");
            "its neighbour below": udp(52) => denied("r8").on("udp/52");
            "its neighbour above": udp(54) => denied("r8").on("udp/54");
            "TCP where UDP is allowed": tcp(53) => closed("tcp/53");
            "a rule for both, TCP": tcp(5060) => allowed("r6");
            "a rule for both, UDP": udp(5060) => allowed("r6");
            "above a rule for both": udp(5061) => closed("udp/5061");
            "below the last range": tcp(64_999) => closed("tcp/64999");
            "first port of the last range": tcp(65_000) => allowed("r7");
            "last port there is": tcp(65_535) => allowed("r7");
            "last port there is, UDP": udp(65_535) => closed("udp/65535");
            "port 0, TCP": tcp(0) => closed("tcp/0");
            "port 0, UDP": udp(0) => closed("udp/0");
            "first port of a range from 1": udp(1) => denied("r8").on("udp/1");
            "last port of a range to 1023": udp(1023) => denied("r8").on("udp/1023");
            "above a range to 1023": udp(1024) => closed("udp/1024");
        },
    )
}

#[test]
fn remote_ports_are_judged_together_with_local_ones() -> Result<()> {
    prove(
        r#"
        rule = [
            { deny = "tcp any", remote_ports = [6667] },
            { allow = "tcp 80" },
            { allow = "tcp 1024-2000", remote_ports = ["20-21"] },
            { allow = "udp 5000", remote_ports = [123, "200-300"] },
            { deny = "udp any", remote_ports = [1900] },
            { allow = "udp 5000-5001" },
        ]
        "#,
        &cases! {
            "denied peer": tcp_from(6667, 80) => denied("r1").on("tcp/80");
            "denied peer, other port": tcp_from(6667, 81) => denied("r1").on("tcp/81");
            "the port below it": tcp_from(6666, 80) => allowed("r2");
            "the port above it": tcp_from(6668, 80) => allowed("r2");
            "denied peer's port as ours": tcp_from(80, 6667) => closed("tcp/6667");
            "UDP from the denied peer": udp_from(6667, 80) => closed("udp/80");
            "both in range": tcp_from(20, 1024) => allowed("r3");
            "both in range, last": tcp_from(21, 2000) => allowed("r3");
            "local below": tcp_from(20, 1023) => closed("tcp/1023");
            "local above": tcp_from(20, 2001) => closed("tcp/2001");
            "remote below": tcp_from(19, 1024) => closed("tcp/1024");
            "remote above": tcp_from(22, 1024) => closed("tcp/1024");
            "both, but the other way": tcp_from(1024, 20) => closed("tcp/20");
            "UDP in both ranges of TCP": udp_from(20, 1024) => closed("udp/1024");
            "first of two remote words": udp_from(123, 5000) => allowed("r4");
            "second of two remote words": udp_from(300, 5000) => allowed("r4");
            "between the words": udp_from(124, 5000) => allowed("r6");
            "remote port alone": udp_from(123, 4999) => closed("udp/4999");
            "deny before allow": udp_from(1900, 5000) => denied("r5").on("udp/5000");
            "deny on an unlisted port": udp_from(1900, 9) => denied("r5").on("udp/9");
            "its neighbour": udp_from(1901, 5001) => allowed("r6");
            "TCP from the port that UDP denies": tcp_from(1900, 80) => allowed("r2");
        },
    )
}

#[test]
fn what_no_rule_matches_passes_by_default_pass() -> Result<()> {
    prove(
        r#"
        default = "pass"
        rule = [{ deny = "tcp 23" }, { allow = "tcp 24" }, { deny = "udp any", remote_ports = [53] }]
        "#,
        &cases! {
            "below the rule": tcp(22) => passes("default");
            "the rule": tcp(23) => denied("r1").on("tcp/23");
            "an allow rule": tcp(24) => allowed("r2");
            "the other protocol": udp(23) => passes("default");
            "a remote port": udp_from(53, 9) => denied("r3").on("udp/9");
            "another remote port": udp_from(54, 9) => passes("default");
            "a DHCP answer, IPv4": udp_from(67, 68) => passes("default");
            "a DHCP answer, IPv6": udp_from(547, 546) => passes("default");
            "an answer to nobody": ack(25) => passes("default");
        },
    )
}

/// A segment of a connection that no socket has.
fn ack(version: Version, local: u16) -> Packet {
    tcp(version, local).flags(flags::ACK)
}

#[test]
fn protocols_without_ports_follow_rules_for_any_and_else_the_default() -> Result<()> {
    let protocols = [2, 47, 50, 132, 255].map(IpNumber).into_iter();
    let frames: Vec<_> = protocols
        .flat_map(|protocol| {
            both(|version| packet(version, protocol, &segment(REMOTE, 443, flags::SYN)))
        })
        .collect();
    for (rules, expected) in [
        ("", drops("default")),
        (
            r#"{ allow = "tcp any" }, { allow = "udp any" }"#,
            drops("default"),
        ),
        (r#"{ allow = "tcp+udp any" }"#, drops("default")),
        (r#"{ allow = "any" }"#, allowed("r1")),
        (r#"{ deny = "tcp 443" }, { allow = "any" }"#, allowed("r2")),
        (r#"{ deny = "any" }, { allow = "any" }"#, denied("r1")),
    ] {
        let policy = format!("rule = [{rules}]");
        prove(&policy, &[case(rules, frames.clone(), expected)])?;
    }
    prove(
        r#"rule = [{ deny = "tcp 23" }, { allow = "any" }, { deny = "udp 53" }]"#,
        &cases! {
            "deny before any": tcp(23) => denied("r1").on("tcp/23");
            "any, TCP": tcp(24) => allowed("r2");
            "any, UDP": udp(23) => allowed("r2");
            "deny after any": udp(53) => allowed("r2");
        },
    )
}

#[test]
fn rules_come_before_the_dhcp_client() -> Result<()> {
    let answer = || [udp_from(V4, 67, 68)];
    prove(
        r#"rule = [{ deny = "udp 68" }]"#,
        &[case("denied", answer(), denied("r1").on("udp/68"))],
    )?;
    prove(
        "dhcp_client = false\nrule = [{ allow = \"udp 68\" }]",
        &[case("allowed", answer(), allowed("r1"))],
    )
}

/// A frame from another station.
fn from_station(packet: &Packet, station: u8) -> Vec<u8> {
    let mut frame = packet.frame();
    frame[6..12].copy_from_slice(&[2, 0, 10, 0, 0, station]);
    frame
}

/// Allows and denies stations on the link, and one of them only from some addresses.
const STATIONS: &str = r#"
    rule = [
        { allow = "tcp 22", mac = ["02:00:0a:00:00:02", "02-00-0A-00-00-03"] },
        { deny = "any", mac = "02:00:0a:00:00:04" },
        { allow = "udp 53", from = ["10.0.0.0/8", "fd00::/8"], mac = "02:00:0a:00:00:02" },
        { allow = "tcp 80" },
    ]
"#;

#[test]
fn stations_on_the_link_are_judged_together_with_all_else() -> Result<()> {
    let from = |station, make: &dyn Fn(Version) -> Packet| {
        both(make).map(|packet| from_station(&packet, station))
    };
    let later = |version: Version| tcp(version, 22).fragment(2, false);
    let foreign = |version: Version| match version {
        V4 => udp(version, 53).source([192, 0, 2, 7]),
        Version::V6 => udp(version, 53).source([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7]),
    };
    let tags = [EtherType::PROVIDER_BRIDGING, EtherType::VLAN_TAGGED_FRAME];
    prove(
        STATIONS,
        &[
            case("first", from(2, &|v| tcp(v, 22)), allowed("r1")),
            case("second", from(3, &|v| tcp(v, 22)), allowed("r1")),
            case("neither", from(5, &|v| tcp(v, 22)), closed("tcp/22")),
            case(
                "behind tags",
                both(|v| tcp(v, 22).tagged(&tags)),
                allowed("r1"),
            ),
            case("another port", from(2, &|v| tcp(v, 23)), closed("tcp/23")),
            case(
                "denied",
                from(4, &|v| tcp(v, 80)),
                denied("r2").on("tcp/80"),
            ),
            case("not denied", from(5, &|v| tcp(v, 80)), allowed("r4")),
            case("denied fragment", from(4, &later), denied("r2")),
            case("open fragment", from(2, &later), passes("fragment")),
            case(
                "address and station",
                from(2, &|v| udp(v, 53)),
                allowed("r3"),
            ),
            case("address alone", from(3, &|v| udp(v, 53)), closed("udp/53")),
            case("station alone", from(2, &foreign), closed("udp/53")),
            case("denied ping", from(4, &echo), denied("r2")),
        ],
    )
}

#[test]
fn packets_without_a_link_layer_come_from_no_station() -> Result<()> {
    let filter = Filter::with(STATIONS, Programs::Bare)?;
    for (port, expected) in [(22, closed("tcp/22")), (80, allowed("r4"))] {
        let packets = both(|version| tcp(version, port).bytes());
        filter.judge_all(&[case("bare", packets, expected)])?;
    }
    Ok(())
}
