//! Cases of the link layer: VLAN tags, ethertypes, and no link layer at all.

use etherparse::{EtherType, SingleVlanHeader};

use crate::{
    filter::Programs,
    frame::{ETHERNET, Packet, Version, both, cuts, echo, ethernet, tagged, tcp, udp},
    page::{USUAL, usual},
    table::{Section, allowed, case, closed, denied, drops, malformed, passes},
};

const Q: EtherType = EtherType::VLAN_TAGGED_FRAME;
const AD: EtherType = EtherType::PROVIDER_BRIDGING;

const LLDP: EtherType = EtherType(0x88cc);

/// Length of a tag, in bytes.
const TAG: usize = SingleVlanHeader::LEN;
/// Where the identifier of the first tag is in a frame, in bytes.
const VLAN_ID: usize = ETHERNET;

/// One tag and two, in every order.
const TAGS: [(&str, &[EtherType]); 5] = [
    ("802.1Q", &[Q]),
    ("802.1ad", &[AD]),
    ("QinQ (802.1ad, 802.1Q)", &[AD, Q]),
    ("two of 802.1Q", &[Q, Q]),
    ("802.1Q, 802.1ad", &[Q, AD]),
];

pub(crate) fn vlan_tags() -> Section {
    let mut cases = Vec::new();
    for (name, tags) in TAGS {
        let behind = |make: fn(Version) -> Packet| both(make).map(|packet| packet.tagged(tags));
        cases.extend([
            case(
                format!("{name}: TCP to the open port"),
                behind(|version| tcp(version, 443)),
                allowed("r1"),
            ),
            case(
                format!("{name}: TCP to a closed port"),
                behind(|version| tcp(version, 22)),
                closed("tcp/22"),
            ),
            case(
                format!("{name}: UDP to the denied port"),
                behind(|version| udp(version, 23)),
                denied("r4").on("udp/23"),
            ),
        ]);
    }
    let behind_all =
        |inner: EtherType, payload: &[u8]| TAGS.map(|(_, tags)| tagged(tags, inner, payload));
    let [open, open6] = both(|version| tcp(version, 443));
    cases.extend([
        case(
            "each of these: ARP",
            behind_all(EtherType::ARP, &[0; 46]),
            passes("arp"),
        ),
        case(
            "each of these: LLDP",
            behind_all(LLDP, &[0; 46]),
            passes("non-ip"),
        ),
        case(
            "each of these: IPv4 longer than the frame",
            behind_all(EtherType::IPV4, &open.clone().claims(41).bytes()),
            malformed("ipv4-total-length"),
        ),
        case(
            "each of these: IPv6 longer than the frame",
            behind_all(EtherType::IPV6, &open6.clone().claims(21).bytes()),
            malformed("ipv6-payload-length"),
        ),
        case(
            "each of these: IPv6 said to be IPv4",
            behind_all(EtherType::IPV4, &open6.bytes()),
            malformed("ipv4-version"),
        ),
        case(
            "each of these: cut in a tag, at every byte",
            TAGS.iter().flat_map(|(_, tags)| {
                cuts(&open.tagged(tags), ETHERNET..ETHERNET + TAG * tags.len()).collect::<Vec<_>>()
            }),
            malformed("ethernet-truncated"),
        ),
        case(
            "802.1Q with each of the 65,536 priorities and VLANs, to a closed port",
            (0..=u16::MAX).map(|id| {
                let mut frame = tcp(Version::V4, 22).tagged(&[Q]);
                frame[VLAN_ID..][..2].copy_from_slice(&id.to_be_bytes());
                frame
            }),
            closed("tcp/22"),
        ),
        case(
            "three tags and four, of any kind",
            [
                &[Q, Q, Q][..],
                &[AD, Q, Q],
                &[AD, AD, AD],
                &[Q, Q, AD],
                &[Q; 4],
                &[AD; 4],
            ]
            .into_iter()
            .flat_map(|tags| [open.tagged(tags), open6.tagged(tags)]),
            drops("vlan-depth"),
        ),
        case(
            "three tags, nothing behind",
            [tagged(&[Q, Q, Q], EtherType::IPV4, &[])],
            drops("vlan-depth"),
        ),
    ]);
    Section {
        title: "VLAN tags",
        text: "Up to two tags are looked behind, whatever their order and whatever VLAN they \
               name. Also see [what offloads do to VLAN tags](#what-offloads-do-to-vlan-tags).",
        policies: &[USUAL],
        programs: Programs::Ethernet,
        cases,
    }
}

