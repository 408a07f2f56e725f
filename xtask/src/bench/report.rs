//! Owns what is said about the numbers: the tables, the goals, and the same as JSON.

use std::{
    fmt,
    io::{self, ErrorKind, Write as _},
};

use anyhow::Result;
use serde::Serialize;

use super::{
    control::Command, growth, live::Live, machine::Machine, series::Series, test_run::TestRun,
};

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema: &'static str,
    machine: Machine,
    /// ns per packet.
    test_run: TestRun,
    /// Millions of packets per second.
    live: Live,
    /// ms per command, in a policy of 1,000 rules.
    control: Vec<Command>,
    /// Under large policies: ns per packet, ms to apply, memory.
    growth: Vec<growth::Policy>,
    goals: Vec<Goal>,
}

/// A number that has a bound.
#[derive(Debug, Serialize)]
struct Goal {
    what: String,
    measured: f64,
    #[serde(flatten)]
    bound: Bound,
    met: bool,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Report {
    pub(super) fn new(
        machine: Machine,
        test_run: TestRun,
        live: Live,
        control: Vec<Command>,
        growth: Vec<growth::Policy>,
    ) -> Self {
        let mut goals = Vec::new();
        for packet in test_run.packets.iter().filter(|packet| packet.judged) {
            for (name, series) in [
                ("filter", &packet.filter),
                ("dispatcher", &packet.dispatcher),
            ] {
                goals.push(Goal::new(
                    format!("{}: {name} ÷ floor", packet.name),
                    series.over(&packet.floor).median(),
                    Bound::AtMost(1.15),
                ));
            }
        }
        goals.push(Goal::new(
            "live traffic: xdpfw ÷ noop".into(),
            live.xdpfw.over(&live.noop).median(),
            Bound::AtLeast(0.95),
        ));
        for command in &control {
            goals.push(Goal::new(
                format!("xdpfw {}, ms", command.name),
                command.milliseconds.median(),
                Bound::AtMost(command.goal),
            ));
        }
        if let [one, others @ ..] = growth.as_slice() {
            for policy in others.iter().filter(|policy| policy.judged) {
                goals.push(Goal::new(
                    format!("{}: drop ÷ one rule's", policy.name),
                    policy.drop.over(&one.drop).median(),
                    Bound::AtMost(1.05),
                ));
            }
            for policy in others {
                if let Some(goal) = policy.pass_goal {
                    goals.push(Goal::new(
                        format!("{}: pass ÷ one rule's", policy.name),
                        policy.pass.over(&one.pass).median(),
                        Bound::AtMost(goal),
                    ));
                }
                if let Some(goal) = policy.apply_goal {
                    goals.push(Goal::new(
                        format!("{}: apply, ms", policy.name),
                        policy.apply.median(),
                        Bound::AtMost(goal),
                    ));
                }
            }
        }
        Self {
            schema: "xdpfw.bench/1",
            machine,
            test_run,
            live,
            control,
            growth,
            goals,
        }
    }

    /// Writes it to stdout; nobody reading it is no error.
    pub(super) fn show(&self) -> Result<()> {
        match write!(io::stdout(), "{self}") {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { machine, live, .. } = self;
        writeln!(
            f,
            "{} ({}), Linux {}, {}, CPU {}; medians of {} rounds",
            machine.xdpfw,
            machine.revision.as_deref().unwrap_or("no commit"),
            machine.kernel,
            machine.cpu_model,
            machine.cpu,
            machine.rounds
        )?;
        for warning in machine.warnings() {
            writeln!(f, "warning: {warning}")?;
        }

        writeln!(
            f,
            "\nOne hot packet, ns (BPF_PROG_TEST_RUN, its loop included)"
        )?;
        let heads = [
            "",
            "noop",
            "floor",
            "filter",
            "dispatcher",
            "filter÷floor",
            "disp.÷floor",
        ];
        row(f, heads.map(String::from))?;
        for packet in &self.test_run.packets {
            let ns = |series: &Series| format!("{:.1}", series.median());
            let ratio = |series: &Series| format!("{:.2}", series.over(&packet.floor).median());
            row(
                f,
                [
                    packet.name.into(),
                    ns(&packet.noop),
                    ns(&packet.floor),
                    ns(&packet.filter),
                    ns(&packet.dispatcher),
                    ratio(&packet.filter),
                    ratio(&packet.dispatcher),
                ],
            )?;
        }

        writeln!(
            f,
            "\nLive SYNs to 60,000 ports over veth, generator included, one CPU"
        )?;
        let mpps = |series: &Series| format!("{:.2}", series.median());
        let ratio = |series: &Series| format!("{:.3}", series.over(&live.noop).median());
        let heads = ["", "noop", "floor", "xdpfw", "floor÷noop", "xdpfw÷noop"];
        row(f, heads.map(String::from))?;
        row(
            f,
            [
                "Mpps".into(),
                mpps(&live.noop),
                mpps(&live.floor),
                mpps(&live.xdpfw),
                ratio(&live.floor),
                ratio(&live.xdpfw),
            ],
        )?;
        if live.lost > 0 {
            writeln!(
                f,
                "{} frames were lost on the way and are not counted",
                live.lost
            )?;
        }

        writeln!(f, "\nCommands, ms, 1,000 rules and drops on 60,000 ports")?;
        for command in &self.control {
            row(
                f,
                [
                    format!("xdpfw {}", command.name),
                    format!("{:.1}", command.milliseconds.median()),
                ],
            )?;
        }

        writeln!(f, "\nLarge policies: ns for a hot SYN, ms for `apply`, MiB")?;
        let heads = ["", "drop", "pass", "apply", "maps", "process"];
        row(f, heads.map(String::from))?;
        for policy in &self.growth {
            let mebibytes = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
            row(
                f,
                [
                    policy.name.into(),
                    format!("{:.1}", policy.drop.median()),
                    format!("{:.1}", policy.pass.median()),
                    format!("{:.0}", policy.apply.median()),
                    mebibytes(policy.maps),
                    mebibytes(policy.process),
                ],
            )?;
        }

        writeln!(f, "\nGoals")?;
        for goal in &self.goals {
            writeln!(f, "{goal}")?;
        }
        let missed = self.goals.iter().filter(|goal| !goal.met).count();
        match missed {
            0 => writeln!(f, "\nAll {} goals are met.", self.goals.len()),
            _ => writeln!(f, "\n{missed} of {} goals are missed.", self.goals.len()),
        }
    }
}

impl Goal {
    fn new(what: String, measured: f64, bound: Bound) -> Self {
        let met = match bound {
            Bound::AtMost(most) => measured <= most,
            Bound::AtLeast(least) => measured >= least,
        };
        Self {
            what,
            measured,
            bound,
            met,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bound = match self.bound {
            Bound::AtMost(most) => format!("≤ {most}"),
            Bound::AtLeast(least) => format!("≥ {least}"),
        };
        write!(
            f,
            "{:<50}{:>9.3}  {bound:<8}{}",
            self.what,
            self.measured,
            if self.met { "met" } else { "MISSED" }
        )
    }
}

/// Writes one line of a table: a name, then numbers.
fn row<const N: usize>(f: &mut fmt::Formatter<'_>, cells: [String; N]) -> fmt::Result {
    for (index, cell) in cells.iter().enumerate() {
        match index {
            0 => write!(f, "{cell:<28}")?,
            _ => write!(f, "{cell:>13}")?,
        }
    }
    writeln!(f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_met_or_not() {
        let met = |measured, bound| Goal::new(String::new(), measured, bound).met;
        assert!(met(1.15, Bound::AtMost(1.15)));
        assert!(!met(1.16, Bound::AtMost(1.15)));
        assert!(met(0.95, Bound::AtLeast(0.95)));
        assert!(!met(0.94, Bound::AtLeast(0.95)));
        // What could not be measured is not met.
        assert!(!met(f64::NAN, Bound::AtMost(1.0)));
    }
}
