//! Compares what xdpfw counted with what was sent and what the interface received.

use std::{collections::BTreeMap, fmt};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::{
    OPEN,
    scan::{Port, Protocol},
    text::Thousands,
};

/// Ports that are named when numbers are wrong.
const NAMED: usize = 5;

/// What `xdpfw stats --json` says.
pub(super) struct Stats {
    drops: BTreeMap<Port, u64>,
    passed: u64,
    dropped: u64,
}

impl Stats {
    pub(super) fn read(stats: Value) -> Result<Self> {
        let number = |value: &Value, pointer: &str| {
            value
                .pointer(pointer)
                .and_then(Value::as_u64)
                .with_context(|| format!("no number at {pointer} in what `xdpfw stats` wrote"))
        };
        let mut drops = BTreeMap::new();
        for row in stats["ports"].as_array().into_iter().flatten() {
            let port = u16::try_from(number(row, "/port")?)?;
            let port = match row["protocol"].as_str() {
                Some("tcp") => Port::tcp(port),
                Some("udp") => Port::udp(port),
                _ => bail!(
                    "a port of protocol {} in what `xdpfw stats` wrote",
                    row["protocol"]
                ),
            };
            let before = drops.insert(port, number(row, "/dropped_packets")?);
            ensure!(
                before.is_none(),
                "{port} appears twice in what `xdpfw stats` wrote"
            );
        }
        Ok(Self {
            drops,
            passed: number(&stats, "/totals/passed/packets")?,
            dropped: number(&stats, "/totals/dropped/packets")?,
        })
    }
}

/// Compares what was counted with what was sent, per port, and with what the
/// interface received.
pub(super) fn check(stats: &Stats, sent: &BTreeMap<Port, u64>, received: u64) -> Result<Checked> {
    let mut expected = sent.clone();
    let to_open = expected.remove(&Port::tcp(OPEN)).unwrap_or_default();
    let count = |of: &BTreeMap<Port, u64>, port| of.get(port).copied().unwrap_or_default();
    let wrong: Vec<String> = expected
        .keys()
        // A port that is in both is looked at once.
        .chain(
            stats
                .drops
                .keys()
                .filter(|port| !expected.contains_key(port)),
        )
        .map(|port| (port, count(&expected, port), count(&stats.drops, port)))
        .filter(|(_, expected, counted)| expected != counted)
        .map(|(port, expected, counted)| format!("{port}: {counted} instead of {expected}"))
        .collect();
    if !wrong.is_empty() {
        let (named, others) = wrong.split_at(wrong.len().min(NAMED));
        bail!(
            "drops per port are wrong: {}, and {} others",
            named.join(", "),
            others.len()
        );
    }

    let of = |protocol| {
        let drops = stats
            .drops
            .iter()
            .filter(move |(port, _)| port.protocol == protocol);
        drops.fold((0, 0), |(ports, packets), (_, drops)| {
            (ports + 1, packets + drops)
        })
    };
    let (tcp, udp) = (of(Protocol::Tcp), of(Protocol::Udp));
    let sum = tcp.1 + udp.1;
    ensure!(
        stats.dropped == sum,
        "{} packets were dropped in total, but {sum} over all ports",
        stats.dropped
    );
    ensure!(
        stats.passed + stats.dropped == received,
        "{} packets passed and {} were dropped, but {received} were received",
        stats.passed,
        stats.dropped
    );
    Ok(Checked {
        tcp,
        udp,
        to_open,
        passed: stats.passed,
        dropped: stats.dropped,
        received,
    })
}

/// What turned out to be right.
pub(super) struct Checked {
    /// Closed ports, and packets to them.
    tcp: (u64, u64),
    udp: (u64, u64),
    /// Probes of the open port.
    to_open: u64,
    passed: u64,
    dropped: u64,
    received: u64,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, what: &str, packets: u64, why: &str| {
            writeln!(
                f,
                "  {what:<23} {:>7}  {why}",
                Thousands(packets).to_string()
            )
        };
        let ports = |(ports, _): (u64, u64), protocol| {
            format!("{} closed {protocol} ports", Thousands(ports))
        };
        writeln!(f, "compared with what was sent, port by port:")?;
        row(
            f,
            &ports(self.tcp, "TCP"),
            self.tcp.1,
            "dropped, each port as many as were sent to it",
        )?;
        row(
            f,
            &ports(self.udp, "UDP"),
            self.udp.1,
            "dropped, each port exactly one",
        )?;
        row(
            f,
            &format!("tcp {OPEN}"),
            0,
            &format!("dropped of {} that the scan sent", self.to_open),
        )?;
        row(f, "all dropped", self.dropped, "the sum over all ports")?;
        row(
            f,
            "passed",
            self.passed,
            "connections to the open port, and the host's own",
        )?;
        write!(
            f,
            "  {:<23} {:>7}  what the interface received: passed + dropped",
            "all",
            Thousands(self.received).to_string()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::Scan;

    #[test]
    fn one_packet_more_or_less_is_an_error() {
        let sent = Scan::plan().sent();
        let mut drops = sent.clone();
        drops.remove(&Port::tcp(OPEN));
        let dropped: u64 = drops.values().sum();
        let stats = |drops: &BTreeMap<Port, u64>| Stats {
            drops: drops.clone(),
            passed: 10,
            dropped,
        };
        assert!(check(&stats(&drops), &sent, dropped + 10).is_ok());
        assert!(check(&stats(&drops), &sent, dropped + 11).is_err());
        for (port, count) in [
            (Port::tcp(23), 1),
            (Port::tcp(OPEN), 1),
            (Port::udp(9999), 1),
        ] {
            let mut drops = drops.clone();
            drops.insert(port, count);
            let error = check(&stats(&drops), &sent, dropped + 10).err().unwrap();
            assert!(error.to_string().contains(&port.to_string()), "{error}");
        }
    }
}
