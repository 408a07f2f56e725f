//! The rows of the panels.

use std::{fmt::Write as _, net::IpAddr};

use xdpfw_common::{Reason, Transport, abi::Counter};

use super::{Counted, PanelKind, Rows};
use crate::{
    commands::top::reading::{Filter, RuleText},
    names::services,
};

/// What tells a row from others, from one tick to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::commands::top) enum Key {
    Port(Transport, u16),
    Reason(Reason),
    Source(IpAddr),
    /// Its id.
    Rule(String),
}

/// A local port that packets were dropped to.
#[derive(Clone, Copy, Debug)]
pub(in crate::commands::top) struct PortRow {
    pub(in crate::commands::top) transport: Transport,
    pub(in crate::commands::top) port: u16,
    pub(in crate::commands::top) dropped: u64,
    pub(in crate::commands::top) rate: f64,
}

/// A reason that packets were judged for.
#[derive(Clone, Copy, Debug)]
pub(in crate::commands::top) struct ReasonRow {
    pub(in crate::commands::top) reason: Reason,
    pub(in crate::commands::top) counter: Counter,
    pub(in crate::commands::top) rate: f64,
}

/// A rule.
#[derive(Clone, Debug)]
pub(in crate::commands::top) struct RuleRow {
    pub(in crate::commands::top) rule: RuleText,
    pub(in crate::commands::top) hits: Counter,
    pub(in crate::commands::top) rate: f64,
}

impl Counted<'_> {
    /// Fills in the rows of what was counted; the memory of earlier ones is used again.
    pub(super) fn rows(&self, rows: &mut Rows) {
        rows.ports.clear();
        rows.reasons.clear();
        rows.rules.clear();
        let Some(now) = self.now else {
            return;
        };
        for transport in Transport::ALL {
            for port in 0..=u16::MAX {
                let dropped = now.counters.dropped(transport, port);
                if dropped > 0 {
                    let before = self
                        .before
                        .map(|before| before.counters.dropped(transport, port));
                    rows.ports.push(PortRow {
                        transport,
                        port,
                        dropped,
                        rate: self.rate_from(dropped, before),
                    });
                }
            }
        }
        for &reason in Reason::ALL {
            let counter = now.counters.reason(reason);
            if counter.packets > 0 {
                let before = self.before.map(|before| before.counters.reason(reason));
                rows.reasons.push(ReasonRow {
                    reason,
                    counter,
                    rate: self.rate_from(counter.packets, before.map(|before| before.packets)),
                });
            }
        }
        for (rule, &hits) in now.rules.iter().zip(now.counters.rules()) {
            // A new rule counts from zero.
            let before = self.before.map(|before| hits_of(before, rule));
            rows.rules.push(RuleRow {
                rule: rule.clone(),
                hits,
                rate: self.rate_from(hits.packets, before),
            });
        }
    }

    fn rate_from(&self, now: u64, before: Option<u64>) -> f64 {
        before.map_or(0.0, |before| self.rate(now, before))
    }
}

/// What a rule had counted, wherever it stood.
fn hits_of(filter: &Filter, rule: &RuleText) -> u64 {
    let place = filter.rules.iter().position(|other| other.id == rule.id);
    place
        .and_then(|place| filter.counters.rules().get(place))
        .map_or(0, |hits| hits.packets)
}

impl Rows {
    /// How many a panel has.
    pub(super) const fn len(&self, kind: PanelKind) -> usize {
        match kind {
            PanelKind::Ports => self.ports.len(),
            PanelKind::Reasons => self.reasons.len(),
            PanelKind::Sources => self.sources.len(),
            PanelKind::Rules => self.rules.len(),
        }
    }

    pub(super) fn key(&self, kind: PanelKind, index: usize) -> Key {
        match kind {
            PanelKind::Ports => Key::Port(self.ports[index].transport, self.ports[index].port),
            PanelKind::Reasons => Key::Reason(self.reasons[index].reason),
            PanelKind::Sources => Key::Source(self.sources[index].address),
            PanelKind::Rules => Key::Rule(self.rules[index].rule.id.clone()),
        }
    }

    /// Packets per second of a row, and of all time.
    pub(in crate::commands::top) fn numbers(&self, kind: PanelKind, index: usize) -> (f64, u64) {
        match kind {
            PanelKind::Ports => (self.ports[index].rate, self.ports[index].dropped),
            PanelKind::Reasons => {
                let row = &self.reasons[index];
                (row.rate, row.counter.packets)
            }
            PanelKind::Sources => (self.sources[index].rate, self.sources[index].packets),
            PanelKind::Rules => (self.rules[index].rate, self.rules[index].hits.packets),
        }
    }

    /// What a filter looks for a row by, in lower case, in place of what was in `text`.
    pub(super) fn text(&self, kind: PanelKind, index: usize, text: &mut String) {
        text.clear();
        // Nothing fails to be written to a string.
        let _ = match kind {
            PanelKind::Ports => {
                let PortRow {
                    transport, port, ..
                } = self.ports[index];
                let name = services::name_of(transport, port).unwrap_or_default();
                write!(text, "{port}/{transport} {name}")
            }
            PanelKind::Reasons => {
                let reason = self.reasons[index].reason;
                write!(text, "{} {reason}", reason.verdict())
            }
            PanelKind::Sources => {
                let row = &self.sources[index];
                write!(text, "{} {}", row.address, row.last_words())
            }
            PanelKind::Rules => {
                let RuleText {
                    id,
                    text: words,
                    comment,
                } = &self.rules[index].rule;
                let comment = comment.as_deref().unwrap_or_default();
                write!(text, "{id} {words} {comment}")
            }
        };
        text.make_ascii_lowercase();
    }
}
