//! Cases of packets that end early, by the frame's length or by their own.

use etherparse::EtherType;

use crate::{
    extension::{DESTINATION, Extension},
    filter::Programs,
    frame::{
        ETHERNET, ICMP, IPV4, IPV6, Packet, SHORTEST_FRAME, TCP, UDP, Version,
        Version::{V4, V6},
        both, cuts, echo, tcp, udp,
    },
    page::USUAL,
    table::{Case, Expected, Section, allowed, case, closed, denied, malformed},
};

/// Bytes behind the transport header.
const DATA: usize = 7;

/// TCP, UDP and ping, with data.
fn three(version: Version) -> [Packet; 3] {
    [tcp(version, 443), udp(version, 443), echo(version)].map(|packet| packet.data(DATA))
}

pub(crate) fn cut_frames() -> Section {
    let parts = |version: Version, header: usize, word: &str, truncated, beyond| {
        let end = ETHERNET + header;
        [
            case(
                format!(
                    "{version}, TCP, UDP and ping, cut at every byte of the IP header ({word})"
                ),
                three(version)
                    .iter()
                    .flat_map(|packet| cuts(&packet.frame(), ETHERNET..end).collect::<Vec<_>>()),
                malformed(truncated),
            ),
            case(
                format!("{version}, TCP, UDP and ping, cut at every byte behind the IP header"),
                three(version).iter().flat_map(|packet| {
                    let frame = packet.frame();
                    cuts(&frame, end..frame.len()).collect::<Vec<_>>()
                }),
                malformed(beyond),
            ),
        ]
    };
    let tag = [EtherType::VLAN_TAGGED_FRAME];
    let tagged = tcp(V4, 443).tagged(&tag);
    let tagged6 = tcp(V6, 443).tagged(&tag);
    let behind_tag = ETHERNET + 4;
    let extended = tcp(V6, 443).behind(Extension::new(DESTINATION, 1)).frame();
    let mut cases = vec![
        case(
            "TCP with data, whole",
            both(|version| tcp(version, 443).data(DATA)),
            allowed("r1"),
        ),
        case(
            "UDP with data, whole",
            both(|version| udp(version, 443).data(DATA)),
            allowed("r2"),
        ),
        case(
            "IPv4, ping with data, whole",
            [echo(V4).data(DATA)],
            allowed("r5"),
        ),
        case(
            "IPv6, ping with data, whole",
            [echo(V6).data(DATA)],
            allowed("r6"),
        ),
    ];
    cases.extend(parts(
        V4,
        IPV4,
        "14–33 bytes",
        "ipv4-truncated",
        "ipv4-total-length",
    ));
    cases.extend(parts(
        V6,
        IPV6,
        "14–53 bytes",
        "ipv6-truncated",
        "ipv6-payload-length",
    ));
    cases.extend([
        case(
            "a VLAN tag, cut at every byte of it",
            cuts(&tagged, ETHERNET..behind_tag),
            malformed("ethernet-truncated"),
        ),
        case(
            "a VLAN tag, cut at every byte of IPv4's header",
            cuts(&tagged, behind_tag..behind_tag + IPV4),
            malformed("ipv4-truncated"),
        ),
        case(
            "a VLAN tag, IPv4, cut at every byte of TCP's header",
            cuts(&tagged, behind_tag + IPV4..tagged.len()),
            malformed("ipv4-total-length"),
        ),
        case(
            "a VLAN tag, cut at every byte of IPv6's header",
            cuts(&tagged6, behind_tag..behind_tag + IPV6),
            malformed("ipv6-truncated"),
        ),
        case(
            "a VLAN tag, IPv6, cut at every byte of TCP's header",
            cuts(&tagged6, behind_tag + IPV6..tagged6.len()),
            malformed("ipv6-payload-length"),
        ),
        case(
            "IPv6, cut at every byte of an extension header and TCP's",
            cuts(&extended, ETHERNET + IPV6..extended.len()),
            malformed("ipv6-payload-length"),
        ),
        case(
            "IPv4, UDP to the denied port, padded to 60 bytes, cut at every byte of the padding",
            (udp(V4, 23).frame().len()..SHORTEST_FRAME).map(|len| {
                let mut frame = udp(V4, 23).frame();
                frame.resize(len, 0);
                frame
            }),
            denied("r4").on("udp/23"),
        ),
    ]);
    Section {
        title: "Frames cut short",
        text: "The frame ends early, and the headers know nothing of it. No frame is shorter than \
               the 14 bytes of an Ethernet header: the kernel runs no program on such.",
        policies: &[USUAL],
        programs: Programs::Ethernet,
        cases,
    }
}

