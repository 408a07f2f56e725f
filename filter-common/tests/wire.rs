//! Proves that the header views agree with etherparse's on every frame, that a
//! frame's end is the end of what they see, and that each lie has its name.

#![expect(
    clippy::expect_used,
    reason = "a packet that cannot be made is the test's own mistake"
)]

use std::net::IpAddr;

use etherparse::{
    EtherType, Ethernet2Header, Ethernet2HeaderSlice, IpFragOffset, IpNumber, Ipv4Header,
    Ipv4HeaderSlice, SingleVlanHeader, SingleVlanHeaderSlice, SlicedPacket, TcpHeader,
    TcpHeaderSlice, TransportSlice, UdpHeader, UdpHeaderSlice,
};
use proptest::{collection::vec, prelude::*, sample::Index};
use xdpfw_common::{
    abi::ProtocolKind,
    flows::Conversation,
    verdict,
    wire::{
        Frame, Malformation,
        ethernet::{self, Payload},
        ip::Ip,
        ipv4,
        tcp::{self, Flags},
        udp,
    },
};

/// Source and destination.
type Addresses = [IpAddr; 2];

/// What is to be seen of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum View {
    Arp,
    Ipv6,
    TooManyTags,
    Other,
    /// A later fragment, or a protocol without ports.
    Portless {
        protocol: u8,
        non_initial_fragment: bool,
        addresses: Addresses,
    },
    Tcp {
        ports: [u16; 2],
        flags: Flags,
        addresses: Addresses,
    },
    Udp {
        ports: [u16; 2],
        addresses: Addresses,
    },
}

/// The view of this crate; what it reads for reports is the same.
fn view(frame: &[u8]) -> Result<View, Malformation> {
    let view = view_of_headers(frame);
    let read = verdict::read(frame);
    let ports = |kind, [remote, local]: [u16; 2], flags| Some((kind, remote, local, flags));
    let expected = match view {
        Ok(View::Tcp {
            ports: both, flags, ..
        }) => ports(ProtocolKind::Tcp, both, flags),
        Ok(View::Udp { ports: both, .. }) => ports(ProtocolKind::Udp, both, Flags::NONE),
        _ => None,
    };
    let fields = read
        .fields()
        .filter(|fields| fields.kind.transport().is_some());
    let has_ports = !matches!(view, Ok(View::Ipv6));
    if has_ports {
        let seen = fields.map(|seen| (seen.kind, seen.remote, seen.local, seen.flags));
        assert_eq!(seen, expected, "{frame:02x?}");
    }
    if let Err(malformation) = view {
        assert_eq!(read.malformation(), Some(malformation), "{frame:02x?}");
    }
    view
}

fn view_of_headers(frame: &[u8]) -> Result<View, Malformation> {
    let offset = match ethernet::payload(frame)? {
        Payload::Ipv4(offset) => offset,
        Payload::Ipv6(_) => return Ok(View::Ipv6),
        Payload::Arp => return Ok(View::Arp),
        Payload::TooManyTags => return Ok(View::TooManyTags),
        Payload::LinkControl | Payload::Other => return Ok(View::Other),
    };
    let ip = ipv4::parse(frame, offset)?;
    let addresses = addresses(&ip);
    match IpNumber(ip.protocol) {
        IpNumber::TCP if !ip.non_initial_fragment => {
            let tcp = tcp::parse(frame, &ip.payload)?;
            Ok(View::Tcp {
                ports: [tcp.source(), tcp.destination()],
                flags: tcp.flags(),
                addresses,
            })
        }
        IpNumber::UDP if !ip.non_initial_fragment => {
            let udp = udp::parse(frame, &ip.payload)?;
            Ok(View::Udp {
                ports: [udp.source(), udp.destination()],
                addresses,
            })
        }
        protocol => Ok(View::Portless {
            protocol: protocol.0,
            non_initial_fragment: ip.non_initial_fragment,
            addresses,
        }),
    }
}

fn addresses(ip: &Ip<'_>) -> Addresses {
    [ip.addresses.remote(), ip.addresses.local()]
}

