//! What was dropped and what passed: by port, reason, interface, or class of ports.

mod rows;

use std::fmt;

use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;
use xdpfw_common::{Transport, Verdict};

use self::rows::{Class, InterfaceRow, Port, ReasonRow};
use super::{Totals, Trend, table};
use crate::{engine::Rates, ports::PortClass, text::thousands};

/// What to show.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// Only so many ports, those with the most drops.
    pub top: Option<usize>,
    /// Only these, whether they had drops or not; all if empty.
    pub ports: Vec<(Transport, u16)>,
    /// What the rows of the table are.
    pub by: By,
}

/// What is counted together in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum By {
    /// Drops of each port
    #[default]
    Port,
    /// Packets of each reason
    Reason,
    /// Packets of each interface
    Interface,
    /// Drops of well-known, registered and dynamic ports
    Class,
}

/// The counters at a time.
#[derive(Debug, Serialize)]
pub struct Stats {
    schema: &'static str,
    at: Timestamp,
    /// When all of them were zero.
    since: Timestamp,
    ports: Vec<Port>,
    classes: Vec<Class>,
    reasons: Vec<ReasonRow>,
    interfaces: Vec<InterfaceRow>,
    totals: Totals,
    /// Packets per second over the time since the previous look, or since counting began.
    rates: TotalRates,
    #[serde(skip)]
    by: By,
    #[serde(skip)]
    cut: usize,
    #[serde(skip)]
    trend: Option<Trend>,
}

#[derive(Debug, Serialize)]
struct TotalRates {
    passed: f64,
    dropped: f64,
}

impl Stats {
    /// The counters of a sample, and how fast they moved up to it.
    pub fn new(rates: &Rates<'_>, query: &Query) -> Self {
        let counters = &rates.sample().counters;
        let every = || {
            Transport::ALL
                .into_iter()
                .flat_map(|transport| (0..=u16::MAX).map(move |port| (transport, port)))
        };
        let with_drops = |(transport, port)| (transport, port, counters.dropped(transport, port));
        let mut counted: Vec<(Transport, u16, u64)> = match query.ports.is_empty() {
            false => query.ports.iter().copied().map(with_drops).collect(),
            true => every()
                .map(with_drops)
                .filter(|&(_, _, dropped)| dropped > 0)
                .collect(),
        };
        counted.sort_by_key(|&(transport, port, dropped)| {
            (std::cmp::Reverse(dropped), transport, port)
        });
        counted.dedup();
        let classes = PortClass::ALL.map(|class| Class::of(class, &counted, rates));
        let cut = counted
            .len()
            .saturating_sub(query.top.unwrap_or(usize::MAX));
        counted.truncate(counted.len() - cut);
        let ports = counted
            .into_iter()
            .map(|(transport, port, dropped)| Port::of(transport, port, dropped, rates));
        let total = |verdict| rates.per_second(|counters| counters.total(verdict).packets);
        Self {
            schema: "xdpfw.stats/1",
            at: rates.sample().at,
            since: rates.sample().since,
            ports: ports.collect(),
            classes: classes.into(),
            reasons: ReasonRow::all(rates),
            interfaces: InterfaceRow::all(rates),
            totals: counters.into(),
            rates: TotalRates {
                passed: total(Verdict::Pass),
                dropped: total(Verdict::Drop),
            },
            by: query.by,
            cut,
            trend: None,
        }
    }

    /// The ports that are shown.
    pub fn shown(&self) -> Vec<(Transport, u16)> {
        self.ports.iter().map(Port::number).collect()
    }

    /// The same, with how it went lately.
    pub fn with(self, trend: Trend) -> Self {
        Self {
            trend: Some(trend),
            ..self
        }
    }

    fn rows(&self) -> table::Table {
        match self.by {
            By::Port => rows::of_ports(&self.ports, self.trend.as_ref()),
            By::Reason => rows::of_reasons(&self.reasons),
            By::Interface => rows::of_interfaces(&self.interfaces),
            By::Class => rows::of_classes(&self.classes),
        }
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(trend) = &self.trend {
            let TotalRates { passed, dropped } = self.rates;
            let per_second = |rate: f64| thousands(rate.round() as u64);
            writeln!(
                f,
                "{}/s dropped, {}/s passed, peak {}/s\n{}",
                per_second(dropped),
                per_second(passed),
                per_second(trend.peak),
                trend.dropped
            )?;
        }
        f.write_str(&table::lines(&self.rows()))?;
        if self.by == By::Port && self.cut > 0 {
            writeln!(
                f,
                "… and {} more ports (say --top N)",
                thousands(self.cut as u64)
            )?;
        }
        let shown = |at: Timestamp| at.to_zoned(TimeZone::system());
        writeln!(
            f,
            "{} packets dropped, {} passed at {}",
            thousands(self.totals.dropped.packets),
            thousands(self.totals.passed.packets),
            shown(self.at).strftime("%Y-%m-%d %H:%M:%S %Z")
        )
    }
}
