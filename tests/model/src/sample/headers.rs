//! Makes random headers that are correct, one after the other.

use std::net::{Ipv4Addr, Ipv6Addr};

use rand::RngExt as _;

use super::{MACS, bytes, chance, one_of, weighted};
use crate::Random;

/// A frame in the making, and where its headers are.
#[derive(Clone, Debug, Default)]
pub(super) struct Draft {
    /// The frame so far.
    pub(super) bytes: Vec<u8>,
    /// Where the IP header begins.
    pub(super) network: usize,
    /// Whether that is an IPv4 header.
    pub(super) is_v4: bool,
    /// Where the IPv6 extension headers begin.
    pub(super) extensions: Vec<usize>,
    /// Where the payload begins.
    pub(super) transport: usize,
    /// Protocol of the payload.
    pub(super) protocol: u8,
}

/// What an IP packet carries.
#[derive(Clone, Debug)]
pub(super) struct Payload {
    protocol: u8,
    bytes: Vec<u8>,
}

/// The Ethernet header and VLAN tags.
pub(super) fn link(random: &mut Random, draft: &mut Draft) {
    draft.bytes = vec![2, 0, 10, 0, 0, 1];
    draft.bytes.extend(one_of(random, &MACS));
    for _ in 0..weighted(random, &[(80, 0), (9, 1), (8, 2), (3, 3)]) {
        let tag: u16 = one_of(random, &[0x8100, 0x88a8]);
        draft.bytes.extend(tag.to_be_bytes());
        draft.bytes.extend(random.random::<u16>().to_be_bytes());
    }
    let ether_type: u16 = match random.random_range(0..100) {
        0..2 => 0x0806,
        2 => random.random(),
        3 => one_of(
            random,
            &[
                0x9100, 0x8847, 0x8863, 0x88cc, 0x888e, 0x8809, 0x0026, 0x05dc, 0x05ff, 0x0600,
            ],
        ),
        // The other family's.
        4 => {
            if draft.is_v4 {
                0x86dd
            } else {
                0x0800
            }
        }
        _ => {
            if draft.is_v4 {
                0x0800
            } else {
                0x86dd
            }
        }
    };
    draft.bytes.extend(ether_type.to_be_bytes());
    if ether_type <= 0x0600 && chance(random, 50) {
        // The spanning tree's, or nearly.
        draft
            .bytes
            .extend([0x42, one_of(random, &[0x42, 0x42, 0x43])]);
    }
    draft.network = draft.bytes.len();
}

/// An IPv4 header, and what it carries.
pub(super) fn ipv4(
    random: &mut Random,
    draft: &mut Draft,
    [source, destination]: [Ipv4Addr; 2],
    payload: &Payload,
) {
    let words = weighted(random, &[(80, 0), (5, 1), (5, 2), (5, 9), (5, 10)]);
    let options = bytes(random, words * 4);
    let fragment = match random.random_range(0..100) {
        0..5 => 0x2000,
        5..8 => 0x2000 | random.random_range(1..0x2000_u16),
        8..11 => random.random_range(1..0x2000),
        11 => one_of(random, &[1, 0x1fff, 0x2001, 0x8000, 0xe000]),
        12..50 => 0x4000,
        _ => 0,
    };
    let header = 20 + options.len();
    let total = said(random, header + payload.bytes.len());
    let frame = &mut draft.bytes;
    frame.extend([0x40 | (header / 4) as u8, random.random()]);
    frame.extend(total.to_be_bytes());
    frame.extend(random.random::<u16>().to_be_bytes());
    frame.extend(fragment.to_be_bytes());
    // Group management is from the link alone.
    let ttl = if payload.protocol == 2 {
        one_of(random, &[1, 1, 2, 0])
    } else {
        64
    };
    frame.extend([ttl, payload.protocol]);
    // Nobody looks at the checksum.
    frame.extend(random.random::<u16>().to_be_bytes());
    frame.extend(source.octets());
    frame.extend(destination.octets());
    frame.extend(options);
    finish(random, draft, payload);
}

/// An IPv6 header with extension headers, and what it carries.
pub(super) fn ipv6(
    random: &mut Random,
    draft: &mut Draft,
    [source, destination]: [Ipv6Addr; 2],
    payload: &Payload,
) {
    let count = match random.random_range(0..100) {
        0..60 => 0,
        60..80 => random.random_range(1..=3),
        80..88 => random.random_range(4..=7),
        _ => random.random_range(7..=10),
    };
    let kinds: Vec<u8> = (0..count)
        .map(|_| one_of(random, &[0, 43, 60, 60, 51, 44]))
        .collect();
    let mut chain = Vec::new();
    let mut places = Vec::new();
    for (index, &kind) in kinds.iter().enumerate() {
        let next = kinds.get(index + 1).copied().unwrap_or(payload.protocol);
        places.push(chain.len());
        chain.push(next);
        match kind {
            44 => {
                let word = match random.random_range(0..100) {
                    0..60 => 0,
                    60..80 => 1,
                    80..90 => random.random_range(1..0x2000_u16) << 3,
                    90..95 => random.random_range(1..0x2000_u16) << 3 | 1,
                    // What is reserved means nothing.
                    _ => one_of(random, &[0b010, 0b100, 0b110, 0b111, 0b1000, 0xfff8]),
                };
                chain.push(random.random());
                chain.extend(word.to_be_bytes());
                chain.extend(bytes(random, 4));
            }
            _ => {
                let words = weighted(random, &[(60, 0), (20, 1), (15, 2), (5, 7)]);
                chain.push(words as u8);
                let len = if kind == 51 {
                    (words + 2) * 4
                } else {
                    (words + 1) * 8
                };
                chain.extend(bytes(random, len - 2));
            }
        }
    }
    let len = said(random, chain.len() + payload.bytes.len());
    let frame = &mut draft.bytes;
    frame.push(0x60 | random.random_range(0..16));
    frame.extend(bytes(random, 3));
    frame.extend(len.to_be_bytes());
    frame.extend([kinds.first().copied().unwrap_or(payload.protocol), 64]);
    frame.extend(source.octets());
    frame.extend(destination.octets());
    draft.extensions = places
        .iter()
        .map(|place| draft.bytes.len() + place)
        .collect();
    draft.bytes.extend(chain);
    finish(random, draft, payload);
}

