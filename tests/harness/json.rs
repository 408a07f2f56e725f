//! Reads the JSON values that xdpfw prints. What has another type than expected is an error
//! that shows it.

use anyhow::{Context as _, Result};
use serde_json::Value;

/// The elements of an array.
pub fn rows(value: &Value) -> Result<&Vec<Value>> {
    value
        .as_array()
        .with_context(|| format!("{value} is no list"))
}

/// The text of a string.
pub fn word(value: &Value) -> Result<&str> {
    value
        .as_str()
        .with_context(|| format!("{value} is no word"))
}

/// A number without sign and fraction.
pub fn number(value: &Value) -> Result<u64> {
    value
        .as_u64()
        .with_context(|| format!("{value} is no number"))
}

/// How many packets `xdpfw status` counts for a verdict and a reason.
pub fn reason(status: &Value, verdict: &str, reason: &str) -> Result<u64> {
    let row = rows(&status["reasons"])?
        .iter()
        .find(|row| row["verdict"] == verdict && row["reason"] == reason);
    number(&row.with_context(|| format!("no reason {verdict} {reason}"))?["packets"])
}
