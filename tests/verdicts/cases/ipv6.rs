//! Cases of the IPv6 header: version, length, addresses.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::{
    filter::Programs,
    frame::{
        Packet, TCP,
        Version::{V4, V6},
        echo, padded, tcp, udp,
    },
    page::USUAL,
    table::{Section, allowed, case, closed, denied, malformed},
};

pub(crate) fn ipv6_header() -> Section {
    let open = tcp(V6, 443);
    let whole = TCP as u16;
    Section {
        title: "IPv6 header",
        text: "TCP to the open port, with 20 bytes of payload. A payload length of 0 is an empty \
               payload, but for [frames longer than any datagram](#longer-than-any-datagram-big-tcp).",
        policies: &[USUAL],
        programs: Programs::Ethernet,
        cases: vec![
            case("the truth", [open.clone()], allowed("r1")),
            case(
                "each other version, 0–5 and 7–15, with each value of the four bits behind",
                (0..=u8::MAX)
                    .filter(|byte| byte >> 4 != 6)
                    .map(|byte| open.with_byte(0, byte)),
                malformed("ipv6-version"),
            ),
            case(
                "payload length 0, TCP",
                [open.clone().claims(0)],
                malformed("tcp-truncated"),
            ),
            case(
                "payload length 0, UDP",
                [udp(V6, 443).claims(0)],
                malformed("udp-truncated"),
            ),
            case(
                "payload length 0, ping",
                [echo(V6).claims(0)],
                malformed("icmp-truncated"),
            ),
            case(
                "payload length of each of 1–19: too short for TCP",
                (1..whole).map(|len| open.clone().claims(len)),
                malformed("tcp-truncated"),
            ),
            case(
                "payload length beyond the frame, by each of 1–1,000 bytes, and 65,535",
                (whole + 1..=whole + 1_000)
                    .chain([u16::MAX])
                    .map(|len| open.clone().claims(len)),
                malformed("ipv6-payload-length"),
            ),
            case(
                "each of 1–1,000 bytes of padding behind the packet",
                (1..=1_000).map(|len| padded(open.frame(), len)),
                allowed("r1"),
            ),
            case(
                "the same, to a closed port",
                (1..=1_000).map(|len| padded(tcp(V6, 22).frame(), len)),
                closed("tcp/22"),
            ),
            case(
                "each traffic class (its low half) and flow label (its high half), to a closed port",
                (0..=u8::MAX).map(|byte| tcp(V6, 22).with_byte(1, byte)),
                closed("tcp/22"),
            ),
        ],
    }
}

