//! What one look at the filter finds, as plain data.

use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;

use super::model::Sampling;
use crate::{
    datapath::{Attached, Generation, Live, Purpose, Record, Snapshot},
    engine::{Engine, differences},
    output::ITEMS,
    policy::Rule,
};

/// What one look found.
#[derive(Debug)]
pub(super) struct Reading {
    /// When that was, on the wall.
    pub(super) at: Timestamp,
    /// When that was, by a clock that nobody sets.
    pub(super) moment: Instant,
    /// The filter; `None` while nothing is filtered.
    pub(super) filter: Option<Filter>,
    /// How much of what left is remembered, when it was looked at last.
    pub(super) flows: Option<FlowFill>,
    /// What was heard of dropped packets since the last look.
    pub(super) sampling: Sampling,
}

/// The filter, while it is up.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) generation: u64,
    /// What becomes of packets that no rule matches: `drop` or `pass`.
    pub(super) default: &'static str,
    pub(super) interfaces: Vec<Interface>,
    /// When the counters were zero.
    pub(super) since: Timestamp,
    pub(super) counters: Snapshot,
    /// In the order of the counters of rules.
    pub(super) rules: Vec<RuleText>,
    pub(super) notices: Vec<Notice>,
}

/// An interface that is filtered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Interface {
    pub(super) name: String,
    pub(super) mode: &'static str,
}

/// How a rule is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RuleText {
    pub(super) id: String,
    pub(super) text: String,
    pub(super) comment: Option<String>,
}

/// What is not as it is every day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Notice {
    /// What kind it is, as in `status`.
    pub(super) kind: &'static str,
    /// In how many seconds it ends, if it does.
    pub(super) seconds_left: Option<u64>,
    /// Packets that a rehearsed policy would judge otherwise.
    pub(super) differences: Option<u64>,
}

/// Flows that are remembered, of all tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct FlowFill {
    pub(super) entries: u64,
    pub(super) capacity: u64,
}

impl Reading {
    /// Looks at the filter in force.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub(super) fn take(flows: &mut FlowClock) -> Result<Self> {
        let engine = Engine::shared()?;
        let filter = engine.live().map(Filter::of).transpose()?;
        let (at, moment) = (Timestamp::now(), Instant::now());
        let flows = match engine.live() {
            Some(live) => flows.look(&live.generation).transpose()?,
            None => None,
        };
        Ok(Self {
            at,
            moment,
            filter,
            flows,
            sampling: Sampling::default(),
        })
    }
}

impl Filter {
    fn of(live: &Live) -> Result<Self> {
        let record = live.generation.record();
        let notices = notices(live, record)?;
        // Last: rates are by the time of this.
        let counters = live.generation.snapshot()?;
        Ok(Self {
            generation: record.generation,
            default: record.policy.default.as_str(),
            interfaces: live.attached.iter().map(Interface::of).collect(),
            since: record.counting_since,
            counters,
            rules: record.policy.rules.iter().map(RuleText::of).collect(),
            notices,
        })
    }
}

impl Interface {
    fn of(attached: &Attached) -> Self {
        Self {
            name: attached.interface.name.clone(),
            mode: attached.mode.as_str(),
        }
    }
}

impl RuleText {
    fn of(rule: &Rule) -> Self {
        Self {
            id: rule.id.to_string(),
            text: format!("{:.ITEMS$}", rule.without_end()),
            comment: rule.comment.clone(),
        }
    }
}

fn notices(live: &Live, record: &Record) -> Result<Vec<Notice>> {
    let plain = |kind| Notice {
        kind,
        seconds_left: None,
        differences: None,
    };
    let temporary = |generation: &Generation| {
        let left = generation.deadline()?.left();
        Some(Notice {
            seconds_left: Some(left.as_secs() + u64::from(left.subsec_nanos() > 0)),
            ..plain(match generation.purpose() {
                Purpose::Bypass => "bypass",
                Purpose::Panic => "panic",
                Purpose::Policy | Purpose::Nothing | Purpose::Rehearsal => "pending",
            })
        })
    };
    let mut notices: Vec<Notice> = live.temporary().filter_map(temporary).collect();
    if record.fallback.is_some() {
        notices.push(plain("fallback"));
    }
    if let Some(differences) = differences(live)? {
        notices.push(Notice {
            differences: Some(differences),
            ..plain("rehearsal")
        });
    }
    Ok(notices)
}

/// Looks at the flows now and then: to count them, all of them are read.
#[derive(Debug, Default)]
pub(super) struct FlowClock {
    known: Option<FlowFill>,
    due: Option<Instant>,
}

impl FlowClock {
    /// At least that long between two looks,
    const PACE: Duration = Duration::from_secs(2);
    /// and so many times as long as a look takes.
    const IDLE: u32 = 50;

    /// The fill as it was a short while ago; `None` where nothing is recorded.
    fn look(&mut self, generation: &Generation) -> Option<Result<FlowFill>> {
        if !generation.record().policy.records_flows() {
            *self = Self::default();
            return None;
        }
        let start = Instant::now();
        if let Some(known) = self.known
            && self.due.is_some_and(|due| start < due)
        {
            return Some(Ok(known));
        }
        let filled = super::super::flows::read(generation).map(|(fill, _)| {
            let (entries, capacity) = fill.total();
            FlowFill { entries, capacity }
        });
        self.due = Some(Instant::now() + Self::PACE.max(start.elapsed() * Self::IDLE));
        self.known = filled.as_ref().ok().copied();
        Some(filled)
    }
}
