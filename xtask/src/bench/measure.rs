//! Owns the order in which everything is measured, and which numbers make which chapter.

use anyhow::{Context as _, Result};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::{
    Args,
    chapter::Chapter,
    control,
    growth::Growth,
    live::{self, Live},
    machine::Machine,
    names::{self, cases::*, chapters::*, subjects::*},
    programs::Yardsticks,
    report::Report,
    series::Series,
    subject::Subject,
    test_run::TestRun,
};
use crate::{build::Build, command::say, interrupt::Interrupted};

/// Measures what is asked for.
pub(super) fn measure(args: &Args, build: &Build, interrupted: &Interrupted) -> Result<Report> {
    let cpu = pin_to_one_cpu()?;
    let subject = Subject::new(build)?;
    let rounds = args.rounds;
    say(format_args!(
        "bench: {rounds} rounds of packets on CPU {cpu}"
    ));
    let load = || Yardsticks::load(&build.objects.yardsticks);
    let mut live = Live::default();
    let mut test_run = TestRun::new(&subject);
    for round in 0..rounds.into() {
        interrupted.check()?;
        // Each round loads all programs anew: where the kernel happens to put a
        // program's machine code changes its time by a nanosecond or so.
        let mut yardsticks = load()?;
        live.measure(&subject, &mut yardsticks, round)?;
        test_run.measure(&subject, &yardsticks)?;
    }
    say(format_args!("bench: {rounds} rounds of commands"));
    // Statistics of ports without drops would be quickly told.
    live::scan(&subject, &mut load()?)?;
    let control = control::measure(&subject, rounds, interrupted)?;
    say(format_args!("bench: {rounds} rounds of large policies"));
    let mut growth = Growth::new(build)?;
    growth.measure(rounds, interrupted)?;

    let mut packet = names::chapter(PACKET)?;
    for (measured, case) in test_run
        .packets
        .iter()
        .zip([SYN_HOT, UDP_HOT, SYN_OPEN, ACK_HOT])
    {
        packet.put(NOOP, case, &measured.noop);
        packet.put(FLOOR, case, &measured.floor);
        packet.put(WITHOUT_DISPATCHER, case, &measured.filter);
        packet.put(XDPFW, case, &measured.dispatcher);
    }
    let mut flood = names::chapter(LIVE)?;
    flood.put(NOOP, SYN_1_CPU, &live.noop);
    flood.put(FLOOR, SYN_1_CPU, &live.floor);
    flood.put(XDPFW, SYN_1_CPU, &live.xdpfw);
    let mut rules = names::chapter(RULES_HOT)?;
    let mut apply = names::chapter(APPLY)?;
    let mut memory = names::chapter(MEMORY)?;
    let policies = [(ONE_RULE, ONE), (TEN_THOUSAND_RULES, TEN_THOUSAND)];
    for (policy, (case, number)) in growth.policies.iter().zip(policies) {
        rules.put(XDPFW_DROP, number, &policy.drop);
        rules.put(XDPFW_PASS, number, &policy.pass);
        apply.put(XDPFW_APPLY, case, &policy.apply);
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        memory.push(XDPFW_MAPS, case, mebibytes(policy.maps));
        memory.push(XDPFW_APPLY_PEAK, case, mebibytes(policy.process));
    }
    let mut commands = names::chapter(COMMANDS)?;
    for command in &control {
        commands.put(XDPFW, command.name, &command.milliseconds);
    }
    let version = subject.xdpfw(&["--version"])?;
    let machine = Machine::inspect(&version, args.command(), rounds)?;
    let mut chapters = vec![packet, flood, rules, apply, commands, memory];
    chapters.retain(|chapter| args.wants(&chapter.id));
    Ok(Report::new(machine, chapters))
}

impl Chapter {
    /// Adds what a subject measured in a case in all rounds.
    fn put(&mut self, subject: &str, case: &str, series: &Series) {
        for value in series.rounds() {
            self.push(subject, case, *value);
        }
    }
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
