//! Proves that what the kernel program and userspace share lies where both
//! expect it, and that no two things share a place.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv6Addr},
};

use proptest::prelude::*;
use xdpfw_common::{
    Reason, Transport, Verdict,
    abi::{
        BLOCKS, Block, Config, Counter, EdgeKey, Event, INTERFACE_SLOTS, LocalKey, NO_KIND, Node,
        PORTS, PORTS_PER_BLOCK, PortBitmaps, ProtocolKind, SHARED_MAPS, Side, port_counter,
    },
    wire::{Malformation, tcp::Flags},
};

const SIDES: [Side; 2] = [Side::Local, Side::Remote];

#[test]
fn keys_and_values_have_the_bytes_that_the_kernel_compares() {
    let key = LocalKey::new(ProtocolKind::Tcp, 443);
    assert_eq!(bytemuck::bytes_of(&key), [0, 0, 1, 187]);
    let key = LocalKey::new(ProtocolKind::Icmp6, 128);
    assert_eq!(bytemuck::bytes_of(&key), [3, 0, 0, 128]);

    let words = |bytes: &[u8]| bytes.chunks(4).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let count = |last: u32| (1..=last).map(|word| word.to_ne_bytes().to_vec());
    let edge = EdgeKey { node: 1, class: 2 };
    assert!(words(bytemuck::bytes_of(&edge)).into_iter().eq(count(2)));
    let node = |first| Node {
        number: first,
        asks: first + 1,
        slot: first + 2,
        action: first + 3,
    };
    assert!(words(bytemuck::bytes_of(&node(1))).into_iter().eq(count(4)));
    let config = Config {
        default_pass: 1,
        drop_fragments: 2,
        replies: 3,
        dhcp_client: 4,
        icmp_errors: 5,
        discovery: 6,
        drop_non_ip: 7,
        established_only: 8,
        syn_cookies: 9,
        cookie_options: 10,
        listed_kinds: 11,
        questions: 12,
        rest: [13, 17, 21, 25, 29].map(node),
        fragments: [33, 37, 41, 45, 49].map(node),
    };
    assert!(words(bytemuck::bytes_of(&config)).into_iter().eq(count(52)));
}

#[test]
fn a_block_is_its_totals_and_then_its_drops() {
    let mut block: Block = bytemuck::Zeroable::zeroed();
    block.totals[1][Reason::ALL.len() - 1] = Counter {
        packets: 1,
        bytes: 2,
    };
    block.drops[0] = 3;
    block.drops[PORTS_PER_BLOCK - 1] = 4;
    let halves: &[u16] = bytemuck::cast_slice(bytemuck::bytes_of(&block));
    // Counters are of 64 bits, four times as long; the numbers are in the low ones.
    let low = if cfg!(target_endian = "big") { 3 } else { 0 };
    let total = 4 * 2 * (Reason::SLOTS + Reason::ALL.len() - 1) + low;
    let set: Vec<_> = halves
        .iter()
        .enumerate()
        .filter(|&(_, &half)| half != 0)
        .map(|(index, &half)| (index, half))
        .collect();
    let drops = 4 * 2 * Reason::SLOTS * INTERFACE_SLOTS;
    let expected = [
        (total, 1),
        (total + 4, 2),
        (drops, 3),
        (drops + PORTS_PER_BLOCK - 1, 4),
    ];
    assert_eq!(set, expected);
}

#[test]
fn an_event_has_the_bytes_that_the_program_writes() {
    let event = Event {
        source: [1; 16],
        destination: [2; 16],
        slot: u32::from_ne_bytes([3; 4]),
        interface: u32::from_ne_bytes([4; 4]),
        len: u32::from_ne_bytes([5; 4]),
        remote: [6, 7],
        local: [8, 9],
        reason: 10,
        kind: 11,
        family: 12,
        malformation: 13,
        vlans: [[14, 15], [16, 17]],
        vlan_count: 18,
        flags: 19,
        notice: 20,
        evidence: 20,
    };
    let ends = [6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 20];
    let expected = [&[1; 16][..], &[2; 16], &[3; 4], &[4; 4], &[5; 4], &ends];
    assert_eq!(bytemuck::bytes_of(&event), expected.concat());
    assert_eq!((event.remote(), event.local()), (0x0607, 0x0809));
}

