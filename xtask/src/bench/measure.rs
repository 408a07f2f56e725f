//! Owns the order in which everything is measured.

mod attack;
mod control;
mod features;
mod growth;
mod live;
mod packet;

use std::process::Command;

use anyhow::Result;

use crate::{
    bench::{
        Args,
        report::{Report, machine::Machine, names::chapters::*},
        stage::cpus::{Cpus, Stretch, pin},
    },
    build::Build,
    command::{capture, find_program, say},
    interrupt::Interrupted,
};

/// Those who are measured beside us, and how they tell their versions.
const PEERS: [(&str, &[&str]); 6] = [
    ("xdp-filter", &["status", "--version"]),
    ("nft", &["--version"]),
    ("iptables", &["--version"]),
    ("ipset", &["--version"]),
    ("iperf3", &["--version"]),
    ("ip", &["-Version"]),
];

/// Measures what is asked for.
pub(crate) fn measure(args: &Args, build: &Build, interrupted: &Interrupted) -> Result<Report> {
    let cpus = Cpus::find()?;
    pin(cpus.one())?;
    let stretch = Stretch::begin()?;
    let rounds = args.rounds;
    let wants = |ids: &[&str]| ids.iter().any(|id| args.wants(id));
    let begin = |what: &str| say(format_args!("bench: {rounds} rounds of {what}"));
    let mut chapters = Vec::new();
    if wants(&[PACKET]) {
        begin("packets");
        chapters.push(packet::measure(build, rounds, interrupted)?);
    }
    if wants(&[FEATURES]) {
        begin("features");
        chapters.push(features::measure(build, rounds, interrupted)?);
    }
    if wants(&[LIVE]) {
        begin("traffic");
        chapters.push(live::measure(build, &cpus, rounds, interrupted)?);
    }
    if wants(&[RULES_HOT]) {
        begin("packets under many rules");
        chapters.push(growth::measure_hot(build, rounds, interrupted)?);
    }
    if wants(&[RULES, PORTS, PREFIXES, PREFIXES_ASKED, SOURCES]) {
        begin("growth");
        let wants = |id: &str| args.wants(id);
        chapters.extend(growth::measure(wants, build, &cpus, rounds, interrupted)?);
    }
    if wants(&[THROUGHPUT, LATENCY, LATENCY_P99, FLOOD_TAKEN]) {
        begin("attacks");
        chapters.extend(attack::measure(build, rounds, interrupted)?);
    }
    if wants(&[APPLY, MEMORY]) {
        begin("large policies");
        chapters.extend(control::measure_apply(build, rounds, interrupted)?);
    }
    if wants(&[COMMANDS]) {
        begin("commands");
        chapters.push(control::measure_commands(
            build,
            &cpus,
            rounds,
            interrupted,
        )?);
    }
    chapters.retain(|chapter| args.wants(&chapter.id));
    let version = capture(Command::new(&build.binary).arg("--version"))?;
    let mut machine = Machine::inspect(&version, args.command(), rounds)?;
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
