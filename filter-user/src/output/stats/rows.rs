//! The rows of `stats`, as tables and in JSON.

use serde::{Serialize, Serializer};
use xdpfw_common::{Reason, Transport, Verdict, abi::Counter};

use super::super::{
    Trend,
    table::{Table, table},
};
use crate::{engine::Rates, names::services, ports::PortClass, text::thousands};

/// The drops of a port.
#[derive(Debug, Serialize)]
pub(super) struct Port {
    #[serde(serialize_with = "as_word")]
    protocol: Transport,
    port: u16,
    service: Option<&'static str>,
    #[serde(serialize_with = "class_as_word")]
    class: PortClass,
    dropped_packets: u64,
    /// Over the time since the previous look, or since counting began.
    dropped_per_second: f64,
}

/// The drops of a class of ports.
#[derive(Debug, Serialize)]
pub(super) struct Class {
    #[serde(serialize_with = "class_as_word")]
    class: PortClass,
    /// How many of its ports had drops.
    ports: u64,
    dropped_packets: u64,
    dropped_per_second: f64,
}

/// The packets of a reason.
#[derive(Debug, Serialize)]
pub(super) struct ReasonRow {
    verdict: &'static str,
    reason: &'static str,
    packets: u64,
    bytes: u64,
    packets_per_second: f64,
}

/// The packets of an interface.
#[derive(Debug, Serialize)]
pub(super) struct InterfaceRow {
    /// `None` for all that are not counted apart.
    interface: Option<String>,
    passed: Counter,
    dropped: Counter,
    passed_per_second: f64,
    dropped_per_second: f64,
}

fn as_word<S: Serializer>(transport: &Transport, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(transport.as_str())
}

fn class_as_word<S: Serializer>(class: &PortClass, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(class.as_str())
}

impl Port {
    pub(super) fn of(protocol: Transport, port: u16, dropped: u64, rates: &Rates<'_>) -> Self {
        Self {
            protocol,
            port,
            service: services::name_of(protocol, port),
            class: PortClass::of(port),
            dropped_packets: dropped,
            dropped_per_second: rates.dropped(protocol, port),
        }
    }

    pub(super) const fn number(&self) -> (Transport, u16) {
        (self.protocol, self.port)
    }
}

impl Class {
    /// A class of these ports.
    pub(super) fn of(
        class: PortClass,
        counted: &[(Transport, u16, u64)],
        rates: &Rates<'_>,
    ) -> Self {
        let mut row = Self {
            class,
            ports: 0,
            dropped_packets: 0,
            dropped_per_second: 0.0,
        };
        for &(transport, port, dropped) in counted {
            if PortClass::of(port) == class {
                row.ports += u64::from(dropped > 0);
                row.dropped_packets += dropped;
                row.dropped_per_second += rates.dropped(transport, port);
            }
        }
        row
    }
}

impl ReasonRow {
    /// Every reason.
    pub(super) fn all(rates: &Rates<'_>) -> Vec<Self> {
        let rows = Reason::ALL.iter().map(|&reason| {
            let Counter { packets, bytes } = rates.sample().counters.reason(reason);
            Self {
                verdict: reason.verdict().as_str(),
                reason: reason.as_str(),
                packets,
                bytes,
                packets_per_second: rates.per_second(|counters| counters.reason(reason).packets),
            }
        });
        rows.collect()
    }
}

impl InterfaceRow {
    /// Every interface that is counted apart, and the others together.
    pub(super) fn all(rates: &Rates<'_>) -> Vec<Self> {
        let rows = rates
            .sample()
            .counters
            .interfaces()
            .map(|(name, counters)| {
                let per_second = |verdict| {
                    rates.per_second(|counters| match &name {
                        Some(name) => counters
                            .of_interface(name, verdict)
                            .map_or(0, |counter| counter.packets),
                        None => counters.of_others(verdict).packets,
                    })
                };
                Self {
                    passed: counters.total(Verdict::Pass),
                    dropped: counters.total(Verdict::Drop),
                    passed_per_second: per_second(Verdict::Pass),
                    dropped_per_second: per_second(Verdict::Drop),
                    interface: name,
                }
            });
        let mut rows: Vec<Self> = rows.collect();
        // The others last.
        rows.sort_by_key(|row| (row.interface.is_none(), row.interface.clone()));
        rows
    }
}

fn rate(per_second: f64) -> String {
    thousands(per_second.round() as u64)
}

pub(super) fn of_ports(ports: &[Port], trend: Option<&Trend>) -> Table {
    let heads = ["drops/s", "drops", "port", "class", "lately"];
    let heads = match trend {
        Some(_) => &heads[..],
        None => &heads[..4],
    };
    let mut table = table(heads, &[0, 1]);
    if trend.is_some() {
        table.keep_whole(4);
    }
    for port in ports {
        let name = port.service.map(|name| format!(" {name}"));
        let mut cells = vec![
            rate(port.dropped_per_second),
            thousands(port.dropped_packets),
            format!(
                "{}/{}{}",
                port.port,
                port.protocol,
                name.unwrap_or_default()
            ),
            port.class.to_string(),
        ];
        if let Some(trend) = trend {
            cells.push(trend.ports.get(&port.number()).cloned().unwrap_or_default());
        }
        table.add_row(cells);
    }
    table
}

pub(super) fn of_classes(classes: &[Class]) -> Table {
    let mut table = table(
        &["drops/s", "drops", "ports hit", "class", "ports"],
        &[0, 1, 2],
    );
    for row in classes {
        table.add_row([
            rate(row.dropped_per_second),
            thousands(row.dropped_packets),
            thousands(row.ports),
            row.class.to_string(),
            row.class.range().to_string(),
        ]);
    }
    table
}

pub(super) fn of_reasons(reasons: &[ReasonRow]) -> Table {
    let heads = ["packets/s", "packets", "bytes", "verdict", "reason"];
    let mut table = table(&heads, &[0, 1, 2]);
    let mut shown: Vec<&ReasonRow> = reasons.iter().filter(|row| row.packets > 0).collect();
    shown.sort_by_key(|row| std::cmp::Reverse(row.packets));
    for row in shown {
        table.add_row([
            rate(row.packets_per_second),
            thousands(row.packets),
            thousands(row.bytes),
            row.verdict.to_owned(),
            row.reason.to_owned(),
        ]);
    }
    table
}

pub(super) fn of_interfaces(interfaces: &[InterfaceRow]) -> Table {
    let heads = ["drops/s", "drops", "passed/s", "passed", "interface"];
    let mut table = table(&heads, &[0, 1, 2, 3]);
    for row in interfaces {
        table.add_row([
            rate(row.dropped_per_second),
            thousands(row.dropped.packets),
            rate(row.passed_per_second),
            thousands(row.passed.packets),
            row.interface
                .clone()
                .unwrap_or_else(|| "(others)".to_owned()),
        ]);
    }
    table
}
