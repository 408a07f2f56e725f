//! Cases of remote ports that look like those of an answer.

use std::net::Ipv6Addr;

use xdpfw_tests::packets::flags;

use crate::{
    filter::Programs,
    frame::{
        Packet,
        Version::{V4, V6},
        both, tcp_from, udp_from,
    },
    page::usual,
    table::{Section, case, closed, denied, passes},
};

pub(crate) fn remote_ports() -> Section {
    let from_each = |make: fn(u16) -> [Packet; 2]| (0..=u16::MAX).flat_map(make);
    Section {
        title: "The peer's port",
        text: "No port of the peer's opens one here: only a packet that left does that, or a rule.",
        policies: &[usual!(), usual!("replies = \"sockets\"")],
        programs: Programs::Ethernet,
        cases: vec![
            case(
                "UDP from 53 (DNS) to a closed port",
                both(|version| udp_from(version, 53, 22)),
                closed("udp/22"),
            ),
            case(
                "UDP from 443 (QUIC) to a closed port",
                both(|version| udp_from(version, 443, 22)),
                closed("udp/22"),
            ),
            case(
                "UDP from 67 and 547 (DHCP) to a closed port",
                [67, 547]
                    .into_iter()
                    .flat_map(|from| both(|version| udp_from(version, from, 22))),
                closed("udp/22"),
            ),
            case(
                "UDP from 53 to an ephemeral port without a socket",
                both(|version| udp_from(version, 53, 50_000)),
                closed("udp/50000"),
            ),
            case(
                "UDP from 53 to the denied port",
                both(|version| udp_from(version, 53, 23)),
                denied("r4").on("udp/23"),
            ),
            case(
                "UDP from each of the 65,536 ports to a closed port",
                from_each(|from| both(|version| udp_from(version, from, 22))),
                closed("udp/22"),
            ),
            case(
                "TCP from 53 and 443 to a closed port: SYN",
                [53, 443]
                    .into_iter()
                    .flat_map(|from| both(|version| tcp_from(version, from, 22))),
                closed("tcp/22"),
            ),
            case(
                "TCP from 53 and 443 to a closed port: SYN and ACK, ACK, RST, FIN and ACK",
                [
                    flags::SYN | flags::ACK,
                    flags::ACK,
                    flags::RST,
                    flags::FIN | flags::ACK,
                ]
                .into_iter()
                .flat_map(|bits| {
                    [53, 443].into_iter().flat_map(move |from| {
                        both(|version| tcp_from(version, from, 22).flags(bits))
                    })
                }),
                closed("tcp/22"),
            ),
            case(
                "TCP from each of the 65,536 ports to a closed port: SYN",
                from_each(|from| both(|version| tcp_from(version, from, 22))),
                closed("tcp/22"),
            ),
            case(
                "TCP from each of the 65,536 ports to a closed port: ACK",
                from_each(|from| both(|version| tcp_from(version, from, 22).flags(flags::ACK))),
                closed("tcp/22"),
            ),
        ],
    }
}

/// The same, to where clients of DHCPv6 are found.
fn to_link_local(packet: Packet) -> Packet {
    packet.destination(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1))
}

pub(crate) fn dhcp() -> Section {
    let around = |server: u16| (0..=u16::MAX).filter(move |&from| from != server);
    Section {
        title: "DHCP",
        text: "Clients ask everybody, so that no answer comes from where they asked: what comes \
               from 67 to 68 over IPv4 passes, and to 546 at a link-local address over IPv6, where \
               servers may use any port (RFC 8415).",
        policies: &[
            usual!(),
            usual!("replies = \"off\""),
            usual!("dhcp_client = true"),
        ],
        programs: Programs::Ethernet,
        cases: vec![
            case(
                "IPv4, from 67 to 68",
                [udp_from(V4, 67, 68)],
                passes("dhcp-client"),
            ),
            case(
                "IPv6, from each of the 65,536 ports to 546 at a link-local address",
                (0..=u16::MAX).map(|from| to_link_local(udp_from(V6, from, 546))),
                passes("dhcp-client"),
            ),
            case(
                "the same at the first and the last link-local address",
                [
                    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0),
                    Ipv6Addr::from_bits(Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0).to_bits() - 1),
                ]
                .map(|to| udp_from(V6, 547, 546).destination(to)),
                passes("dhcp-client"),
            ),
            case(
                "the same at the addresses beside them, and at one for all (ff02::1)",
                [
                    Ipv6Addr::from_bits(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0).to_bits() - 1),
                    Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 0),
                    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
                ]
                .map(|to| udp_from(V6, 547, 546).destination(to)),
                closed("udp/546"),
            ),
            case(
                "IPv6, from 67 to 68",
                [udp_from(V6, 67, 68), to_link_local(udp_from(V6, 67, 68))],
                closed("udp/68"),
            ),
            case(
                "IPv4, from 547 to 546",
                [udp_from(V4, 547, 546)],
                closed("udp/546"),
            ),
            case(
                "IPv4, from 68 to 67",
                [udp_from(V4, 68, 67)],
                closed("udp/67"),
            ),
            case(
                "IPv6, from 546 to 547",
                [udp_from(V6, 546, 547)],
                closed("udp/547"),
            ),
            case(
                "IPv4, from 67 to 69",
                [udp_from(V4, 67, 69)],
                closed("udp/69"),
            ),
            case(
                "IPv6, from 547 to 545",
                [
                    udp_from(V6, 547, 545),
                    to_link_local(udp_from(V6, 547, 545)),
                ],
                closed("udp/545"),
            ),
            case(
                "IPv4, from each other port to 68",
                around(67).map(|from| udp_from(V4, from, 68)),
                closed("udp/68"),
            ),
            case(
                "IPv6, from each of the 65,536 ports to 546 at another address",
                (0..=u16::MAX).map(|from| udp_from(V6, from, 546)),
                closed("udp/546"),
            ),
            case(
                "TCP, from 67 to 68",
                both(|version| tcp_from(version, 67, 68)),
                closed("tcp/68"),
            ),
            case(
                "TCP, from 547 to 546",
                [
                    tcp_from(V4, 547, 546),
                    to_link_local(tcp_from(V6, 547, 546)),
                ],
                closed("tcp/546"),
            ),
        ],
    }
}

pub(crate) fn dhcp_off() -> Section {
    Section {
        title: "DHCP, turned off",
        text: "",
        policies: &[usual!("dhcp_client = false")],
        programs: Programs::Ethernet,
        cases: vec![
            case(
                "IPv4, from 67 to 68",
                [udp_from(V4, 67, 68)],
                closed("udp/68"),
            ),
            case(
                "IPv6, from 547 to 546 at a link-local address",
                [to_link_local(udp_from(V6, 547, 546))],
                closed("udp/546"),
            ),
        ],
    }
}