pub(crate) fn mapped_addresses() -> Section {
    let peer = Ipv4Addr::new(192, 0, 2, 1);
    let to = |local: u16, source: Ipv6Addr| -> Packet { tcp(V6, local).source(source) };
    // Compatible (RFC 4291), NAT64 (RFC 6052), 6to4 (RFC 3056), ISATAP (RFC 5214).
    let others = [
        Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0xc000, 0x0201),
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0xc000, 0x0201),
        Ipv6Addr::new(0x2002, 0xc000, 0x0201, 0, 0, 0, 0, 1),
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x5efe, 0xc000, 0x0201),
    ];
    Section {
        title: "IPv4 addresses inside IPv6 packets",
        text: "A prefix matches packets of its own version alone, whatever addresses are inside. \
               So an IPv6 packet from a mapped address passes a rule that denies the IPv4 one. \
               Linux accepts no TCP connection from such an address, but hands UDP to sockets, \
               which take it for IPv4 (`tests/verdicts/stack.rs`). Such packets do not belong on the \
               wire; the next section denies them.",
        policies: &[r#"rule = [
    { allow = "tcp 443", from = ["192.0.2.1"] },                       # r1
    { deny = "tcp 444", from = ["192.0.2.1"] },                        # r2
    { allow = "tcp 445", from = ["0.0.0.0/0"] },                       # r3
    { allow = "tcp 446", from = ["::/0"] },                            # r4
    { allow = "tcp 444" },                                             # r5
]"#],
        programs: Programs::Ethernet,
        cases: vec![
            case(
                "IPv4 from 192.0.2.1, allowed",
                [tcp(V4, 443).source(peer)],
                allowed("r1"),
            ),
            case(
                "IPv6 from ::ffff:192.0.2.1, where that is allowed",
                [to(443, peer.to_ipv6_mapped())],
                closed("tcp/443"),
            ),
            case(
                "IPv6 from ::192.0.2.1, 64:ff9b::192.0.2.1, 6to4, ISATAP, where that is allowed",
                others.map(|source| to(443, source)),
                closed("tcp/443"),
            ),
            case(
                "IPv4 from 192.0.2.1, denied",
                [tcp(V4, 444).source(peer)],
                denied("r2").on("tcp/444"),
            ),
            case(
                "IPv6 from ::ffff:192.0.2.1, where that is denied",
                [to(444, peer.to_ipv6_mapped())],
                allowed("r5"),
            ),
            case(
                "IPv4 to a port for 0.0.0.0/0",
                [tcp(V4, 445)],
                allowed("r3"),
            ),
            case(
                "IPv6 from ::ffff:192.0.2.1 to a port for 0.0.0.0/0",
                [to(445, peer.to_ipv6_mapped())],
                closed("tcp/445"),
            ),
            case(
                "IPv6 from anywhere to a port for 0.0.0.0/0",
                others
                    .map(|source| to(445, source))
                    .into_iter()
                    .chain([tcp(V6, 445)]),
                closed("tcp/445"),
            ),
            case(
                "IPv6 from each of these to a port for ::/0",
                others
                    .into_iter()
                    .chain([peer.to_ipv6_mapped()])
                    .map(|source| to(446, source)),
                allowed("r4"),
            ),
            case(
                "IPv4 to a port for ::/0",
                [tcp(V4, 446), tcp(V4, 446).source(peer)],
                closed("tcp/446"),
            ),
        ],
    }
}

pub(crate) fn mapped_addresses_denied() -> Section {
    let peer = Ipv4Addr::new(192, 0, 2, 1);
    let mapped = [
        peer,
        Ipv4Addr::UNSPECIFIED,
        Ipv4Addr::LOCALHOST,
        Ipv4Addr::BROADCAST,
    ]
    .map(|address| address.to_ipv6_mapped());
    Section {
        title: "IPv4 addresses inside IPv6 packets, denied",
        text: "Nobody should send from mapped addresses (RFC 6890). A rule for all of them at \
               once keeps them out.",
        policies: &[r#"rule = [
    { deny = "any", from = ["::ffff:0:0/96"] },                        # r1
    { allow = "tcp+udp any" },                                         # r2
]"#],
        programs: Programs::Ethernet,
        cases: vec![
            case(
                "TCP from ::ffff:192.0.2.1, ::ffff:0.0.0.0, ::ffff:127.0.0.1, ::ffff:255.255.255.255",
                mapped.map(|source| tcp(V6, 443).source(source)),
                denied("r1").on("tcp/443"),
            ),
            case(
                "UDP from them",
                mapped.map(|source| udp(V6, 443).source(source)),
                denied("r1").on("udp/443"),
            ),
            case(
                "ICMPv6 from them",
                mapped.map(|source| echo(V6).source(source)),
                denied("r1"),
            ),
            case(
                "UDP from the addresses around: ::fffd:ffff:ffff, ::1:0:0:0",
                [
                    Ipv6Addr::new(0, 0, 0, 0, 0, 0xfffd, 0xffff, 0xffff),
                    Ipv6Addr::new(0, 0, 0, 0, 1, 0, 0, 0),
                ]
                .map(|source| udp(V6, 443).source(source)),
                allowed("r2"),
            ),
            case(
                "UDP over IPv4, from 192.0.2.1",
                [udp(V4, 443).source(peer)],
                allowed("r2"),
            ),
        ],
    }
}
