//! Measures how long it takes to ban many, and what memory that takes; meanwhile the kernel's
//! log must not tell of a CPU that stood still.

use std::{
    fs::{File, OpenOptions},
    io::{ErrorKind, Read as _, Seek as _, SeekFrom},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::policy;
use crate::{
    measure::{
        Run,
        control::{MEBIBYTE, Memory, fastest},
    },
    report::{
        chapter::Chapter,
        names::{self, cases, chapters, subjects},
    },
    stage::{
        Stage,
        filter::find_program,
        lists::{addresses, prefixes_of_ipv6},
    },
};

/// How many are banned by hand.
const BANS: usize = 100_000;
/// How many addresses of IPv4 are in a list, and how many of them are others in the next one.
const ADDRESSES: usize = 1_000_000;
const CHANGED: u32 = 10_000;
/// How many prefixes of IPv6 are in a list.
const PREFIXES: u32 = 200_000;

/// The part of a policy that bans who is in a list, whose file is written beside it.
pub(super) fn banning(stage: &Stage, name: &str, entries: &str) -> Result<String> {
    let file = stage.write(&format!("{name}.list"), entries)?;
    Ok(format!(
        "\n[list.{name}]\nfile = \"{}\"\nban = true\n",
        file.display()
    ))
}

/// Measures times and memory in every round.
pub(crate) fn measure(run: &Run<'_>) -> Result<Vec<Chapter>> {
    let mut times = names::chapter(chapters::DEFENCE_TIMES)?;
    let mut memory = names::chapter(chapters::DEFENCE_MEMORY)?;
    let stage = Stage::new(&run.build, 0)?;
    let bench = Bench::new(&stage)?;
    for _ in 0..run.rounds {
        run.check()?;
        let mut log = KernelLog::from_now()?;
        bench.bans(&mut times, &mut memory)?;
        bench.lists(&mut times, &mut memory)?;
        bench.ipset(&mut times, &mut memory)?;
        log.check()?;
    }
    Ok(vec![times, memory])
}

/// A host, and who is to be banned there.
struct Bench<'a> {
    stage: &'a Stage,
    /// The policies without and with lists.
    without: PathBuf,
    with: PathBuf,
    /// Who is in the list of IPv4, at first and later.
    entries: [String; 2],
    bans: PathBuf,
}

impl<'a> Bench<'a> {
    fn new(stage: &'a Stage) -> Result<Self> {
        let entries = [addresses(0, ADDRESSES), addresses(CHANGED, ADDRESSES)];
        let lists = banning(stage, "v4", &entries[0])?
            + &banning(stage, "v6", &prefixes_of_ipv6(PREFIXES))?;
        Ok(Self {
            stage,
            without: stage.write("without.toml", &policy(stage, ""))?,
            with: stage.write("with.toml", &policy(stage, &lists))?,
            bans: stage.write("bans", &addresses(0, BANS))?,
            entries,
        })
    }

    /// Bans by hand.
    fn bans(&self, times: &mut Chapter, memory: &mut Chapter) -> Result<()> {
        self.begin()?;
        self.remember(memory, cases::NOBODY)?;
        let time = fastest(|| {
            self.stage.xdpfw(&["--quiet", "unban", "--all"])?;
            let ban = ["--quiet", "ban", "--stdin"];
            self.stage.time_xdpfw_reading(&ban, &self.bans)
        })?;
        times.push(subjects::XDPFW, cases::BAN, time);
        self.remember(memory, cases::BAN)?;
        self.stage.xdpfw(&["--quiet", "unban", "--all"])?;
        Ok(())
    }

    /// Lists, from their first reading to their end.
    fn lists(&self, times: &mut Chapter, memory: &mut Chapter) -> Result<()> {
        let [before, after] = &self.entries;
        let refresh = || self.stage.time_xdpfw(&["--quiet", "lists", "refresh"]);
        let mut taken_out = Duration::MAX;
        let read = fastest(|| {
            self.begin()?;
            self.stage.write("v4.list", before)?;
            let read = self.apply(&self.with)?;
            self.ensure_banned()?;
            taken_out = taken_out.min(self.apply(&self.without)?);
            Ok(read)
        })?;
        times.push(subjects::XDPFW, cases::READ, read);
        times.push(subjects::XDPFW, cases::TAKEN_OUT, milliseconds(taken_out));
        self.begin()?;
        self.apply(&self.with)?;
        self.remember(memory, cases::LISTS)?;
        times.push(subjects::XDPFW, cases::NOTHING_NEW, fastest(refresh)?);
        let mut next = [after, before].into_iter().cycle();
        let changed = fastest(|| {
            self.stage
                .write("v4.list", next.next().context("no list")?)?;
            refresh()
        })?;
        times.push(subjects::XDPFW, cases::CHANGED, changed);
        // Or the next `up` would make large tables for them.
        self.apply(&self.without).map(drop)
    }

