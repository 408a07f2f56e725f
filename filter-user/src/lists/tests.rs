use std::{io::Write as _, path::PathBuf};

use super::*;
use crate::policy::{Garbage, ListSource};

fn list() -> List {
    List {
        name: "x".to_owned(),
        source: ListSource::File(PathBuf::from("/x")),
        refresh: None,
        column: None,
        countries: Vec::new(),
        ban: false,
        insecure: false,
        garbage: Garbage::Skip,
    }
}

fn words(read: &Read) -> Vec<String> {
    read.prefixes.iter().map(|net| net.to_string()).collect()
}

fn read(text: &str) -> Read {
    Read::from_bytes(&list(), text.into()).unwrap()
}

#[test]
fn a_line_is_an_address_or_a_prefix_whatever_stands_behind_it() {
    let text = "\u{feff}# head\n; head\n\n203.0.113.7\r\n198.51.100.0/24 ; SBL123\n\
                192.0.2.0/24;x\n2001:db8::/32 # remark\n  192.0.3.1\tyesterday\n10.1.2.3/8\n";
    let read = read(text);
    let expected = [
        "10.0.0.0/8",
        "192.0.2.0/24",
        "192.0.3.1/32",
        "198.51.100.0/24",
        "203.0.113.7/32",
        "2001:db8::/32",
    ];
    assert_eq!(words(&read), expected);
    assert_eq!(read.garbage.count(), 0);
}

#[test]
fn what_ipset_saves_is_read() {
    let text = "create drop hash:net family inet hashsize 1024 maxelem 65536\n\
                add drop 203.0.113.0/24\nadd drop 198.51.100.7 timeout 300\n\
                add drop 203.0.113.9 nomatch\nadd ports 192.0.2.1,tcp:80\nadd\n";
    let read = read(text);
    assert_eq!(words(&read), ["198.51.100.7/32", "203.0.113.0/24"]);
    assert_eq!(read.garbage.count(), 3);
}

#[test]
fn garbage_is_named_by_line_and_escaped() {
    let text = "192.0.2.1\nhello\n192.0.2.300\n::ffff:192.0.2.1\n\u{1b}[31mred\n1.2.3.4/33\n";
    let read = read(text);
    assert_eq!(words(&read), ["192.0.2.1/32"]);
    let said = read.garbage.to_string();
    assert!(
        said.starts_with("5 lines are none of a list: line 2 `hello` is no address"),
        "{said}"
    );
    assert!(
        said.contains("line 4 `::ffff:192.0.2.1` is IPv4 written as IPv6"),
        "{said}"
    );
    assert!(said.ends_with("and 2 more"), "{said}");
    let escaped = Read::from_bytes(&list(), "192.0.2.1\n\u{1b}[31mred".into()).unwrap();
    assert!(!escaped.garbage.to_string().contains('\u{1b}'));
    let strict = List {
        garbage: Garbage::Refuse,
        ..list()
    };
    assert!(matches!(
        Read::from_bytes(&strict, text.into()),
        Err(NoList::Refused(_))
    ));
    assert!(matches!(
        Read::from_bytes(&list(), "x\ny".into()),
        Err(NoList::Garbage(_))
    ));
    assert!(
        Read::from_bytes(&list(), "# nobody today\n".into())
            .unwrap()
            .prefixes
            .is_empty()
    );
}

#[test]
fn pages_for_people_are_no_list() {
    for text in [
        "<!DOCTYPE html>\n<html>",
        "\n <HTML lang=en>",
        "<?xml version='1.0'?><html>",
    ] {
        assert!(
            matches!(Read::from_bytes(&list(), text.into()), Err(NoList::Html)),
            "{text}"
        );
    }
}

#[test]
fn a_column_of_csv_is_read_and_its_head_is_not() {
    let csv = List {
        column: Some(2),
        ..list()
    };
    let text =
        "first,network,last\n1,203.0.113.0/24,\"a,b\"\n2,\"198.51.100.7\",\n# remark\n3\n4,x,\n";
    let read = Read::from_bytes(&csv, text.into()).unwrap();
    assert_eq!(words(&read), ["198.51.100.7/32", "203.0.113.0/24"]);
    assert_eq!(read.garbage.count(), 2);
    let said = read.garbage.to_string();
    assert!(
        said.contains("line 5 `3` has no column 2") && said.contains("line 6 `x`"),
        "{said}"
    );
}

