use etherparse::PacketBuilder;
use proptest::prelude::*;

use super::*;

const MAGIC: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;

/// The order of the bytes in numbers.
#[derive(Clone, Copy, Debug)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn words(self, words: &[u32]) -> Vec<u8> {
        let bytes = |word: &u32| match self {
            Self::Little => word.to_le_bytes(),
            Self::Big => word.to_be_bytes(),
        };
        words.iter().flat_map(bytes).collect()
    }

    /// Two numbers in a word, the first one first.
    fn pair(self, first: u16, second: u16) -> u32 {
        match self {
            Self::Little => u32::from(second) << 16 | u32::from(first),
            Self::Big => u32::from(first) << 16 | u32::from(second),
        }
    }

    fn pcap(self, magic: u32, link_type: u32, frames: &[&[u8]]) -> Vec<u8> {
        let mut file = self.words(&[magic, self.pair(2, 4), 0, 0, 65_535, link_type]);
        for frame in frames {
            let length = frame.len() as u32;
            file.extend(self.words(&[1, 999_999, length, length]));
            file.extend_from_slice(frame);
        }
        file
    }

    fn block(self, kind: u32, body: &[u8]) -> Vec<u8> {
        let body = [body, &vec![0; body.len().wrapping_neg() % 4]].concat();
        let length = body.len() as u32 + 12;
        [self.words(&[kind, length]), body, self.words(&[length])].concat()
    }

    fn section(self) -> Vec<u8> {
        let unknown = [u32::MAX; 2];
        let body = [&[0x1a2b_3c4d, self.pair(1, 0)], &unknown[..]].concat();
        self.block(0x0a0d_0d0a, &self.words(&body))
    }

    fn interface(self, link_type: u16) -> Vec<u8> {
        self.block(1, &self.words(&[self.pair(link_type, 0), 0]))
    }

    fn packet(self, interface: u32, data: &[u8]) -> Vec<u8> {
        let length = data.len() as u32;
        let head = self.words(&[interface, 0, 0, length, length]);
        self.block(6, &[&head, data].concat())
    }

    fn simple(self, data: &[u8]) -> Vec<u8> {
        let head = self.words(&[data.len() as u32]);
        self.block(3, &[&head, data].concat())
    }
}

fn frame() -> Vec<u8> {
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2([0; 6], [0; 6]).ipv4([192, 0, 2, 7], [192, 0, 2, 1], 64);
    builder
        .tcp(51_000, 22, 1, 1)
        .write(&mut frame, &[])
        .unwrap();
    frame
}

/// What is read of a file, and the error that ends it.
fn read(bytes: &[u8]) -> (Vec<Captured>, Option<String>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("capture");
    std::fs::write(&path, bytes).unwrap();
    let mut found = Vec::new();
    let mut run = || -> Result<()> {
        let mut capture = Capture::open(&path)?;
        while let Some(captured) = capture.next()? {
            found.push(captured);
        }
        Ok(())
    };
    let error = run().err().map(|error| format!("{error:#}"));
    (found, error)
}

/// Captures that are whole, each of one frame or more, all the same one.
fn captures() -> Vec<(String, Vec<u8>)> {
    use Order::{Big, Little};

    let frame = frame();
    let packet = &frame[14..];
    let cooked = [&[0; 14], &[8, 0][..], packet].concat();
    let mut captures = Vec::new();
    for order in [Little, Big] {
        let mut add = |name: &str, parts: &[Vec<u8>]| {
            captures.push((format!("{name}, {order:?}"), parts.concat()));
        };
        add("pcap", &[order.pcap(MAGIC, 1, &[&frame, &frame])]);
        add("nanoseconds", &[order.pcap(NANOSECONDS, 1, &[&frame])]);
        // With four bytes of a check sum behind each frame, as is said above the type.
        let summed = [&frame[..], &[1; 4]].concat();
        add("check sum", &[order.pcap(MAGIC, 0x4400_0001, &[&summed])]);
        let (begin, one) = ([order.section(), order.interface(1)].concat(), &frame);
        add("pcapng", &[begin.clone(), order.packet(0, one)]);
        add("simple", &[begin.clone(), order.simple(one)]);
        let other = match order {
            Little => Big,
            Big => Little,
        };
        add(
            "sections",
            &[
                begin,
                order.packet(0, one),
                other.section(),
                other.interface(101),
                other.packet(0, packet),
                order.section(),
                order.interface(113),
                order.interface(1),
                order.packet(1, one),
                order.packet(0, &cooked),
            ],
        );
    }
    captures
}

#[test]
fn every_byte_order_resolution_and_section_is_read() {
    for (name, bytes) in captures() {
        let (found, error) = read(&bytes);
        assert_eq!(error, None, "{name}");
        assert!(!found.is_empty(), "{name}");
        for captured in found {
            let Captured::Frame(found) = captured else {
                panic!("{name}: {captured:?}");
            };
            assert_eq!(found[12..54], frame()[12..], "{name}");
        }
    }
}

