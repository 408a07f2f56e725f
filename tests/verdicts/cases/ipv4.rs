//! Cases of the IPv4 header: version, lengths, options.

use crate::{
    filter::Programs,
    frame::{ETHERNET, IPV4, Packet, TCP, Version::V4, echo, padded, tcp, udp},
    page::USUAL,
    table::{Section, allowed, case, closed, denied, malformed},
};

/// The open port in each pair of bytes, for whoever does not step over options.
const FILLING: [u8; 2] = 443_u16.to_be_bytes();

pub(crate) fn ipv4_header() -> Section {
    let open = tcp(V4, 443);
    let first_byte = |version: u8, words: u8| open.with_byte(0, version << 4 | words);
    let whole = (IPV4 + TCP) as u16;
    Section {
        title: "IPv4 header",
        text: "TCP to the open port, 40 bytes from the IP header on. The header's checksum, \
               addresses and time to live are left to the kernel.",
        policies: &[USUAL],
        programs: Programs::Ethernet,
        cases: vec![
            case("the truth", [open.clone()], allowed("r1")),
            case(
                "header length of each of 0–4 words",
                (0..5).map(|words| first_byte(4, words)),
                malformed("ipv4-header-length"),
            ),
            case(
                "header length of each of 6–10 words: within the packet, too little left for TCP",
                (6..11).map(|words| first_byte(4, words)),
                malformed("tcp-truncated"),
            ),
            case(
                "header length of each of 11–15 words: beyond the packet",
                (11..16).map(|words| first_byte(4, words)),
                malformed("ipv4-total-length"),
            ),
            case(
                "each other version, 0–3 and 5–15",
                (0..16)
                    .filter(|&version| version != 4)
                    .map(|version| first_byte(version, 5)),
                malformed("ipv4-version"),
            ),
            case(
                "each other version with each header length of 0–15 words",
                (0..=u8::MAX)
                    .filter(|byte| byte >> 4 != 4)
                    .map(|byte| open.with_byte(0, byte)),
                malformed("ipv4-version"),
            ),
            case(
                "total length of each of 0–19: below the header's",
                (0..IPV4 as u16).map(|len| open.clone().claims(len)),
                malformed("ipv4-total-length"),
            ),
            case(
                "the same for UDP and ping",
                (0..IPV4 as u16).flat_map(|len| [udp(V4, 443).claims(len), echo(V4).claims(len)]),
                malformed("ipv4-total-length"),
            ),
            case(
                "total length of each of 20–39: too short for TCP",
                (IPV4 as u16..whole).map(|len| open.clone().claims(len)),
                malformed("tcp-truncated"),
            ),
            case(
                "total length beyond the frame, by each of 1–1,000 bytes, and 65,535",
                (whole + 1..=whole + 1_000)
                    .chain([u16::MAX])
                    .map(|len| open.clone().claims(len)),
                malformed("ipv4-total-length"),
            ),
            case(
                "each of 1–1,000 bytes of padding behind the packet",
                (1..=1_000).map(|len| padded(open.frame(), len)),
                allowed("r1"),
            ),
            case(
                "the same, to a closed port",
                (1..=1_000).map(|len| padded(tcp(V4, 22).frame(), len)),
                closed("tcp/22"),
            ),
            case(
                "\"do not fragment\", the reserved bit, both",
                [0x40, 0x80, 0xc0].map(|bits| open.with_byte(6, bits)),
                allowed("r1"),
            ),
            case(
                "each type of service, with its two ECN bits, to a closed port",
                (0..=u8::MAX).map(|tos| tcp(V4, 22).with_byte(1, tos)),
                closed("tcp/22"),
            ),
            case(
                "each first byte of a wrong checksum, to a closed port",
                (0..=u8::MAX).map(|byte| tcp(V4, 22).with_byte(10, byte)),
                closed("tcp/22"),
            ),
        ],
    }
}

pub(crate) fn ipv4_options() -> Section {
    let options = || (0..=10).map(|words| FILLING.repeat(2 * words));
    let behind = |make: &dyn Fn() -> Packet| {
        options()
            .map(|options| make().options(&options))
            .collect::<Vec<_>>()
    };
    Section {
        title: "IPv4 options",
        text: "Headers of 20, 24 … 60 bytes, each in one frame, their options full of what would \
               be the open port where the ports are without options. What options say is left to \
               the kernel. Linux drops packets with source routes, unless \
               `net.ipv4.conf.*.accept_source_route` takes them, and those whose options are \
               broken, about which it sends an ICMP error. Others it delivers, with options that \
               it knows and that it does not (`tests/verdicts/stack.rs`).",
        policies: &[USUAL],
        programs: Programs::Ethernet,
        cases: vec![
            case(
                "TCP to the open port",
                behind(&|| tcp(V4, 443)),
                allowed("r1"),
            ),
            case(
                "TCP to a closed port",
                behind(&|| tcp(V4, 22)),
                closed("tcp/22"),
            ),
            case(
                "TCP to the denied port",
                behind(&|| tcp(V4, 23)),
                denied("r3").on("tcp/23"),
            ),
            case(
                "UDP to a closed port",
                behind(&|| udp(V4, 22)),
                closed("udp/22"),
            ),
            case(
                "UDP to the denied port",
                behind(&|| udp(V4, 23)),
                denied("r4").on("udp/23"),
            ),
            case("ping", behind(&|| echo(V4)), allowed("r5")),
            case(
                "TCP cut by the total length, at every byte of its header",
                options().flat_map(|options| {
                    (0..TCP).map(move |len| tcp(V4, 443).options(&options).short(len))
                }),
                malformed("tcp-truncated"),
            ),
            case(
                "total length at every byte within the options",
                options().flat_map(|options| {
                    (0..IPV4 + options.len())
                        .map(move |len| tcp(V4, 443).options(&options).claims(len as u16))
                }),
                malformed("ipv4-total-length"),
            ),
            case(
                "frame cut at every byte of options and TCP",
                options().flat_map(|options| {
                    let frame = tcp(V4, 443).options(&options).frame();
                    (ETHERNET + IPV4..frame.len())
                        .map(|len| frame[..len].to_vec())
                        .collect::<Vec<_>>()
                }),
                malformed("ipv4-total-length"),
            ),
        ],
    }
}
