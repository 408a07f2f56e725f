//! What lists of addresses are made of: files in the forms that they are published in, and the set of
//! prefixes that is read from them. Pure.

mod csv;
mod lines;
mod mmdb;
mod set;
mod unpack;

pub use self::{set::PrefixSet, unpack::MAX_UNPACKED};

use std::{fmt, net::IpAddr, sync::mpsc, thread, time::Duration};

use ipnet::IpNet;

use crate::policy::{List, ListSource};

/// Lines that are none of a list, of which so many are named.
const NAMED: usize = 3;
/// Characters of such a line that are shown.
const SHOWN: usize = 40;
/// Prefixes of a list at most.
pub const MAX_PREFIXES: usize = 1 << 22;
/// The widest prefixes that a list may ban: of IPv4, and of IPv6.
const WIDEST: [u8; 2] = [8, 19];

/// What was read of a list.
#[derive(Debug, Default)]
pub struct Read {
    /// Its prefixes, without those that are in others.
    pub prefixes: PrefixSet,
    /// What was none.
    pub garbage: GarbageLines,
}

/// Lines that are none of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GarbageLines {
    count: u64,
    first: Vec<String>,
}

/// Why something is no list at all.
#[derive(Debug, thiserror::Error)]
pub enum NoList {
    /// The server has something to say.
    #[error("it answers HTML (does the URL lead to the list itself?)")]
    Html,
    /// A database, and nobody says which part of it.
    #[error("it is a MaxMind database (say `country = [\"NL\"]`)")]
    Mmdb,
    /// It is no database.
    #[error("it is no MaxMind database of countries: {0} (leave `country` out?)")]
    NoMmdb(String),
    /// It is more than lists are.
    #[error("it is longer than {} MiB unpacked", MAX_UNPACKED >> 20)]
    Long,
    /// The same.
    #[error("it has more than {MAX_PREFIXES} prefixes")]
    Many,
    /// It is made so that nobody comes to its end.
    #[error("it takes too long to be read")]
    Slow,
    /// This system has no thread to read it in.
    #[error("it cannot be read now: {0}")]
    Thread(std::io::Error),
    /// It breaks off, or is damaged.
    #[error("it cannot be unpacked: {0}")]
    Packed(std::io::Error),
    /// Nothing in it is an address.
    #[error("nothing in it is an address: {0}")]
    Garbage(GarbageLines),
    /// It has lines that are none, which the policy has refused.
    #[error("{0} (say `garbage = \"skip\"` to do without them)")]
    Refused(GarbageLines),
}

impl Read {
    /// Reads a list from what a file or a server has for it.
    ///
    /// # Errors
    ///
    /// It is none.
    pub fn from_bytes(list: &List, bytes: Vec<u8>) -> Result<Self, NoList> {
        let bytes = unpack::unpack(bytes)?;
        let mut reading = Reading::of(list);
        if !list.countries.is_empty() {
            mmdb::read(&bytes, &list.countries, &mut reading)?;
        } else if mmdb::is_one(&bytes) {
            return Err(NoList::Mmdb);
        } else if is_html(&bytes) {
            return Err(NoList::Html);
        } else if let Some(column) = list.column {
            csv::read(&bytes, column, &mut reading)?;
        } else {
            lines::read(&bytes, &mut reading)?;
        }
        reading.end(list)
    }

    /// The same of what somebody sends whom nobody has to trust: a small file can take for ever. What is
    /// given up goes on in a thread, until the command ends.
    ///
    /// # Errors
    ///
    /// It is none, or takes longer than this.
    pub fn from_bytes_within(list: &List, bytes: Vec<u8>, most: Duration) -> Result<Self, NoList> {
        let (sender, receiver) = mpsc::channel();
        let list = list.clone();
        let read = move || drop(sender.send(Self::from_bytes(&list, bytes)));
        let thread = thread::Builder::new().spawn(read);
        thread.map_err(NoList::Thread)?;
        receiver.recv_timeout(most).unwrap_or(Err(NoList::Slow))
    }

    /// A list whose prefixes are in the policy.
    pub fn from_prefixes(list: &List, prefixes: &[IpNet]) -> Self {
        let mut reading = Reading::of(list);
        for (prefix, number) in prefixes.iter().zip(1..) {
            // The policy has no more than a file.
            let _ = reading.add(*prefix, number, &prefix.to_string());
        }
        Self {
            prefixes: PrefixSet::from_nets(reading.prefixes),
            garbage: reading.garbage,
        }
    }
}

