//! The filter's state: interfaces, generation, and totals per reason.

use std::fmt;

use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;
use xdpfw_common::{Reason, Verdict, abi::Counter};

use super::{FlowFill, Totals, bans::TrustedRow, lists::ListRow, scanners::ScanRow, table};
use crate::{
    datapath::{Attached, Egress, Generation, Live, Snapshot, Then},
    engine::{ListStatus, TrustedList},
    policy::Policy,
    text::{clock_time, sentence_list, thousands},
};

/// Trusted prefixes that are named.
const TRUSTED_SHOWN: usize = 5;
/// Lists that are named.
const LISTS_SHOWN: usize = 5;

/// The filter's state.
#[derive(Debug, Serialize)]
pub struct Status {
    schema: &'static str,
    default: &'static str,
    generation: u64,
    /// Whether somebody listens.
    traced: bool,
    /// How many do.
    listeners: usize,
    /// When all counters were zero; `None` while nothing is counted.
    since: Option<Timestamp>,
    /// The change that goes back unless it is confirmed.
    pending: Option<Pending>,
    /// The program that what passes goes on to.
    then: Option<ThenRow>,
    /// What a rehearsed policy would do otherwise; `None` if none is.
    shadow: Option<Rehearsal>,
    /// When a source scans; `None` if nobody looks.
    scan: Option<ScanRow>,
    #[serde(skip)]
    rules: usize,
    interfaces: Vec<InterfaceRow>,
    /// How much of what left is remembered; `None` if nothing is recorded.
    flows: Option<FlowFill>,
    /// How many prefixes are banned by commands.
    bans: usize,
    /// How many sources the program has banned by itself.
    bans_by_program: usize,
    /// The lists of the policy, without their hits.
    lists: Vec<ListRow>,
    /// Who never is.
    trusted: Vec<TrustedRow>,
    totals: Totals,
    reasons: Vec<ReasonRow>,
    warnings: Vec<StateWarning>,
}

/// A state of affairs that the operator may not know of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StateWarning {
    /// What kind it is, in a word that stays.
    pub kind: &'static str,
    /// What is the matter.
    pub text: String,
    /// The command that mends it, or shows more.
    pub remedy: Option<String>,
}

impl fmt::Display for StateWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match &self.remedy {
            Some(remedy) => write!(f, " (say `{remedy}`)"),
            None => Ok(()),
        }
    }
}

#[derive(Debug, Serialize)]
struct Rehearsal {
    differences: u64,
}

#[derive(Debug, Serialize)]
struct Pending {
    until: Timestamp,
    generation: u64,
}

impl Pending {
    fn of(generation: &Generation) -> Option<Self> {
        Some(Self {
            until: generation.deadline()?.on_the_wall(),
            generation: generation.record().generation,
        })
    }
}

#[derive(Debug, Serialize)]
struct ThenRow {
    id: u32,
    name: String,
    pin: String,
    #[serde(skip)]
    shown: String,
}

impl From<&Then> for ThenRow {
    fn from(then: &Then) -> Self {
        Self {
            id: then.id,
            name: then.name.clone(),
            pin: then.pin.display().to_string(),
            shown: shown_then(then),
        }
    }
}

/// `guard (id 12, /sys/fs/bpf/guard)`.
pub fn shown_then(then: &Then) -> String {
    let Then { id, name, pin } = then;
    let pin = pin.display().to_string();
    format!("{} (id {id}, {})", name.escape_debug(), pin.escape_debug())
}

#[derive(Debug, Serialize)]
struct InterfaceRow {
    name: String,
    ifindex: u32,
    mode: &'static str,
    egress: Option<&'static str>,
    /// `None` if it is not counted apart.
    passed: Option<Counter>,
    dropped: Option<Counter>,
}

#[derive(Debug, Serialize)]
struct ReasonRow {
    reason: &'static str,
    verdict: &'static str,
    packets: u64,
    bytes: u64,
}

impl Status {
    /// Of a generation on its interfaces.
    pub fn new(
        live: &Live,
        counters: &Snapshot,
        flows: Option<FlowFill>,
        differences: Option<u64>,
        listeners: usize,
        warnings: Vec<StateWarning>,
    ) -> Self {
        let record = live.generation.record();
        let status = Self::of(
            &record.policy,
            record.generation,
            listeners,
            &live.attached,
            counters,
            warnings,
        );
        Self {
            flows,
            since: Some(record.counting_since),
            pending: live.pending().and_then(Pending::of),
            then: record.then.as_ref().map(ThenRow::from),
            shadow: differences.map(|differences| Rehearsal { differences }),
            ..status
        }
    }

    /// Of a policy that is not in force anywhere.
    pub fn not_up(policy: &Policy, warnings: Vec<StateWarning>) -> Self {
        Self::of(policy, 0, 0, &[], &Snapshot::empty(0), warnings)
    }

    /// With how many are banned, or why that is not known, and who never is.
    pub fn with_bans(
        mut self,
        bans: usize,
        damaged: Option<anyhow::Error>,
        trusted: &TrustedList,
    ) -> Self {
        self.bans = bans;
        self.trusted = trusted.iter().map(TrustedRow::from).collect();
        self.warnings.extend(damaged.map(|error| StateWarning {
            kind: "bans-damaged",
            text: format!("{error:#}"),
            remedy: None,
        }));
        self
    }

