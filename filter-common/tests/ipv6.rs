//! Proves how IPv6 packets are read: extension headers in chains, fragments, and what
//! cannot be true of them.

use std::net::IpAddr;

use xdpfw_common::wire::{
    Malformation, icmp,
    ip::Ip,
    ipv6::{self, MAX_HEADERS},
    tcp,
};

const HOP_BY_HOP: u8 = 0;
const TCP: u8 = 6;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AH: u8 = 51;
const NO_NEXT: u8 = 59;
const DESTINATION: u8 = 60;

/// An IPv6 packet with these extension headers (number, bytes behind the first), then
/// this payload.
fn packet(extensions: &[(u8, Vec<u8>)], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let numbers: Vec<u8> = extensions.iter().map(|(number, _)| *number).collect();
    let mut body = Vec::new();
    for (index, (_, rest)) in extensions.iter().enumerate() {
        body.push(numbers.get(index + 1).copied().unwrap_or(protocol));
        body.extend(rest);
    }
    body.extend(payload);
    let len = (body.len() as u16).to_be_bytes();
    let first = numbers.first().copied().unwrap_or(protocol);
    let mut packet = vec![0x60, 0, 0, 0, len[0], len[1], first, 64];
    packet.extend([0x20; 16]);
    packet.extend([0x21; 16]);
    packet.extend(body);
    packet
}

/// An extension header of this length in bytes, by its own account in units of eight.
fn options(number: u8, len: usize) -> (u8, Vec<u8>) {
    let mut rest = vec![0; len - 1];
    rest[0] = (len / 8 - 1) as u8;
    (number, rest)
}

fn fragment(offset: u16, more: bool) -> (u8, Vec<u8>) {
    let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
    (FRAGMENT, vec![0, high, low, 0, 0, 0, 7])
}

fn authentication(len: usize) -> (u8, Vec<u8>) {
    let mut rest = vec![0; len - 1];
    rest[0] = (len / 4 - 2) as u8;
    (AH, rest)
}

fn segment() -> Vec<u8> {
    let mut segment = vec![0x9c, 0x40, 0x01, 0xbb, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02];
    segment.resize(20, 0);
    segment
}

fn parse(packet: &[u8]) -> Result<Ip<'_>, Malformation> {
    ipv6::parse(packet, 0)
}

fn port(packet: &[u8]) -> Result<u16, Malformation> {
    let ip = parse(packet)?;
    assert_eq!(ip.protocol, TCP);
    tcp::parse(packet, &ip.payload).map(|tcp| tcp.destination())
}

#[test]
fn the_header_gives_addresses_and_payload() {
    let packet = packet(&[], TCP, &segment());
    let ip = parse(&packet).unwrap();
    assert_eq!(ip.addresses.remote(), IpAddr::from([0x20; 16]));
    assert_eq!(ip.addresses.local(), IpAddr::from([0x21; 16]));
    assert_eq!((ip.payload.offset, ip.payload.len), (40, 20));
    assert!(!ip.non_initial_fragment);
    assert_eq!(port(&packet), Ok(443));
}

#[test]
fn ports_are_found_behind_every_chain_up_to_the_bound() {
    for number in [HOP_BY_HOP, ROUTING, DESTINATION] {
        for len in [8, 16, 256, 2048] {
            assert_eq!(
                port(&packet(&[options(number, len)], TCP, &segment())),
                Ok(443)
            );
        }
    }
    for len in [8, 12, 24, 1028] {
        assert_eq!(
            port(&packet(&[authentication(len)], TCP, &segment())),
            Ok(443)
        );
    }
    for count in 0..=MAX_HEADERS + 2 {
        let chain = vec![options(DESTINATION, 8); count];
        let expected = if count <= MAX_HEADERS {
            Ok(443)
        } else {
            Err(Malformation::TooManyHeaders)
        };
        assert_eq!(port(&packet(&chain, TCP, &segment())), expected, "{count}");
    }
    let longest = vec![options(DESTINATION, 2048); MAX_HEADERS];
    assert_eq!(port(&packet(&longest, TCP, &segment())), Ok(443));
    // Fragment headers count among the others.
    let mut chain = vec![options(DESTINATION, 8); MAX_HEADERS];
    chain.push(fragment(0, false));
    assert_eq!(
        port(&packet(&chain, TCP, &segment())),
        Err(Malformation::TooManyHeaders)
    );
}