impl GarbageLines {
    /// How many.
    pub const fn count(&self) -> u64 {
        self.count
    }

    fn add(&mut self, line: u64, text: &str, why: &str) {
        self.count += 1;
        if self.first.len() < NAMED {
            let shown: String = text.trim().chars().take(SHOWN).collect();
            let more = if text.trim().chars().nth(SHOWN).is_some() {
                "…"
            } else {
                ""
            };
            self.first.push(format!(
                "line {line} `{}{more}` {why}",
                shown.escape_debug()
            ));
        }
    }
}

impl fmt::Display for GarbageLines {
    /// `2 lines are none of a list: line 3 `x` …; line 7 `y` …`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            1 => f.write_str("1 line is none of a list: "),
            n => write!(f, "{n} lines are none of a list: "),
        }?;
        f.write_str(&self.first.join("; "))?;
        match self.count - self.first.len() as u64 {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// A list that is being read.
struct Reading {
    is_bounded: bool,
    prefixes: Vec<IpNet>,
    garbage: GarbageLines,
}

impl Reading {
    const fn of(list: &List) -> Self {
        Self {
            is_bounded: list.ban || matches!(list.source, ListSource::Url(_)),
            prefixes: Vec::new(),
            garbage: GarbageLines {
                count: 0,
                first: Vec::new(),
            },
        }
    }

    /// Adds what a line says, which has this number.
    fn add(&mut self, prefix: IpNet, line: u64, text: &str) -> Result<(), NoList> {
        let widest = WIDEST[usize::from(matches!(prefix, IpNet::V6(_)))];
        if self.is_bounded && prefix.prefix_len() < widest {
            let why =
                format!("is wider than /{widest}, which no list bans, nor one from a server has");
            self.garbage.add(line, text, &why);
            return Ok(());
        }
        if self.prefixes.len() == MAX_PREFIXES {
            return Err(NoList::Many);
        }
        self.prefixes.push(prefix.trunc());
        Ok(())
    }

    /// Adds what a word of a line says.
    fn add_word(&mut self, word: &str, line: u64, text: &str) -> Result<(), NoList> {
        match parse(word) {
            Ok(prefix) => self.add(prefix, line, text),
            Err(why) => {
                self.garbage.add(line, text, why);
                Ok(())
            }
        }
    }

    fn end(self, list: &List) -> Result<Read, NoList> {
        let Self {
            prefixes, garbage, ..
        } = self;
        if garbage.count > 0 && list.garbage == crate::policy::Garbage::Refuse {
            return Err(NoList::Refused(garbage));
        }
        if garbage.count > 0 && prefixes.is_empty() {
            return Err(NoList::Garbage(garbage));
        }
        Ok(Read {
            prefixes: PrefixSet::from_nets(prefixes),
            garbage,
        })
    }
}

/// A prefix as lists have it: with host bits or without.
fn parse(word: &str) -> Result<IpNet, &'static str> {
    const NONE: &str = "is no address or prefix";
    let net = match word.split_once('/') {
        None => IpNet::from(word.parse::<IpAddr>().map_err(|_| NONE)?),
        Some((address, length)) => {
            let address: IpAddr = address.parse().map_err(|_| NONE)?;
            if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(NONE);
            }
            let length: u8 = length.parse().map_err(|_| NONE)?;
            IpNet::new(address, length).map_err(|_| NONE)?
        }
    };
    match net {
        IpNet::V6(net) if net.prefix_len() >= 96 && net.addr().to_ipv4_mapped().is_some() => {
            Err("is IPv4 written as IPv6")
        }
        net => Ok(net),
    }
}

/// Whether a server answers a page for people.
fn is_html(bytes: &[u8]) -> bool {
    const LOOKED_AT: usize = 1024;
    let bytes = bytes
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(bytes)
        .trim_ascii_start();
    let head = bytes[..bytes.len().min(LOOKED_AT)].to_ascii_lowercase();
    let has = |word: &[u8]| head.windows(word.len()).any(|part| part == word);
    head.starts_with(b"<")
        && [&b"<html"[..], b"<!doctype html", b"<head", b"<body"]
            .into_iter()
            .any(has)
}

#[cfg(test)]
mod tests;