pub(crate) fn short_packets() -> Section {
    /// Each length below the header's, with all of the rest in the frame and without it.
    fn short(make: fn(Version) -> Packet, header: usize) -> [Vec<Vec<u8>>; 2] {
        let all = |cut: fn(&Packet, usize) -> Vec<u8>| {
            both(make)
                .iter()
                .flat_map(|packet| (0..header).map(move |len| cut(packet, len)))
                .collect()
        };
        [
            all(|packet, len| packet.clone().short(len).frame()),
            all(|packet, len| {
                let mut frame = packet.clone().short(len).frame();
                frame.extend(&packet.frame()[frame.len()..]);
                frame.resize(frame.len().max(SHORTEST_FRAME), 0);
                frame
            }),
        ]
    }
    fn rows(name: &str, lengths: &str, frames: [Vec<Vec<u8>>; 2], expected: Expected) -> [Case; 2] {
        let [cut, padding] = frames;
        [
            case(
                format!("{name}: each of {lengths} bytes, nothing behind"),
                cut,
                expected,
            ),
            case(
                format!("{name}: each of {lengths} bytes, the rest in the padding"),
                padding,
                expected,
            ),
        ]
    }
    let mut cases = Vec::new();
    let tcp_to = |port: fn(Version) -> Packet| short(port, TCP);
    cases.extend(rows(
        "TCP to the open port",
        "0–19",
        tcp_to(|version| tcp(version, 443)),
        malformed("tcp-truncated"),
    ));
    cases.extend(rows(
        "TCP to a closed port",
        "0–19",
        tcp_to(|version| tcp(version, 22)),
        malformed("tcp-truncated"),
    ));
    cases.extend(rows(
        "UDP to the open port",
        "0–7",
        short(|version| udp(version, 443), UDP),
        malformed("udp-truncated"),
    ));
    cases.extend(rows(
        "UDP to a closed port",
        "0–7",
        short(|version| udp(version, 22), UDP),
        malformed("udp-truncated"),
    ));
    cases.extend(rows(
        "ping",
        "0–7",
        short(echo, ICMP),
        malformed("icmp-truncated"),
    ));
    cases.extend([
        case(
            "TCP to the open port, 20 bytes",
            both(|version| tcp(version, 443)),
            allowed("r1"),
        ),
        case(
            "TCP to a closed port, 20 bytes",
            both(|version| tcp(version, 22)),
            closed("tcp/22"),
        ),
        case(
            "UDP to the open port, 8 bytes",
            both(|version| udp(version, 443)),
            allowed("r2"),
        ),
        case(
            "UDP to a closed port, 8 bytes",
            both(|version| udp(version, 22)),
            closed("udp/22"),
        ),
        case("IPv4, ping, 8 bytes", [echo(V4)], allowed("r5")),
        case("IPv6, ping, 8 bytes", [echo(V6)], allowed("r6")),
    ]);
    Section {
        title: "Packets too short for their transport header",
        text: "The packet's own length says that the header of TCP, UDP or ICMP is not all there, \
               over IPv4 and IPv6, whether or not the frame goes on with what would be the rest.",
        policies: &[USUAL],
        programs: Programs::Ethernet,
        cases,
    }
}
