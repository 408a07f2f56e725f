//! The rules, with what they counted.

use std::{collections::HashMap, fmt};

use ipnet::IpNet;
use jiff::Timestamp;
use serde::Serialize;
use xdpfw_common::abi::Counter;

use super::{ITEMS, scanners::ScanRow, table};
use crate::{
    analysis::Shadowed,
    datapath::Snapshot,
    duration::Seconds,
    policy::{Action, Policy, PrefixText, Rule, RuleId, Scope, Until},
    ports::{PortSpec, PortWord},
    text::thousands,
};

/// The rules of a policy.
#[derive(Debug, Serialize)]
pub struct List {
    schema: &'static str,
    default: &'static str,
    /// When a source scans; `None` if nobody looks.
    scan: Option<ScanRow>,
    rules: Vec<RuleRow>,
}

/// A rule.
#[derive(Debug, Serialize)]
pub struct RuleRow {
    id: String,
    action: &'static str,
    protocol: String,
    local_ports: Vec<String>,
    types: Vec<String>,
    remote_ports: Vec<String>,
    from: Vec<String>,
    to: Vec<String>,
    interfaces: Vec<String>,
    mac: Vec<String>,
    /// Whether it answers with SYN cookies where many new connections come.
    syn_cookies: bool,
    /// Of a rule that limits: how often.
    rate: Option<String>,
    /// How many at once.
    burst: Option<u32>,
    /// Bits of addresses by which sources are told apart, over IPv4 and IPv6; `None` is not at all.
    per: Option<[u8; 2]>,
    /// How long who is over the limit is banned.
    ban: Option<String>,
    /// When it ends, as in RFC 3339.
    expires: Option<String>,
    /// In how many seconds that is; 0 of a rule that has ended.
    seconds_left: Option<u64>,
    comment: Option<String>,
    /// The rules in front of it that take all its packets.
    unreachable: Option<Vec<String>>,
    packets: u64,
    bytes: u64,
    /// What is left of it, in words.
    #[serde(skip)]
    left: Option<String>,
    #[serde(skip)]
    text: String,
    /// With the whole of its lists, for whoever is no terminal.
    #[serde(skip)]
    whole: Option<String>,
}

impl RuleRow {
    /// A rule, and the packets it decided.
    pub fn new(rule: &Rule, hits: Counter) -> Self {
        let matching = &rule.matches;
        let prefixes = |prefixes: &[IpNet]| {
            prefixes
                .iter()
                .map(|net| PrefixText(net).to_string())
                .collect()
        };
        let now = Timestamp::now();
        let left = rule.until.as_ref().map(|until| until.left(now));
        Self {
            id: rule.id.to_string(),
            action: rule.action.as_str(),
            protocol: matching.protocol.to_string(),
            local_ports: words(&matching.local),
            types: matching.type_words(),
            remote_ports: words(&matching.remote),
            from: matching.from_words(),
            to: prefixes(&matching.to),
            interfaces: matching.on.clone(),
            mac: matching.mac.iter().map(ToString::to_string).collect(),
            syn_cookies: rule.action == Action::AllowWithCookies,
            rate: rule.action.limit().map(|limit| limit.rate.to_string()),
            burst: rule.action.limit().map(|limit| limit.burst),
            per: rule.action.limit().and_then(|limit| match limit.scope {
                Scope::Per { ipv4, ipv6 } => Some([ipv4, ipv6]),
                Scope::Total => None,
            }),
            ban: rule
                .action
                .limit()
                .and_then(|limit| limit.ban)
                .map(Seconds::in_one_unit),
            expires: rule.until.as_ref().map(Until::to_string),
            seconds_left: left.map(|left| left.map_or(0, |left| left.duration().as_secs())),
            comment: rule.comment.clone(),
            unreachable: None,
            packets: hits.packets,
            bytes: hits.bytes,
            left: left.map(|left| left.map_or("ended".to_owned(), |left| left.to_string())),
            text: format!("{:.ITEMS$}", rule.without_end()),
            whole: (!table::is_terminal()).then(|| rule.without_end().to_string()),
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
    /// The rules of a policy, the packets they decided, and those that never decide any.
    pub fn new(policy: &Policy, counters: &Snapshot, shadowed: &[Shadowed]) -> Self {
        let in_front: HashMap<RuleId, &[RuleId]> = shadowed
            .iter()
            .map(|shadowed| (shadowed.rule, shadowed.by.as_slice()))
            .collect();
        let row = |(rule, &hits): (&Rule, &Counter)| RuleRow {
            unreachable: in_front
                .get(&rule.id)
                .map(|by| by.iter().map(RuleId::to_string).collect()),
            ..RuleRow::new(rule, hits)
        };
        Self {
            schema: "xdpfw.list/1",
            default: policy.default.as_str(),
            scan: policy.scan.map(ScanRow::from),
            rules: policy.rules.iter().zip(counters.rules()).map(row).collect(),
        }
    }
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Where all rules stay, nobody looks for what is left of them.
        let has_ends = self.rules.iter().any(|row| row.left.is_some());
        let names = ["id", "rule", "left", "packets", "bytes", "comment"];
        let mut table = match has_ends {
            true => table::table(&names, &[3, 4]),
            false => table::table(&["id", "rule", "packets", "bytes", "comment"], &[2, 3]),
        };
        for row in &self.rules {
            let left = has_ends.then(|| row.left.clone().unwrap_or_default());
            let front = [row.id.clone(), row.text.clone()].into_iter().chain(left);
            table.add_row(front.chain([
                thousands(row.packets),
                thousands(row.bytes),
                row.comment.clone().unwrap_or_default(),
            ]));
        }
        let lines = table::lines(&table);
        if table::is_terminal() {
            f.write_str(&lines)?;
        } else {
            // A long list must not make every other row as wide.
            let mut lines = lines.lines();
            writeln!(f, "{}", lines.next().unwrap_or_default())?;
            for (line, row) in lines.zip(&self.rules) {
                let whole = row.whole.as_ref().unwrap_or(&row.text);
                writeln!(f, "{}", line.replacen(&row.text, whole, 1))?;
            }
        }
        writeln!(f, "default {}", self.default)?;
        match &self.scan {
            Some(scan) => writeln!(f, "scan    {scan}"),
            None => Ok(()),
        }
    }
}
