//! The policies of the history, newest first.

use std::fmt;

use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use super::table;
use crate::{engine::Entry, system::UNKNOWN};

/// The policies of the history.
#[derive(Debug, Serialize)]
pub struct HistoryTable {
    schema: &'static str,
    history: Vec<Row>,
}

/// A policy of the history.
#[derive(Debug, Serialize)]
struct Row {
    number: u64,
    at: Timestamp,
    user: String,
    from: String,
    command: String,
    summary: String,
    in_force: bool,
}

impl HistoryTable {
    /// Of these, in this order; the one of this number is in force.
    pub fn new(entries: Vec<Entry>, in_force: Option<u64>) -> Self {
        let row = |Entry { number, change, .. }| Row {
            number,
            at: change.at,
            user: change.user,
            from: change.from,
            command: change.command,
            summary: change.summary,
            in_force: in_force == Some(number),
        };
        Self {
            schema: "xdpfw.history/1",
            history: entries.into_iter().map(row).collect(),
        }
    }
}

impl fmt::Display for HistoryTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = ["number", "when", "who", "command", "change"];
        let mut table = table::table(&heads, &[0]);
        table.keep_whole(1);
        for row in &self.history {
            let at = row.at.to_zoned(TimeZone::system());
            let who = match row.from.as_str() {
                UNKNOWN => row.user.clone(),
                from => format!("{}, {from}", row.user),
            };
            let mark = if row.in_force { "*" } else { "" };
            table.add_row([
                format!("{mark}{}", row.number),
                at.strftime("%Y-%m-%d %H:%M %Z").to_string(),
                one_line(&who),
                one_line(&row.command),
                one_line(&row.summary),
            ]);
        }
        f.write_str(&table::lines(&table))
    }
}

/// A text that begins no line of its own: what would act on a terminal is escaped by the printer.
fn one_line(text: &str) -> String {
    text.replace('\n', "\\n").replace('\t', "\\t")
}
