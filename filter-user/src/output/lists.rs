//! The lists of a policy, and what they ban.

use std::fmt;

use ipnet::IpNet;
use jiff::Timestamp;
use serde::Serialize;

use super::table;
use crate::{
    engine::ListStatus,
    text::{clock_time, thousands},
};

/// The lists.
#[derive(Debug, Serialize)]
pub struct ListTable {
    schema: &'static str,
    lists: Vec<ListRow>,
}

/// A list, as `lists` and `status` have it.
#[derive(Debug, Serialize)]
pub(super) struct ListRow {
    name: String,
    entries4: usize,
    entries6: usize,
    refreshed: Option<Timestamp>,
    /// Packets that were dropped for it; `None` if it does not ban, or nothing is filtered.
    hits: Option<u64>,
    error: Option<String>,
    ban: bool,
    /// What is not banned of it, since it holds the other end of an SSH session.
    left_out: Vec<IpNet>,
}

impl ListTable {
    /// Of what is known of lists.
    pub fn new(lists: &[ListStatus]) -> Self {
        Self {
            schema: "xdpfw.lists/1",
            lists: lists.iter().map(ListRow::from).collect(),
        }
    }
}

impl From<&ListStatus> for ListRow {
    fn from(list: &ListStatus) -> Self {
        Self {
            name: list.name.clone(),
            entries4: list.entries[0],
            entries6: list.entries[1],
            refreshed: list.refreshed,
            hits: list.hits,
            error: list.error.clone(),
            ban: list.bans,
            left_out: list.left_out.clone(),
        }
    }
}

impl fmt::Display for ListRow {
    /// `drop (1,000,000 prefixes, bans)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.entries4 + self.entries6;
        let es = if entries == 1 { "" } else { "es" };
        let bans = if self.ban { ", bans" } else { "" };
        let entries = thousands(entries as u64);
        write!(f, "{} ({entries} prefix{es}{bans})", self.name)
    }
}

impl fmt::Display for ListTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.lists.is_empty() {
            return writeln!(f, "no lists");
        }
        let heads = ["list", "bans", "IPv4", "IPv6", "refreshed", "hits", "error"];
        let mut table = table::table(&heads, &[2, 3, 5]);
        for row in &self.lists {
            table.add_row([
                row.name.clone(),
                if row.ban { "yes" } else { "no" }.to_owned(),
                thousands(row.entries4 as u64),
                thousands(row.entries6 as u64),
                row.refreshed.map_or_else(|| "never".to_owned(), clock_time),
                row.hits.map_or_else(|| "-".to_owned(), thousands),
                row.error.clone().unwrap_or_default(),
            ]);
        }
        f.write_str(&table::lines(&table))
    }
}

/// What a list bans.
#[derive(Debug, Serialize)]
pub struct ListBans {
    schema: &'static str,
    bans: Vec<ListBan>,
}

#[derive(Debug, Serialize)]
struct ListBan {
    prefix: IpNet,
    origin: String,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    why: Option<String>,
    hard: bool,
    packets: Option<u64>,
}

impl ListBans {
    /// Of a list that was read then.
    pub fn new(name: &str, since: Option<Timestamp>, banned: &[(IpNet, Option<u64>)]) -> Self {
        let bans = banned.iter().map(|(prefix, packets)| ListBan {
            prefix: *prefix,
            origin: name.to_owned(),
            since,
            until: None,
            why: None,
            hard: false,
            packets: *packets,
        });
        Self {
            schema: "xdpfw.bans/1",
            bans: bans.collect(),
        }
    }
}

impl fmt::Display for ListBans {
    /// A prefix a line, for whoever asks for a million of them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ban in &self.bans {
            match ban.packets {
                Some(packets) if packets > 0 => {
                    writeln!(f, "{}  {} packets", ban.prefix, thousands(packets))
                }
                _ => writeln!(f, "{}", ban.prefix),
            }?;
        }
        Ok(())
    }
}
