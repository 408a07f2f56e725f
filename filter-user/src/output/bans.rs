//! Who is banned, and who never is.

use std::fmt;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::Serialize;

use super::table;
use crate::{
    engine::{Banned, Opener, Trusted, TrustedList},
    text::{clock_time, in_line, thousands},
};

/// The bans, and who is trusted.
#[derive(Debug, Serialize)]
pub struct BanTable {
    schema: &'static str,
    bans: Vec<BanRow>,
    trusted: Vec<TrustedRow>,
}

#[derive(Debug, Serialize)]
struct BanRow {
    prefix: IpNet,
    origin: String,
    since: Timestamp,
    until: Option<Timestamp>,
    why: Option<String>,
    hard: bool,
    /// How many times it was banned, with this one.
    times: u32,
    /// Packets that were dropped for it; `None` while nothing is filtered.
    packets: Option<u64>,
}

/// Somebody who is never banned.
#[derive(Clone, Debug, Serialize)]
pub struct TrustedRow {
    prefix: IpNet,
    why: Vec<&'static str>,
}

impl From<Trusted> for TrustedRow {
    fn from(trusted: Trusted) -> Self {
        Self {
            prefix: trusted.prefix,
            why: trusted.why(),
        }
    }
}

impl fmt::Display for TrustedRow {
    /// `192.0.2.1/32 (gateway, resolver)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.prefix, self.why.join(", "))
    }
}

impl BanTable {
    /// Of bans, each with its packets, of those whom the program has banned by itself, and those who
    /// are trusted.
    pub fn new(
        banned: &[(Banned, Option<u64>)],
        openers: &[Opener],
        trusted: &TrustedList,
    ) -> Self {
        let rows = banned.iter().map(|(ban, packets)| BanRow {
            prefix: ban.prefix,
            origin: ban.origin.clone(),
            since: ban.since,
            until: ban.until,
            why: ban.why.clone(),
            hard: ban.hard,
            times: ban.times,
            packets: *packets,
        });
        let by_itself = openers.iter().map(|ban| BanRow {
            prefix: ban.source,
            origin: ban.origin.as_str().to_owned(),
            since: ban.since,
            until: Some(ban.until),
            why: Some("may open nothing".to_owned()),
            hard: false,
            times: 1,
            packets: Some(ban.packets),
        });
        Self {
            schema: "xdpfw.bans/1",
            bans: rows.chain(by_itself).collect(),
            trusted: trusted.iter().map(TrustedRow::from).collect(),
        }
    }

    /// Those who are trusted, as a table.
    pub fn trusted(&self) -> String {
        if self.trusted.is_empty() {
            return "nobody is trusted".to_owned();
        }
        let mut table = table::table(&["source", "trusted as"], &[]);
        for row in &self.trusted {
            table.add_row([row.prefix.to_string(), row.why.join(", ")]);
        }
        table::lines(&table)
    }
}

impl fmt::Display for BanTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bans.is_empty() {
            return writeln!(f, "nobody is banned");
        }
        let heads = [
            "source", "origin", "since", "until", "times", "packets", "why",
        ];
        let mut table = table::table(&heads, &[4, 5]);
        for row in &self.bans {
            table.add_row([
                row.prefix.to_string(),
                in_line(&row.origin),
                clock_time(row.since),
                row.until.map_or_else(|| "-".to_owned(), clock_time),
                thousands(row.times.into()),
                row.packets.map_or_else(|| "-".to_owned(), thousands),
                in_line(row.why.as_deref().unwrap_or_default()),
            ]);
        }
        f.write_str(&table::lines(&table))
    }
}

/// A source in a word: an IPv4 address without its length.
pub(super) fn source(prefix: &IpNet) -> String {
    match prefix.max_prefix_len() == prefix.prefix_len() {
        true => prefix.addr().to_string(),
        false => prefix.to_string(),
    }
}
