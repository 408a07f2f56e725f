//! Cases of fragments, of IPv4 and IPv6.

use etherparse::IpNumber;

use crate::{
    filter::Programs,
    frame::{
        ICMP, Packet, TCP, UDP,
        Version::{self, V4, V6},
        both, echo, packet, tcp, udp,
    },
    page::{USUAL, usual},
    table::{Case, Expected, Section, allowed, case, closed, denied, drops, malformed, passes},
};

/// The usual policy, but for later fragments.
const DROPPED: &str = usual!("fragments = \"drop\"");

pub(crate) fn first_fragments() -> Section {
    let first = |packet: Packet| packet.fragment(0, true);
    let tiny = |[packet, packet6]: [Packet; 2], header: usize| {
        let each = |packet: Packet| (0..header).map(move |len| first(packet.clone().short(len)));
        each(packet).chain(each(packet6)).collect::<Vec<_>>()
    };
    let still_to_come = 4_000_u16.to_be_bytes();
    let mut cases = Vec::new();
    for (port, name) in [
        (443, "the open port"),
        (22, "a closed port"),
        (23, "the denied port"),
    ] {
        cases.extend([
            case(
                format!("tiny: each of 0–19 bytes of TCP to {name}"),
                tiny(both(|version| tcp(version, port)), TCP),
                malformed("tcp-truncated"),
            ),
            case(
                format!("tiny: each of 0–7 bytes of UDP to {name}"),
                tiny(both(|version| udp(version, port)), UDP),
                malformed("udp-truncated"),
            ),
        ]);
    }
    cases.extend([
        case(
            "tiny: each of 0–7 bytes of a ping",
            tiny(both(echo), ICMP),
            malformed("icmp-truncated"),
        ),
        case(
            "tiny, and behind 4–40 bytes of IPv4 options: each of 0–19 bytes of TCP",
            (1..=10).flat_map(|words| {
                (0..TCP).map(move |len| first(tcp(V4, 443).options(&vec![1; 4 * words]).short(len)))
            }),
            malformed("tcp-truncated"),
        ),
        case(
            "TCP to the open port, 20 bytes and more",
            (0..32).flat_map(|len| both(|version| first(tcp(version, 443).data(len)))),
            allowed("r1"),
        ),
        case(
            "TCP to a closed port",
            both(|version| first(tcp(version, 22))),
            closed("tcp/22"),
        ),
        case(
            "TCP to the denied port",
            both(|version| first(tcp(version, 23))),
            denied("r3").on("tcp/23"),
        ),
        case(
            "UDP to the open port, most of it still to come",
            both(|version| first(udp(version, 443).patched(4, &still_to_come))),
            allowed("r2"),
        ),
        case(
            "UDP to a closed port, most of it still to come",
            both(|version| first(udp(version, 22).patched(4, &still_to_come))),
            closed("udp/22"),
        ),
        case(
            "TCP without flags to the open port",
            both(|version| first(tcp(version, 443).flags(0))),
            drops("bad-flags").on("tcp/443"),
        ),
        case("IPv4, ping", [first(echo(V4))], allowed("r5")),
        case("IPv6, ping", [first(echo(V6))], allowed("r6")),
        case(
            "GRE",
            both(|version| first(packet(version, IpNumber::GRE, &[0; 8]))),
            drops("default"),
        ),
        case(
            "IPv6, atomic fragments (RFC 6946) of TCP to the open port: whole packets",
            [tcp(V6, 443).fragment(0, false)],
            allowed("r1"),
        ),
        case(
            "IPv6, atomic fragments that end at every byte of TCP's header",
            (0..TCP).map(|len| tcp(V6, 443).fragment(0, false).short(len)),
            malformed("tcp-truncated"),
        ),
        case(
            "IPv6, an atomic fragment of UDP longer than the packet: nothing is still to come",
            [udp(V6, 443).fragment(0, false).patched(4, &still_to_come)],
            malformed("udp-length"),
        ),
    ]);
    Section {
        title: "First fragments",
        text: "Over IPv4 and IPv6. A first fragment must hold the whole transport header; with \
               less, a later one could choose ports and flags (RFC 1858, RFC 7112).",
        policies: &[USUAL, DROPPED],
        programs: Programs::Ethernet,
        cases,
    }
}

