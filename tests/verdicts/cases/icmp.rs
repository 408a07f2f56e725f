//! Cases of ICMP and ICMPv6, by type.

use etherparse::{EtherType, IpNumber};
use xdpfw_tests::packets::flags;

use crate::{
    extension::{DESTINATION, Extension},
    filter::Programs,
    frame::{
        IPV4, IPV6, Packet, REMOTE,
        Version::{self, V4, V6},
        both, echo, icmp, icmp_error, packet, tcp_from, udp_from,
    },
    page::{USUAL, usual},
    table::{Section, allowed, case, denied, drops, passes},
};

/// What passes whatever the rules do not say, and why.
const ERRORS: [u8; 3] = [3, 11, 12];
const ERRORS6: [u8; 4] = [1, 2, 3, 4];
const DISCOVERY: [u8; 5] = [133, 134, 135, 136, 137];
const MLD: [u8; 4] = [130, 131, 132, 143];

/// Each of these types, with each code of 0–15 and 255.
fn with_codes(version: Version, types: impl IntoIterator<Item = u8>) -> Vec<Packet> {
    types
        .into_iter()
        .flat_map(|message| {
            (0..16)
                .chain([u8::MAX])
                .map(move |code| icmp(version, message).patched(1, &[code]))
        })
        .collect()
}

fn all_but<'a>(types: impl IntoIterator<Item = &'a [u8]>) -> impl Iterator<Item = u8> {
    let types: Vec<_> = types.into_iter().flatten().copied().collect();
    (0..=u8::MAX).filter(move |message| !types.contains(message))
}

/// Messages of the ICMP that belongs to the other version of IP.
fn of_the_other(version: Version, types: impl IntoIterator<Item = u8>) -> Vec<Packet> {
    let protocol = match version {
        V4 => IpNumber::IPV6_ICMP,
        V6 => IpNumber::ICMP,
    };
    types
        .into_iter()
        .map(|message| packet(version, protocol, &[message, 0, 0, 0, 0, 0, 0, 0]))
        .collect()
}

pub(crate) fn icmp_types() -> Section {
    let rest = all_but([&ERRORS[..], &[8]]);
    Section {
        title: "ICMP",
        text: "Each type with the codes 0–15 and 255.",
        policies: &[USUAL],
        programs: Programs::Ethernet,
        cases: vec![
            case(
                "8: echo request, which a rule allows",
                with_codes(V4, [8]),
                allowed("r5"),
            ),
            case(
                "3, 11, 12: destination unreachable, time exceeded, parameter problem, about nothing",
                with_codes(V4, ERRORS),
                drops("default"),
            ),
            case(
                "0: echo reply; 4: source quench; 5: redirect",
                with_codes(V4, [0, 4, 5]),
                drops("default"),
            ),
            case(
                "128, 135: what ICMPv6 calls echo request and neighbour solicitation",
                with_codes(V4, [128, 135]),
                drops("default"),
            ),
            case(
                "each of the 252 other types than 3, 8, 11, 12",
                with_codes(V4, rest),
                drops("default"),
            ),
            case(
                "ICMPv6 (58) in IPv4, each of the 256 types",
                of_the_other(V4, 0..=u8::MAX),
                drops("default"),
            ),
        ],
    }
}

pub(crate) fn icmp6_types() -> Section {
    let rest = all_but([&ERRORS6[..], &DISCOVERY, &MLD, &[128]]);
    Section {
        title: "ICMPv6",
        text: "Each type with the codes 0–15 and 255. Hop limits and addresses are left to the \
               kernel, which takes neighbour discovery from the link alone.",
        policies: &[USUAL],
        programs: Programs::Ethernet,
        cases: vec![
            case(
                "128: echo request, which a rule allows",
                with_codes(V6, [128]),
                allowed("r6"),
            ),
            case(
                "1–4: destination unreachable, packet too big, time exceeded, parameter problem, \
                 about nothing",
                with_codes(V6, ERRORS6),
                drops("default"),
            ),
            case(
                "133–137: router and neighbour solicitation and advertisement, redirect",
                with_codes(V6, DISCOVERY),
                passes("neighbour-discovery"),
            ),
            case(
                "130–132, 143: multicast listener query, report, done, report of version 2",
                with_codes(V6, MLD),
                passes("mld"),
            ),
            case("129: echo reply", with_codes(V6, [129]), drops("default")),
            case(
                "8: what ICMP calls echo request",
                with_codes(V6, [8]),
                drops("default"),
            ),
            case(
                "each of the 242 other types",
                with_codes(V6, rest),
                drops("default"),
            ),
            case(
                "ICMP (1) in IPv6, each of the 256 types",
                of_the_other(V6, 0..=u8::MAX),
                drops("default"),
            ),
        ],
    }
}