/// The view that etherparse's headers give; `None` for what is malformed.
fn reference(frame: &[u8]) -> Option<View> {
    let ethernet = Ethernet2HeaderSlice::from_slice(frame).ok()?;
    let (mut ether_type, mut rest) = (ethernet.ether_type(), &frame[ethernet.slice().len()..]);
    let is_tag = |ether_type| {
        [EtherType::VLAN_TAGGED_FRAME, EtherType::PROVIDER_BRIDGING].contains(&ether_type)
    };
    for _ in 0..2 {
        if is_tag(ether_type) {
            let tag = SingleVlanHeaderSlice::from_slice(rest).ok()?;
            ether_type = tag.ether_type();
            rest = &rest[tag.slice().len()..];
        }
    }
    match ether_type {
        EtherType::IPV4 => {}
        EtherType::IPV6 => return Some(View::Ipv6),
        EtherType::ARP => return Some(View::Arp),
        other if is_tag(other) => return Some(View::TooManyTags),
        _ => return Some(View::Other),
    }
    let ip = Ipv4HeaderSlice::from_slice(rest).ok()?;
    let payload = rest.get(ip.slice().len()..usize::from(ip.total_len()))?;
    let addresses = [ip.source(), ip.destination()].map(IpAddr::from);
    let is_later = ip.fragments_offset() != IpFragOffset::ZERO;
    let is_first = ip.more_fragments() && !is_later;
    match ip.protocol() {
        IpNumber::TCP if !is_later => {
            let mut segment = payload.to_vec();
            if is_first && segment.len() >= TcpHeader::MIN_LEN {
                // Options may go on in the next fragment.
                segment.resize(segment.len().max(TcpHeader::MAX_LEN), 0);
            }
            let tcp = TcpHeaderSlice::from_slice(&segment).ok()?;
            let bits = [
                tcp.fin(),
                tcp.syn(),
                tcp.rst(),
                tcp.psh(),
                tcp.ack(),
                tcp.urg(),
            ];
            let bits = (0..).zip(bits).map(|(bit, set)| u8::from(set) << bit);
            Some(View::Tcp {
                ports: [tcp.source_port(), tcp.destination_port()],
                flags: Flags::new(bits.sum()),
                addresses,
            })
        }
        IpNumber::UDP if !is_later => {
            let udp = UdpHeaderSlice::from_slice(payload).ok()?;
            let length = usize::from(udp.length());
            if length < UdpHeader::LEN || !is_first && length > payload.len() {
                return None;
            }
            Some(View::Udp {
                ports: [udp.source_port(), udp.destination_port()],
                addresses,
            })
        }
        protocol => Some(View::Portless {
            protocol: protocol.0,
            non_initial_fragment: is_later,
            addresses,
        }),
    }
}

/// A frame in the making, the truth unless changed.
#[derive(Clone, Debug)]
struct Packet {
    tags: Vec<EtherType>,
    ip: Ipv4Header,
    transport: Vec<u8>,
    padding: usize,
}

impl Packet {
    fn new(protocol: IpNumber, transport: Vec<u8>) -> Self {
        let mut ip = Ipv4Header {
            protocol,
            time_to_live: 64,
            source: [192, 0, 2, 1],
            destination: [198, 51, 100, 2],
            ..Ipv4Header::default()
        };
        ip.total_len = (ip.header_len() + transport.len()) as u16;
        Self {
            tags: Vec::new(),
            ip,
            transport,
            padding: 0,
        }
    }

    fn tcp(source: u16, destination: u16, bits: u8, options: &[u8], data: &[u8]) -> Self {
        let mut header = TcpHeader::new(source, destination, 1, 1);
        header.set_options_raw(options).expect("few options");
        let mut bytes = header.to_bytes().to_vec();
        bytes[13] = bits;
        Self::new(IpNumber::TCP, [&bytes, data].concat())
    }

    fn udp(source: u16, destination: u16, data: &[u8]) -> Self {
        let header = UdpHeader {
            source_port: source,
            destination_port: destination,
            length: (UdpHeader::LEN + data.len()) as u16,
            checksum: 0,
        };
        Self::new(IpNumber::UDP, [&header.to_bytes(), data].concat())
    }

    fn with_options(mut self, options: &[u8]) -> Self {
        self.ip.options = options.try_into().expect("few options");
        self.ip.total_len += options.len() as u16;
        self
    }

    fn with_fragment(mut self, offset: u16, more: bool) -> Self {
        self.ip.fragment_offset = IpFragOffset::try_new(offset).expect("thirteen bits");
        self.ip.more_fragments = more;
        self
    }