    /// The same sources in sets of ipset, which no packet asks.
    fn ipset(&self, times: &mut Chapter, memory: &mut Chapter) -> Result<()> {
        let Some(ipset) = find_program("ipset") else {
            return Ok(());
        };
        let [entries, _] = &self.entries;
        let bans = set("bans", "hash:ip", &addresses(0, BANS));
        let lists = set("v4", "hash:ip", entries)
            + &set("v6", "hash:net family inet6", &prefixes_of_ipv6(PREFIXES));
        let cases = [
            ((cases::BAN, cases::BAN), None, bans),
            ((cases::READ, cases::LISTS), Some(cases::TAKEN_OUT), lists),
        ];
        for ((filled, kept), destroyed, text) in cases {
            let file = self.stage.write("sets", &text)?;
            let destroy = || self.stage.time(&ipset, &["destroy"], Stdio::null());
            let time = fastest(|| {
                destroy()?;
                let input = Stdio::from(File::open(&file)?);
                self.stage.time(&ipset, &["restore"], input)
            })?;
            times.push(subjects::IPSET, filled, time);
            let bytes = size_of_sets(&self.stage.lab.host.run(&ipset, ["list", "-terse"])?)?;
            memory.push(subjects::IPSET, kept, bytes as f64 / MEBIBYTE);
            let time = destroy()?;
            if let Some(case) = destroyed {
                times.push(subjects::IPSET, case, milliseconds(time));
            }
        }
        Ok(())
    }

    /// Begins with small tables and without lists.
    fn begin(&self) -> Result<()> {
        // It fails where nothing is up yet.
        let _ = self.stage.xdpfw(&["down"]);
        self.stage.up()?;
        self.apply(&self.without).map(drop)
    }

    fn apply(&self, policy: &Path) -> Result<Duration> {
        let policy = policy.to_string_lossy();
        self.stage.time_xdpfw(&["--quiet", "apply", &policy])
    }

    /// Sees that the lists are what they are meant to be.
    fn ensure_banned(&self) -> Result<()> {
        let lists: Value = serde_json::from_str(&self.stage.xdpfw(&["--json", "lists"])?)?;
        for (name, field, count) in [
            ("v4", "entries4", ADDRESSES as u64),
            ("v6", "entries6", PREFIXES.into()),
        ] {
            let list = lists["lists"].as_array().into_iter().flatten();
            let list = list.into_iter().find(|list| list["name"] == name);
            let entries = list.and_then(|list| list[field].as_u64());
            ensure!(
                entries == Some(count),
                "the list {name} has {entries:?} entries instead of {count}"
            );
        }
        Ok(())
    }

    /// Adds what memory the kernel has given for it.
    fn remember(&self, memory: &mut Chapter, case: &str) -> Result<()> {
        let bytes = Memory::of(self.stage)?.defence;
        memory.push(subjects::XDPFW_DEFENCE, case, bytes as f64 / MEBIBYTE);
        Ok(())
    }
}

/// As a file for `ipset restore`.
fn set(name: &str, kind: &str, entries: &str) -> String {
    let mut text = format!("create {name} {kind} maxelem 2000000\n");
    for entry in entries.lines() {
        text += "add ";
        text += name;
        text += " ";
        text += entry;
        text += "\n";
    }
    text
}

/// What the sets take by ipset's own account, in bytes.
fn size_of_sets(listing: &str) -> Result<u64> {
    let sizes = listing
        .lines()
        .filter_map(|line| line.strip_prefix("Size in memory: "));
    let mut sum = 0;
    for size in sizes {
        sum += size
            .trim()
            .parse::<u64>()
            .with_context(|| format!("ipset tells a size of `{size}`"))?;
    }
    Ok(sum)
}

const fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// What the kernel writes to its log, from now on.
pub(super) struct KernelLog(File);

impl KernelLog {
    pub(super) fn from_now() -> Result<Self> {
        let file = "/dev/kmsg";
        let open = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(file);
        let mut log = open.with_context(|| format!("cannot open {file}"))?;
        log.seek(SeekFrom::End(0))?;
        Ok(Self(log))
    }

    /// An error if it tells of a CPU that stood still.
    pub(super) fn check(&mut self) -> Result<()> {
        let mut record = [0; 8192];
        loop {
            match self.0.read(&mut record) {
                Ok(0) => return Ok(()),
                Ok(len) => {
                    let text = String::from_utf8_lossy(&record[..len]);
                    if tells_of_a_stall(&text) {
                        bail!("the kernel's log says: {}", text.trim());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // Some were overwritten before they were read.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
                Err(error) => return Err(error).context("cannot read the kernel's log"),
            }
        }
    }
}

/// As kernel/watchdog.c, kernel/rcu/tree_stall.h and kernel/hung_task.c have it.
fn tells_of_a_stall(line: &str) -> bool {
    [
        "soft lockup",
        "hard LOCKUP",
        "self-detected stall",
        "detected stalls",
        "blocked for more than",
    ]
    .iter()
    .any(|words| line.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stalls_are_seen() {
        for line in [
            "0,1,2,-;watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [bench:1]",
            "3,1,2,-;rcu: INFO: rcu_preempt self-detected stall on CPU",
            "3,1,2,-;rcu: INFO: rcu_sched detected stalls on CPUs/tasks:",
        ] {
            assert!(tells_of_a_stall(line), "{line}");
        }
        assert!(!tells_of_a_stall("6,1,2,-;veth0: entered promiscuous mode"));
    }

    #[test]
    fn sets_are_summed_up() -> Result<()> {
        let listing = "Name: a\nSize in memory: 200\n\nName: b\nSize in memory: 40\n";
        assert_eq!(size_of_sets(listing)?, 240);
        assert_eq!(
            set("a", "hash:ip", "192.0.2.1\n"),
            "create a hash:ip maxelem 2000000\nadd a 192.0.2.1\n"
        );
        Ok(())
    }
}
