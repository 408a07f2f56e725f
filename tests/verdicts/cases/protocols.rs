//! Cases of protocols other than TCP, UDP and ICMP: tunnels, and others without ports.

use std::net::{Ipv4Addr, Ipv6Addr};

use etherparse::IpNumber;
use xdpfw_tests::packets::flags;

use crate::{
    extension::{AH, DESTINATION, Extension, FRAGMENT, HOP_BY_HOP, ROUTING},
    filter::Programs,
    frame::{
        REMOTE,
        Version::{self, V4, V6},
        both, datagram, packet, segment, tcp, udp,
    },
    page::USUAL,
    table::{Section, allowed, case, closed, denied, drops, malformed, passes},
};

const NONE: IpNumber = IpNumber::IPV6_NO_NEXT_HEADER;
const ESP: IpNumber = IpNumber::ENCAPSULATING_SECURITY_PAYLOAD;
const UDP_LITE: IpNumber = IpNumber(136);

/// Whether packets with this number are judged as just any protocol.
fn is_other(version: Version, number: IpNumber) -> bool {
    let judged = match version {
        V4 => &[IpNumber::TCP, IpNumber::UDP, IpNumber::ICMP][..],
        V6 => &[
            IpNumber::TCP,
            IpNumber::UDP,
            IpNumber::IPV6_ICMP,
            HOP_BY_HOP,
            ROUTING,
            FRAGMENT,
            AH,
            DESTINATION,
        ],
    };
    !judged.contains(&number)
}

/// What looks like TCP to the open port.
fn looks_open() -> Vec<u8> {
    segment(REMOTE, 443, flags::SYN)
}

pub(crate) fn tunnels() -> Section {
    let inside = |protocol: IpNumber, inner: Version| {
        both(|version| packet(version, protocol, &tcp(inner, 443).bytes()))
    };
    let behind = |protocol: IpNumber, header: &[u8]| {
        let payload = [header, &looks_open()].concat();
        both(|version| packet(version, protocol, &payload))
    };
    let inside_udp = |local: u16| {
        both(|version| {
            let payload = [datagram(REMOTE, local), tcp(V4, 443).bytes()].concat();
            let len = payload.len() as u16;
            packet(version, IpNumber::UDP, &payload).patched(4, &len.to_be_bytes())
        })
    };
    Section {
        title: "Tunnels",
        text: "TCP to the open port, inside something else, over IPv4 and IPv6: what is inside is \
               not looked for. A tunnel that is wanted has a rule of its own (`allow proto gre`), \
               and an interface, on which what comes out of it is filtered.",
        policies: &[USUAL],
        programs: Programs::Ethernet,
        cases: vec![
            case(
                "IPv4 in IPv4, IPv4 in IPv6 (4)",
                inside(IpNumber::IPV4, V4),
                drops("default"),
            ),
            case(
                "IPv6 in IPv4, IPv6 in IPv6 (41)",
                inside(IpNumber::IPV6, V6),
                drops("default"),
            ),
            case(
                "the wrong number: IPv6 as 4, IPv4 as 41",
                [inside(IpNumber::IPV4, V6), inside(IpNumber::IPV6, V4)].concat(),
                drops("default"),
            ),
            case(
                "GRE with IPv4",
                behind(IpNumber::GRE, &[0, 0, 8, 0]),
                drops("default"),
            ),
            case(
                "ESP",
                behind(ESP, &[0, 0, 1, 0, 0, 0, 0, 1]),
                drops("default"),
            ),
            case(
                "IPv4, AH: looked behind in IPv6 only",
                [packet(
                    V4,
                    AH,
                    &[&[6, 4, 0, 0], &[0; 20][..], &looks_open()].concat(),
                )],
                drops("default"),
            ),
            case(
                "VXLAN, UDP to a closed port",
                inside_udp(4789),
                closed("udp/4789"),
            ),
            case(
                "Teredo, UDP to a closed port",
                inside_udp(3544),
                closed("udp/3544"),
            ),
        ],
    }
}

pub(crate) fn igmp() -> Section {
    let query = |to: Ipv4Addr, ttl| {
        packet(V4, IpNumber::IGMP, &[0x11, 0, 0, 0, 0, 0, 0, 0])
            .destination(to)
            .ttl(ttl)
    };
    let all = Ipv4Addr::new(224, 0, 0, 1);
    let first = Ipv4Addr::new(224, 0, 0, 0);
    let last = Ipv4Addr::new(239, 255, 255, 255);
    Section {
        title: "Group management of IPv4 (IGMP)",
        text: "From the link alone (TTL 1), and to a group: without it, switches stop delivering \
               multicast.",
        policies: &[USUAL],
        programs: Programs::Ethernet,
        cases: vec![
            case(
                "to a group, TTL 1",
                [first, all, last].map(|group| query(group, 1)),
                passes("igmp"),
            ),
            case(
                "to a group, TTL 1, with the router alert option, as all hosts send it",
                [query(all, 1).options(&[0x94, 4, 0, 0])],
                passes("igmp"),
            ),
            case(
                "to a group, any other TTL",
                (0..=u8::MAX)
                    .filter(|&ttl| ttl != 1)
                    .map(|ttl| query(all, ttl)),
                drops("default"),
            ),
            case(
                "to this host, to all (255.255.255.255), and beside the groups",
                [
                    Ipv4Addr::new(10, 0, 0, 1),
                    Ipv4Addr::BROADCAST,
                    Ipv4Addr::new(223, 255, 255, 255),
                    Ipv4Addr::new(240, 0, 0, 0),
                ]
                .map(|to| query(to, 1)),
                drops("default"),
            ),
            case(
                "other protocols to a group, TTL 1",
                [1, 3, 47, 103].map(|number| {
                    packet(V4, IpNumber(number), &[0; 8])
                        .destination(all)
                        .ttl(1)
                }),
                drops("default"),
            ),
            case(
                "IPv6, protocol 2 to a group, hop limit 1",
                [packet(V6, IpNumber::IGMP, &[0x11, 0, 0, 0, 0, 0, 0, 0])
                    .destination(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1))
                    .ttl(1)],
                drops("default"),
            ),
        ],
    }
}

