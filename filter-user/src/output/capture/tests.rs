use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use pcap_parser::{Block, Linktype, OptionCode, PcapBlockOwned, PcapError, create_reader};
use proptest::prelude::*;

use super::*;

const MOST: u32 = 128;

/// A packet as it is read back.
#[derive(Debug, PartialEq)]
struct Read {
    at: u64,
    interface: String,
    linktype: Linktype,
    length: u32,
    bytes: Vec<u8>,
    flags: Vec<u8>,
    verdict: Vec<u8>,
    comment: String,
}

impl From<&Packet<'_>> for Read {
    fn from(packet: &Packet<'_>) -> Self {
        let most = packet.bytes.len().min(MOST as usize);
        let action = match packet.verdict {
            Verdict::Drop => 1,
            Verdict::Pass => 2,
            Verdict::Answer => 3,
        };
        Self {
            at: packet.at.as_nanosecond() as u64,
            interface: packet.interface.to_owned(),
            linktype: match packet.link_layer {
                LinkLayer::None => Linktype::RAW,
                _ => Linktype::ETHERNET,
            },
            length: packet.length,
            bytes: packet.bytes[..most].to_vec(),
            flags: vec![1, 0, 0, 0],
            verdict: vec![2, action, 0, 0, 0, 0, 0, 0, 0],
            comment: packet.comment.to_owned(),
        }
    }
}

fn packet<'a>(bytes: &'a [u8], comment: &'a str) -> Packet<'a> {
    Packet {
        at: Timestamp::from_nanosecond(1_795_000_000_123_456_789).unwrap(),
        index: 2,
        interface: "eth0",
        link_layer: LinkLayer::Ethernet,
        length: bytes.len() as u32,
        bytes,
        verdict: Verdict::Drop,
        comment,
    }
}

