//! Who is banned.

use std::fmt;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::Serialize;

use super::table;
use crate::{
    engine::{Banned, Opener},
    text::{clock_time, thousands},
};

/// The bans.
#[derive(Debug, Serialize)]
pub struct BanTable {
    schema: &'static str,
    bans: Vec<BanRow>,
}

#[derive(Debug, Serialize)]
struct BanRow {
    prefix: IpNet,
    origin: &'static str,
    since: Timestamp,
    until: Option<Timestamp>,
    why: Option<String>,
    hard: bool,
    /// Packets that were dropped for it; `None` while nothing is filtered.
    packets: Option<u64>,
}

impl BanTable {
    /// Of bans, each with its packets, and of those whom the program has banned by itself.
    pub fn new(banned: &[(Banned, Option<u64>)], openers: &[Opener]) -> Self {
        let rows = banned.iter().map(|(ban, packets)| BanRow {
            prefix: ban.prefix,
            origin: "manual",
            since: ban.since,
            until: ban.until,
            why: ban.why.clone(),
            hard: ban.hard,
            packets: *packets,
        });
        let by_itself = openers.iter().map(|ban| BanRow {
            prefix: ban.source,
            origin: ban.origin.as_str(),
            since: ban.since,
            until: Some(ban.until),
            why: Some("may open nothing".to_owned()),
            hard: false,
            packets: Some(ban.packets),
        });
        Self {
            schema: "xdpfw.bans/1",
            bans: rows.chain(by_itself).collect(),
        }
    }
}

impl fmt::Display for BanTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bans.is_empty() {
            return writeln!(f, "nobody is banned");
        }
        let heads = ["source", "origin", "since", "until", "packets", "why"];
        let mut table = table::table(&heads, &[4]);
        for row in &self.bans {
            table.add_row([
                row.prefix.to_string(),
                row.origin.to_owned(),
                clock_time(row.since),
                row.until.map_or_else(|| "-".to_owned(), clock_time),
                row.packets.map_or_else(|| "-".to_owned(), thousands),
                row.why.clone().unwrap_or_default(),
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
