//! Measures what is asked for, one group of chapters after the other.

mod answers;
mod attack;
mod control;
mod defence;
mod egress;
mod features;
mod growth;
mod live;
mod packet;

use std::{env, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};
use xdpfw_tests::{Interrupted, capture, task::say};

use crate::{
    Args,
    report::{
        Report,
        chapter::Chapter,
        machine::Machine,
        names::{belongs, chapters::*},
    },
    stage::{
        cpus::{Cpus, Stretch, pin},
        filter::find_program,
    },
};

/// What chapters are measured together, what that is called, and what measures them.
type Group = (
    &'static [&'static str],
    &'static str,
    fn(&Run<'_>) -> Result<Vec<Chapter>>,
);

const GROUPS: [Group; 15] = [
    (&[PACKET], "packets", packet::measure),
    (&[FEATURES], "features", features::measure),
    (&[ANSWERS], "answers", answers::measure),
    (&[EGRESS], "packets that leave", egress::measure_packets),
    (
        &[EGRESS_THROUGHPUT, EGRESS_PACKETS],
        "traffic that leaves",
        egress::measure_traffic,
    ),
    (&[LIVE], "traffic", live::measure),
    (
        &[RULES_HOT],
        "packets under many rules",
        growth::measure_hot,
    ),
    (
        &[RULES, PORTS, PREFIXES, PREFIXES_ASKED, SOURCES],
        "growth",
        growth::measure,
    ),
    (
        &[THROUGHPUT, LATENCY, LATENCY_P99, FLOOD_TAKEN],
        "attacks",
        attack::measure,
    ),
    (&[APPLY, MEMORY], "large policies", control::measure_apply),
    (&[COMMANDS], "commands", control::measure_commands),
    (&[DEFENCE_SCANS], "scans", defence::measure_scans),
    (
        &[DEFENCE_BANS],
        "packets beside bans",
        defence::measure_bans,
    ),
    (
        &[DEFENCE_TIMES, DEFENCE_MEMORY],
        "bans and lists",
        defence::lists::measure,
    ),
    (
        &[DEFENCE_BOUNDS],
        "ten million sources",
        defence::bounds::measure,
    ),
];

/// The programs that xdpfw is measured beside, and how they tell their versions.
const PEERS: [(&str, &[&str]); 6] = [
    ("xdp-filter", &["status", "--version"]),
    ("nft", &["--version"]),
    ("iptables", &["--version"]),
    ("ipset", &["--version"]),
    ("iperf3", &["--version"]),
    ("ip", &["-Version"]),
];

/// What `cargo xtask bench` has built.
pub(crate) struct Build {
    /// The xdpfw binary.
    pub(crate) binary: PathBuf,
    /// The object of the programs that it is compared with.
    pub(crate) yardsticks: PathBuf,
}

impl Build {
    fn from_environment() -> Result<Self> {
        let path = |name: &str| {
            env::var_os(name)
                .map(PathBuf::from)
                .with_context(|| format!("{name} is not set; run `cargo xtask bench`"))
        };
        Ok(Self {
            binary: path("XDPFW_BIN")?,
            yardsticks: path("XDPFW_YARDSTICKS")?,
        })
    }
}

/// A run of the bench.
pub(crate) struct Run<'a> {
    args: &'a Args,
    build: Build,
    cpus: Cpus,
    rounds: u16,
    interrupted: &'a Interrupted,
}

impl Run<'_> {
    /// Whether this chapter is to be measured.
    fn wants(&self, id: &str) -> bool {
        self.args.only.is_empty() || self.args.only.iter().any(|only| belongs(id, only))
    }

    /// An error once the user wants it to end.
    fn check(&self) -> Result<()> {
        self.interrupted.check()
    }
}

/// Measures what `args` ask for.
pub(crate) fn measure(args: &Args, interrupted: &Interrupted) -> Result<Report> {
    let run = Run {
        args,
        build: Build::from_environment()?,
        cpus: Cpus::find()?,
        rounds: args.rounds,
        interrupted,
    };
    pin(run.cpus.one())?;
    let stretch = Stretch::begin()?;
    let mut chapters = Vec::new();
    for (ids, what, measure) in GROUPS {
        if ids.iter().any(|id| run.wants(id)) {
            say(format_args!("bench: {} rounds of {what}", run.rounds));
            chapters.extend(measure(&run)?);
        }
    }
    chapters.retain(|chapter| run.wants(&chapter.id));
    let version = capture(Command::new(&run.build.binary).arg("--version"))?;
    let mut machine = Machine::inspect(&version, args.command(), run.rounds)?;
    machine.stolen = stretch.stolen()?;
    machine.peers = PEERS.iter().filter_map(|peer| version_of(*peer)).collect();
    Ok(Report::new(machine, chapters))
}

/// A program's name, and the first line of what it says of its version.
fn version_of((name, arguments): (&str, &[&str])) -> Option<(String, String)> {
    let program = find_program(name)?;
    let text = capture(Command::new(program).args(arguments)).ok()?;
    Some((name.to_owned(), text.lines().next()?.trim().to_owned()))
}