/// Nothing in a later fragment is read.
fn later(expected: Expected) -> Vec<Case> {
    let later = |offset: u16, more: bool, make: &dyn Fn(Version) -> Packet| {
        both(|version| make(version).fragment(offset, more))
    };
    let over_both = |make: &dyn Fn(Version, u16) -> Packet, port: u16| {
        let mut packets = Vec::new();
        for (offset, more) in [
            (1, true),
            (1, false),
            (185, true),
            (2, false),
            (8191, false),
        ] {
            packets.extend(later(offset, more, &|version| make(version, port)));
        }
        packets
    };
    let each_protocol = (0..=u8::MAX).flat_map(|number| {
        both(|version| packet(version, IpNumber(number), &[0; 8]).fragment(2, false))
    });
    vec![
        case(
            "overlapping: offset 1 (8 bytes) behind a good first fragment, other ports and flags",
            [22, 23, 443].into_iter().flat_map(|port| {
                // What stands from the ninth byte of a TCP header on.
                both(|version| {
                    packet(
                        version,
                        IpNumber::TCP,
                        &[0, 0, 0, 0, 0x50, 2, 0xff, port as u8],
                    )
                    .fragment(1, false)
                })
            }),
            expected,
        ),
        case(
            "what would be TCP to the open port",
            over_both(&tcp, 443),
            expected,
        ),
        case(
            "what would be TCP to a closed port",
            over_both(&tcp, 22),
            expected,
        ),
        case(
            "what would be TCP to the denied port",
            over_both(&tcp, 23),
            expected,
        ),
        case(
            "what would be UDP to a closed port",
            over_both(&udp, 22),
            expected,
        ),
        case(
            "what would be UDP to the denied port",
            over_both(&udp, 23),
            expected,
        ),
        case(
            "what would be TCP without flags",
            over_both(&|version, port| tcp(version, port).flags(0), 443),
            expected,
        ),
        case(
            "what would be a ping",
            over_both(&|version, _| echo(version), 0),
            expected,
        ),
        case(
            "each length of 0–40 bytes of what would be TCP",
            (0..=40).flat_map(|len| {
                both(|version| tcp(version, 22).data(20).short(len).fragment(2, false))
            }),
            expected,
        ),
        case(
            "each offset of 1–8,191, to the open port",
            (1..8192).flat_map(|offset| {
                both(|version| tcp(version, 443).fragment(offset, offset % 2 == 0))
            }),
            expected,
        ),
        case("each of the 256 protocols", each_protocol, expected),
        case(
            "IPv4, behind 4–40 bytes of options",
            (1..=10).map(|words| tcp(V4, 22).options(&vec![1; 4 * words]).fragment(2, true)),
            expected,
        ),
        case(
            "IPv4, longer than the frame",
            [tcp(V4, 443).fragment(2, true).claims(41)],
            malformed("ipv4-total-length"),
        ),
        case(
            "IPv6, longer than the frame",
            [tcp(V6, 443).fragment(2, true).claims(29)],
            malformed("ipv6-payload-length"),
        ),
        case(
            "IPv6, the fragment's header cut at every byte by the packet's end",
            (0..8).map(|len| tcp(V6, 443).fragment(2, true).claims(len)),
            malformed("extension-truncated"),
        ),
    ]
}

pub(crate) fn later_fragments() -> Section {
    Section {
        title: "Later fragments, passed",
        text: "Over IPv4 and IPv6. Ports are never read from a later fragment, and the usual \
               rules ask for nothing else. Unless the policy says `drop`, it passes; without \
               the first one, which is judged, the kernel has no use for it. Nor does it take anything from fragments that overlap: what lies \
               within the bytes it has already it ignores, for any other overlap it discards the \
               packet (`tests/verdicts/stack.rs` proves it of the kernel the tests run on).",
        policies: &[USUAL],
        programs: Programs::Ethernet,
        cases: later(passes("fragment")),
    }
}

pub(crate) fn later_fragments_dropped() -> Section {
    Section {
        title: "Later fragments, dropped",
        text: "The same frames.",
        policies: &[DROPPED],
        programs: Programs::Ethernet,
        cases: later(drops("fragment")),
    }
}

/// Rules that fragments can meet, behind a knob.
macro_rules! ruled {
    ($knob:literal) => {
        concat!(
            $knob,
            r#"rule = [
    { deny = "any", from = ["192.0.2.0/24", "2001:db8:2::/48"] },       # r1
    { deny = "tcp 23" },                                                # r2
    { deny = "proto gre" },                                             # r3
    { deny = "udp any", to = ["10.0.0.9", "fd00::9"] },                 # r4
    { allow = "any", from = ["198.51.100.0/24", "2001:db8:6::/48"] },   # r5
    { allow = "udp 443" },                                              # r6
    { allow = "icmp any" },                                             # r7
    { deny = "udp any", from = ["203.0.113.0/24", "2001:db8:3::/48"] }, # r8
    { allow = "tcp any", remote_ports = [443] },                        # r9
]"#
        )
    };
}