#[test]
fn a_list_that_bans_has_nothing_too_wide() {
    let bans = List {
        ban: true,
        ..list()
    };
    let text = "0.0.0.0/0\n10.0.0.0/7\n11.0.0.0/8\n2001::/18\n2a00::/19\n";
    let read = Read::from_bytes(&bans, text.into()).unwrap();
    assert_eq!(words(&read), ["11.0.0.0/8", "2a00::/19"]);
    assert_eq!(read.garbage.count(), 3);
}

#[test]
fn packed_lists_are_unpacked_up_to_a_limit() {
    let packed = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let read = Read::from_bytes(&list(), packed(b"192.0.2.1\n")).unwrap();
    assert_eq!(words(&read), ["192.0.2.1/32"]);
    let bomb = packed(&vec![b'\n'; MAX_UNPACKED + 1]);
    assert!(bomb.len() < 2 << 20);
    assert!(matches!(Read::from_bytes(&list(), bomb), Err(NoList::Long)));
    let mut cut = packed(b"192.0.2.1\n192.0.2.2\n");
    cut.truncate(cut.len() - 9);
    assert!(matches!(
        Read::from_bytes(&list(), cut),
        Err(NoList::Packed(_))
    ));
}

#[test]
fn duplicates_and_prefixes_in_prefixes_are_merged() {
    let read = read(
        "10.0.0.0/24\n10.0.0.7\n10.0.0.0/24\n10.0.1.0\n10.0.0.128/25\n2001:db8::1\n2001:db8::/64\n",
    );
    assert_eq!(
        words(&read),
        ["10.0.0.0/24", "10.0.1.0/32", "2001:db8::/64"]
    );
    let all = PrefixSet::from_nets(
        ["::/0", "::1/128", "0.0.0.0/0", "255.255.255.255/32"].map(|net| net.parse().unwrap()),
    );
    assert_eq!(all.counts(), [1, 1]);
}

#[test]
fn sets_are_written_compared_and_asked() {
    let one = read("10.0.0.0/24\n10.0.1.7\n2001:db8::/32\n").prefixes;
    let other = read("10.0.1.7\n10.0.2.7\n").prefixes;
    assert_eq!(PrefixSet::from_bytes(&one.to_bytes(), 2), Some(one.clone()));
    assert_eq!(PrefixSet::from_bytes(&one.to_bytes()[1..], 2), None);
    assert_eq!(PrefixSet::from_bytes(&one.to_bytes(), 9), None);
    let gone: Vec<String> = one
        .without(&other)
        .iter()
        .map(|net| net.to_string())
        .collect();
    assert_eq!(gone, ["10.0.0.0/24", "2001:db8::/32"]);
    let around = |address: &str| {
        one.around(address.parse().unwrap())
            .map(|net| net.to_string())
    };
    assert_eq!(around("10.0.0.200").as_deref(), Some("10.0.0.0/24"));
    assert_eq!(around("10.0.1.7").as_deref(), Some("10.0.1.7/32"));
    assert_eq!(
        (around("10.0.1.8"), around("9.9.9.9"), around("2001:db9::")),
        (None, None, None)
    );
}

/// A node of a database: its two ways on, to a node or to data; `None` is neither.
type Node = [Option<Result<usize, usize>>; 2];

/// Values as the format of MaxMind writes them.
mod values {
    pub fn text(text: &str) -> Vec<u8> {
        [&[2 << 5 | text.len() as u8][..], text.as_bytes()].concat()
    }

    pub fn map(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let pairs = entries
            .iter()
            .map(|(key, value)| [text(key), value.clone()].concat());
        [
            vec![7 << 5 | entries.len() as u8],
            pairs.collect::<Vec<_>>().concat(),
        ]
        .concat()
    }

    pub fn number(kind: u8, value: u16) -> Vec<u8> {
        let [a, b] = value.to_be_bytes();
        vec![kind << 5 | 2, a, b]
    }
}

