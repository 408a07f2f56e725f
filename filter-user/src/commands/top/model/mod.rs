//! What `top` shows: readings and sampled packets go in, rows come out. It asks nobody, and knows
//! no terminal.

mod history;
mod panel;
mod rows;
mod sources;

use std::net::IpAddr;

use xdpfw_common::{Reason, Verdict};

pub(super) use self::{
    history::{History, SPAN},
    panel::{Panel, PanelKind, SortKey},
    rows::{Key, PortRow, ReasonRow, RuleRow},
    sources::{Sampled, Sampling, SourceRow, Sources},
};
use super::reading::{Filter, FlowFill, Interface, Notice, Reading};

/// All that is shown, and what is needed to go on.
#[derive(Debug)]
pub(super) struct Model {
    /// What the header says; `None` before the first reading.
    pub(super) header: Option<Header>,
    /// Drops per second, tick by tick.
    pub(super) history: History,
    pub(super) panels: [Panel; 4],
    pub(super) focus: PanelKind,
    /// The text that rows must contain.
    pub(super) filter: String,
    /// Whether what is typed goes into the filter.
    pub(super) is_typing: bool,
    pub(super) is_paused: bool,
    pub(super) popup: Option<Popup>,
    /// Something said once, until the next key, and not for long.
    pub(super) message: Option<String>,
    /// For how long it was said, in seconds.
    said: f64,
    pub(super) sources: Sources,
    rows: Rows,
    previous: Option<Reading>,
    /// What the history was when the picture was frozen.
    frozen: Option<History>,
}

/// How long a message stands, in seconds.
const MESSAGE: f64 = 5.0;

/// The numbers on top.
#[derive(Clone, Debug, Default)]
pub(super) struct Header {
    pub(super) is_up: bool,
    pub(super) generation: u64,
    pub(super) default: &'static str,
    pub(super) interfaces: Vec<Interface>,
    pub(super) notices: Vec<Notice>,
    pub(super) flows: Option<FlowFill>,
    /// `None` until there are two readings to compare.
    pub(super) rates: Option<Totals>,
    /// The most drops per second that were seen.
    pub(super) peak: f64,
}

/// Packets per second.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Totals {
    pub(super) passed: f64,
    pub(super) dropped: f64,
}

/// The rows of all panels, before they are filtered and sorted.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) ports: Vec<PortRow>,
    pub(super) reasons: Vec<ReasonRow>,
    pub(super) sources: Vec<SourceRow>,
    pub(super) rules: Vec<RuleRow>,
}

/// What is in front of everything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Popup {
    Help,
    /// A command that runs once it is confirmed: its words, without `xdpfw`.
    Confirm {
        words: Vec<String>,
    },
    /// Something that goes on.
    Busy {
        title: String,
    },
    /// Text to read.
    Text {
        title: String,
        text: String,
        /// Lines that are scrolled away.
        scrolled: u16,
    },
}

impl Model {
    pub(super) fn new() -> Self {
        Self {
            header: None,
            history: History::default(),
            panels: PanelKind::ALL.map(Panel::new),
            focus: PanelKind::Ports,
            filter: String::new(),
            is_typing: false,
            is_paused: false,
            popup: None,
            message: None,
            said: 0.0,
            sources: Sources::default(),
            rows: Rows::default(),
            previous: None,
            frozen: None,
        }
    }

    /// Takes in what the filter counted. While the picture is frozen it is remembered alone.
    pub(super) fn read(&mut self, reading: Reading) {
        let previous = self.previous.take();
        let seconds = previous.as_ref().map_or(0.0, |previous| {
            let passed = reading.moment.saturating_duration_since(previous.moment);
            passed.as_secs_f64()
        });
        let before = previous
            .as_ref()
            .and_then(|previous| previous.filter.as_ref());
        let counted = Counted::between(before, reading.filter.as_ref(), seconds);
        let rates = counted.totals();
        self.history.push(rates.map(|rates| rates.dropped), seconds);
        self.sources.hear(&reading.sampling);
        self.said += seconds;
        if self.said >= MESSAGE {
            self.message = None;
        }
        if !self.is_paused {
            self.header = Some(Header::of(&reading, rates, self.history.peak()));
            counted.rows(&mut self.rows);
            self.show_rows();
        }
        self.previous = Some(reading);
    }

