//! What is shown, as JSON: an object a line.

use jiff::Timestamp;
use serde::Serialize;

use super::{
    model::{Model, PanelKind},
    reading::{FlowFill, Interface, Notice},
};
use crate::names::services;

/// Ports and sources that are listed: the busiest.
const ROWS: usize = 20;

/// One tick. Rates are packets per second since the one before.
#[derive(Debug, Serialize)]
pub(super) struct Tick {
    schema: &'static str,
    at: Timestamp,
    /// Whether anything is filtered.
    up: bool,
    generation: u64,
    default: Option<&'static str>,
    interfaces: Vec<Interface>,
    notices: Vec<Notice>,
    flows: Option<FlowFill>,
    /// `None` where counters began anew.
    rates: Option<Rates>,
    /// The most drops per second since this command began.
    peak: f64,
    ports: Vec<Port>,
    reasons: Vec<Reason>,
    rules: Vec<Rule>,
    /// One dropped packet of so many was looked at for its source; `None` if none is.
    sampled: Option<u32>,
    sources: Vec<Source>,
}

#[derive(Debug, Serialize)]
struct Rates {
    received: f64,
    passed: f64,
    dropped: f64,
}

#[derive(Debug, Serialize)]
struct Port {
    protocol: &'static str,
    port: u16,
    service: Option<&'static str>,
    dropped_packets: u64,
    dropped_per_second: f64,
}

#[derive(Debug, Serialize)]
struct Reason {
    reason: &'static str,
    verdict: &'static str,
    packets: u64,
    packets_per_second: f64,
}

#[derive(Debug, Serialize)]
struct Rule {
    id: String,
    packets: u64,
    packets_per_second: f64,
}

#[derive(Debug, Serialize)]
struct Source {
    address: std::net::IpAddr,
    /// An estimate.
    dropped_packets: u64,
    dropped_per_second: f64,
}

impl Tick {
    /// What a model shows.
    pub(super) fn of(model: &Model, at: Timestamp) -> Self {
        let header = model.header.clone().unwrap_or_default();
        let rows = model.rows();
        let order = |kind| {
            let order = model.panel(kind).order().iter();
            order.map(|&index| index as usize)
        };
        let ports = order(PanelKind::Ports)
            .take(ROWS)
            .map(|index| rows.ports[index])
            .map(|row| Port {
                protocol: row.transport.as_str(),
                port: row.port,
                service: services::name_of(row.transport, row.port),
                dropped_packets: row.dropped,
                dropped_per_second: rounded(row.rate),
            });
        let reasons = order(PanelKind::Reasons)
            .map(|index| rows.reasons[index])
            .map(|row| Reason {
                reason: row.reason.as_str(),
                verdict: row.reason.verdict().as_str(),
                packets: row.counter.packets,
                packets_per_second: rounded(row.rate),
            });
        let rules = order(PanelKind::Rules)
            .map(|index| &rows.rules[index])
            .map(|row| Rule {
                id: row.rule.id.clone(),
                packets: row.hits.packets,
                packets_per_second: rounded(row.rate),
            });
        let sources = order(PanelKind::Sources)
            .take(ROWS)
            .map(|index| rows.sources[index])
            .map(|row| Source {
                address: row.address,
                dropped_packets: row.packets,
                dropped_per_second: rounded(row.rate),
            });
        Self {
            schema: "xdpfw.top/1",
            at,
            up: header.is_up,
            generation: header.generation,
            default: header.is_up.then_some(header.default),
            interfaces: header.interfaces,
            notices: header.notices,
            flows: header.flows,
            rates: header.rates.map(|rates| Rates {
                received: rounded(rates.passed + rates.dropped),
                passed: rounded(rates.passed),
                dropped: rounded(rates.dropped),
            }),
            peak: rounded(header.peak),
            ports: ports.collect(),
            reasons: reasons.collect(),
            rules: rules.collect(),
            sampled: model.sources.ratio,
            sources: sources.collect(),
        }
    }
}

/// To a tenth: what is counted is packets.
fn rounded(rate: f64) -> f64 {
    (rate * 10.0).round() / 10.0
}