pub(crate) fn other_protocols() -> Section {
    let each = |version: Version, payload: &[u8]| {
        let payload = payload.to_vec();
        (0..=u8::MAX)
            .map(IpNumber)
            .filter(move |&number| is_other(version, number))
            .map(move |number| packet(version, number, &payload))
    };
    Section {
        title: "Other protocols",
        text: "Without ports, and never malformed: nothing behind the IP header is read.",
        policies: &[USUAL],
        programs: Programs::Ethernet,
        cases: vec![
            case(
                "IPv4, each of the 253 numbers but those of TCP, UDP, ICMP, in front of what \
                 would be TCP to the open port",
                each(V4, &looks_open()),
                drops("default"),
            ),
            case("the same, empty", each(V4, &[]), drops("default")),
            case(
                "IPv6, each of the 248 numbers but those of TCP, UDP, ICMPv6 and the five extension \
                 headers, in front of what would be TCP to the open port",
                each(V6, &looks_open()),
                drops("default"),
            ),
            case("the same, empty", each(V6, &[]), drops("default")),
            case(
                "IPv4, numbers of IPv6 extension headers (0, 43, 44, 51, 60)",
                [HOP_BY_HOP, ROUTING, FRAGMENT, AH, DESTINATION].map(|number| {
                    let header = [6, 0, 0, 0, 0, 0, 0, 0];
                    packet(V4, number, &[&header[..], &looks_open()].concat())
                }),
                drops("default"),
            ),
            case(
                "\"no next header\" (59), empty and with data",
                [&[][..], &looks_open()]
                    .into_iter()
                    .flat_map(|payload| both(|version| packet(version, NONE, payload))),
                drops("default"),
            ),
            case(
                "SCTP (132), UDP-Lite (136), DCCP (33), which have ports of their own, as if to the \
                 open port",
                [IpNumber::SCTP, UDP_LITE, IpNumber(33)]
                    .into_iter()
                    .flat_map(|number| {
                        both(|version| packet(version, number, &datagram(REMOTE, 443)))
                    }),
                drops("default"),
            ),
        ],
    }
}

pub(crate) fn other_protocols_under_rules() -> Section {
    let of = |number: IpNumber| both(|version| packet(version, number, &looks_open()));
    Section {
        title: "Other protocols under rules",
        text: "",
        policies: &[r#"rule = [
    { allow = "proto gre" },                            # r1
    { deny = "proto esp" },                             # r2
    { allow = "tcp+udp any" },                          # r3
    { allow = "proto 41", from = ["10.0.0.0/8"] },      # r4
    { allow = "proto 51" },                             # r5
    { allow = "proto 59" },                             # r6
]"#],
        programs: Programs::Ethernet,
        cases: vec![
            case("GRE", of(IpNumber::GRE), allowed("r1")),
            case("ESP", of(ESP), denied("r2")),
            case(
                "IPv4 inside (4): not in the rules",
                of(IpNumber::IPV4),
                drops("default"),
            ),
            case(
                "IPv6 in IPv4, from the rule's addresses",
                [packet(V4, IpNumber::IPV6, &[0; 40])],
                allowed("r4"),
            ),
            case(
                "IPv6 in IPv6",
                [packet(V6, IpNumber::IPV6, &[0; 40])],
                drops("default"),
            ),
            case(
                "AH in IPv4: the protocol 51",
                [packet(V4, AH, &[0; 24])],
                allowed("r5"),
            ),
            case(
                "AH in IPv6: an extension header in front of UDP",
                [udp(V6, 22).behind(Extension::auth(4))],
                allowed("r3"),
            ),
            case("\"no next header\"", of(NONE), allowed("r6")),
            case(
                "TCP and UDP",
                [tcp(V4, 1), tcp(V6, 1), udp(V4, 1), udp(V6, 1)],
                allowed("r3"),
            ),
        ],
    }
}

pub(crate) fn other_protocols_by_default() -> Section {
    Section {
        title: "Other protocols under default pass",
        text: "What is malformed or impossible is dropped all the same.",
        policies: &[r#"default = "pass"
rule = [{ deny = "proto sctp" }]                        # r1"#],
        programs: Programs::Ethernet,
        cases: vec![
            case(
                "SCTP",
                both(|version| packet(version, IpNumber::SCTP, &[0; 12])),
                denied("r1"),
            ),
            case(
                "GRE",
                both(|version| packet(version, IpNumber::GRE, &[0; 4])),
                passes("default"),
            ),
            case("TCP", both(|version| tcp(version, 22)), passes("default")),
            case(
                "TCP without flags",
                both(|version| tcp(version, 22).flags(0)),
                drops("bad-flags").on("tcp/22"),
            ),
            case(
                "TCP of 19 bytes",
                both(|version| tcp(version, 22).short(19)),
                malformed("tcp-truncated"),
            ),
        ],
    }
}
