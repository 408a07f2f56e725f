//! Cases of TCP and UDP headers with wrong lengths.

use crate::{
    filter::Programs,
    frame::{Packet, Version, both, padded, tcp, udp},
    page::USUAL,
    table::{Section, allowed, case, closed, denied, malformed},
};

/// Over IPv4 and IPv6, for each of `range`.
fn each<N: Copy>(
    range: impl IntoIterator<Item = N>,
    make: impl Fn(Version, N) -> Packet,
) -> Vec<Packet> {
    range
        .into_iter()
        .flat_map(|n| both(|version| make(version, n)))
        .collect()
}

pub(crate) fn tcp_header() -> Section {
    // A data offset in words, in a segment with so many bytes behind the shortest header.
    let with = |port: u16| {
        move |version: Version, words: u8, behind: usize| {
            tcp(version, port).data(behind).patched(12, &[words << 4])
        }
    };
    let (open, shut) = (with(443), with(22));
    let behind = |words: u8| usize::from(words - 5) * 4;
    Section {
        title: "TCP data offset",
        text: "Over IPv4 and IPv6.",
        policies: &[USUAL],
        programs: Programs::Ethernet,
        cases: vec![
            case(
                "each of 0–4 words: below 20 bytes",
                each(0..5, |version, words| open(version, words, 40)),
                malformed("tcp-data-offset"),
            ),
            case(
                "each of 0–4 words, to a closed port",
                each(0..5, |version, words| shut(version, words, 40)),
                malformed("tcp-data-offset"),
            ),
            case(
                "each of 5–15 words, as long as the packet",
                each(5..16, |version, words| open(version, words, behind(words))),
                allowed("r1"),
            ),
            case(
                "each of 5–15 words, as long as the packet, to a closed port",
                each(5..16, |version, words| shut(version, words, behind(words))),
                closed("tcp/22"),
            ),
            case(
                "each of 5–15 words, 100 bytes of data behind",
                each(5..16, |version, words| {
                    open(version, words, behind(words) + 100)
                }),
                allowed("r1"),
            ),
            case(
                "each of 6–15 words, each of 1–20 bytes beyond the packet",
                (1..=20).flat_map(|beyond| {
                    each(
                        (6..16).filter(|&words| behind(words) >= beyond),
                        |version, words| open(version, words, behind(words) - beyond),
                    )
                }),
                malformed("tcp-data-offset"),
            ),
            case(
                "each of 6–15 words, a byte beyond the packet and into the padding",
                each(6..16, |version, words| {
                    open(version, words, behind(words) - 1)
                })
                .into_iter()
                .map(|packet| padded(packet.frame(), 20)),
                malformed("tcp-data-offset"),
            ),
            case(
                "each of 6–15 words beyond a first fragment: the rest is still to come",
                each(6..16, |version, words| {
                    open(version, words, 0).fragment(0, true)
                }),
                allowed("r1"),
            ),
            case(
                "each of 0–4 words in a first fragment",
                each(0..5, |version, words| {
                    open(version, words, 4).fragment(0, true)
                }),
                malformed("tcp-data-offset"),
            ),
        ],
    }
}

pub(crate) fn udp_length() -> Section {
    const BEHIND: u16 = 4;
    const WHOLE: u16 = 8 + BEHIND;
    let with = |port: u16| {
        move |version: Version, len: u16| {
            udp(version, port)
                .data(usize::from(BEHIND))
                .patched(4, &len.to_be_bytes())
        }
    };
    let (open, shut, deny) = (with(443), with(22), with(23));
    let beyond = || (WHOLE + 1..=WHOLE + 1_000).chain([u16::MAX]);
    Section {
        title: "UDP length",
        text: "Datagrams of 12 bytes, over IPv4 and IPv6. A length of 0, which stands for a \
               jumbogram (RFC 2675), is too short like any other.",
        policies: &[USUAL],
        programs: Programs::Ethernet,
        cases: vec![
            case(
                "each of 0–7: below the header's",
                each(0..8, open),
                malformed("udp-length"),
            ),
            case(
                "each of 0–7, to a closed port",
                each(0..8, shut),
                malformed("udp-length"),
            ),
            case(
                "each of 8–12, to the open port",
                each(8..=WHOLE, open),
                allowed("r2"),
            ),
            case(
                "each of 8–12, to a closed port",
                each(8..=WHOLE, shut),
                closed("udp/22"),
            ),
            case(
                "each of 8–12, to the denied port",
                each(8..=WHOLE, deny),
                denied("r4").on("udp/23"),
            ),
            case(
                "each of 1–1,000 bytes beyond the packet, and 65,535",
                each(beyond(), open),
                malformed("udp-length"),
            ),
            case(
                "the same, into 2,000 bytes of padding",
                each(beyond(), open)
                    .into_iter()
                    .map(|packet| padded(packet.frame(), 2_000)),
                malformed("udp-length"),
            ),
            case(
                "the same, in a first fragment: the rest is still to come",
                each(beyond(), |version, len| {
                    open(version, len).fragment(0, true)
                }),
                allowed("r2"),
            ),
            case(
                "the same, in a first fragment, to a closed port",
                each(beyond(), |version, len| {
                    shut(version, len).fragment(0, true)
                }),
                closed("udp/22"),
            ),
            case(
                "each of 0–7 in a first fragment",
                each(0..8, |version, len| open(version, len).fragment(0, true)),
                malformed("udp-length"),
            ),
        ],
    }
}