/// What becomes of later fragments under rules; `open` is what they leave open.
fn under_rules(open: Expected) -> Vec<Case> {
    let from = |v4: [u8; 4], v6: [u16; 8]| {
        move |packet: Packet, version| match version {
            V4 => packet.source(v4).fragment(2, true),
            V6 => packet.source(v6).fragment(2, true),
        }
    };
    let denied_peer = from([192, 0, 2, 7], [0x2001, 0xdb8, 2, 0, 0, 0, 0, 7]);
    let allowed_peer = from([198, 51, 100, 7], [0x2001, 0xdb8, 6, 0, 0, 0, 0, 7]);
    let doubtful_peer = from([203, 0, 113, 7], [0x2001, 0xdb8, 3, 0, 0, 0, 0, 7]);
    let anybody = |packet: Packet, _: Version| packet.fragment(2, true);
    let of = |version, protocol: u8| packet(version, IpNumber(protocol), &[0; 16]);
    let (gre, esp) = (47, 50);
    let extensions = || [0, 43, 44, 51, 60].into_iter();
    vec![
        case(
            "each of the 256 protocols from the denied peer",
            (0..=u8::MAX)
                .flat_map(|number| both(|version| denied_peer(of(version, number), version))),
            denied("r1"),
        ),
        case(
            "UDP and ESP from the allowed peer",
            both(|version| allowed_peer(udp(version, 443), version))
                .into_iter()
                .chain(both(|version| allowed_peer(of(version, esp), version))),
            allowed("r5"),
        ),
        case(
            "TCP from the allowed peer, since r2 may be for it",
            both(|version| allowed_peer(tcp(version, 443), version)),
            open,
        ),
        case(
            "IPv6 from the allowed peer, of which only the first fragment tells the protocol",
            extensions().map(|number| allowed_peer(of(V6, number), V6)),
            open,
        ),
        case(
            "IPv4 from the allowed peer, of protocols that are headers of IPv6",
            extensions().map(|number| allowed_peer(of(V4, number), V4)),
            allowed("r5"),
        ),
        case(
            "GRE from the allowed peer, and from anybody",
            both(|version| allowed_peer(of(version, gre), version))
                .into_iter()
                .chain(both(|version| anybody(of(version, gre), version))),
            denied("r3"),
        ),
        case(
            "UDP to the denied address",
            both(|version| {
                let packet = udp(version, 443);
                let packet = match version {
                    V4 => packet.destination([10, 0, 0, 9]),
                    V6 => packet.destination([0xfd00, 0, 0, 0, 0, 0, 0, 9]),
                };
                anybody(packet, version)
            }),
            denied("r4"),
        ),
        case(
            "UDP from the peer that r8 denies, since r6 may be for it",
            both(|version| doubtful_peer(udp(version, 22), version)),
            open,
        ),
        case(
            "UDP from anybody",
            both(|version| anybody(udp(version, 443), version)),
            open,
        ),
        case(
            "TCP from anybody",
            both(|version| anybody(tcp(version, 443), version)),
            open,
        ),
        case("IPv4, ICMP", [anybody(echo(V4), V4)], allowed("r7")),
        case("IPv6, ICMPv6", [anybody(echo(V6), V6)], open),
        case(
            "ESP, which no rule is for",
            both(|version| anybody(of(version, esp), version)),
            open,
        ),
    ]
}

pub(crate) fn later_fragments_under_rules() -> Section {
    Section {
        title: "Later fragments under rules",
        text: "Over IPv4 and IPv6. A later fragment has interface, addresses and protocol, and \
               the first rule that asks for no more decides. Where a rule in front of it asks \
               for ports, or for ICMP types, and might decide otherwise, the fragment is left \
               to the policy's `fragments`. So is what no rule is for. Of IPv6, the protocol \
               is what the fragment says it is; if that is an extension header, only rules for \
               `any` are for it.",
        policies: &[ruled!("")],
        programs: Programs::Ethernet,
        cases: under_rules(passes("fragment")),
    }
}

pub(crate) fn later_fragments_under_rules_dropped() -> Section {
    Section {
        title: "Later fragments under rules, dropped where these leave them open",
        text: "The same frames.",
        policies: &[ruled!("fragments = \"drop\"\n")],
        programs: Programs::Ethernet,
        cases: under_rules(drops("fragment")),
    }
}
