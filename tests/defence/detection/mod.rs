//! Proves which scans are found, after how many packets, and which are not; and that what is no scan
//! is never taken for one. All of it is published in docs/DETECTION.md, which
//! `XDPFW_DETECTION=overwrite cargo xtask test -- detection` writes anew, if every row holds.

mod benign;
mod page;
mod replayed;
mod scanners;

use anyhow::{Context as _, Result};
use serde_json::Value;
use xdpfw_tests::{Host, Lab};

/// The policy of most rows.
const POLICY: &str = "rule = [{ allow = 'tcp 80' }]\n[scan]\nban = '10m'";

/// A row of the page, as it is expected.
struct Row {
    /// What is done.
    name: String,
    /// What is expected, in the columns behind the name.
    cells: Vec<String>,
}

impl Row {
    fn new(name: impl Into<String>, cells: &[&str]) -> Self {
        Self {
            name: name.into(),
            cells: cells.iter().map(|cell| (*cell).to_owned()).collect(),
        }
    }
}

/// Who scans, as `scanners` shows it: source, kind, whether banned.
fn found(host: &Host) -> Result<Vec<(String, String, bool)>> {
    let said = host.xdpfw(["scanners"]).json();
    let list = said["scanners"].as_array().context("no list")?.iter();
    let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(list
        .map(|one| {
            let banned = one["banned"] == true;
            (word(&one["source"]), word(&one["kind"]), banned)
        })
        .collect())
}

/// A lab whose peer is called `far`, under a policy.
fn lab(policy: &str) -> Result<Lab> {
    Ok(Lab::with_ipv6(1)?.filtered(policy))
}

#[test]
fn detection_is_as_the_page_says() -> Result<()> {
    let sections = [
        scanners::prove().context("scanners")?,
        replayed::prove().context("replayed")?,
        benign::prove().context("benign")?,
    ];
    page::settle(&sections)
}
