//! Measures commands: how long they take, as a shell sees it from the start of the process to
//! its end, and what memory they and their results take.

use std::{
    fs::{self, File},
    os::fd::{AsFd as _, AsRawFd as _},
    path::PathBuf,
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result};
use aya::{maps::MapInfo, programs::ProgramInfo};
use xdpfw_common::abi::{Holds, SHARED_MAPS};

use crate::{
    measure::Run,
    report::{
        chapter::Chapter,
        names::{self, cases, chapters, subjects},
    },
    stage::{
        Stage,
        filter::find_program,
        policy::{Form, Hook, Policy},
        traffic::{Probe, flood},
        yardsticks::Spread,
    },
};

/// The policies that are put in force.
const POLICIES: [(&str, Policy); 3] = [
    (cases::ONE_RULE, Policy::Rules(1)),
    (cases::TEN_THOUSAND_RULES, Policy::Rules(10_000)),
    (cases::HUNDRED_THOUSAND_PREFIXES, Policy::Prefixes(100_000)),
];
/// The policy that they take the place of.
const BEFORE: Policy = Policy::Ports(2);
/// Rules in force when everyday commands are timed.
const RULES: u32 = 1_000;
/// A port that they do not name.
const ADDED: &str = "9999";

/// Calls of each command per round. The fastest counts: whatever else the machine
/// does can only slow a command down.
const TURNS: usize = 3;

pub(super) const MEBIBYTE: f64 = (1 << 20) as f64;

/// A host on which commands are timed, and the programs of others.
struct Control<'a> {
    stage: &'a Stage,
    nft: Option<PathBuf>,
    ipset: Option<PathBuf>,
}

/// Measures how long large policies take to come into force, and how much memory that
/// takes.
pub(crate) fn measure_apply(run: &Run<'_>) -> Result<Vec<Chapter>> {
    let mut apply = names::chapter(chapters::APPLY)?;
    let mut memory = names::chapter(chapters::MEMORY)?;
    let stage = Stage::new(&run.build, 1)?;
    stage.up()?;
    let control = Control::new(&stage);
    for _ in 0..run.rounds {
        for (case, policy) in POLICIES {
            run.check()?;
            control.apply(&mut apply, case, policy)?;
            control.memory(&mut memory, case, policy)?;
        }
    }
    Ok(vec![apply, memory])
}

/// Measures the commands of every day, with many rules in force and drops on all ports.
pub(crate) fn measure_commands(run: &Run<'_>) -> Result<Vec<Chapter>> {
    let mut chapter = names::chapter(chapters::COMMANDS)?;
    let stage = Stage::new(&run.build, 1)?;
    let control = Control::new(&stage);
    stage.up()?;
    stage.apply(Policy::Rules(RULES))?;
    // Statistics of ports without drops take no time.
    let yardsticks = stage.generator(Spread::SCAN)?;
    let scan = || flood(&stage, &yardsticks, Probe::Syn, &[run.cpus.one()], 1);
    let mut up = vec!["up", "--mode", "native"];
    up.extend(stage.interfaces());
    for _ in 0..run.rounds {
        run.check()?;
        let start = fastest(|| {
            stage.xdpfw(&["down"])?;
            stage.time_xdpfw(&up)
        })?;
        scan()?;
        let add = fastest(|| {
            let time = stage.time_xdpfw(&["allow", "tcp", ADDED])?;
            stage.xdpfw(&["delete", "allow", "tcp", ADDED])?;
            Ok(time)
        })?;
        let list = fastest(|| stage.time_xdpfw(&["list"]))?;
        let counters = fastest(|| stage.time_xdpfw(&["--json", "stats"]))?;
        for (case, time) in cases::COMMANDS_OF_A_DAY
            .into_iter()
            .zip([start, add, list, counters])
        {
            chapter.push(subjects::XDPFW, case, time);
        }
        for (case, time) in cases::COMMANDS_OF_A_DAY
            .into_iter()
            .zip(control.nft_commands()?)
        {
            chapter.push(subjects::NFT, case, time);
        }
    }
    Ok(vec![chapter])
}

impl<'a> Control<'a> {
    fn new(stage: &'a Stage) -> Self {
        Self {
            stage,
            nft: find_program("nft"),
            ipset: find_program("ipset"),
        }
    }

    /// Adds what it takes to put a policy in force in place of another, which builds all
    /// anew.
    fn apply(&self, chapter: &mut Chapter, case: &str, policy: Policy) -> Result<()> {
        let stage = self.stage;
        let file = self.policy_file(policy)?;
        let ours = fastest(|| {
            stage.apply(BEFORE)?;
            stage.time_xdpfw(&["--quiet", "apply", &file])
        })?;
        chapter.push(subjects::XDPFW_APPLY, case, ours);
        if let Some(nft) = &self.nft {
            for (subject, form) in [
                (subjects::NFT_FILE, Form::Plain),
                (subjects::NFT_FILE_SETS, Form::Sets),
            ] {
                let before = self.nft_file("before.nft", BEFORE, form)?;
                let file = self.nft_file("large.nft", policy, form)?;
                let theirs = fastest(|| {
                    stage.time(nft, &["-f", &before], Stdio::null())?;
                    stage.time(nft, &["-f", &file], Stdio::null())
                })?;
                chapter.push(subject, case, theirs);
            }
        }
        if let (Some(ipset), Some(text)) = (&self.ipset, policy.ipset()) {
            let file = stage.write("ipset", &text)?;
            let theirs = fastest(|| {
                let input = Stdio::from(File::open(&file)?);
                stage.time(ipset, &["restore"], input)
            })?;
            chapter.push(subjects::IPSET_RESTORE, case, theirs);
        }
        Ok(())
    }

