//! The names of IP protocols: which number a name means, and which name a number is shown
//! with. It ships its table and must never ask the host's own `/etc/protocols`.

use std::sync::LazyLock;

use super::{
    nearest,
    tsv::{self, Names, Row},
};

/// A line of the table.
struct Entry {
    number: u8,
    names: Names,
}

static TABLE: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    tsv::rows(include_str!("iana.tsv"))
        .filter_map(entry)
        .collect()
});

/// The number of a protocol, by its name or an alias; case does not matter.
pub fn lookup(name: &str) -> Option<u8> {
    TABLE
        .iter()
        .find(|entry| entry.names.contains(name))
        .map(|entry| entry.number)
}

/// The name that a protocol is shown with.
pub fn name_of(number: u8) -> Option<&'static str> {
    let index = TABLE
        .binary_search_by_key(&number, |entry| entry.number)
        .ok()?;
    Some(TABLE[index].names.name)
}

/// The nearest name for a typo.
pub fn suggest(name: &str) -> Option<&'static str> {
    nearest(&name.to_ascii_lowercase(), names())
}

/// Every name and alias.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().flat_map(|entry| entry.names.all())
}

fn entry(mut row: Row) -> Option<Entry> {
    Some(Entry {
        number: row.number()?,
        names: row.names()?,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_table_is_sorted_and_every_name_stands_once() {
        assert_eq!(tsv::rows(include_str!("iana.tsv")).count(), TABLE.len());
        assert!(TABLE.is_sorted_by(|a, b| a.number < b.number));
        let mut seen = HashSet::new();
        for name in names() {
            assert!(seen.insert(name), "{name}");
            assert_eq!(name, name.to_ascii_lowercase());
            assert!(name.contains(|c: char| c.is_ascii_lowercase()), "{name}");
        }
    }

    #[test]
    fn protocols_in_use_have_their_names() {
        for (name, number) in [
            ("gre", 47),
            ("GRE", 47),
            ("esp", 50),
            ("ah", 51),
            ("igmp", 2),
            ("ospf", 89),
            ("vrrp", 112),
            ("sctp", 132),
            ("pim", 103),
            ("l2tp", 115),
            ("ipip", 94),
            ("ipencap", 4),
            ("ipv6", 41),
            ("tcp", 6),
            ("udp", 17),
            ("icmp", 1),
            ("icmp6", 58),
            ("ipv6-icmp", 58),
        ] {
            assert_eq!(lookup(name), Some(number), "{name}");
        }
        assert_eq!(name_of(47), Some("gre"));
        assert_eq!(name_of(89), Some("ospf"));
        assert_eq!(name_of(254), None);
        assert_eq!(suggest("sctpp"), Some("sctp"));
    }
}
