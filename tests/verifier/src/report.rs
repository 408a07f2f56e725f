//! Shows the numbers as a table or as JSON, and holds them to their bounds.

use std::fmt;

use anyhow::{Result, bail};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use xdpfw_common::abi::names;
use xdpfw_tests::task::print;

/// What the verifier made of every program.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    schema: &'static str,
    programs: Vec<Row>,
}

/// What it made of one, under one policy.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    pub(super) program: String,
    pub(super) policy: &'static str,
    /// Instructions in the object.
    pub(super) compiled: usize,
    /// Instructions in the kernel: without dead code, with what it puts inline.
    pub(super) kept: u32,
    /// Bytes of machine code.
    pub(super) machine_code: u32,
    /// Instructions that the verifier has walked; its own limit is 1,000,000.
    pub(super) verified: u32,
    #[serde(flatten)]
    pub(super) statistics: Statistics,
}

/// What the verifier tells in its log alone.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Statistics {
    /// States kept at once, at most.
    peak_states: u32,
    /// States kept in all.
    total_states: u32,
    /// States kept for one instruction, at most.
    states_per_instruction: u32,
    /// Bytes of stack, of the program and of each function it calls.
    stack: String,
}

/// What a program may come to, under any policy.
///
/// The bounds are about twice of what is measured under the policy that takes most: other
/// compilers and kernels may do a little worse, and what goes wrong with the verifier
/// multiplies what it walks. Some policy will always be worse than those that are tried
/// here, hence the distance from the kernel's own limit.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    verified: u32,
    kept: u32,
}

/// A jump, and for layer-3 interfaces the mark in front of it.
const DISPATCHER: Bounds = Bounds {
    verified: 60,
    kept: 60,
};
/// What every packet runs through.
const FILTER: Bounds = Bounds {
    verified: 200_000,
    kept: 20_000,
};
/// Everything twice: for the packet, and for the copy of one whose first buffer is empty.
const FILTER_FRAGS: Bounds = Bounds {
    verified: 380_000,
    kept: 29_000,
};
/// All paths meet again, with all that may be known about them.
const SHADOW: Bounds = Bounds {
    verified: 390_000,
    kept: 17_000,
};
/// Both. Less than twice, since it comes nearest to the kernel's limit of 1,000,000.
const SHADOW_FRAGS: Bounds = Bounds {
    verified: 700_000,
    kept: 32_000,
};

/// What every packet that leaves runs through.
const RECORDER: Bounds = Bounds {
    verified: 30_000,
    kept: 6_000,
};

impl Report {
    pub(super) const fn new(programs: Vec<Row>) -> Self {
        Self {
            schema: "xdpfw.verifier/1",
            programs,
        }
    }

    /// Writes it to stdout; nobody reading it is no error.
    pub(super) fn show(&self, json: bool) -> Result<()> {
        let text = if json {
            serde_json::to_string(self)?
        } else {
            self.to_string()
        };
        print(&format!("{}\n", text.trim_end()))
    }

