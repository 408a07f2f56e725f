//! Owns the description of what was measured and on what.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::subject::Subject;
use crate::command::{capture, root_dir};

/// The machine and the versions.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    pub(super) cpu_model: String,
    /// How many there are, and which one was used.
    cpus: usize,
    pub(super) cpu: usize,
    pub(super) kernel: String,
    /// `net.core.bpf_jit_enable`; anything but 1 makes programs slower.
    pub(super) bpf_jit: Option<String>,
    /// `kernel.bpf_stats_enabled`; 1 makes programs slower.
    pub(super) bpf_stats: Option<String>,
    pub(super) xdpfw: String,
    /// The commit, with a `+` when the working tree differs from it.
    pub(super) revision: Option<String>,
    pub(super) rounds: u16,
}

impl Machine {
    /// Looks at this machine.
    pub(super) fn inspect(subject: &Subject, cpu: usize, rounds: u16) -> Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
        let sysctl = |name: &str| {
            let value = fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
            Some(value.trim().to_owned())
        };
        Ok(Self {
            cpu_model: cpu_model(&cpuinfo).unwrap_or("unknown CPU").to_owned(),
            cpus: cpuinfo
                .lines()
                .filter(|line| line.starts_with("processor"))
                .count(),
            cpu,
            kernel: sysctl("kernel/osrelease").context("cannot read the kernel's version")?,
            bpf_jit: sysctl("net/core/bpf_jit_enable"),
            bpf_stats: sysctl("kernel/bpf_stats_enabled"),
            xdpfw: subject.xdpfw(&["--version"])?.trim().to_owned(),
            revision: revision(),
            rounds,
        })
    }

    /// What on this machine makes all numbers worse than they need to be.
    pub(super) fn warnings(&self) -> Vec<&'static str> {
        let jit_is_off = self.bpf_jit.as_deref() == Some("0");
        let stats_are_on = self.bpf_stats.as_deref() == Some("1");
        [
            (
                jit_is_off,
                "net.core.bpf_jit_enable is 0: programs are interpreted",
            ),
            (
                stats_are_on,
                "kernel.bpf_stats_enabled is 1: programs are timed",
            ),
        ]
        .into_iter()
        .filter_map(|(is_so, warning)| is_so.then_some(warning))
        .collect()
    }
}

/// The model's name; other architectures than x86 have none.
fn cpu_model(cpuinfo: &str) -> Option<&str> {
    cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then_some(value.trim())
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
        assert_eq!(cpu_model(cpuinfo), Some("AMD EPYC 7B13"));
        assert_eq!(cpu_model("processor\t: 0\n"), None);
    }
}
