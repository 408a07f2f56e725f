//! The types of ICMP messages: their names, and lists of them as users write them.

mod types;

use std::{fmt, sync::LazyLock};

pub use self::types::{TypeSpec, TypeWord};
use super::{
    nearest,
    tsv::{self, Names, Row},
};

/// Which ICMP: the two number their types each in its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// ICMP, over IPv4.
    Icmp,
    /// ICMPv6, over IPv6.
    Icmp6,
}

impl Family {
    /// The user's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Icmp => "icmp",
            Self::Icmp6 => "icmp6",
        }
    }

    /// The type by which ping asks (RFC 792, RFC 4443 section 4.1).
    pub const fn echo_request(self) -> u8 {
        match self {
            Self::Icmp => 8,
            Self::Icmp6 => 128,
        }
    }

    /// The other one.
    pub const fn other(self) -> Self {
        match self {
            Self::Icmp => Self::Icmp6,
            Self::Icmp6 => Self::Icmp,
        }
    }
}

impl fmt::Display for Family {
    /// As in running text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Icmp => "ICMP",
            Self::Icmp6 => "ICMPv6",
        })
    }
}

/// A line of the table.
struct Entry {
    family: Family,
    number: u8,
    names: Names,
}

static TABLE: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    tsv::rows(include_str!("iana.tsv"))
        .filter_map(entry)
        .collect()
});

/// The type with this name or alias; case does not matter.
pub fn lookup(family: Family, name: &str) -> Option<u8> {
    of(family)
        .find(|entry| entry.names.contains(name))
        .map(|entry| entry.number)
}

/// The name that a type is shown with.
pub fn name_of(family: Family, number: u8) -> Option<&'static str> {
    of(family)
        .find(|entry| entry.number == number)
        .map(|entry| entry.names.name)
}

/// The nearest name for a typo.
pub fn suggest(family: Family, name: &str) -> Option<&'static str> {
    nearest(&name.to_ascii_lowercase(), names(family))
}

fn names(family: Family) -> impl Iterator<Item = &'static str> {
    of(family).flat_map(|entry| entry.names.all())
}

fn of(family: Family) -> impl Iterator<Item = &'static Entry> {
    TABLE.iter().filter(move |entry| entry.family == family)
}

fn entry(mut row: Row) -> Option<Entry> {
    Some(Entry {
        family: match row.field()? {
            "icmp" => Family::Icmp,
            "icmp6" => Family::Icmp6,
            _ => return None,
        },
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
        for family in [Family::Icmp, Family::Icmp6] {
            assert!(of(family).is_sorted_by(|a, b| a.number < b.number));
            let mut seen = HashSet::new();
            for name in names(family) {
                assert!(seen.insert(name), "{name}");
                assert_eq!(name, name.to_ascii_lowercase());
                assert!(!name.starts_with(|c: char| c.is_ascii_digit()), "{name}");
                assert_ne!(name, "any");
            }
        }
    }

    #[test]
    fn names_mean_their_familys_numbers() {
        for (name, icmp, icmp6) in [
            ("echo-request", Some(8), Some(128)),
            ("PING", Some(8), Some(128)),
            ("echo-reply", Some(0), Some(129)),
            ("destination-unreachable", Some(3), Some(1)),
            ("time-exceeded", Some(11), Some(3)),
            ("parameter-problem", Some(12), Some(4)),
            ("redirect", Some(5), Some(137)),
            ("timestamp-request", Some(13), None),
            ("timestamp-reply", Some(14), None),
            ("packet-too-big", None, Some(2)),
            ("router-solicitation", Some(10), Some(133)),
            ("router-advertisement", Some(9), Some(134)),
            ("neighbor-solicitation", None, Some(135)),
            ("neighbour-solicitation", None, Some(135)),
            ("neighbour-advertisement", None, Some(136)),
            ("mld2-listener-report", None, Some(143)),
        ] {
            assert_eq!(lookup(Family::Icmp, name), icmp, "{name}");
            assert_eq!(lookup(Family::Icmp6, name), icmp6, "{name}");
        }
        assert_eq!(name_of(Family::Icmp, 8), Some("echo-request"));
        assert_eq!(name_of(Family::Icmp6, 135), Some("neighbor-solicitation"));
        assert_eq!(name_of(Family::Icmp, 200), None);
    }
}