#[test]
fn a_capture_that_ends_anywhere_is_read_to_there() {
    for (name, bytes) in captures() {
        let (whole, _) = read(&bytes);
        let mut most = 0;
        for end in (0..bytes.len()).step_by(11) {
            let (found, error) = read(&bytes[..end]);
            assert_eq!(found[..], whole[..found.len()], "{name}, {end}");
            assert!(found.len() >= most, "{name}, {end}");
            most = found.len();
            let Some(error) = error else { continue };
            let is_told = ["no capture", "breaks off"]
                .iter()
                .any(|why| error.contains(why));
            assert!(is_told && !error.contains('\n'), "{name}, {end}: {error}");
        }
        assert_eq!(most, whole.len() - 1, "{name}");
    }
}

#[test]
fn what_cannot_be_judged_is_named() {
    let order = Order::Little;
    let (frame, begin) = (frame(), [order.section(), order.interface(105)].concat());
    for (bytes, why) in [
        (
            order.pcap(MAGIC, 1, &[&frame[..13]]),
            "too short for its link type",
        ),
        (
            order.pcap(MAGIC, 101, &[&[0; 40]]),
            "too short for its link type",
        ),
        (
            order.pcap(MAGIC, 113, &[&[0; 15]]),
            "too short for its link type",
        ),
        (
            order.pcap(MAGIC, 1, &[&[0; LONGEST + 1]]),
            "of 3401 bytes, of which 3400 can be judged",
        ),
        (
            [begin.clone(), order.packet(0, &frame)].concat(),
            "of link type 105, which has no Ethernet",
        ),
        (
            [begin, order.packet(1, &frame)].concat(),
            "of an interface that is not described",
        ),
    ] {
        let (found, error) = read(&bytes);
        assert_eq!(error, None, "{why}");
        assert_eq!(found, [Captured::Unreadable(why.to_owned())]);
    }
}

#[test]
fn lengths_that_cannot_be_are_errors() {
    let order = Order::Little;
    let begin = [order.section(), order.interface(1)].concat();
    let claims = |at: usize, claim: u32, bytes: Vec<u8>| {
        let mut bytes = bytes;
        bytes[at..at + 4].copy_from_slice(&claim.to_le_bytes());
        bytes
    };
    let packet = order.packet(0, &frame());
    let at = begin.len();
    let whole = [begin, packet].concat();
    for (bytes, why) in [
        (claims(at + 4, 0, whole.clone()), "damaged"),
        (claims(at + 4, 0xffff_fff0, whole.clone()), "too large"),
        (claims(at + 20, u32::MAX, whole.clone()), "damaged"),
        (claims(4, 0xffff_fffc, whole), "no capture"),
        (order.pcap(MAGIC, 1, &[&[]]), "a frame of no bytes"),
        (
            claims(32, u32::MAX, order.pcap(MAGIC, 1, &[&frame()])),
            "too large",
        ),
    ] {
        let (_, error) = read(&bytes);
        let error = error.unwrap();
        assert!(
            error.contains(why) && !error.contains('\n'),
            "{why}: {error}"
        );
    }
}

#[test]
fn what_is_missing_decides_nothing() {
    let icmp = |quote: &[u8]| {
        let mut frame = Vec::new();
        let builder =
            PacketBuilder::ethernet2([0; 6], [0; 6]).ipv4([192, 0, 2, 7], [192, 0, 2, 1], 64);
        builder
            .icmpv4_raw(3, 3, [0; 4])
            .write(&mut frame, quote)
            .unwrap();
        frame
    };
    let mut options = Vec::new();
    let mut header = etherparse::TcpHeader::new(51_000, 22, 1, 1);
    header.set_options_raw(&[1; 20]).unwrap();
    let builder = PacketBuilder::ethernet2([0; 6], [0; 6])
        .single_vlan(10.try_into().unwrap())
        .ipv6([1; 16], [2; 16], 64);
    builder
        .tcp_header(header)
        .write(&mut options, &[9; 50])
        .unwrap();
    let mut udp = Vec::new();
    let builder = PacketBuilder::ethernet2([0; 6], [0; 6]).ipv4([192, 0, 2, 7], [192, 0, 2, 1], 64);
    builder.udp(53, 40_000).write(&mut udp, &[9; 50]).unwrap();
    for (frame, enough) in [
        (frame(), 54),
        // Behind the fixed part of TCP.
        (options, 14 + 4 + 40 + 20),
        (udp, 14 + 20 + 8),
        // Behind the ports of the packet that is quoted.
        (icmp(&frame()[14..]), 14 + 20 + 8 + 20 + 8),
    ] {
        for captured in 0..frame.len() {
            let read = ethernet(
                Linktype::ETHERNET,
                &frame[..captured],
                frame.len() - captured,
            );
            let is_judged = matches!(read, Captured::Frame(_));
            assert_eq!(is_judged, captured >= enough, "{captured} of {frame:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_damage_does_more_than_end_it(
        which in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let captures = captures();
        let (_, mut bytes) = captures[which.index(captures.len())].clone();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let (_, error) = read(&bytes);
        prop_assert!(!error.is_some_and(|error| error.contains('\n')));
    }
}
