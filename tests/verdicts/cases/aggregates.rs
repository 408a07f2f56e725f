//! Cases of frames that are longer than any datagram.

use etherparse::IpNumber;

use crate::{
    extension::Extension,
    filter::Programs,
    frame::{
        Packet,
        Version::{self, V4, V6},
        both, packet, tcp, udp,
    },
    page::USUAL,
    table::{Section, allowed, case, closed, denied, malformed},
};

/// What no length in an IP header can say, in bytes.
const TOO_LONG: usize = 1 << 16;

pub(crate) fn aggregates() -> Section {
    let long = |packet: Packet| packet.data(TOO_LONG).claims(0);
    // 20 bytes of TCP header.
    let just = |version: Version, len: usize| tcp(version, 443).data(len - 20).claims(0);
    let jumbo = Extension::jumbo(TOO_LONG as u32 + 28);
    Section {
        title: "Longer than any datagram (BIG TCP)",
        text: "Linux may put TCP segments together to more than the 65,535 bytes that an IP \
               header can say. The length there is then 0, and over IPv6 an option may say it \
               (RFC 2675). In generic mode, and on their way out, such packets meet the filter. \
               A length of 0 is believed where Linux would: over IPv4 of TCP alone, and only in \
               frames that are so long. No wire carries those.",
        policies: &[USUAL],
        programs: Programs::Jumbo,
        cases: vec![
            case(
                "TCP to the open port",
                both(|version| long(tcp(version, 443))),
                allowed("r1"),
            ),
            case(
                "IPv6, behind the option that says the length",
                [long(tcp(V6, 443)).behind(jumbo.clone())],
                allowed("r1"),
            ),
            case(
                "TCP to a closed port",
                both(|version| long(tcp(version, 22)))
                    .into_iter()
                    .chain([long(tcp(V6, 22)).behind(jumbo)]),
                closed("tcp/22"),
            ),
            case(
                "TCP to the denied port",
                both(|version| long(tcp(version, 23))),
                denied("r3").on("tcp/23"),
            ),
            case(
                "IPv4, 65,536 bytes with the header",
                [just(V4, TOO_LONG - 20)],
                allowed("r1"),
            ),
            case(
                "IPv4, 65,535 bytes, which could be said",
                [just(V4, TOO_LONG - 21)],
                malformed("ipv4-total-length"),
            ),
            case(
                "IPv6, 65,536 bytes without the header",
                [just(V6, TOO_LONG)],
                allowed("r1"),
            ),
            case(
                "IPv6, 65,535 bytes, which could be said: an empty payload",
                [just(V6, TOO_LONG - 1)],
                malformed("tcp-truncated"),
            ),
            case(
                "IPv4, UDP and GRE",
                [udp(V4, 443), packet(V4, IpNumber::GRE, &[0; 8])]
                    .map(|packet| packet.claims(0).data(TOO_LONG)),
                malformed("ipv4-total-length"),
            ),
            case(
                "IPv4, fragments of TCP, the first and later ones",
                [(0, true), (1, true), (1, false)]
                    .map(|(offset, more)| long(tcp(V4, 443)).fragment(offset, more)),
                malformed("ipv4-total-length"),
            ),
            case(
                "IPv4, another length that is too short for its header: each of 1–19",
                (1..20).map(|len| long(tcp(V4, 443)).claims(len)),
                malformed("ipv4-total-length"),
            ),
            case(
                "another length: padding behind the packet",
                [
                    tcp(V4, 443).data(TOO_LONG).claims(40),
                    tcp(V6, 443).data(TOO_LONG).claims(20),
                ],
                allowed("r1"),
            ),
        ],
    }
}
