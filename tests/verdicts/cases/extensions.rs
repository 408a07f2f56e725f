//! Cases of IPv6 extension headers: chains, and what breaks them.

use etherparse::IpNumber;

use crate::{
    extension::{AH, DESTINATION, Extension, FRAGMENT, HOP_BY_HOP, IN_EIGHTS, ROUTING},
    filter::Programs,
    frame::{
        ETHERNET, ICMP, IPV6, Packet, TCP, UDP, Version::V6, cuts, echo, packet, segment, tcp, udp,
    },
    page::USUAL,
    table::{Section, allowed, case, closed, denied, drops, malformed, passes},
};

/// Everything that is looked behind, as the page calls it.
const TYPES: [(IpNumber, &str); 5] = [
    (HOP_BY_HOP, "hop-by-hop options"),
    (ROUTING, "routing"),
    (DESTINATION, "destination options"),
    (AH, "AH"),
    (FRAGMENT, "atomic fragment"),
];

/// Chains of so many headers: of each type alone, and of all in turn.
fn chains(len: usize) -> Vec<Vec<Extension>> {
    let shortest = |(number, _): &(IpNumber, &str)| Extension::shortest(*number);
    let alike = TYPES.iter().map(|one| vec![shortest(one); len]);
    let mixed = TYPES.iter().map(shortest).cycle().take(len).collect();
    alike.chain([mixed]).collect()
}

/// The packet behind each chain of so many headers.
fn behind(len: usize, packet: &Packet) -> impl Iterator<Item = Packet> {
    chains(len)
        .into_iter()
        .map(|chain| packet.clone().behind_all(chain))
}

pub(crate) fn extension_chains() -> Section {
    let each = |packet: &Packet| {
        (0..=8)
            .flat_map(|len| behind(len, packet))
            .collect::<Vec<_>>()
    };
    let (open, shut) = (tcp(V6, 443), tcp(V6, 22));
    let mut cases = Vec::new();
    for (number, name) in TYPES {
        let one = |packet: Packet| packet.behind(Extension::shortest(number));
        cases.extend([
            case(
                format!("{name}, then TCP to the open port"),
                [one(tcp(V6, 443))],
                allowed("r1"),
            ),
            case(
                format!("{name}, then TCP to a closed port"),
                [one(tcp(V6, 22))],
                closed("tcp/22"),
            ),
            case(
                format!("{name}, then UDP to the denied port"),
                [one(udp(V6, 23))],
                denied("r4").on("udp/23"),
            ),
            case(
                format!("{name}, then a ping"),
                [one(echo(V6))],
                allowed("r6"),
            ),
        ]);
    }
    let long = |make: fn(u8) -> Extension, packet: &Packet| {
        (0..=u8::MAX)
            .map(|length| packet.clone().behind(make(length)))
            .collect::<Vec<_>>()
    };
    cases.extend([
        case(
            "options of each length, 8–2,048 bytes, then TCP to the open port",
            long(|length| Extension::new(DESTINATION, length), &open),
            allowed("r1"),
        ),
        case(
            "the same, to a closed port",
            long(|length| Extension::new(DESTINATION, length), &shut),
            closed("tcp/22"),
        ),
        case(
            "routing of each length, 8–2,048 bytes, then TCP to a closed port",
            long(|length| Extension::new(ROUTING, length), &shut),
            closed("tcp/22"),
        ),
        case(
            "AH of each length, 8–1,028 bytes in steps of four, then TCP to the open port",
            long(Extension::auth, &open),
            allowed("r1"),
        ),
        case(
            "the same, to a closed port",
            long(Extension::auth, &shut),
            closed("tcp/22"),
        ),
        case(
            "chains of 0–8, of each type and of all in turn, then TCP to the open port",
            each(&open),
            allowed("r1"),
        ),
        case("the same, to a closed port", each(&shut), closed("tcp/22")),
        case(
            "the same, TCP to the denied port",
            each(&tcp(V6, 23)),
            denied("r3").on("tcp/23"),
        ),
        case(
            "the same, UDP to a closed port",
            each(&udp(V6, 22)),
            closed("udp/22"),
        ),
        case("the same, a ping", each(&echo(V6)), allowed("r6")),
        case(
            "chains of 9, then TCP to the open port",
            behind(9, &open),
            malformed("too-many-headers"),
        ),
        case(
            "chains of 10, then TCP to the open port",
            behind(10, &open),
            malformed("too-many-headers"),
        ),
        case(
            "chains of 11–40, then TCP to the open port",
            (11..=40).flat_map(|len| behind(len, &open).collect::<Vec<_>>()),
            malformed("too-many-headers"),
        ),
        case(
            "chains of 8, then a later fragment's header",
            behind(8, &open).map(|packet| packet.fragment(1, false)),
            malformed("too-many-headers"),
        ),
        case(
            "chains of 0–8, then \"no next header\", then what would be TCP to the open port",
            (0..=8).flat_map(|len| {
                let none = IpNumber::IPV6_NO_NEXT_HEADER;
                let packet = packet(V6, none, &segment(40_000, 443, 2));
                behind(len, &packet).collect::<Vec<_>>()
            }),
            drops("default"),
        ),
        case(
            "chains of 0–8, then mobility, HIP, Shim6, or one for experiments (135, 139, 140, 253, \
             254), then TCP to the open port",
            (0..=8).flat_map(|len| {
                [135, 139, 140, 253, 254]
                    .into_iter()
                    .flat_map(|number| {
                        let bytes = [&[6, 0, 1, 4, 0, 0, 0, 0][..], &segment(40_000, 443, 2)];
                        behind(len, &packet(V6, IpNumber(number), &bytes.concat()))
                            .collect::<Vec<_>>()
                    })
                    .collect::<Vec<_>>()
            }),
            drops("default"),
        ),
    ]);
    Section {
        title: "IPv6 extension headers",
        text: "Hop-by-hop options, routing, destination options, AH and fragment headers are \
               looked behind, up to eight of them, in any order; they are full of what would be \
               the open port. Any other is a protocol without ports. In IPv4, none of the numbers \
               is an extension header's: see [other protocols](#other-protocols).",
        policies: &[USUAL],
        programs: Programs::Ethernet,
        cases,
    }
}