    /// Adds what memory that takes.
    fn memory(&self, chapter: &mut Chapter, case: &str, policy: Policy) -> Result<()> {
        let stage = self.stage;
        let mut push = |subject, bytes| chapter.push(subject, case, bytes as f64 / MEBIBYTE);
        stage.apply(BEFORE)?;
        let file = self.policy_file(policy)?;
        let peak = stage.peak_of_xdpfw(&["--quiet", "apply", &file])?;
        let memory = Memory::of(stage)?;
        push(subjects::XDPFW_MAPS, memory.policy);
        push(subjects::XDPFW_COUNTERS, memory.counters);
        push(subjects::XDPFW_FLOWS, memory.flows);
        push(subjects::XDPFW_RINGS, memory.events);
        push(subjects::XDPFW_DEFENCE, memory.defence);
        push(subjects::XDPFW_APPLY_PEAK, peak);
        if let Some(nft) = &self.nft {
            let file = self.nft_file("large.nft", policy, Form::Plain)?;
            push(subjects::NFT_FILE_PEAK, stage.peak(nft, &["-f", &file])?);
        }
        Ok(())
    }

    fn policy_file(&self, policy: Policy) -> Result<String> {
        let text = policy.xdpfw(self.stage.interfaces());
        let file = self.stage.write("large.toml", &text)?;
        Ok(file.to_string_lossy().into_owned())
    }

    fn nft_file(&self, name: &str, policy: Policy, form: Form) -> Result<String> {
        let text = policy.nft(Hook::Input, form, self.stage.interfaces());
        let file = self.stage.write(name, &text)?;
        Ok(file.to_string_lossy().into_owned())
    }

    /// What [`cases::COMMANDS_OF_A_DAY`] are with nft, whose rules count; nothing without it.
    fn nft_commands(&self) -> Result<Vec<f64>> {
        let Some(nft) = &self.nft else {
            return Ok(Vec::new());
        };
        let run = |arguments: &[&str]| self.stage.time(nft, arguments, Stdio::null());
        let rules = Policy::Rules(RULES).nft(Hook::Input, Form::Plain, self.stage.interfaces());
        let rules = rules.replace(" accept\n", " counter accept\n");
        let file = self.stage.write("counted.nft", &rules)?;
        let start = fastest(|| {
            run(&["flush", "ruleset"])?;
            run(&["-f", &file.to_string_lossy()])
        })?;
        let add = fastest(|| {
            run(&[
                "add", "rule", "inet", "bench", "c", "tcp", "dport", ADDED, "accept",
            ])
        })?;
        let list = fastest(|| run(&["list", "ruleset"]))?;
        let counters = fastest(|| run(&["--json", "list", "ruleset"]))?;
        run(&["flush", "ruleset"])?;
        Ok(vec![start, add, list, counters])
    }
}

/// What the fastest of some calls takes, in ms.
pub(super) fn fastest(mut command: impl FnMut() -> Result<Duration>) -> Result<f64> {
    let mut fastest = Duration::MAX;
    for _ in 0..TURNS {
        fastest = fastest.min(command()?);
    }
    Ok(fastest.as_secs_f64() * 1e3)
}

/// What the maps of a generation take, in bytes, as the kernel accounts for them.
#[derive(Default)]
pub(super) struct Memory {
    /// The policy.
    policy: u64,
    /// The counters of one CPU.
    counters: u64,
    /// What left lately.
    flows: u64,
    /// What waits to be read by those who listen.
    events: u64,
    /// Who is not welcome.
    pub(super) defence: u64,
}

impl Memory {
    pub(super) fn of(stage: &Stage) -> Result<Self> {
        let program = ProgramInfo::from_pin(stage.generation()?.join("program"))?;
        let cpus = possible_cpus()?;
        let mut memory = Self::default();
        for id in program.map_ids()?.context("the kernel tells no maps")? {
            let map = MapInfo::from_id(id)?;
            let bytes = memory_of(&map)?;
            let name = map.name_as_str();
            let shared = SHARED_MAPS.iter().find(|map| Some(map.name) == name);
            match shared.map(|map| map.holds) {
                None | Some(Holds::Next | Holds::Rehearsal) => memory.policy += bytes,
                Some(Holds::Counters) => memory.counters += bytes / cpus,
                Some(Holds::Flows) => memory.flows += bytes,
                Some(Holds::Events) => memory.events += bytes,
                Some(Holds::Bans | Holds::Trust | Holds::Limits) => memory.defence += bytes,
            }
        }
        Ok(memory)
    }
}

/// What a map takes by the kernel's account (`bpf_map_show_fdinfo` in
/// kernel/bpf/syscall.c).
fn memory_of(map: &MapInfo) -> Result<u64> {
    let fd = map.fd()?;
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    let bytes = line.context("the kernel does not tell what a map takes")?;
    Ok(bytes.trim().parse()?)
}

/// How many CPUs the kernel has a place for.
fn possible_cpus() -> Result<u64> {
    let cpus = aya::util::nr_cpus().map_err(|(file, error)| {
        anyhow::Error::new(error).context(format!("cannot read {file}"))
    })?;
    Ok(cpus as u64)
}
