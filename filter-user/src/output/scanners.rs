//! Who scans.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::table;
use crate::{
    engine::{Fate, Scanning},
    policy::Scan,
    text::{clock_time, thousands},
};

/// When a source scans, as `list` and `status` have it.
#[derive(Clone, Debug, Serialize)]
pub struct ScanRow {
    ports: u32,
    window: String,
    ban: Option<String>,
    #[serde(skip)]
    text: String,
}

impl From<Scan> for ScanRow {
    fn from(scan: Scan) -> Self {
        Self {
            ports: scan.ports,
            window: scan.window.in_one_unit(),
            ban: scan.ban.map(crate::duration::Seconds::in_one_unit),
            text: scan.to_string(),
        }
    }
}

impl fmt::Display for ScanRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Those who scan, the busiest first.
#[derive(Debug, Serialize)]
pub struct Scanners {
    schema: &'static str,
    scanners: Vec<ScannerRow>,
}

#[derive(Debug, Serialize)]
struct ScannerRow {
    source: String,
    kind: &'static str,
    /// Distinct ports, about.
    ports: u32,
    first: Timestamp,
    last: Timestamp,
    /// Packets a second, about.
    rate: u64,
    banned: bool,
    why: String,
}

impl Scanners {
    /// These.
    pub fn new(scanning: &[Scanning]) -> Self {
        let rows = scanning.iter().map(|one| ScannerRow {
            source: super::bans::source(&one.source),
            kind: one.kind.as_str(),
            ports: one.ports,
            first: one.first,
            last: one.last,
            rate: one.rate,
            banned: matches!(one.fate, Fate::Banned(_)),
            why: one.fate.to_string(),
        });
        Self {
            schema: "xdpfw.scanners/1",
            scanners: rows.collect(),
        }
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Banned(until) => write!(f, "banned until {}", clock_time(*until)),
            Self::WasBanned => f.write_str("the ban is over"),
            Self::NoBan => f.write_str("no `ban` in [scan]"),
            Self::Trusted => f.write_str("trusted"),
            Self::OtherKind => f.write_str("only SYNs to closed ports ban"),
            Self::Capped => f.write_str("cap"),
        }
    }
}

impl fmt::Display for Scanners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.scanners.is_empty() {
            return writeln!(f, "nobody scans");
        }
        let heads = ["source", "kind", "ports", "first", "last", "rate/s", "why"];
        let mut table = table::table(&heads, &[2, 5]);
        for row in &self.scanners {
            table.add_row([
                row.source.clone(),
                row.kind.to_owned(),
                thousands(row.ports.into()),
                clock_time(row.first),
                clock_time(row.last),
                thousands(row.rate),
                row.why.clone(),
            ]);
        }
        f.write_str(&table::lines(&table))
    }
}