/// A length, as an IP header says it: 0 where it is too long, mostly.
fn said(random: &mut Random, len: usize) -> u16 {
    match u16::try_from(len) {
        Ok(len) => len,
        Err(_) if chance(random, 10) => random.random(),
        Err(_) => 0,
    }
}

fn finish(random: &mut Random, draft: &mut Draft, payload: &Payload) {
    draft.transport = draft.bytes.len();
    draft.protocol = payload.protocol;
    draft.bytes.extend(&payload.bytes);
    if chance(random, 20) {
        // As a short frame is filled up on Ethernet.
        let padding = random.random_range(1..40);
        draft.bytes.extend(bytes(random, padding));
    }
}

/// A TCP segment.
pub(super) fn tcp(random: &mut Random, source: u16, destination: u16) -> Payload {
    let words = weighted(random, &[(75, 0), (10, 1), (10, 5), (5, 10)]);
    let flags = match random.random_range(0..10) {
        0..4 => 0x02,
        4..6 => 0x10,
        6 => one_of(random, &[0x12, 0x18, 0x11, 0x14, 0x04, 0xc2]),
        _ => random.random(),
    };
    let mut segment = Vec::new();
    segment.extend(source.to_be_bytes());
    segment.extend(destination.to_be_bytes());
    segment.extend(bytes(random, 8));
    segment.push(((5 + words) << 4) as u8 | random.random_range(0..16));
    segment.push(flags);
    segment.extend(bytes(random, 6 + words * 4));
    with_data(random, segment, 6)
}

/// A UDP datagram.
pub(super) fn udp(random: &mut Random, source: u16, destination: u16) -> Payload {
    let data = random.random_range(0..24);
    let mut datagram = Vec::new();
    datagram.extend(source.to_be_bytes());
    datagram.extend(destination.to_be_bytes());
    datagram.extend((8 + data as u16).to_be_bytes());
    datagram.extend(bytes(random, 2 + data));
    Payload {
        protocol: 17,
        bytes: datagram,
    }
}

/// An ICMP or ICMPv6 message.
pub(super) fn icmp(random: &mut Random, protocol: u8, kind: u8) -> Payload {
    let mut message = vec![kind];
    message.extend(bytes(random, 7));
    with_data(random, message, protocol)
}

/// An ICMP or ICMPv6 error about this packet, of which it quotes all or the beginning.
pub(super) fn icmp_error(random: &mut Random, protocol: u8, kind: u8, quoted: &Draft) -> Payload {
    let mut message = vec![kind];
    message.extend(bytes(random, 7));
    let quote = &quoted.bytes;
    let len = match random.random_range(0..10) {
        0..5 => quote.len(),
        // What every error has, and a byte more or less.
        5..9 => quoted.transport + one_of(random, &[7, 8, 8, 9]),
        _ => random.random_range(0..=quote.len()),
    };
    message.extend(&quote[..len.min(quote.len())]);
    Payload {
        protocol,
        bytes: message,
    }
}

/// A packet of any protocol.
pub(super) fn other(random: &mut Random, protocol: u8) -> Payload {
    with_data(random, Vec::new(), protocol)
}

impl Payload {
    /// The same the other way, where it begins with ports.
    pub(super) fn turned(mut self) -> Self {
        if matches!(self.protocol, 6 | 17 | 33 | 132 | 136)
            && let Some(ports) = self.bytes.first_chunk_mut::<4>()
        {
            ports.rotate_left(2);
        }
        self
    }

    /// Makes more of it than fits into one of a driver's buffers. What follows is then no
    /// extension header, as chains of them could go on where the filter does not read:
    /// behind the first buffer and the first 512 bytes.
    pub(super) fn enlarge(&mut self, random: &mut Random) {
        if matches!(self.protocol, 0 | 43 | 44 | 51 | 60) {
            self.protocol = 47;
        }
        let more = match chance(random, 10) {
            // More than any datagram has, and no more than a test run takes.
            true => random.random_range(65_400..68_000),
            false => random.random_range(1400..8000),
        };
        self.bytes.extend(bytes(random, more));
        if self.protocol == 17 {
            let len = self.bytes.len() as u16;
            self.bytes[4..6].copy_from_slice(&len.to_be_bytes());
        }
    }
}

fn with_data(random: &mut Random, mut header: Vec<u8>, protocol: u8) -> Payload {
    let data = random.random_range(0..24);
    header.extend(bytes(random, data));
    Payload {
        protocol,
        bytes: header,
    }
}