pub(crate) fn not_ip() -> Section {
    let open = tcp(Version::V4, 443).bytes();
    let open6 = tcp(Version::V6, 443).bytes();
    let behind = |prefix: &[u8]| [prefix, &open].concat();
    let is_other = |ether_type: &EtherType| {
        let judged = [EtherType::IPV4, EtherType::IPV6, EtherType::ARP, Q, AD];
        !judged.contains(ether_type)
    };
    Section {
        title: "What is not IP",
        text: "Rules are about IP; what else there is passes, even under `deny any`, and is \
               counted, unless the policy says [`non_ip = \"drop\"`](#what-is-not-ip-dropped). IP \
               inside another protocol is not found: what comes in by PPPoE passes unjudged, and \
               `ppp0`, where it comes out, cannot be filtered. Linux takes MPLS only where `net.mpls.conf` \
               says so, and no IP from 802.3 frames, which have a length in place of the type.",
        policies: &[
            USUAL,
            "rule = [{ deny = \"any\" }]",
            usual!("default = \"pass\""),
        ],
        programs: Programs::Ethernet,
        cases: vec![
            case(
                "ARP, whole, cut to its type, and with IPv4 in its place",
                [&[0; 46][..], &[], &open].map(|bytes| ethernet(EtherType::ARP, bytes)),
                passes("arp"),
            ),
            case(
                "PPPoE discovery and session, with IPv4 inside",
                [0x8863, 0x8864].map(|number| {
                    let header = [0x11, 0, 0, 1, 0, 42, 0, 0x21];
                    ethernet(EtherType(number), &behind(&header))
                }),
                passes("non-ip"),
            ),
            case(
                "MPLS, unicast and multicast, with IPv4 inside",
                [0x8847, 0x8848]
                    .map(|number| ethernet(EtherType(number), &behind(&[0, 0, 0x11, 64]))),
                passes("non-ip"),
            ),
            case(
                "LLDP, EAPOL, MACsec, jumbo frames",
                [
                    LLDP,
                    EtherType(0x888e),
                    EtherType(0x88e5),
                    EtherType(0x8870),
                ]
                .map(|ether_type| ethernet(ether_type, &open)),
                passes("non-ip"),
            ),
            case(
                "VLAN tags from before 802.1ad (0x9100, 0x9200, 0x9300), with IPv4 inside",
                [0x9100, 0x9200, 0x9300]
                    .map(|number| ethernet(EtherType(number), &behind(&[0, 1, 8, 0]))),
                passes("non-ip"),
            ),
            case(
                "802.3 with LLC and SNAP, with IPv4 inside",
                [ethernet(
                    EtherType(48),
                    &behind(&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0]),
                )],
                passes("non-ip"),
            ),
            case(
                "IPv4's type with its bytes swapped",
                [ethernet(EtherType(0x0008), &open)],
                passes("non-ip"),
            ),
            case(
                "each type but those of IP, ARP and VLAN tags: 65,531, with IPv4 inside",
                (0..=u16::MAX)
                    .map(EtherType)
                    .filter(is_other)
                    .map(|ether_type| ethernet(ether_type, &open)),
                passes("non-ip"),
            ),
            case(
                "nothing behind the type",
                [LLDP, EtherType(0), EtherType(38)].map(|ether_type| ethernet(ether_type, &[])),
                passes("non-ip"),
            ),
            case(
                "IPv6 said to be IPv4",
                [ethernet(EtherType::IPV4, &open6)],
                malformed("ipv4-version"),
            ),
            case(
                "IPv4 said to be IPv6",
                [ethernet(EtherType::IPV6, &open)],
                malformed("ipv6-version"),
            ),
        ],
    }
}