    /// Fails if a program has outgrown its bounds.
    pub(super) fn check(&self) -> Result<()> {
        self.programs.iter().try_for_each(Row::check)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header([
            "program",
            "policy",
            "compiled",
            "kept",
            "jited bytes",
            "verified",
            "peak states",
            "total states",
            "per insn",
            "stack",
        ]);
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, 2));
            if index >= 2 {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        for row in &self.programs {
            table.add_row(row.cells());
        }
        for line in table.lines() {
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

impl Row {
    fn cells(&self) -> [String; 10] {
        let Statistics {
            peak_states,
            total_states,
            states_per_instruction,
            stack,
        } = &self.statistics;
        [
            self.program.clone(),
            self.policy.into(),
            self.compiled.to_string(),
            self.kept.to_string(),
            self.machine_code.to_string(),
            self.verified.to_string(),
            peak_states.to_string(),
            total_states.to_string(),
            states_per_instruction.to_string(),
            stack.clone(),
        ]
    }

    fn bounds(&self) -> Bounds {
        let several = self.program.strip_suffix(names::FRAGS);
        match several.unwrap_or(&self.program) {
            names::RECORDER | names::RECORDER_REHEARSED => RECORDER,
            names::SHADOW if several.is_some() => SHADOW_FRAGS,
            names::SHADOW => SHADOW,
            names::FILTER | names::FILTER_REHEARSED if several.is_some() => FILTER_FRAGS,
            names::FILTER | names::FILTER_REHEARSED => FILTER,
            _ => DISPATCHER,
        }
    }

    fn check(&self) -> Result<()> {
        let bounds = self.bounds();
        for (what, number, bound) in [
            ("verified", self.verified, bounds.verified),
            ("kept", self.kept, bounds.kept),
        ] {
            if number > bound {
                bail!(
                    "{} ({}): {number} instructions {what}, more than {bound}; make the program \
                     simpler, or raise the bound in {}",
                    self.program,
                    self.policy,
                    file!()
                );
            }
        }
        Ok(())
    }
}

impl Statistics {
    /// Reads the verifier's log: the instructions verified, and all else.
    pub(super) fn read(log: &str) -> Option<(u32, Self)> {
        let words: Vec<&str> = log.split_whitespace().collect();
        let behind = |label| {
            let label = words.iter().position(|&word| word == label)?;
            words.get(label + 1).copied()
        };
        let number = |label| behind(label)?.parse().ok();
        let statistics = Self {
            peak_states: number("peak_states")?,
            total_states: number("total_states")?,
            states_per_instruction: number("max_states_per_insn")?,
            stack: behind("depth")?.to_owned(),
        };
        Some((number("processed")?, statistics))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Linux 6.18 writes it.
    const LOG: &str = "verification time 13404 usec\nstack depth 0+168\n\
        processed 40668 insns (limit 1000000) max_states_per_insn 24 total_states 2658 \
        peak_states 1748 mark_read 0\n";

    fn row(program: &str, kept: u32, verified: u32) -> Row {
        Row {
            program: program.into(),
            policy: "one port",
            compiled: 7449,
            kept,
            machine_code: 23_837,
            verified,
            statistics: Statistics::read(LOG).unwrap().1,
        }
    }

    #[test]
    fn statistics_are_read_from_the_log() {
        let statistics = Statistics {
            peak_states: 1748,
            total_states: 2658,
            states_per_instruction: 24,
            stack: "0+168".into(),
        };
        assert_eq!(Statistics::read(LOG), Some((40_668, statistics)));
        assert_eq!(Statistics::read("stack depth 0\nprocessed 5 insns"), None);
        assert_eq!(Statistics::read(""), None);
    }

    #[test]
    fn bounds_are_those_of_the_flavour() {
        for (program, bounds) in [
            ("dispatcher", DISPATCHER),
            ("dispatcher_frags", DISPATCHER),
            ("dispatcher_l3", DISPATCHER),
            ("dispatcher_l3_frags", DISPATCHER),
            ("filter", FILTER),
            ("filter_frags", FILTER_FRAGS),
            ("filter_rehearsed", FILTER),
            ("filter_rehearsed_frags", FILTER_FRAGS),
            ("shadow", SHADOW),
            ("shadow_frags", SHADOW_FRAGS),
            ("recorder", RECORDER),
            ("recorder_rehearsed", RECORDER),
        ] {
            let Bounds { verified, kept } = bounds;
            let row = |kept, verified| row(program, kept, verified);
            assert!(row(kept, verified).check().is_ok(), "{program}");
            assert!(row(kept + 1, verified).check().is_err());
            assert!(row(kept, verified + 1).check().is_err());
        }
    }

    #[test]
    fn an_error_names_program_policy_number_and_bound() {
        let report = Report::new(vec![row("filter_frags", 5174, 999_999)]);
        let error = report.check().unwrap_err().to_string();
        let start = "filter_frags (one port): 999999 instructions verified, more than 380000; ";
        assert!(error.starts_with(start), "{error}");
        assert_eq!(error.lines().count(), 1);
    }

    #[test]
    fn numbers_stand_below_each_other() {
        let rows = vec![row("filter", 5174, 14_807), row("filter_frags", 600, 6)];
        let text = Report::new(rows).to_string();
        let [head, filter, frags] = text.lines().collect::<Vec<_>>()[..] else {
            panic!("{text}");
        };
        assert!(filter.starts_with("filter        one port"), "{text}");
        let ends = ["verified", "14807", "    6"];
        let columns = [head, filter, frags].map(|line| {
            let end = ends
                .iter()
                .find_map(|end| Some(line.find(end)? + end.len()));
            end.unwrap_or_default()
        });
        assert_eq!(columns, [columns[0]; 3], "{text}");
    }
}
