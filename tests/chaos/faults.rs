//! What happens to a command while it runs.

use std::{fmt, process::Stdio, thread, time::Duration};

use anyhow::{Context as _, Result};
use rand::{RngExt as _, rngs::SmallRng};
use xdpfw_tests::Xdpfw;

/// What happens to a command.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// Nothing.
    None,
    /// It is killed so long after it began.
    Killed(Duration),
    /// There is no room in the directory of its policy.
    FullDisk,
    /// The directory of its policy cannot be written.
    ReadOnly,
    /// The shared bpffs is not there.
    NoBpffs,
    /// This bpf(2) call of it, counted from the first, fails for want of memory.
    NoMemory(u32),
    /// This program that it loads, counted in calls, is refused.
    Refused(u32),
    /// The clock on its wall is off by a month.
    Clock(bool),
}

impl Fault {
    pub(super) fn random(random: &mut SmallRng) -> Self {
        match random.random_range(0..12) {
            0..4 => Self::Killed(Duration::from_micros(random.random_range(0..400_000))),
            4 => Self::FullDisk,
            5 => Self::ReadOnly,
            6 => Self::NoBpffs,
            7 => Self::NoMemory(random.random_range(1..250)),
            8 => Self::Refused(random.random_range(1..250)),
            9 => Self::Clock(random.random()),
            _ => Self::None,
        }
    }

    /// Runs a command under it, to its end; its exit code, if it ended by itself.
    pub(super) fn run(self, command: Xdpfw) -> Result<Option<i32>> {
        let inject = |call: u32, error: &str| {
            [
                "strace",
                "-f",
                "-qqq",
                "-o",
                "/dev/null",
                "-e",
                "trace=bpf",
                "-e",
            ]
            .map(str::to_owned)
            .into_iter()
            .chain([format!("inject=bpf:error={error}:when={call}")])
        };
        let command = match self {
            Self::None | Self::Killed(_) => command,
            Self::FullDisk => command.with_full_disk(),
            Self::ReadOnly => command.with_read_only_policy(),
            Self::NoBpffs => {
                command.in_private_mounts("umount -l /sys/fs/bpf 2>/dev/null; exec \"$@\"")
            }
            Self::NoMemory(call) => command.under(inject(call, "ENOMEM")),
            Self::Refused(call) => command.under(inject(call, "EACCES")),
            Self::Clock(ahead) => {
                let shift = if ahead { "+30d" } else { "-30d" };
                let command = command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
                command.under(["faketime", "-f", shift])
            }
        };
        if let Self::Killed(after) = self {
            let mut child = command
                .command()?
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?;
            thread::sleep(after);
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        let output = command.output()?;
        let code = output
            .status
            .code()
            .with_context(|| format!("{output:?}"))?;
        Ok(Some(code))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => Ok(()),
            other => write!(f, " ({other:?})"),
        }
    }
}