    /// With how many the program has banned by itself, and the lists of the policy.
    pub fn with_defence(mut self, openers: usize, lists: &[ListStatus]) -> Self {
        self.bans_by_program = openers;
        self.lists = lists.iter().map(ListRow::from).collect();
        let unread = lists.iter().filter_map(|list| {
            let name = &list.name;
            let text = match (&list.error, list.refreshed) {
                (Some(error), Some(at)) => {
                    format!("list {name} was not read since {}: {error}", clock_time(at))
                }
                (Some(error), None) => format!("list {name} was never read: {error}"),
                (None, None) => format!("list {name} was never read"),
                (None, Some(_)) => return None,
            };
            Some(StateWarning {
                kind: "list-not-read",
                text,
                remedy: Some(format!("xdpfw lists refresh {name}")),
            })
        });
        self.warnings.extend(unread);
        self
    }

    /// Whether there is anything to warn of.
    pub const fn has_warnings(&self) -> bool {
        !self.warnings.is_empty()
    }

    fn of(
        policy: &Policy,
        generation: u64,
        listeners: usize,
        attached: &[Attached],
        counters: &Snapshot,
        warnings: Vec<StateWarning>,
    ) -> Self {
        let interfaces = attached.iter().map(|attached| InterfaceRow {
            name: attached.interface.name.clone(),
            ifindex: attached.interface.index,
            mode: attached.mode.as_str(),
            egress: attached.egress.map(Egress::as_str),
            passed: counters.of_interface(&attached.interface.name, Verdict::Pass),
            dropped: counters.of_interface(&attached.interface.name, Verdict::Drop),
        });
        let reasons = Reason::ALL.iter().map(|&reason| {
            let tally = counters.reason(reason);
            ReasonRow {
                reason: reason.as_str(),
                verdict: reason.verdict().as_str(),
                packets: tally.packets,
                bytes: tally.bytes,
            }
        });
        Self {
            schema: "xdpfw.status/1",
            default: policy.default.as_str(),
            generation,
            traced: listeners > 0,
            listeners,
            since: None,
            pending: None,
            then: None,
            shadow: None,
            scan: policy.scan.map(ScanRow::from),
            rules: policy.rules.len(),
            interfaces: interfaces.collect(),
            flows: None,
            bans: 0,
            bans_by_program: 0,
            lists: Vec::new(),
            trusted: Vec::new(),
            totals: counters.into(),
            reasons: reasons.collect(),
            warnings,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "default {}, {} rule{}, generation {}{}{}",
            self.default,
            self.rules,
            if self.rules == 1 { "" } else { "s" },
            self.generation,
            match self.listeners {
                0 => String::new(),
                1 => ", 1 listener".to_owned(),
                count => format!(", {count} listeners"),
            },
            if self.pending.is_some() {
                ", pending"
            } else {
                ""
            }
        )?;
        if !self.interfaces.is_empty() {
            let heads = [
                "interface",
                "ifindex",
                "mode",
                "egress",
                "passed",
                "dropped",
            ];
            let mut table = table::table(&heads, &[1, 4, 5]);
            let packets = |counter: Option<Counter>| match counter {
                Some(counter) => thousands(counter.packets),
                None => "?".to_owned(),
            };
            for row in &self.interfaces {
                table.add_row([
                    row.name.clone(),
                    row.ifindex.to_string(),
                    row.mode.to_owned(),
                    row.egress.unwrap_or("none").to_owned(),
                    packets(row.passed),
                    packets(row.dropped),
                ]);
            }
            write!(f, "\n{}", table::lines(&table))?;
        }
        if let Some(then) = &self.then {
            writeln!(f, "\nthen: {}", then.shown)?;
        }
        if let Some(flows) = &self.flows {
            writeln!(f, "\nflows: {flows}")?;
        }
        if let Some(scan) = &self.scan {
            writeln!(f, "\nscan: {scan}")?;
        }
        let by_program = match self.bans_by_program {
            0 => String::new(),
            count => format!(", {} by the program itself", thousands(count as u64)),
        };
        if self.bans + self.bans_by_program > 0 {
            let bans = thousands((self.bans + self.bans_by_program) as u64);
            writeln!(f, "\nbanned: {bans}{by_program} (see `xdpfw bans`)")?;
        }
        if !self.lists.is_empty() {
            let lists = sentence_list(&self.lists, LISTS_SHOWN);
            writeln!(f, "\nlists: {lists} (see `xdpfw lists`)")?;
        }
        if !self.trusted.is_empty() {
            let trusted = sentence_list(&self.trusted, TRUSTED_SHOWN);
            writeln!(f, "\ntrusted: {trusted}")?;
        }
        if let Some(Rehearsal { differences }) = self.shadow {
            let s = if differences == 1 { "" } else { "s" };
            let differences = thousands(differences);
            writeln!(
                f,
                "\nrehearsal: {differences} packet{s} would be judged otherwise (see `xdpfw shadow`)"
            )?;
        }
        let mut table = table::table(&["verdict", "reason", "packets", "bytes"], &[2, 3]);
        for row in self.reasons.iter().filter(|row| row.packets > 0) {
            table.add_row([
                row.verdict.to_owned(),
                row.reason.to_owned(),
                thousands(row.packets),
                thousands(row.bytes),
            ]);
        }
        for (verdict, amount) in [("pass", self.totals.passed), ("drop", self.totals.dropped)] {
            table.add_row([
                verdict.to_owned(),
                "total".to_owned(),
                thousands(amount.packets),
                thousands(amount.bytes),
            ]);
        }
        write!(f, "\n{}", table::lines(&table))?;
        if let Some(since) = self.since {
            let since = since.to_zoned(TimeZone::system());
            writeln!(
                f,
                "\ncounted since {}",
                since.strftime("%Y-%m-%d %H:%M:%S %Z")
            )?;
        }
        if self.has_warnings() {
            writeln!(f)?;
        }
        self.warnings
            .iter()
            .try_for_each(|warning| writeln!(f, "warning: {warning}"))
    }
}
