//! Reads the two tables of port names. It must never be wrong in silence: a line that cannot
//! be read fails this module's tests.

use std::{
    collections::HashMap,
    sync::{LazyLock, OnceLock},
};

use xdpfw_common::Transport;

use crate::names::tsv::{self, Names, Row};

/// Names in real use, with the protocols that a bare name means; asked first.
pub(super) static COMMON: LazyLock<Table> =
    LazyLock::new(|| Table::parse(include_str!("common.tsv")));

/// The IANA registry; asked for what [`COMMON`] does not know.
pub(super) static IANA: LazyLock<Table> = LazyLock::new(|| Table::parse(include_str!("iana.tsv")));

/// A name for one port of one protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) port: u16,
    pub(super) transport: Transport,
    /// Whether the bare name, without a protocol, means this one.
    pub(super) bare: bool,
    pub(super) names: Names,
}

/// Entries sorted by port, and for one port in order of preference.
pub(super) struct Table {
    entries: Vec<Entry>,
    /// Places of the entries with a name or alias; made when the first name is looked up.
    by_name: OnceLock<HashMap<&'static str, Vec<usize>>>,
}

impl Table {
    fn parse(text: &'static str) -> Self {
        // A first guess at the size that both tables stay below.
        let mut entries = Vec::with_capacity(text.len() / 16);
        for row in tsv::rows(text) {
            entries.extend(parse(row).into_iter().flatten().flatten());
        }
        Self {
            entries,
            by_name: OnceLock::new(),
        }
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entries with this name or alias in any case, lowest port first.
    pub(super) fn called(&self, name: &str) -> impl Iterator<Item = &Entry> {
        let by_name = self.by_name.get_or_init(|| {
            let mut by_name: HashMap<_, Vec<usize>> = HashMap::new();
            for (place, entry) in self.entries.iter().enumerate() {
                for name in entry.names.all() {
                    by_name.entry(name).or_default().push(place);
                }
            }
            by_name
        });
        let places = by_name.get(name.to_ascii_lowercase().as_str());
        places
            .into_iter()
            .flatten()
            .map(|&place| &self.entries[place])
    }

    /// The preferred entry for a port.
    pub(super) fn at(&self, transport: Transport, port: u16) -> Option<&Entry> {
        let start = self.entries.partition_point(|entry| entry.port < port);
        self.entries
            .get(start..)?
            .iter()
            .take_while(|entry| entry.port == port)
            .find(|entry| entry.transport == transport)
    }
}

/// The entries of a row, at most one for each protocol; `None` when it cannot be read.
fn parse(mut row: Row) -> Option<[Option<Entry>; 2]> {
    let port = row.number()?;
    let protocols = row.field()?;
    let names = row.names()?;
    let entry = |transport, bare| {
        Some(Entry {
            port,
            transport,
            bare,
            names,
        })
    };
    let tcp = |bare| entry(Transport::Tcp, bare);
    let udp = |bare| entry(Transport::Udp, bare);
    Some(match protocols {
        "tcp" => [tcp(true), None],
        "udp" => [None, udp(true)],
        "tcp udp" => [tcp(true), udp(true)],
        "tcp (udp)" => [tcp(true), udp(false)],
        "udp (tcp)" => [tcp(false), udp(true)],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const FILES: [&str; 2] = [include_str!("common.tsv"), include_str!("iana.tsv")];

    #[test]
    fn every_line_can_be_read() {
        for line in FILES.iter().flat_map(|text| text.lines()) {
            assert!(
                line.starts_with('#') || parse(Row::of(line)).is_some(),
                "{line}"
            );
        }
    }

    #[test]
    fn names_are_in_lower_case_and_cannot_be_taken_for_ports() {
        for entry in COMMON.entries().iter().chain(IANA.entries()) {
            for name in entry.names.all() {
                assert_eq!(name, name.to_ascii_lowercase());
                assert!(name.contains(|c: char| c.is_ascii_lowercase()), "{name}");
                assert!(!name.contains([',', ':', '`']), "{name}");
                assert!(name.is_ascii(), "{name}");
            }
        }
    }

    #[test]
    fn no_name_is_a_word_of_the_rules() {
        const WORDS: [&str; 12] = [
            "any", "tcp", "udp", "icmp", "icmp6", "proto", "allow", "deny", "limit", "drop",
            "pass", "default",
        ];
        for word in WORDS {
            assert_eq!(COMMON.called(word).next(), None);
            assert_eq!(IANA.called(word).next(), None);
        }
    }

    #[test]
    fn ports_are_sorted() {
        assert!(COMMON.entries().is_sorted_by_key(|entry| entry.port));
        assert!(IANA.entries().is_sorted_by_key(|entry| entry.port));
        assert!(IANA.entries().len() > 10_000);
    }

    #[test]
    fn common_names_are_written_once() {
        let mut seen = HashSet::new();
        for row in tsv::rows(include_str!("common.tsv")) {
            let entry = parse(row).into_iter().flatten().flatten().next();
            for name in entry.iter().flat_map(|entry| entry.names.all()) {
                assert!(seen.insert(name), "{name}");
            }
        }
    }

    #[test]
    fn a_line_that_cannot_be_read_is_none() {
        for line in ["", "x\ttcp\tssh", "22\tsctp\tssh", "22\ttcp", "22\ttcp\t"] {
            assert_eq!(parse(Row::of(line)), None, "{line}");
        }
    }
}