#[test]
fn a_header_that_is_cut_short_is_malformed() {
    for (number, rest) in [
        options(HOP_BY_HOP, 16),
        options(ROUTING, 24),
        fragment(0, true),
        authentication(12),
    ] {
        let len = rest.len() + 1;
        for kept in 0..len {
            let mut short = packet(&[(number, rest.clone())], TCP, &[]);
            short.truncate(40 + kept);
            short[4..6].copy_from_slice(&(kept as u16).to_be_bytes());
            assert_eq!(
                parse(&short).map(|_| ()),
                Err(Malformation::ExtensionTruncated),
                "{kept} of {len} bytes of {number}"
            );
        }
    }
}

#[test]
fn lengths_and_version_must_be_true() {
    let whole = packet(&[], TCP, &segment());
    for len in 0..40 {
        assert_eq!(
            parse(&whole[..len]).map(|_| ()),
            Err(Malformation::Ipv6Truncated)
        );
    }
    for len in 40..whole.len() {
        assert_eq!(
            parse(&whole[..len]).map(|_| ()),
            Err(Malformation::Ipv6PayloadLength)
        );
    }
    for version in (0..16).filter(|&version| version != 6) {
        let mut lie = whole.clone();
        lie[0] = version << 4;
        assert_eq!(parse(&lie).map(|_| ()), Err(Malformation::Ipv6Version));
    }
    // What follows the payload is padding.
    let mut shorter = whole.clone();
    shorter[5] = 19;
    assert_eq!(port(&shorter), Err(Malformation::TcpTruncated));
    shorter[5] = 0;
    assert_eq!(port(&shorter), Err(Malformation::TcpTruncated));
}

#[test]
fn ports_are_never_read_from_a_later_fragment() {
    for offset in [1, 2, 8191] {
        for more in [false, true] {
            let later = packet(&[fragment(offset, more)], TCP, &segment());
            let ip = parse(&later).unwrap();
            assert!(ip.non_initial_fragment, "{offset} {more}");
        }
    }
    // Nothing behind its header is looked at, not even another extension header.
    let later = packet(&[fragment(1, false), options(DESTINATION, 8)], TCP, &[]);
    assert!(parse(&later).unwrap().non_initial_fragment);
    // A first one, and one that is whole (RFC 6946), have them.
    for more in [false, true] {
        assert_eq!(
            port(&packet(&[fragment(0, more)], TCP, &segment())),
            Ok(443)
        );
    }
    // Too short for the ports, a first one is malformed.
    let tiny = packet(&[fragment(0, true)], TCP, &segment()[..16]);
    assert_eq!(port(&tiny), Err(Malformation::TcpTruncated));
    // TCP options may go on in the next one, but not in none.
    let mut long = segment();
    long[12] = 0xf0;
    assert_eq!(port(&packet(&[fragment(0, true)], TCP, &long)), Ok(443));
    assert_eq!(
        port(&packet(&[fragment(0, false)], TCP, &long)),
        Err(Malformation::TcpDataOffset)
    );
}

#[test]
fn other_protocols_end_the_chain() {
    for protocol in [NO_NEXT, 50, 58, 4, 41, 255] {
        let bytes = packet(&[options(DESTINATION, 8)], protocol, &[]);
        let ip = parse(&bytes).unwrap();
        assert_eq!((ip.protocol, ip.payload.len), (protocol, 0));
    }
}

#[test]
fn an_icmp_message_has_at_least_eight_bytes() {
    for len in 0..12 {
        let bytes = packet(&[], 58, &vec![128; len]);
        let ip = parse(&bytes).unwrap();
        let expected = if len < 8 {
            Err(Malformation::IcmpTruncated)
        } else {
            Ok(128)
        };
        let message = icmp::parse(&bytes[..], &ip.payload);
        assert_eq!(message.map(|message| message.kind), expected, "{len}");
    }
}
