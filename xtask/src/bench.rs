//! Owns the bench: what the filter costs per packet and per command, compared in
//! one run with programs that do less. It measures and reports; it never fails
//! for a number.

mod chapter;
mod control;
mod growth;
mod live;
mod machine;
mod programs;
mod report;
mod series;
mod subject;
mod test_run;

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use self::{
    growth::Growth, live::Live, machine::Machine, programs::Yardsticks, report::Report,
    subject::Subject, test_run::TestRun,
};
use crate::{
    build::{self, Build},
    command::{is_root, say},
    interrupt::Interrupted,
    packages,
};

/// Measure what the filter costs per packet and per command (needs root)
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Rounds; results are the medians over them
    #[arg(long, value_name = "N", default_value_t = 15,
          value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Also write all numbers to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Builds, measures and reports.
pub(crate) fn run(args: &Args) -> Result<()> {
    // Before the builds: nobody should wait minutes for this answer.
    ensure!(
        is_root(),
        "the bench needs root; run `sudo -E env \"PATH=$PATH\" cargo xtask bench`"
    );
    packages::install_tools()?;
    let build = build::run()?;
    Interrupted::watch("bench", |interrupted| measure(args, &build, interrupted))
}

/// Measures everything and reports it.
fn measure(args: &Args, build: &Build, interrupted: &Interrupted) -> Result<()> {
    let cpu = pin_to_one_cpu()?;
    let subject = Subject::new(build)?;
    say(format_args!(
        "bench: {} rounds of packets on CPU {cpu}",
        args.rounds
    ));
    let load = || Yardsticks::load(&build.objects.yardsticks);
    let mut live = Live::default();
    let mut test_run = TestRun::new(&subject);
    for round in 0..args.rounds.into() {
        interrupted.check()?;
        // Each round loads all programs anew: where the kernel happens to put a
        // program's machine code changes its time by a nanosecond or so.
        let mut yardsticks = load()?;
        live.measure(&subject, &mut yardsticks, round)?;
        test_run.measure(&subject, &yardsticks)?;
    }
    say(format_args!("bench: {} rounds of commands", args.rounds));
    // Statistics of ports without drops would be quickly told.
    live::scan(&subject, &mut load()?)?;
    let control = control::measure(&subject, args.rounds, interrupted)?;
    say(format_args!(
        "bench: {} rounds of large policies",
        args.rounds
    ));
    let mut growth = Growth::new(build)?;
    growth.measure(args.rounds, interrupted)?;

    let report = Report::new(
        Machine::inspect(&subject, cpu, args.rounds)?,
        test_run,
        live,
        control,
        growth.policies,
    );
    report.show()?;
    if let Some(path) = &args.json {
        let mut text = serde_json::to_string_pretty(&report)?;
        text.push('\n');
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        say(format_args!("bench: {} has all numbers", path.display()));
    }
    Ok(())
}

/// Keeps this process, its threads and what it starts on one CPU: the last that it
/// may use, as the first ones serve most interrupts.
fn pin_to_one_cpu() -> Result<usize> {
    let allowed = sched_getaffinity(None).context("cannot read the CPU affinity")?;
    let cpu = (0..CpuSet::MAX_CPU)
        .rev()
        .find(|&cpu| allowed.is_set(cpu))
        .context("no CPU to run on")?;
    let mut one = CpuSet::new();
    one.set(cpu);
    sched_setaffinity(None, &one).context("cannot set the CPU affinity")?;
    Ok(cpu)
}