pub(crate) fn broken_extensions() -> Section {
    let open = tcp(V6, 443);
    // As the packet itself tells it, of all lengths below `end`.
    let ending_before = |packet: &Packet, start: usize, end: usize| {
        let packet = packet.clone();
        (start..end).map(move |len| {
            let mut frame = packet.clone().claims(len as u16).frame();
            frame.truncate(ETHERNET + IPV6 + len);
            frame
        })
    };
    let of_each_type = |len: usize| TYPES.map(|(number, _)| (len, Extension::shortest(number)));
    let chain_end = |len: usize| 8 * len;
    let all: Vec<_> = (1..=8).flat_map(of_each_type).collect();
    let alike = |(len, extension): &(usize, Extension), packet: &Packet| {
        packet.clone().behind_all(vec![extension.clone(); *len])
    };
    let short_by = |packet: fn() -> Packet, header: usize| {
        all.iter()
            .flat_map(|chain| {
                let end = chain_end(chain.0);
                ending_before(&alike(chain, &packet()), end, end + header).collect::<Vec<_>>()
            })
            .collect::<Vec<_>>()
    };
    let first = |packet: Packet| packet.fragment(0, true);
    let padded = |packet: Packet| [packet.frame(), vec![0; 3_000]].concat();
    Section {
        title: "IPv6 extension headers that break off",
        text: "\"The packet ends\" means: by its own payload length, with the frame.",
        policies: &[USUAL],
        programs: Programs::Ethernet,
        cases: vec![
            case(
                "chains of 1–8 of each type; the packet ends at every byte of them",
                all.iter().flat_map(|chain| {
                    ending_before(&alike(chain, &open), 0, chain_end(chain.0)).collect::<Vec<_>>()
                }),
                malformed("extension-truncated"),
            ),
            case(
                "the same; the packet ends at every byte of TCP's header",
                short_by(|| tcp(V6, 443), TCP),
                malformed("tcp-truncated"),
            ),
            case(
                "the same; the packet ends at every byte of UDP's header",
                short_by(|| udp(V6, 443), UDP),
                malformed("udp-truncated"),
            ),
            case(
                "the same; the packet ends at every byte of ICMPv6's header",
                short_by(|| echo(V6), ICMP),
                malformed("icmp-truncated"),
            ),
            case(
                "the same; the frame ends at every byte of them and of TCP's header, the packet does not",
                all.iter().flat_map(|chain| {
                    let frame = alike(chain, &open).frame();
                    cuts(&frame, ETHERNET + IPV6..frame.len()).collect::<Vec<_>>()
                }),
                malformed("ipv6-payload-length"),
            ),
            case(
                "hop-by-hop, routing and destination options whose length is beyond the packet, \
                 each of 4–255 units",
                IN_EIGHTS.into_iter().flat_map(|number| {
                    (3..u8::MAX).map(move |length| {
                        tcp(V6, 443).behind(Extension::new(number, 0).claims(length))
                    })
                }),
                malformed("extension-truncated"),
            ),
            case(
                "the same, into 3,000 bytes of padding",
                IN_EIGHTS.into_iter().flat_map(|number| {
                    (3..u8::MAX).map(move |length| {
                        padded(tcp(V6, 443).behind(Extension::new(number, 0).claims(length)))
                    })
                }),
                malformed("extension-truncated"),
            ),
            case(
                "AH whose length is beyond the packet, each of 8–257 words",
                (6..=u8::MAX).map(|length| tcp(V6, 443).behind(Extension::auth(0).claims(length))),
                malformed("extension-truncated"),
            ),
            case(
                "options whose length swallows 8 or 16 bytes of TCP's header",
                [1, 2].map(|length| {
                    tcp(V6, 443).behind(Extension::new(DESTINATION, 0).claims(length))
                }),
                malformed("tcp-truncated"),
            ),
            case(
                "a first fragment that ends at every byte of the options behind its header (RFC 7112)",
                ending_before(
                    &first(tcp(V6, 443)).behind(Extension::new(DESTINATION, 3)),
                    8,
                    8 + 32,
                ),
                malformed("extension-truncated"),
            ),
            case(
                "chains of 0–7 of each type, then a first fragment with TCP to the open port",
                (0..8).flat_map(|len| behind(len, &open).map(first).collect::<Vec<_>>()),
                allowed("r1"),
            ),
            case(
                "the same, to a closed port",
                (0..8).flat_map(|len| behind(len, &tcp(V6, 22)).map(first).collect::<Vec<_>>()),
                closed("tcp/22"),
            ),
            case(
                "a first fragment's header, then chains of 1–7 of each type, then TCP to a closed port",
                (1..8).flat_map(|len| {
                    chains(len)
                        .into_iter()
                        .map(|chain| first(tcp(V6, 22)).behind_all(chain))
                }),
                closed("tcp/22"),
            ),
            case(
                "chains of 0–7 of each type, then a later fragment of what would be TCP to a closed port",
                (0..8).flat_map(|len| {
                    behind(len, &tcp(V6, 22))
                        .map(|packet| packet.fragment(1, false))
                        .collect::<Vec<_>>()
                }),
                passes("fragment"),
            ),
            case(
                "a later fragment's header, then 1–20 headers of each type, which nobody reads",
                (1..=20).flat_map(|len| {
                    chains(len)
                        .into_iter()
                        .map(|chain| tcp(V6, 22).fragment(1, false).behind_all(chain))
                }),
                passes("fragment"),
            ),
            case(
                "a first fragment inside a first fragment, TCP to a closed port",
                [first(first(tcp(V6, 22)))],
                closed("tcp/22"),
            ),
            case(
                "an atomic fragment inside a first fragment, UDP still to come",
                [first(udp(V6, 23))
                    .fragment(0, false)
                    .patched(4, &4_000_u16.to_be_bytes())],
                denied("r4").on("udp/23"),
            ),
            case(
                "a later fragment inside a first fragment",
                [first(tcp(V6, 22)).fragment(1, false)],
                passes("fragment"),
            ),
        ],
    }
}