pub(crate) fn not_ip_dropped() -> Section {
    let open = tcp(Version::V4, 443).bytes();
    // Both access points and the kind of a header for logical link control, in a frame that
    // has its length in place of the type.
    let logical =
        |points: [u8; 2]| ethernet(EtherType(38), &[&points[..], &[3], &[0; 35]].concat());
    let passed = [0x888e, 0x88cc, 0x8809];
    let is_dropped = |number: &u16| {
        let judged = [EtherType::IPV4, EtherType::IPV6, EtherType::ARP, Q, AD];
        !judged.contains(&EtherType(*number)) && !passed.contains(number)
    };
    Section {
        title: "What is not IP, dropped",
        text: "What the link itself needs passes still: ARP, and by their types EAPOL, LLDP and \
               LACP, with the other slow protocols, and STP by the header behind the length. All \
               else is dropped, and IP inside it: PPPoE and MACsec, too, which end then.",
        policies: &[
            usual!("non_ip = \"drop\""),
            "non_ip = \"drop\"\ndefault = \"pass\"",
        ],
        programs: Programs::Ethernet,
        cases: vec![
            case(
                "ARP, whole and cut to its type",
                [&[0; 46][..], &[]].map(|bytes| ethernet(EtherType::ARP, bytes)),
                passes("arp"),
            ),
            case(
                "EAPOL, LLDP, LACP, with and without anything behind the type",
                passed.into_iter().flat_map(|number| {
                    [&[0; 46][..], &[]].map(|bytes| ethernet(EtherType(number), bytes))
                }),
                passes("non-ip"),
            ),
            case(
                "each of these behind one VLAN tag and two",
                [&[Q][..], &[AD, Q]].into_iter().flat_map(|tags| {
                    passed.map(|number| tagged(tags, EtherType(number), &[0; 46]))
                }),
                passes("non-ip"),
            ),
            case("STP", [logical([0x42, 0x42])], passes("non-ip")),
            case(
                "STP behind each type from 0x0600 on that is dropped",
                (0x600..=u16::MAX)
                    .filter(is_dropped)
                    .map(|number| ethernet(EtherType(number), &[0x42, 0x42, 3])),
                drops("non-ip"),
            ),
            case(
                "one access point that is not STP's: SNAP, IS-IS, NetBIOS",
                [
                    [0x42, 0x43],
                    [0x43, 0x42],
                    [0xaa, 0xaa],
                    [0xfe, 0xfe],
                    [0xf0, 0xf0],
                ]
                .map(logical),
                drops("non-ip"),
            ),
            case(
                "STP cut in its access points",
                [
                    ethernet(EtherType(38), &[]),
                    ethernet(EtherType(38), &[0x42]),
                ],
                drops("non-ip"),
            ),
            case(
                "each other type but those of IP and VLAN tags, with IPv4 inside",
                (0..=u16::MAX)
                    .filter(is_dropped)
                    .map(|number| ethernet(EtherType(number), &open)),
                drops("non-ip"),
            ),
        ],
    }
}

pub(crate) fn no_link_layer() -> Section {
    let first_byte = |version: u8| {
        let mut packet = tcp(Version::V4, 443).bytes();
        packet[0] = version << 4 | 5;
        packet
    };
    Section {
        title: "No link layer",
        text: "On interfaces such as `tun`, packets begin with the IP header, whose first bits \
               tell its version. Run through the dispatcher of such interfaces.",
        policies: &[USUAL],
        programs: Programs::Bare,
        cases: vec![
            case(
                "TCP to the open port",
                both(|version| tcp(version, 443).bytes()),
                allowed("r1"),
            ),
            case(
                "TCP to a closed port",
                both(|version| tcp(version, 22).bytes()),
                closed("tcp/22"),
            ),
            case("ping over IPv4", [echo(Version::V4).bytes()], allowed("r5")),
            case("ping over IPv6", [echo(Version::V6).bytes()], allowed("r6")),
            case(
                "every other version: 0–3, 5, 7–15",
                (0..16)
                    .filter(|version| ![4, 6].contains(version))
                    .map(first_byte),
                malformed("ip-version"),
            ),
            case(
                "IPv4, cut in its header",
                cuts(&tcp(Version::V4, 443).bytes(), ETHERNET..20),
                malformed("ipv4-truncated"),
            ),
            case(
                "IPv6, cut in its header",
                cuts(&tcp(Version::V6, 443).bytes(), ETHERNET..40),
                malformed("ipv6-truncated"),
            ),
        ],
    }
}
