//! Describes what was measured, and on what.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use xdpfw_tests::capture;

use crate::root_dir;

/// The machine and the versions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The day of the run (UTC), and what was called.
    pub(crate) date: String,
    pub(crate) command: String,
    pub(crate) rounds: u16,
    pub(crate) cpu_model: String,
    pub(crate) cpus: usize,
    /// Whether there is a hypervisor below.
    pub(crate) is_virtual: bool,
    pub(crate) kernel: String,
    /// What the kernel does against Spectre v2: it makes indirect calls slower, of which
    /// some filters make more than others.
    pub(crate) spectre_v2: Option<String>,
    /// `net.core.bpf_jit_enable`; anything but 1 makes programs slower.
    pub(crate) bpf_jit: Option<String>,
    /// `kernel.bpf_stats_enabled`; 1 makes programs slower.
    pub(crate) bpf_stats: Option<String>,
    /// How much of the time that the CPUs had work in went to other machines on the same
    /// hardware, while this was measured: 0 to 1.
    #[serde(default)]
    pub(crate) stolen: f64,
    pub(crate) xdpfw: String,
    /// The commit, with a `+` when the working tree differs from it.
    pub(crate) revision: Option<String>,
    /// The names and versions of what xdpfw was compared with.
    pub(crate) peers: Vec<(String, String)>,
}

impl Machine {
    /// Looks at this machine, for a run of `command` with the xdpfw of this version. The
    /// peers, and what was stolen meanwhile, are left to those who know them.
    pub(crate) fn inspect(xdpfw: &str, command: String, rounds: u16) -> Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
        let read = |path: String| Some(fs::read_to_string(path).ok()?.trim().to_owned());
        let sysctl = |name: &str| read(format!("/proc/sys/{name}"));
        let cpus = cpuinfo.lines().filter(|line| line.starts_with("processor"));
        Ok(Self {
            date: capture(Command::new("date").args(["-u", "+%F"]))?
                .trim()
                .to_owned(),
            command,
            rounds,
            cpu_model: field(&cpuinfo, "model name")
                .unwrap_or("unknown CPU")
                .to_owned(),
            cpus: cpus.count(),
            is_virtual: field(&cpuinfo, "flags")
                .is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            kernel: sysctl("kernel/osrelease").context("cannot read the kernel's version")?,
            spectre_v2: read("/sys/devices/system/cpu/vulnerabilities/spectre_v2".into()),
            bpf_jit: sysctl("net/core/bpf_jit_enable"),
            bpf_stats: sysctl("kernel/bpf_stats_enabled"),
            stolen: 0.0,
            xdpfw: xdpfw.trim().to_owned(),
            revision: revision(),
            peers: Vec::new(),
        })
    }

    /// What on this machine makes numbers worse than they need to be.
    pub(crate) fn warnings(&self) -> Vec<&'static str> {
        let jit_is_off = self.bpf_jit.as_deref() == Some("0");
        let stats_are_on = self.bpf_stats.as_deref() == Some("1");
        let is_shared = self.stolen > 0.01;
        [
            (
                jit_is_off,
                "net.core.bpf_jit_enable is 0, so programs are interpreted, and all of them slow",
            ),
            (
                stats_are_on,
                "kernel.bpf_stats_enabled is 1, so programs are timed, and all of them slower",
            ),
            (
                is_shared,
                "others on the same hardware took CPU time from this machine, so numbers scatter",
            ),
        ]
        .into_iter()
        .filter_map(|(is_so, warning)| is_so.then_some(warning))
        .collect()
    }

    /// What was measured, where and when.
    pub(crate) fn summary(&self) -> String {
        let Self {
            kernel,
            cpu_model,
            rounds,
            date,
            ..
        } = self;
        let version = self.version();
        format!("{version}, Linux {kernel}, {cpu_model}; medians of {rounds} rounds, {date}")
    }

    /// xdpfw's version and commit.
    pub(crate) fn version(&self) -> String {
        let revision = self.revision.as_deref().unwrap_or("no commit");
        format!("{} ({revision})", self.xdpfw)
    }
}

/// What the first CPU's line of this name says; other architectures than x86 have other
/// lines.
fn field<'a>(cpuinfo: &'a str, name: &str) -> Option<&'a str> {
    cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then_some(value.trim())
    })
}

/// The commit that was measured, unless this is no repository.
fn revision() -> Option<String> {
    let git = |arguments: &[&str]| {
        capture(Command::new("git").current_dir(root_dir()).args(arguments)).ok()
    };
    let commit = git(&["rev-parse", "--short", "HEAD"])?;
    let changes = git(&["status", "--porcelain"])?;
    let mark = if changes.is_empty() { "" } else { "+" };
    Some(format!("{}{mark}", commit.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_model_is_found() {
        let cpuinfo = "processor\t: 0\nvendor_id\t: X\nmodel\t\t: 7\nmodel name\t: AMD EPYC 7B13\n";
        assert_eq!(field(cpuinfo, "model name"), Some("AMD EPYC 7B13"));
        assert_eq!(field("processor\t: 0\n", "model name"), None);
    }
}
