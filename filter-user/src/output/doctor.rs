//! What `doctor` found: the host, its interfaces, and the findings with their remedies.

use std::fmt;

use serde::Serialize;

use super::table;
use crate::{
    analysis::doctor::{Device, Facts, Finding, Repair, Severity, command},
    netlink::Mode,
};

/// The findings, and what they come from.
#[derive(Debug, Serialize)]
pub struct Doctor {
    schema: &'static str,
    findings: Vec<FindingRow>,
    /// What was mended.
    fixed: Vec<FixedRow>,
    host: HostRow,
    interfaces: Vec<InterfaceRow>,
}

#[derive(Debug, Serialize)]
struct FindingRow {
    kind: &'static str,
    object: String,
    text: String,
    remedy: Option<String>,
    severity: &'static str,
    fixable: bool,
}

#[derive(Debug, Serialize)]
struct FixedRow {
    command: String,
    undo: String,
}

#[derive(Debug, Serialize)]
struct HostRow {
    kernel: String,
    cpus: u32,
    btf: bool,
    /// Whether programs are compiled; `None` if this namespace does not see it.
    jit: Option<bool>,
    clocksource: Option<String>,
    /// `HZ` of the kernel, as it was measured when the filter came up.
    ticks_per_second: Option<u32>,
    /// Bytes that the maps of the policy take, about.
    memory: u64,
    memory_available: Option<u64>,
}

#[derive(Debug, Serialize)]
struct InterfaceRow {
    name: String,
    driver: Option<String>,
    mtu: u32,
    /// Whether the driver has native XDP; `None` if the kernel does not tell.
    native: Option<bool>,
    /// The queues that packets come in by, and how many there could be.
    queues: Option<u32>,
    queues_most: Option<u32>,
    mode: Option<&'static str>,
}

impl Doctor {
    /// Of these facts; `done` are the repairs that were made.
    pub fn new(facts: &Facts, findings: &[Finding], done: &[Repair]) -> Self {
        Self {
            schema: "xdpfw.doctor/1",
            findings: findings.iter().map(FindingRow::from).collect(),
            fixed: done.iter().map(FixedRow::from).collect(),
            host: HostRow {
                kernel: facts.kernel.release.clone(),
                cpus: facts.cpus,
                btf: facts.kernel.btf,
                jit: facts.kernel.jit.map(|jit| jit != 0),
                clocksource: facts.kernel.clocksource.clone(),
                ticks_per_second: facts.up.map(|up| up.ticks_per_second),
                memory: facts.memory,
                memory_available: facts.kernel.available,
            },
            interfaces: facts
                .looked_at()
                .into_iter()
                .map(InterfaceRow::from)
                .collect(),
        }
    }

    /// Whether one of the findings is a fault.
    pub fn has_faults(&self) -> bool {
        let mut findings = self.findings.iter();
        findings.any(|finding| finding.severity == Severity::Fault.as_str())
    }
}

impl From<&Finding> for FindingRow {
    fn from(finding: &Finding) -> Self {
        Self {
            kind: finding.kind,
            object: finding.object.clone(),
            text: finding.text.clone(),
            remedy: finding.remedy.clone(),
            severity: finding.severity.as_str(),
            fixable: finding.repair.is_some(),
        }
    }
}

impl From<&Repair> for FixedRow {
    fn from(repair: &Repair) -> Self {
        Self {
            command: command(&repair.command),
            undo: command(&repair.undo),
        }
    }
}

impl From<&Device> for InterfaceRow {
    fn from(device: &Device) -> Self {
        Self {
            name: device.interface.name.clone(),
            driver: device.interface.driver.clone(),
            mtu: device.interface.mtu,
            native: device.native.map(|native| native.runs),
            queues: device.settings.queues.map(|queues| queues.receiving),
            queues_most: device.settings.queues.map(|queues| queues.most),
            mode: device.filtered.map(Mode::as_str),
        }
    }
}

impl fmt::Display for HostRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.cpus == 1 { "" } else { "s" };
        write!(f, "Linux {}, {} CPU{s}", self.kernel, self.cpus)?;
        match self.jit {
            Some(true) => f.write_str(", JIT on")?,
            Some(false) => f.write_str(", JIT off")?,
            None => {}
        }
        if let Some(source) = &self.clocksource {
            write!(f, ", clock {source}")?;
        }
        if let Some(hz) = self.ticks_per_second {
            write!(f, " at {hz} Hz")?;
        }
        write!(f, ", maps {} MiB", self.memory.div_ceil(1 << 20))
    }
}

impl fmt::Display for Doctor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.host)?;
        if !self.interfaces.is_empty() {
            let heads = ["interface", "driver", "native", "queues", "mtu", "mode"];
            let mut table = table::table(&heads, &[3, 4]);
            for row in &self.interfaces {
                table.add_row([
                    row.name.clone(),
                    row.driver.clone().unwrap_or_else(|| "unknown".to_owned()),
                    match row.native {
                        Some(true) => "yes",
                        Some(false) => "no",
                        None => "unknown",
                    }
                    .to_owned(),
                    match (row.queues, row.queues_most) {
                        (Some(queues), Some(most)) => format!("{queues}/{most}"),
                        _ => "-".to_owned(),
                    },
                    row.mtu.to_string(),
                    row.mode.unwrap_or("none").to_owned(),
                ]);
            }
            write!(f, "\n{}", table::lines(&table))?;
        }
        writeln!(f)?;
        if self.findings.is_empty() {
            return writeln!(f, "nothing found");
        }
        self.findings
            .iter()
            .try_for_each(|finding| writeln!(f, "{finding}"))
    }
}

impl fmt::Display for FindingRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What others named stays in its line.
        let object = self.object.escape_debug();
        let text = self.text.replace('\n', "; ");
        write!(f, "{}: {object}: {text}", self.severity)?;
        match &self.remedy {
            Some(remedy) => write!(f, " (say `{}`)", remedy.replace('\n', "\\n")),
            None => Ok(()),
        }
    }
}