    fn frame(&self) -> Vec<u8> {
        let mut ether_type = EtherType::IPV4;
        let mut bytes = [&self.ip.to_bytes()[..], &self.transport].concat();
        for &tag in self.tags.iter().rev() {
            let header = SingleVlanHeader {
                ether_type,
                ..SingleVlanHeader::default()
            };
            bytes = [&header.to_bytes()[..], &bytes].concat();
            ether_type = tag;
        }
        let header = Ethernet2Header {
            ether_type,
            ..Ethernet2Header::default()
        };
        bytes = [&header.to_bytes()[..], &bytes].concat();
        bytes.resize(bytes.len() + self.padding, 0xa5);
        bytes
    }
}

/// Words of four bytes: options.
fn words() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<[u8; 4]>(), 0..=10).prop_map(|words| words.concat())
}

/// Any packet that is in order.
fn packet() -> impl Strategy<Value = Packet> {
    let data = || vec(any::<u8>(), 0..32);
    let transport = prop_oneof![
        (any::<[u16; 2]>(), any::<u8>(), words(), data()).prop_map(
            |([source, destination], bits, options, data)| {
                Packet::tcp(source, destination, bits, &options, &data)
            }
        ),
        (any::<[u16; 2]>(), data())
            .prop_map(|([source, destination], data)| { Packet::udp(source, destination, &data) }),
        (any::<u8>(), data()).prop_map(|(protocol, data)| match IpNumber(protocol) {
            // Theirs are made above.
            IpNumber::TCP | IpNumber::UDP => Packet::new(IpNumber::GRE, data),
            protocol => Packet::new(protocol, data),
        }),
    ];
    let tag = prop_oneof![
        Just(EtherType::VLAN_TAGGED_FRAME),
        Just(EtherType::PROVIDER_BRIDGING)
    ];
    let fragment = prop_oneof![
        4 => Just((0, false)),
        1 => Just((0, true)),
        1 => (1_u16..8192, any::<bool>()),
    ];
    (transport, vec(tag, 0..=2), words(), fragment, 0..32_usize).prop_map(
        |(packet, tags, options, (offset, more), padding)| Packet {
            tags,
            padding,
            ..packet.with_options(&options).with_fragment(offset, more)
        },
    )
}

