//! Measures what the filter costs, compared in one run with programs that do less and with
//! what else one might use. It reports, publishes and compares the numbers; it fails for a
//! number only when asked whether that got worse.

mod compare;
mod goals;
mod measure;
mod number;
mod page;
mod plot;
mod report;
mod stage;
mod table;
mod terminal;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Result;
use clap::{Parser, builder::PossibleValuesParser};
use xdpfw_tests::{
    Interrupted,
    task::{exit, say},
};

use self::report::Report;

/// Measure what the filter costs, and what others cost (needs root)
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask bench")]
struct Args {
    /// Rounds; results are the medians over them
    #[arg(long, value_name = "N", default_value_t = 7,
          value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Measure only these chapters; `defence` stands for all those that begin with it
    #[arg(long, value_name = "CHAPTER,…", value_delimiter = ',',
          value_parser = PossibleValuesParser::new(report::names::choices()))]
    only: Vec<String>,
    /// Take the numbers from what an earlier run wrote, instead of measuring (no root
    /// needed)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rounds", "only"])]
    from: Option<PathBuf>,
    /// Also write all numbers to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write docs/PERFORMANCE.md with plots and numbers
    #[arg(long, conflicts_with = "only")]
    page: bool,
    /// Compare with an earlier run, perhaps on another machine: only with what it says
    /// about others in the same run. Exit code 1 if xdpfw got worse
    #[arg(long, value_name = "OLD.json")]
    compare: Option<PathBuf>,
    /// How much worse is no regression yet, beyond what the rounds of either run differ
    /// by; nor is what others changed by
    #[arg(long, value_name = "PERCENT", default_value_t = 20.0, requires = "compare",
          value_parser = tolerance)]
    tolerance: f64,
}

fn main() -> ExitCode {
    exit(run(&Args::parse()))
}

/// Gets the numbers and does with them what is asked for.
fn run(args: &Args) -> Result<()> {
    // Before the measurements: nobody should wait minutes for this answer.
    let old = args.compare.as_deref().map(Report::read).transpose()?;
    let report = match &args.from {
        Some(path) => Report::read(path)?,
        None => Interrupted::watch("bench", |interrupted| measure::measure(args, interrupted))?,
    };
    terminal::show(&report)?;
    if let Some(path) = &args.json {
        report.write(path)?;
        say(format_args!("bench: {} has all numbers", path.display()));
    }
    if args.page {
        let path = page::publish(&report)?;
        say(format_args!("bench: wrote {}", path.display()));
    }
    match (&args.compare, old) {
        (Some(path), Some(old)) => compare::run(&old, &report, args.tolerance, path),
        _ => Ok(()),
    }
}

impl Args {
    /// What measures the same once more.
    fn command(&self) -> String {
        let mut command = format!("cargo xtask bench --rounds {}", self.rounds);
        if !self.only.is_empty() {
            command += &format!(" --only {}", self.only.join(","));
        }
        command
    }
}

fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(percent) if (0.0..1e6).contains(&percent) => Ok(percent),
        _ => Err("a tolerance is a percentage like 10".into()),
    }
}

/// The root of the workspace.
fn root_dir() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package)
}
