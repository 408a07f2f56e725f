//! What the kernel of this host is, and what it lets this process do.

use std::fs;

use super::Capability;

/// What the kernel keeps from everybody, root included (kernel_lockdown(7)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lockdown {
    /// Nothing.
    #[default]
    None,
    /// To change it while it runs.
    Integrity,
    /// To read what it holds, too.
    Confidentiality,
}

/// The kernel of this host. What cannot be read is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// Its release, as `uname -r` has it.
    pub release: String,
    /// Whether it tells its types, which programs are loaded by.
    pub btf: bool,
    /// `net.core.bpf_jit_enable`; only the network namespace of init has it.
    pub jit: Option<u8>,
    /// `net.core.bpf_jit_harden`; only the network namespace of init has it.
    pub jit_harden: Option<u8>,
    /// What it keeps from root.
    pub lockdown: Lockdown,
    /// Where it has the time from: `tsc`, `kvm-clock`, `hpet` …
    pub clocksource: Option<String>,
    /// Whether something keeps its wall clock right.
    pub is_synchronized: Option<bool>,
    /// Bytes that may be had without swapping.
    pub available: Option<u64>,
    /// The capabilities that this process lacks.
    pub missing: Vec<Capability>,
}

impl Kernel {
    /// Looks at it.
    pub fn read() -> Self {
        Self {
            release: line("/proc/sys/kernel/osrelease").unwrap_or_default(),
            btf: fs::metadata("/sys/kernel/btf/vmlinux").is_ok(),
            jit: number("/proc/sys/net/core/bpf_jit_enable"),
            jit_harden: number("/proc/sys/net/core/bpf_jit_harden"),
            lockdown: line("/sys/kernel/security/lockdown")
                .map(|text| lockdown(&text))
                .unwrap_or_default(),
            clocksource: line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
            is_synchronized: is_synchronized(),
            available: fs::read_to_string("/proc/meminfo")
                .ok()
                .and_then(|text| available(&text)),
            missing: Capability::missing().collect(),
        }
    }

    /// The first two numbers of its release.
    pub fn version(&self) -> Option<(u32, u32)> {
        let mut numbers = self.release.split(|c: char| !c.is_ascii_digit());
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }
}

fn line(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn number(path: &str) -> Option<u8> {
    line(path)?.parse().ok()
}

/// The word in brackets is in force.
fn lockdown(text: &str) -> Lockdown {
    if text.contains("[confidentiality]") {
        Lockdown::Confidentiality
    } else if text.contains("[integrity]") {
        Lockdown::Integrity
    } else {
        Lockdown::None
    }
}

/// `MemAvailable` in `/proc/meminfo`, in bytes.
fn available(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// Whether the kernel's clock is kept right, as it was last told (adjtimex(2)).
fn is_synchronized() -> Option<bool> {
    // SAFETY: a struct of plain integers, all of which may be zero.
    let mut asked: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the struct lives through the call; without modes, the clock is only read.
    let state = unsafe { libc::adjtimex(&raw mut asked) };
    (state >= 0).then_some(asked.status & libc::STA_UNSYNC == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_distributions_write_them() {
        for (release, expected) in [
            ("6.1.0-28-cloud-amd64", Some((6, 1))),
            ("5.15.167.4-microsoft-standard-WSL2", Some((5, 15))),
            ("6.18.44", Some((6, 18))),
            ("7.0-rc1", Some((7, 0))),
            ("", None),
            ("next", None),
        ] {
            let kernel = Kernel {
                release: release.to_owned(),
                ..Kernel::default()
            };
            assert_eq!(kernel.version(), expected, "{release}");
        }
    }

    #[test]
    fn what_the_kernel_says_is_read() {
        for (text, expected) in [
            ("[none] integrity confidentiality", Lockdown::None),
            ("none [integrity] confidentiality", Lockdown::Integrity),
            (
                "none integrity [confidentiality]",
                Lockdown::Confidentiality,
            ),
            ("", Lockdown::None),
        ] {
            assert_eq!(lockdown(text), expected, "{text}");
        }
        let memory = "MemTotal:  8 kB\nMemAvailable:     4 kB\n";
        assert_eq!(available(memory), Some(4096));
        assert_eq!(available("MemTotal: 8 kB"), None);
    }
}