/// A frame that was in order before a few bytes were changed and its end cut.
fn mutant() -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<Index>(), any::<u8>()), 0..4);
    (packet(), changes, any::<Index>(), any::<bool>()).prop_map(|(packet, changes, cut, cuts)| {
        let mut frame = packet.frame();
        for (place, byte) in changes {
            let len = frame.len();
            frame[place.index(len)] = byte;
        }
        if cuts {
            frame.truncate(cut.index(frame.len()));
        }
        frame
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn packets_in_order_are_seen_as_they_were_made(packet in packet()) {
        let frame = packet.frame();
        let view = view(&frame);
        prop_assert_eq!(view.ok(), reference(&frame));
        // Once more by etherparse's own walk through the frame.
        let sliced = SlicedPacket::from_ethernet(&frame).map(|sliced| sliced.transport);
        match sliced {
            Ok(Some(TransportSlice::Tcp(tcp))) => {
                let seen = matches!(
                    view,
                    Ok(View::Tcp { ports, .. })
                        if ports == [tcp.source_port(), tcp.destination_port()]
                );
                prop_assert!(seen, "{view:?}");
            }
            Ok(Some(TransportSlice::Udp(udp))) => {
                let seen = matches!(
                    view,
                    Ok(View::Udp { ports, .. })
                        if ports == [udp.source_port(), udp.destination_port()]
                );
                prop_assert!(seen, "{view:?}");
            }
            _ => {
                let whole = !packet.ip.is_fragmenting_payload();
                let ports = matches!(view, Ok(View::Tcp { .. } | View::Udp { .. }));
                prop_assert!(!(whole && ports), "{view:?}, where etherparse sees no ports");
            }
        }
    }

    #[test]
    fn mutants_are_seen_as_etherparse_sees_them(frame in mutant()) {
        prop_assert_eq!(view(&frame).ok(), reference(&frame));
    }

    #[test]
    fn any_bytes_are_seen_as_etherparse_sees_them(bytes in vec(any::<u8>(), 0..96)) {
        prop_assert_eq!(view(&bytes).ok(), reference(&bytes));
        // Ethernet addresses and types are rarely IPv4's by chance.
        let bytes = [&[0; 12][..], &[8, 0, 0x45], &bytes].concat();
        prop_assert_eq!(view(&bytes).ok(), reference(&bytes));
    }

    #[test]
    fn what_follows_the_packet_changes_nothing(
        frame in mutant(),
        behind in vec(any::<u8>(), 0..64),
    ) {
        if let Ok(seen) = view(&frame) {
            prop_assert_eq!(view(&[frame, behind].concat()), Ok(seen));
        }
    }

    #[test]
    fn a_read_ends_where_the_frame_does(bytes in vec(any::<u8>(), 0..32), offset in 0..40_usize) {
        let frame = &bytes[..];
        let read = |offset| frame.read::<[u8; 4]>(offset).copied();
        prop_assert_eq!(Frame::len(frame), bytes.len());
        prop_assert_eq!(frame.is_empty(), bytes.is_empty());
        let expected = bytes.get(offset..offset + 4).map(|four| [four[0], four[1], four[2], four[3]]);
        prop_assert_eq!(read(offset), expected);
        prop_assert_eq!(read(usize::MAX - offset), None);
    }
}

#[test]
fn ethernet_types_are_told_apart() {
    const Q: [u8; 2] = [0x81, 0x00];
    const AD: [u8; 2] = [0x88, 0xa8];
    const IPV4: [u8; 2] = [0x08, 0x00];
    const ARP: [u8; 2] = [0x08, 0x06];
    const IPV6: [u8; 2] = [0x86, 0xdd];
    let truncated = Err(Malformation::EthernetTruncated);
    for (types, expected) in [
        (&[IPV4][..], Ok(Payload::Ipv4(14))),
        (&[Q, IPV4], Ok(Payload::Ipv4(18))),
        (&[AD, IPV4], Ok(Payload::Ipv4(18))),
        (&[AD, Q, IPV4], Ok(Payload::Ipv4(22))),
        (&[Q, Q, IPV4], Ok(Payload::Ipv4(22))),
        (&[Q, Q, Q, IPV4], Ok(Payload::TooManyTags)),
        (&[Q, Q, AD], Ok(Payload::TooManyTags)),
        (&[ARP], Ok(Payload::Arp)),
        (&[Q, ARP], Ok(Payload::Arp)),
        (&[IPV6], Ok(Payload::Ipv6(14))),
        (&[AD, Q, IPV6], Ok(Payload::Ipv6(22))),
        (&[[0, 8]], Ok(Payload::Other)),
        (&[[8, 1]], Ok(Payload::Other)),
        (&[[0x91, 0]], Ok(Payload::Other)),
        (&[[0x88, 0xcc]], Ok(Payload::LinkControl)),
        (&[Q, [0x88, 0x8e]], Ok(Payload::LinkControl)),
        (&[[0x88, 0x09]], Ok(Payload::LinkControl)),
        (&[[0, 38]], Ok(Payload::Other)),
        (&[[0, 0]], Ok(Payload::Other)),
        (&[Q], truncated),
        (&[AD, Q], truncated),
        (&[], truncated),
    ] {
        // Addresses, then types with tags' contents between them.
        let mut frame = vec![0xff; 12];
        for (index, ether_type) in types.iter().enumerate() {
            if index > 0 {
                frame.extend([0x20, 0x01]);
            }
            frame.extend(ether_type);
        }
        assert_eq!(ethernet::payload(&frame[..]), expected, "{types:02x?}");
        if types.len() <= 3 {
            let cut = &frame[..frame.len() - 1];
            assert_eq!(ethernet::payload(cut), truncated, "{types:02x?}, cut");
        }
    }
}

#[test]
fn each_lie_has_its_name() {
    let tcp = || Packet::tcp(1, 2, 0x02, &[], b"data").frame();
    let udp = || Packet::udp(1, 2, b"data").frame();
    let lie = |mut frame: Vec<u8>, offset: usize, bytes: &[u8]| {
        frame[offset..][..bytes.len()].copy_from_slice(bytes);
        frame
    };
    let short = |protocol, len| Packet::new(protocol, vec![0x50; len]).frame();
    for (name, frame, expected) in [
        ("nothing", vec![], Malformation::EthernetTruncated),
        (
            "13 bytes",
            tcp()[..13].to_vec(),
            Malformation::EthernetTruncated,
        ),
        ("no IPv4", tcp()[..14].to_vec(), Malformation::Ipv4Truncated),
        (
            "19 bytes of IPv4",
            tcp()[..33].to_vec(),
            Malformation::Ipv4Truncated,
        ),
        (
            "version 0",
            lie(tcp(), 14, &[0x05]),
            Malformation::Ipv4Version,
        ),
        (
            "version 3",
            lie(tcp(), 14, &[0x3f]),
            Malformation::Ipv4Version,
        ),
        (
            "version 5",
            lie(tcp(), 14, &[0x50]),
            Malformation::Ipv4Version,
        ),
        (
            "version 6",
            lie(tcp(), 14, &[0x65]),
            Malformation::Ipv4Version,
        ),
        (
            "no header",
            lie(tcp(), 14, &[0x40]),
            Malformation::Ipv4HeaderLength,
        ),
        (
            "four words",
            lie(tcp(), 14, &[0x44]),
            Malformation::Ipv4HeaderLength,
        ),
        (
            "header beyond",
            lie(tcp(), 14, &[0x4f]),
            Malformation::Ipv4TotalLength,
        ),
        (
            "no length",
            lie(tcp(), 16, &[0, 0]),
            Malformation::Ipv4TotalLength,
        ),
        (
            "length of 19",
            lie(tcp(), 16, &[0, 19]),
            Malformation::Ipv4TotalLength,
        ),
        (
            "one beyond",
            lie(tcp(), 16, &[0, 45]),
            Malformation::Ipv4TotalLength,
        ),
        (
            "far beyond",
            lie(tcp(), 16, &[0xff, 0xff]),
            Malformation::Ipv4TotalLength,
        ),
        (
            "no TCP",
            short(IpNumber::TCP, 0),
            Malformation::TcpTruncated,
        ),
        (
            "19 bytes of TCP",
            short(IpNumber::TCP, 19),
            Malformation::TcpTruncated,
        ),
        (
            "TCP in the padding",
            lie(tcp(), 16, &[0, 39]),
            Malformation::TcpTruncated,
        ),
        (
            "four words of TCP",
            lie(tcp(), 46, &[0x4f]),
            Malformation::TcpDataOffset,
        ),
        (
            "seven words of TCP",
            lie(tcp(), 46, &[0x70]),
            Malformation::TcpDataOffset,
        ),
        (
            "no UDP",
            short(IpNumber::UDP, 0),
            Malformation::UdpTruncated,
        ),
        (
            "7 bytes of UDP",
            short(IpNumber::UDP, 7),
            Malformation::UdpTruncated,
        ),
        (
            "no UDP length",
            lie(udp(), 38, &[0, 0]),
            Malformation::UdpLength,
        ),
        (
            "UDP length of 7",
            lie(udp(), 38, &[0, 7]),
            Malformation::UdpLength,
        ),
        (
            "UDP length beyond",
            lie(udp(), 38, &[0, 13]),
            Malformation::UdpLength,
        ),
    ] {
        assert_eq!(view(&frame), Err(expected), "{name}");
        assert_eq!(reference(&frame), None, "{name}");
    }
}

#[test]
fn a_first_fragment_must_hold_the_ports_and_flags() {
    let first = |packet: Packet| view(&packet.with_fragment(0, true).frame());
    for len in 0..TcpHeader::MIN_LEN {
        let packet = Packet::new(IpNumber::TCP, vec![0x50; len]);
        assert_eq!(
            first(packet),
            Err(Malformation::TcpTruncated),
            "{len} bytes"
        );
    }
    for len in 0..UdpHeader::LEN {
        let packet = Packet::new(IpNumber::UDP, vec![0x50; len]);
        assert_eq!(
            first(packet),
            Err(Malformation::UdpTruncated),
            "{len} bytes"
        );
    }
    // The rest of the options, and of the data, may be still to come.
    let mut tcp = Packet::tcp(1, 443, 0x12, &[1; 40], &[]);
    tcp.transport.truncate(TcpHeader::MIN_LEN);
    tcp.ip.total_len = 40;
    assert!(matches!(
        first(tcp.clone()),
        Ok(View::Tcp {
            ports: [1, 443],
            ..
        })
    ));
    assert_eq!(view(&tcp.frame()), Err(Malformation::TcpDataOffset));
    let mut udp = Packet::udp(1, 53, &[0; 100]);
    udp.transport.truncate(UdpHeader::LEN);
    udp.ip.total_len = 28;
    assert!(matches!(
        first(udp.clone()),
        Ok(View::Udp { ports: [1, 53], .. })
    ));
    assert_eq!(view(&udp.frame()), Err(Malformation::UdpLength));
    // A later one has none, whatever its bytes are.
    for offset in [1, 2, 8191] {
        for more in [false, true] {
            let later = view(&tcp.clone().with_fragment(offset, more).frame());
            let portless = matches!(
                later,
                Ok(View::Portless {
                    protocol: 6,
                    non_initial_fragment: true,
                    ..
                })
            );
            assert!(portless, "{later:?}");
        }
    }
}

#[test]
fn impossible_flags_are_those_that_no_stack_sends() {
    const FIN: u8 = 1 << 0;
    const SYN: u8 = 1 << 1;
    const RST: u8 = 1 << 2;
    const PSH: u8 = 1 << 3;
    const ACK: u8 = 1 << 4;
    const URG: u8 = 1 << 5;
    // What connections are made of.
    for bits in [
        SYN,
        SYN | ACK,
        ACK,
        PSH | ACK,
        FIN | ACK,
        FIN | PSH | ACK,
        RST,
        RST | ACK,
        URG | ACK,
        SYN | PSH, // Data with the SYN (RFC 7413).
    ] {
        assert!(!Flags::new(bits).are_impossible(), "{bits:#08b}");
    }
    // What scanners send.
    for bits in [0, FIN, FIN | PSH | URG, SYN | FIN, SYN | RST, 0x3f] {
        assert!(Flags::new(bits).are_impossible(), "{bits:#08b}");
    }
    for bits in 0..=u8::MAX {
        let flags = Flags::new(bits);
        let has = |all: u8| bits & all == all;
        let impossible =
            bits & 0x3f == 0 || has(SYN | FIN) || has(SYN | RST) || has(FIN) && !has(ACK);
        assert_eq!(flags.are_impossible(), impossible, "{bits:#010b}");
        // Asked of every set, the impossible ones included.
        assert_eq!(
            flags.open_connection(),
            has(SYN) && bits & (ACK | FIN | RST) == 0,
            "{bits:#010b}"
        );
        // The two bits of congestion notification (RFC 3168) change nothing.
        assert_eq!(flags, Flags::new(bits ^ 0xc0), "{bits:#010b}");
    }
    let impossible = (0..64).filter(|&bits| Flags::new(bits).are_impossible());
    assert_eq!(impossible.count(), 33);
}

/// The kernel puts TCP segments together to more than an IP header can say (BIG TCP).
#[test]
fn an_aggregate_that_leaves_belongs_to_a_conversation() {
    let ipv4 = [
        0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ];
    let mut ipv6 = vec![0x60, 0, 0, 0, 0, 0, 6, 64];
    ipv6.extend([0xfd; 32]);
    let ports = [1, 187, 156, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x10, 0, 0];
    for (ether_type, header) in [([0x08, 0x00], &ipv4[..]), ([0x86, 0xdd], &ipv6)] {
        let of_len = |len: usize| {
            let mut frame = [&[0; 12][..], &ether_type, header, &ports].concat();
            frame.resize(14 + len, 0);
            Conversation::of_outgoing(&frame[..]).map(|conversation| conversation.local)
        };
        assert_eq!(of_len(70_000), Some(443));
        assert_eq!(of_len(1000), None);
    }
}

#[test]
fn flags_are_letters_from_the_lowest_bit_on() {
    for (bits, letters) in [
        (0, ""),
        (0b00_0010, "S"),
        (0b01_0010, "SA"),
        (0b10_1001, "FPU"),
        (0xff, "FSRPAU"),
    ] {
        assert_eq!(Flags::new(bits).to_string(), letters, "{bits:#010b}");
        assert_eq!(Flags::new(bits).bits(), bits & 0x3f);
    }
}

#[test]
fn vlan_tags_are_read_from_the_outside_as_far_as_the_filter_looks() {
    let vlan = |id: u8| [0x81, 0, 0x20, id];
    let qinq = [0x88, 0xa8, 0, 7];
    let ip: [u8; 4] = [0x08, 0, 0x45, 0];
    let none = [0; 2];
    for (tags, expected) in [
        (&[][..], ([none, none], 0)),
        (&[vlan(10)], ([[0x20, 10], none], 1)),
        (&[qinq, vlan(10)], ([[0, 7], [0x20, 10]], 2)),
        (&[qinq, vlan(10), vlan(11)], ([[0, 7], [0x20, 10]], 2)),
    ] {
        let frame = [&[0; 12][..], &tags.concat(), &ip].concat();
        assert_eq!(ethernet::vlan_tags(frame.as_slice()), expected);
        // A tag that is cut short is none.
        let cut = &frame[..frame.len() - 5];
        let whole = tags.len().saturating_sub(1).min(2);
        assert_eq!(usize::from(ethernet::vlan_tags(cut).1), whole);
    }
}