    /// Says something once.
    pub(super) fn say(&mut self, message: impl Into<String>) {
        self.message = Some(message.into());
        self.said = 0.0;
    }

    /// Freezes the picture, or lets it go on with the next reading.
    pub(super) fn pause(&mut self) {
        self.is_paused = !self.is_paused;
        self.frozen = self.is_paused.then(|| self.history.clone());
    }

    /// Drops per second as they are shown.
    pub(super) fn shown_history(&self) -> &History {
        self.frozen.as_ref().unwrap_or(&self.history)
    }

    /// Filters and sorts what is shown anew.
    pub(super) fn show_rows(&mut self) {
        if !self.is_paused {
            self.sources.rows(&mut self.rows.sources);
        }
        for panel in &mut self.panels {
            panel.show(&self.rows, &self.filter);
        }
    }

    pub(super) const fn rows(&self) -> &Rows {
        &self.rows
    }

    pub(super) const fn panel(&self, kind: PanelKind) -> &Panel {
        &self.panels[kind as usize]
    }

    pub(super) const fn focused(&mut self) -> &mut Panel {
        &mut self.panels[self.focus as usize]
    }

    /// Selects another row of the focused panel, so many further down.
    pub(super) fn select(&mut self, down: isize) {
        self.panels[self.focus as usize].select(&self.rows, down);
    }

    /// A rule by its id.
    pub(super) fn rule(&self, id: &str) -> Option<&RuleRow> {
        self.rows.rules.iter().find(|row| row.rule.id == id)
    }

    /// Packets judged for a reason.
    pub(super) fn reason_packets(&self, reason: Reason) -> u64 {
        let row = self.rows.reasons.iter().find(|row| row.reason == reason);
        row.map_or(0, |row| row.counter.packets)
    }

    /// The row that is selected, if there is any.
    pub(super) fn selected(&self) -> Option<Key> {
        let panel = self.panel(self.focus);
        let index = *panel.order().get(panel.index())?;
        Some(self.rows.key(self.focus, index as usize))
    }

    /// The source that a port was last asked for by.
    pub(super) fn asker(&self, key: &Key) -> Option<(IpAddr, crate::policy::Carried)> {
        match *key {
            Key::Port(transport, port) => self.sources.asker(transport, port),
            Key::Source(address) => Some((address, self.sources.last(address)?)),
            Key::Reason(_) | Key::Rule(_) => None,
        }
    }
}

impl Header {
    fn of(reading: &Reading, rates: Option<Totals>, peak: f64) -> Self {
        let Some(filter) = &reading.filter else {
            return Self {
                peak,
                ..Self::default()
            };
        };
        Self {
            is_up: true,
            generation: filter.generation,
            default: filter.default,
            interfaces: filter.interfaces.clone(),
            notices: filter.notices.clone(),
            flows: reading.flows,
            rates,
            peak,
        }
    }
}

/// Two looks at the counters, so many seconds apart.
struct Counted<'a> {
    before: Option<&'a Filter>,
    now: Option<&'a Filter>,
    seconds: f64,
}

impl<'a> Counted<'a> {
    /// Counters that began anew since have nothing in common.
    fn between(before: Option<&'a Filter>, now: Option<&'a Filter>, seconds: f64) -> Self {
        let since = now.map(|now| now.since);
        Self {
            before: before.filter(|before| Some(before.since) == since && seconds > 0.0),
            now,
            seconds,
        }
    }

    fn rate(&self, now: u64, before: u64) -> f64 {
        now.saturating_sub(before) as f64 / self.seconds
    }

    fn totals(&self) -> Option<Totals> {
        let (before, now) = self.before.zip(self.now)?;
        let rate = |verdict| {
            let packets = |filter: &Filter| filter.counters.total(verdict).packets;
            self.rate(packets(now), packets(before))
        };
        Some(Totals {
            passed: rate(Verdict::Pass),
            dropped: rate(Verdict::Drop),
        })
    }
}