/// A database of IPv4 networks and their countries.
fn database(networks: &[(&str, &str)]) -> Vec<u8> {
    let mut nodes: Vec<Node> = vec![[None; 2]];
    let mut data = Vec::new();
    for (network, country) in networks {
        let net: ipnet::Ipv4Net = network.parse().unwrap();
        let mut at = 0;
        for bit in 0..net.prefix_len() {
            let way = (net.network().to_bits() >> (31 - bit)) as usize & 1;
            if bit + 1 == net.prefix_len() {
                nodes[at][way] = Some(Err(data.len()));
            } else if let Some(Ok(next)) = nodes[at][way] {
                at = next;
            } else {
                nodes.push([None; 2]);
                let next = nodes.len() - 1;
                nodes[at][way] = Some(Ok(next));
                at = next;
            }
        }
        let code = values::map(&[("iso_code", values::text(country))]);
        data.extend(values::map(&[("country", code)]));
    }
    written(&nodes, &data)
}

/// A database as the format has it: a tree with records of 24 bits, data, and metadata.
fn written(nodes: &[Node], data: &[u8]) -> Vec<u8> {
    let count = nodes.len();
    let record = |way: &Option<Result<usize, usize>>| {
        let value = match way {
            None => count,
            Some(Ok(node)) => *node,
            Some(Err(place)) => count + 16 + place,
        };
        (value as u32).to_be_bytes()[1..].to_vec()
    };
    let tree: Vec<u8> = nodes.iter().flatten().flat_map(record).collect();
    let metadata = values::map(&[
        ("node_count", values::number(6, count as u16)),
        ("record_size", values::number(5, 24)),
        ("ip_version", values::number(5, 4)),
        ("database_type", values::text("Country")),
        ("languages", vec![0, 4]),
        ("binary_format_major_version", values::number(5, 2)),
        ("binary_format_minor_version", values::number(5, 0)),
        ("build_epoch", vec![1, 2, 1]),
        ("description", values::map(&[])),
    ]);
    [
        tree,
        vec![0; 16],
        data.to_vec(),
        b"\xab\xcd\xefMaxMind.com".to_vec(),
        metadata,
    ]
    .concat()
}

/// Of few nodes, each of whose ways leads to the next one, there are billions of paths.
#[test]
fn a_database_that_takes_for_ever_is_given_up() {
    let mut nodes: Vec<Node> = (1..32).map(|next| [Some(Ok(next)); 2]).collect();
    nodes.push([None; 2]);
    let list = List {
        countries: vec!["NL".to_owned()],
        ..list()
    };
    let most = std::time::Duration::from_millis(50);
    let read = Read::from_bytes_within(&list, written(&nodes, &[]), most);
    assert!(matches!(read, Err(NoList::Slow)));
    let read = Read::from_bytes_within(&list, database(&[("10.0.0.0/8", "NL")]), most * 600);
    assert_eq!(words(&read.unwrap()), ["10.0.0.0/8"]);
}

#[test]
fn the_prefixes_of_countries_are_read_from_a_database() {
    let database = database(&[
        ("10.0.0.0/8", "NL"),
        ("11.1.0.0/16", "BE"),
        ("12.0.0.0/9", "NL"),
        ("13.0.0.0/8", "DE"),
    ]);
    let of = |countries: &[&str]| List {
        countries: countries
            .iter()
            .map(|country| (*country).to_owned())
            .collect(),
        ..list()
    };
    let read = Read::from_bytes(&of(&["NL"]), database.clone()).unwrap();
    assert_eq!(words(&read), ["10.0.0.0/8", "12.0.0.0/9"]);
    let read = Read::from_bytes(&of(&["BE", "DE"]), database.clone()).unwrap();
    assert_eq!(words(&read), ["11.1.0.0/16", "13.0.0.0/8"]);
    assert!(
        Read::from_bytes(&of(&["FR"]), database.clone())
            .unwrap()
            .prefixes
            .is_empty()
    );
    assert!(matches!(
        Read::from_bytes(&list(), database.clone()),
        Err(NoList::Mmdb)
    ));
    for damaged in [&database[..100], b"192.0.2.1\n"] {
        assert!(matches!(
            Read::from_bytes(&of(&["NL"]), damaged.to_vec()),
            Err(NoList::NoMmdb(_))
        ));
    }
    // One of which a part is gone is an error, never a panic.
    for cut in (0..database.len()).step_by(7) {
        let _ = Read::from_bytes(&of(&["NL"]), database[cut..].to_vec());
    }
}