fn value(options: &[pcap_parser::PcapNGOption<'_>], code: u16) -> Vec<u8> {
    let mut found = options.iter().filter(|one| one.code == OptionCode(code));
    let value = found.next().unwrap().as_bytes().unwrap().to_vec();
    assert!(found.next().is_none());
    value
}

/// The packets of a capture, and whether it ends behind one.
fn read(bytes: &[u8]) -> (Vec<Read>, bool) {
    let Ok(mut reader) = create_reader(1 << 20, bytes) else {
        return (Vec::new(), false);
    };
    let (mut interfaces, mut packets) = (Vec::new(), Vec::new());
    loop {
        let (length, block) = match reader.next() {
            Ok(found) => found,
            Err(PcapError::Eof) => return (packets, true),
            Err(PcapError::UnexpectedEof) => return (packets, false),
            Err(PcapError::Incomplete(_)) => {
                reader.refill().unwrap();
                continue;
            }
            Err(error) => panic!("{error:?}"),
        };
        match block {
            PcapBlockOwned::NG(Block::SectionHeader(header)) => {
                let application = value(&header.options, 4);
                assert!(application.starts_with(b"xdpfw "), "{application:?}");
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(one)) => {
                assert_eq!((one.snaplen, one.if_tsresol), (MOST, 9));
                let name = String::from_utf8(value(&one.options, 2)).unwrap();
                interfaces.push((name, one.linktype));
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(one)) => {
                let (interface, linktype) = interfaces[one.if_id as usize].clone();
                packets.push(Read {
                    at: u64::from(one.ts_high) << 32 | u64::from(one.ts_low),
                    interface,
                    linktype,
                    length: one.origlen,
                    bytes: one.data[..one.caplen as usize].to_vec(),
                    flags: value(&one.options, 2),
                    verdict: value(&one.options, 7),
                    comment: String::from_utf8(value(&one.options, 1)).unwrap(),
                });
            }
            _ => panic!("another block"),
        }
        reader.consume(length);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read_back(
        packets in prop::collection::vec(
            (
                prop::collection::vec(any::<u8>(), 0..200),
                0..4_u32,
                any::<bool>(),
                any::<bool>(),
                0..u64::MAX,
                any::<String>(),
            ),
            0..40,
        ),
        cut in any::<prop::sample::Index>(),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("drops.pcapng");
        let mut capture = Capture::create(&path, MOST, None).unwrap();
        let names: Vec<String> = (0..4).map(|index| format!("eth{index}")).collect();
        let mut expected = Vec::new();
        let mut ends = vec![fs::metadata(&path).unwrap().len() as usize];
        for (bytes, index, is_bare, passes, at, comment) in &packets {
            let mut packet = packet(bytes, comment);
            packet.at = Timestamp::from_nanosecond((*at).into()).unwrap();
            packet.length = bytes.len() as u32 + u32::from(*is_bare);
            (packet.index, packet.interface) = (*index, &names[*index as usize]);
            // An interface stays what it is.
            if index % 2 == 1 {
                packet.link_layer = LinkLayer::None;
            }
            if *passes {
                packet.verdict = Verdict::Pass;
            }
            capture.write(&packet).unwrap();
            ends.push(fs::metadata(&path).unwrap().len() as usize);
            expected.push(Read::from(&packet));
        }
        let bytes = fs::read(&path).unwrap();
        let (all, is_whole) = read(&bytes);
        prop_assert_eq!(&all, &expected);
        prop_assert!(is_whole);
        // Killed in the middle, it has all that was whole.
        let cut = cut.index(bytes.len() + 1);
        let (kept, _) = read(&bytes[..cut]);
        let whole = ends.iter().filter(|&&end| end <= cut).count();
        prop_assert_eq!(&kept[..], &expected[..whole.saturating_sub(1)]);
    }
}

#[test]
fn a_full_file_is_followed_by_another_one_that_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    // Of an earlier capture.
    fs::write(at("drops.2.pcapng"), "earlier").unwrap();
    let mut capture = Capture::create(&at("drops.pcapng"), MOST, Some(1)).unwrap();
    let comments: Vec<String> = (0..1400).map(|number| format!("drop: r{number}")).collect();
    for comment in &comments {
        capture.write(&packet(&[7; 100], comment)).unwrap();
    }
    let mut found = Vec::new();
    for name in [
        "drops.pcapng",
        "drops.1.pcapng",
        "drops.3.pcapng",
        "drops.4.pcapng",
    ] {
        let bytes = fs::read(at(name)).unwrap();
        assert!(bytes.len() as u64 <= LEAST, "{name}: {}", bytes.len());
        let mode = fs::metadata(at(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
        let (packets, is_whole) = read(&bytes);
        assert!(is_whole && !packets.is_empty(), "{name}");
        found.extend(packets.into_iter().map(|packet| packet.comment));
    }
    assert!(found == comments, "{} packets", found.len());
    assert_eq!(fs::read(at("drops.2.pcapng")).unwrap(), b"earlier");
    assert!(!at("drops.5.pcapng").exists());
}

#[test]
fn nothing_that_is_there_is_written_or_followed() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("file"), "mine").unwrap();
    symlink(at("file"), at("link")).unwrap();
    symlink(at("nowhere"), at("dangling")).unwrap();
    fs::create_dir(at("directory")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    for (name, why) in [
        ("file", "nothing is overwritten (name another file)"),
        ("link", "is a symbolic link"),
        ("dangling", "is a symbolic link"),
        ("directory", "is a directory (name a file in it)"),
        ("directory/", "no name of a file"),
        ("directory/..", "no name of a file"),
        ("socket", "is there already, and no file"),
        ("none/drops", "No such file or directory"),
        ("file/drops", "Not a directory"),
    ] {
        let error = Capture::create(&at(name), MOST, None).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains(why) && !error.contains('\n'), "{error}");
        assert!(error.contains(name), "{error}");
    }
    assert_eq!(fs::read(at("file")).unwrap(), b"mine");
    assert!(!at("nowhere").exists());
}

#[test]
fn a_capture_stays_in_its_directory() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = (directory.path().join("old"), directory.path().join("new"));
    fs::create_dir(&old).unwrap();
    let mut capture = Capture::create(&old.join("drops"), MOST, Some(LEAST)).unwrap();
    fs::rename(&old, &new).unwrap();
    for _ in 0..600 {
        capture.write(&packet(&[7; 100], "drop: default")).unwrap();
    }
    assert!(!old.exists() && new.join("drops.1").exists());
}

#[test]
fn a_comment_names_the_rule_behind_the_reason() {
    assert_eq!(comment("drop", "default", None), "drop: default");
    assert_eq!(comment("drop", "rule", Some("r3")), "drop: rule r3");
}
