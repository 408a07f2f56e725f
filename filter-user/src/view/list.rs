//! The rules, with what they counted.

use std::fmt;

use serde::Serialize;

use super::table;
use crate::{
    kernel::{Snapshot, Tally},
    policy::{Policy, Rule},
    ports::{PortSpec, PortWord},
};

/// The rules of a policy.
#[derive(Debug, Serialize)]
pub struct List {
    schema: &'static str,
    default: &'static str,
    rules: Vec<RuleRow>,
}

/// A rule.
#[derive(Debug, Serialize)]
pub struct RuleRow {
    id: String,
    action: &'static str,
    protocol: &'static str,
    local_ports: Vec<String>,
    remote_ports: Vec<String>,
    from: [String; 0],
    to: [String; 0],
    interfaces: [String; 0],
    rate: Option<String>,
    expires: Option<String>,
    comment: Option<String>,
    packets: u64,
    bytes: u64,
    #[serde(skip)]
    text: String,
}

impl RuleRow {
    /// A rule, and the packets it decided.
    pub fn new(rule: &Rule, hits: Tally) -> Self {
        Self {
            id: rule.id.to_string(),
            action: rule.action.as_str(),
            protocol: rule.what.protocol.as_str(),
            local_ports: words(&rule.what.local),
            remote_ports: words(&rule.what.remote),
            from: [],
            to: [],
            interfaces: [],
            rate: None,
            expires: None,
            comment: rule.comment.clone(),
            packets: hits.packets,
            bytes: hits.bytes,
            text: rule.to_string(),
        }
    }
}

/// The words of a list of ports; none where every port is meant.
fn words(ports: &PortSpec) -> Vec<String> {
    if ports.words() == [PortWord::Any] {
        Vec::new()
    } else {
        ports.words().iter().map(ToString::to_string).collect()
    }
}

impl List {
    /// The rules of a policy, and the packets they decided.
    pub fn new(policy: &Policy, counters: &Snapshot) -> Self {
        Self {
            schema: "xdpfw.list/1",
            default: policy.default.as_str(),
            rules: policy
                .rules
                .iter()
                .zip(counters.rules())
                .map(|(rule, &hits)| RuleRow::new(rule, hits))
                .collect(),
        }
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = table::table(&["id", "rule", "packets", "bytes", "comment"], &[2, 3]);
        for row in &self.rules {
            table.add_row([
                row.id.clone(),
                row.text.clone(),
                table::thousands(row.packets),
                table::thousands(row.bytes),
                row.comment.clone().unwrap_or_default(),
            ]);
        }
        f.write_str(&table::lines(&table))?;
        writeln!(f, "default {}", self.default)
    }
}
