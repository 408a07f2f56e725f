//! The drops of every port.

use std::fmt;

use jiff::{Timestamp, tz::TimeZone};
use serde::{Serialize, Serializer};
use xdpfw_common::Transport;

use super::{Totals, table};
use crate::{engine::Rates, names::services, ports::PortClass, text::thousands};

/// Which ports to show.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Only so many, those with the most drops.
    pub top: Option<usize>,
    /// Only these, whether they had drops or not; all if empty.
    pub ports: Vec<(Transport, u16)>,
}

/// The drops of every port at a time.
#[derive(Debug, Serialize)]
pub struct Stats {
    schema: &'static str,
    at: Timestamp,
    ports: Vec<Port>,
    totals: Totals,
    #[serde(skip)]
    cut: usize,
}

/// The drops of a port.
#[derive(Debug, Serialize)]
struct Port {
    #[serde(serialize_with = "as_word")]
    protocol: Transport,
    port: u16,
    service: Option<&'static str>,
    #[serde(serialize_with = "class_as_word")]
    class: PortClass,
    dropped_packets: u64,
    /// Over the time since the previous sample, or since counting began.
    #[serde(skip)]
    per_second: f64,
}

fn as_word<S: Serializer>(transport: &Transport, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(transport.as_str())
}

fn class_as_word<S: Serializer>(class: &PortClass, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(class.as_str())
}

impl Stats {
    /// The counters of a sample, and how fast they moved up to it.
    pub fn new(rates: &Rates<'_>, query: &Query) -> Self {
        let counters = &rates.sample().counters;
        let asked = !query.ports.is_empty();
        let every = || {
            Transport::ALL
                .into_iter()
                .flat_map(|transport| (0..=u16::MAX).map(move |port| (transport, port)))
        };
        let mut counted: Vec<(Transport, u16, u64)> = if asked {
            query
                .ports
                .iter()
                .map(|&(transport, port)| (transport, port, counters.dropped(transport, port)))
                .collect()
        } else {
            every()
                .map(|(transport, port)| (transport, port, counters.dropped(transport, port)))
                .filter(|&(_, _, dropped)| dropped > 0)
                .collect()
        };
        counted.sort_by_key(|&(transport, port, dropped)| {
            (std::cmp::Reverse(dropped), transport, port)
        });
        counted.dedup();
        let cut = counted
            .len()
            .saturating_sub(query.top.unwrap_or(usize::MAX));
        counted.truncate(counted.len() - cut);
        let ports = counted
            .into_iter()
            .map(|(protocol, port, dropped_packets)| Port {
                protocol,
                port,
                service: services::name_of(protocol, port),
                class: PortClass::of(port),
                dropped_packets,
                per_second: rates.dropped(protocol, port),
            });
        Self {
            schema: "xdpfw.stats/1",
            at: rates.sample().at,
            ports: ports.collect(),
            totals: counters.into(),
            cut,
        }
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = table::table(&["drops/s", "drops", "port", "class"], &[0, 1]);
        for port in &self.ports {
            let name = port.service.map(|name| format!(" {name}"));
            table.add_row([
                thousands(port.per_second.round() as u64),
                thousands(port.dropped_packets),
                format!(
                    "{}/{}{}",
                    port.port,
                    port.protocol,
                    name.unwrap_or_default()
                ),
                port.class.to_string(),
            ]);
        }
        f.write_str(&table::lines(&table))?;
        if self.cut > 0 {
            writeln!(
                f,
                "… and {} more ports (say --top N)",
                thousands(self.cut as u64)
            )?;
        }
        writeln!(
            f,
            "{} packets dropped, {} passed at {}",
            thousands(self.totals.dropped.packets),
            thousands(self.totals.passed.packets),
            self.at
                .to_zoned(TimeZone::system())
                .strftime("%Y-%m-%d %H:%M:%S %Z")
        )
    }
}