pub(crate) fn icmp_under_rules() -> Section {
    let both = |types: &[u8], types6: &[u8]| {
        let types = with_codes(V4, types.iter().copied());
        let types6 = with_codes(V6, types6.iter().copied());
        [types, types6].concat()
    };
    Section {
        title: "ICMP and ICMPv6 under rules",
        text: "Rules come before what passes by itself.",
        policies: &[r#"icmp_errors = "pass"
rule = [
    { deny = "icmp time-exceeded" },          # r1
    { deny = "icmp6 time-exceeded" },         # r2
    { allow = "icmp 0-7" },                   # r3
    { deny = "icmp6 router-advertisement" },  # r4
    { allow = "icmp6 200" },                  # r5
    { deny = "any", from = ["::/0"] },        # r6
]"#],
        programs: Programs::Ethernet,
        cases: vec![
            case(
                "ICMP, time exceeded (11), denied",
                both(&[11], &[]),
                denied("r1"),
            ),
            case(
                "ICMPv6, time exceeded (3), denied",
                both(&[], &[3]),
                denied("r2"),
            ),
            case(
                "ICMP, each of 0–7, allowed",
                both(&[0, 1, 2, 3, 4, 5, 6, 7], &[]),
                allowed("r3"),
            ),
            case(
                "ICMP, parameter problem (12), in no rule",
                both(&[12], &[]),
                passes("icmp-error"),
            ),
            case(
                "ICMP, echo request (8), in no rule",
                both(&[8], &[]),
                drops("default"),
            ),
            case(
                "ICMPv6, router advertisement (134), denied",
                both(&[], &[134]),
                denied("r4"),
            ),
            case("ICMPv6, 200, allowed", both(&[], &[200]), allowed("r5")),
            case(
                "ICMPv6, all else, denied by a rule for everything",
                with_codes(V6, all_but([&[3, 134, 200][..]])),
                denied("r6"),
            ),
        ],
    }
}

/// The errors of a version, each about this packet.
fn errors_about(version: Version, about: &[u8]) -> Vec<Packet> {
    let types = match version {
        V4 => &ERRORS[..],
        V6 => &ERRORS6,
    };
    let errors = types.iter().flat_map(|&message| {
        (0..16).map(move |code| icmp_error(version, message, about).patched(1, &[code]))
    });
    errors.collect()
}

/// The same of both versions, about packets that leave.
fn both_errors_about(about: impl Fn(Version) -> Packet) -> Vec<Packet> {
    let errors = both(|version| errors_about(version, &about(version).leaving().bytes()));
    errors.concat()
}

/// The same, with so many bytes behind the quoted IP header.
fn both_errors_cut(about: impl Fn(Version) -> Packet, len: usize) -> Vec<Packet> {
    let errors = both(|version| {
        let header = match version {
            V4 => IPV4,
            V6 => IPV6,
        };
        errors_about(version, &about(version).leaving().bytes()[..header + len])
    });
    errors.concat()
}

pub(crate) fn icmp_errors() -> Section {
    let of_server = |version| tcp_from(version, 443, REMOTE).flags(flags::SYN | flags::ACK);
    let tags = [EtherType::VLAN_TAGGED_FRAME, EtherType::PROVIDER_BRIDGING];
    let in_tags = |tags: &[EtherType]| {
        let errors = both_errors_about(of_server).into_iter();
        errors.map(|error| error.tagged(tags)).collect::<Vec<_>>()
    };
    let patched = |offset, byte| {
        let mut quote = of_server(V4).leaving().bytes();
        quote[offset] = byte;
        errors_about(V4, &quote)
    };
    Section {
        title: "ICMP and ICMPv6 errors",
        text: "Each error of both versions, with the codes 0–15. One passes if it quotes a packet \
               that left from here: here, nothing has, and what counts is whether the rules let \
               in its answer. (`tests/replies` proves the rest.) The kernel needs the quoted \
               packet's IP header and eight bytes behind it.",
        policies: &[USUAL],
        programs: Programs::Ethernet,
        cases: vec![
            case(
                "about a segment from the open port",
                both_errors_about(of_server),
                passes("icmp-error"),
            ),
            case(
                "about a datagram from the open port",
                both_errors_about(|version| udp_from(version, 443, REMOTE)),
                passes("icmp-error"),
            ),
            case(
                "the same, eight bytes of it",
                both_errors_cut(|version| udp_from(version, 443, REMOTE), 8),
                passes("icmp-error"),
            ),
            case(
                "the same, seven bytes of it",
                both_errors_cut(|version| udp_from(version, 443, REMOTE), 7),
                drops("default"),
            ),
            case(
                "the same, its IP header alone",
                both_errors_cut(|version| udp_from(version, 443, REMOTE), 0),
                drops("default"),
            ),
            case(
                "about a segment from the open port, behind one VLAN tag",
                in_tags(&tags[..1]),
                passes("icmp-error"),
            ),
            case("behind two VLAN tags", in_tags(&tags), passes("icmp-error")),
            case(
                "about a segment with IPv4 options",
                errors_about(V4, &of_server(V4).options(&[1; 8]).leaving().bytes()),
                passes("icmp-error"),
            ),
            case(
                "about an IPv4 segment whose header length is 16",
                patched(0, 0x44),
                drops("default"),
            ),
            case(
                "about a packet of IP version 5",
                patched(0, 0x55),
                drops("default"),
            ),
            case(
                "about a first IPv4 fragment from the open port",
                errors_about(V4, &of_server(V4).fragment(0, true).leaving().bytes()),
                passes("icmp-error"),
            ),
            case(
                "about a later one",
                errors_about(V4, &of_server(V4).fragment(1, true).leaving().bytes()),
                drops("default"),
            ),
            case(
                "about an IPv6 segment behind an extension header",
                errors_about(
                    V6,
                    &of_server(V6)
                        .behind(Extension::shortest(DESTINATION))
                        .leaving()
                        .bytes(),
                ),
                passes("icmp-error"),
            ),
            case(
                "about segments and datagrams from a closed port",
                [
                    both_errors_about(|version| tcp_from(version, 22, REMOTE)),
                    both_errors_about(|version| udp_from(version, 22, REMOTE)),
                ]
                .concat(),
                drops("default"),
            ),
            case(
                "about segments and datagrams from the denied port",
                [
                    both_errors_about(|version| tcp_from(version, 23, REMOTE)),
                    both_errors_about(|version| udp_from(version, 23, REMOTE)),
                ]
                .concat(),
                drops("default"),
            ),
            case(
                "about segments and datagrams to 443, from a closed port",
                [
                    both_errors_about(|version| tcp_from(version, REMOTE, 443)),
                    both_errors_about(|version| udp_from(version, REMOTE, 443)),
                ]
                .concat(),
                drops("default"),
            ),
            case(
                "about an echo request, whose reply no rule allows",
                both_errors_about(echo),
                drops("default"),
            ),
            case(
                "about an echo reply, which nobody answers",
                both_errors_about(|version| icmp(version, if version == V4 { 0 } else { 129 })),
                drops("default"),
            ),
            case(
                "about another error",
                both_errors_about(|version| icmp(version, 3)),
                drops("default"),
            ),
            case(
                "about GRE",
                both_errors_about(|version| packet(version, IpNumber::GRE, &[0; 8])),
                drops("default"),
            ),
        ],
    }
}

pub(crate) fn icmp_errors_pass() -> Section {
    Section {
        title: "ICMP and ICMPv6 errors, all of them",
        text: "Whatever they are about. What is no error passes no more than before.",
        policies: &[usual!("icmp_errors = \"pass\"")],
        programs: Programs::Ethernet,
        cases: vec![
            case(
                "ICMP 3, 11, 12, about nothing",
                with_codes(V4, ERRORS),
                passes("icmp-error"),
            ),
            case(
                "ICMPv6 1–4, about nothing",
                with_codes(V6, ERRORS6),
                passes("icmp-error"),
            ),
            case(
                "about a segment from a closed port",
                both_errors_about(|version| tcp_from(version, 22, REMOTE)),
                passes("icmp-error"),
            ),
            case(
                "ICMP 0, 4, 5: echo reply, source quench, redirect",
                with_codes(V4, [0, 4, 5]),
                drops("default"),
            ),
            case(
                "ICMPv6 0, 5, 129",
                with_codes(V6, [0, 5, 129]),
                drops("default"),
            ),
        ],
    }
}

pub(crate) fn icmp_by_default() -> Section {
    Section {
        title: "ICMP and ICMPv6 under default pass",
        text: "What no rule denies passes by default, and is counted so.",
        policies: &[r#"default = "pass"
rule = [
    { deny = "icmp echo-request" },           # r1
    { deny = "icmp6 echo-request" },          # r2
]"#],
        programs: Programs::Ethernet,
        cases: vec![
            case("ICMP, echo request", with_codes(V4, [8]), denied("r1")),
            case(
                "ICMP, every other type",
                with_codes(V4, all_but([&[8][..]])),
                passes("default"),
            ),
            case("ICMPv6, echo request", with_codes(V6, [128]), denied("r2")),
            case(
                "ICMPv6, every other type",
                with_codes(V6, all_but([&[128][..]])),
                passes("default"),
            ),
            case(
                "ICMPv6 in IPv4",
                of_the_other(V4, 0..=u8::MAX),
                passes("default"),
            ),
            case(
                "ICMP in IPv6",
                of_the_other(V6, 0..=u8::MAX),
                passes("default"),
            ),
        ],
    }
}
