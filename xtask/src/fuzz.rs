//! Owns the fuzzing: random packets under random policies through the kernel's
//! program, and the shared packet logic under a coverage-guided fuzzer. Both hold
//! what they see against the reference model.

mod coverage;

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

pub(crate) use self::coverage::fuzzer;

use crate::{
    build,
    command::{cargo, run as run_command, say},
    packages, test,
};

/// What continuous integration spends on the coverage-guided fuzzer, in seconds.
const BRIEFLY: u32 = 30;

/// Compare the program with the reference model on random packets (needs root)
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Random policies, one after the other in force
    #[arg(long, value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u64).range(1..))]
    policies: u64,
    /// Random packets under each policy
    #[arg(long, value_name = "N", default_value_t = 10_000,
          value_parser = clap::value_parser!(u64).range(1..))]
    packets: u64,
    /// What all that is random follows from; by default the time
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Number of the first policy, to have one again without those before it
    #[arg(long, value_name = "N", default_value_t = 0)]
    first: u64,
    /// Instead, let a coverage-guided fuzzer at the packet logic itself (needs no root)
    #[arg(long, conflicts_with_all = ["policies", "packets", "first"])]
    coverage: bool,
    /// With --coverage: how long
    #[arg(long, value_name = "N", default_value_t = 60, requires = "coverage",
          value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
}

/// Lets the coverage-guided fuzzer run for a while.
pub(crate) fn briefly() -> Result<()> {
    coverage::run(BRIEFLY, now()?)
}

/// Runs either comparison.
pub(crate) fn run(args: &Args) -> Result<()> {
    let seed = match args.seed {
        Some(seed) => seed,
        None => now()?,
    };
    if args.coverage {
        return coverage::run(args.seconds, seed);
    }
    test::check_privileges()?;
    packages::install_tools()?;
    let build = build::run()?;
    let numbers = [
        ("SEED", seed),
        ("FIRST", args.first),
        ("POLICIES", args.policies),
        ("PACKETS", args.packets),
    ];
    say(format_args!(
        "fuzz: {} policies, {} packets each, seed {seed}",
        args.policies, args.packets
    ));
    // Optimised: most of the time is the model's and the generator's.
    let mut command = cargo()?;
    command
        .args(["test", "--release"])
        .args(test::kernel_tests())
        .args(["--test", "verdicts", "--", "differential::", "--nocapture"]);
    for (name, number) in numbers {
        command.env(format!("XDPFW_FUZZ_{name}"), number.to_string());
    }
    run_command(build.export(&mut command))
}

/// A seed that nobody has chosen.
fn now() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}
