//! The names of IP protocols: which number a name means, and which name a number is shown
//! with. It ships its table and must never ask the host's own `/etc/protocols`.

use std::sync::LazyLock;

use crate::services;

/// A line of the table.
struct Entry {
    number: u8,
    name: &'static str,
    /// Separated by blanks.
    aliases: &'static str,
}

static TABLE: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    include_str!("iana.tsv")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(parse_line)
        .collect()
});

/// The number of a protocol, by its name or an alias; case does not matter.
pub fn lookup(name: &str) -> Option<u8> {
    TABLE
        .iter()
        .find(|entry| entry.names().any(|known| known.eq_ignore_ascii_case(name)))
        .map(|entry| entry.number)
}

/// The name that a protocol is shown with.
pub fn name_of(number: u8) -> Option<&'static str> {
    let index = TABLE
        .binary_search_by_key(&number, |entry| entry.number)
        .ok()?;
    Some(TABLE[index].name)
}

/// The nearest name for a typo.
pub fn suggest(name: &str) -> Option<&'static str> {
    services::nearest(
        &name.to_ascii_lowercase(),
        TABLE.iter().flat_map(Entry::names),
    )
}

impl Entry {
    fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.aliases.split(' ').filter(|name| !name.is_empty()))
    }
}

fn parse_line(line: &'static str) -> Option<Entry> {
    let (number, names) = line.split_once('\t')?;
    let (name, aliases) = names.split_once('\t').unwrap_or((names, ""));
    Some(Entry {
        number: number.parse().ok()?,
        name,
        aliases,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_table_is_sorted_and_every_name_stands_once() {
        let lines = include_str!("iana.tsv").lines();
        assert_eq!(
            lines.filter(|line| !line.starts_with('#')).count(),
            TABLE.len()
        );
        assert!(TABLE.is_sorted_by(|a, b| a.number < b.number));
        let mut seen = HashSet::new();
        for name in TABLE.iter().flat_map(Entry::names) {
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