#[test]
fn an_event_says_nothing_that_it_does_not_know() {
    let event = |reason, kind, family, malformation| Event {
        reason,
        kind,
        family,
        malformation,
        ..bytemuck::Zeroable::zeroed()
    };
    let nothing = event(u8::MAX, u8::MAX, 5, u8::MAX);
    assert_eq!(nothing.reason(), None);
    assert_eq!(nothing.kind(), None);
    assert_eq!(nothing.addresses(), None);
    assert_eq!(nothing.malformation(), None);
    // Not an IPv4 address that is mapped into IPv6.
    assert_eq!(event(0, 0, 4, 0).addresses(), None);

    for &reason in Reason::ALL {
        assert_eq!(event(reason.slot() as u8, 0, 0, 0).reason(), Some(reason));
    }
    for kind in ProtocolKind::ALL {
        assert_eq!(event(0, kind as u8, 0, 0).kind(), Some(kind));
    }
    for &malformation in Malformation::ALL {
        let event = event(0, 0, 0, malformation.code());
        assert_eq!(event.malformation(), Some(malformation));
    }
    let unspecified = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let addresses = event(0, 0, 6, 0).addresses();
    assert_eq!(addresses, Some((unspecified, unspecified)));
    assert_eq!(event(0, 0, 0, 0).malformation(), None);
    let tcp = ProtocolKind::Tcp as u8;
    assert_eq!(event(0, NO_KIND, 4, 0).flags(), None);
    assert_eq!(event(0, tcp, 4, 0).flags(), Some(Flags::NONE));
    assert_eq!(event(0, 0, 0, 0).vlans().count(), 0);
}

#[test]
fn an_event_names_its_vlans() {
    let event = |vlan_count| Event {
        vlans: [[0x0f, 0xfe], [0, 10]],
        vlan_count,
        ..bytemuck::Zeroable::zeroed()
    };
    let vlans = |count| event(count).vlans().collect::<Vec<_>>();
    assert_eq!(vlans(0), [0; 0]);
    assert_eq!(vlans(1), [0xffe]);
    assert_eq!(vlans(2), [0xffe, 10]);
    // No more than there is room for.
    assert_eq!(vlans(u8::MAX), [0xffe, 10]);
}

#[test]
fn shared_maps_have_names_and_pins_of_their_own() {
    let names: HashSet<_> = SHARED_MAPS.iter().map(|map| map.name).collect();
    let pins: HashSet<_> = SHARED_MAPS.iter().map(|map| map.pin).collect();
    assert_eq!(names.len(), SHARED_MAPS.len());
    assert_eq!(pins.len(), SHARED_MAPS.len());
    // The kernel shows so much of a name (`BPF_OBJ_NAME_LEN`).
    assert!(names.iter().all(|name| name.len() < 16));
}

#[test]
fn every_port_of_each_transport_has_a_counter_of_its_own() {
    let mut seen = HashSet::new();
    for transport in Transport::ALL {
        for port in 0..=u16::MAX {
            let (block, place) = port_counter(transport, port);
            assert!((block as usize) < BLOCKS && place < PORTS_PER_BLOCK);
            assert!(seen.insert((block, place)), "{transport} {port}");
        }
    }
    assert_eq!(seen.len(), 2 * PORTS);
    assert_eq!(seen.len(), BLOCKS * PORTS_PER_BLOCK);
}

#[test]
fn kinds_have_places_and_bits_of_their_own() {
    let bits: HashSet<u32> = ProtocolKind::ALL.map(ProtocolKind::bit).into();
    assert_eq!(bits.len(), ProtocolKind::ALL.len());
    for (place, kind) in ProtocolKind::ALL.into_iter().enumerate() {
        assert_eq!(kind as usize, place);
    }
    for transport in Transport::ALL {
        assert_eq!(ProtocolKind::from(transport).transport(), Some(transport));
    }
}

#[test]
fn a_word_and_a_verdict_name_one_reason() {
    let names: HashSet<_> = Reason::ALL
        .iter()
        .map(|reason| (reason.as_str(), reason.verdict().as_str()))
        .collect();
    assert_eq!(names.len(), Reason::ALL.len());
    for reason in Reason::ALL {
        assert_eq!(reason.to_string(), reason.as_str());
        assert!(Verdict::ALL.contains(&reason.verdict()));
    }
}

#[test]
fn an_open_port_is_not_listed_and_its_neighbours_are_closed() {
    let mut bitmaps = Box::new(PortBitmaps::EMPTY);
    bitmaps.open(Transport::Udp, 68);
    for transport in Transport::ALL {
        for port in 0..=u16::MAX {
            let open = (transport, port) == (Transport::Udp, 68);
            assert_eq!(bitmaps.is_closed(transport, port), !open);
            assert!(!bitmaps.contains(Side::Local, transport, port));
        }
    }
}

proptest! {
    // Each case asks for every port there is.
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn a_bitmap_holds_what_was_put_in_and_no_neighbour(
        ports in proptest::collection::vec((0..2_usize, 0..2_usize, any::<u16>()), 0..64),
    ) {
        let mut bitmaps = Box::new(PortBitmaps::EMPTY);
        let mut expected = HashSet::new();
        for (side, transport, port) in ports {
            bitmaps.insert(SIDES[side], Transport::ALL[transport], port);
            expected.insert((SIDES[side], Transport::ALL[transport], port));
        }
        for side in SIDES {
            for transport in Transport::ALL {
                for port in 0..=u16::MAX {
                    prop_assert_eq!(
                        bitmaps.contains(side, transport, port),
                        expected.contains(&(side, transport, port))
                    );
                    prop_assert_eq!(
                        bitmaps.is_closed(transport, port),
                        !expected.contains(&(Side::Local, transport, port))
                    );
                }
            }
        }
    }
}
