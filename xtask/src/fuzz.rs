//! Runs two fuzzers: random packets under random policies through the kernel's program,
//! and the shared packet logic under a coverage-guided fuzzer. Both hold what they see
//! against the reference model.

mod coverage;

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::{Arg, ArgAction, ArgMatches, value_parser};

pub(crate) use self::coverage::fuzzer;

use crate::{
    build,
    command::{cargo, run as run_command, say},
    packages, test,
};

/// What continuous integration spends on the coverage-guided fuzzer, in seconds.
const BRIEFLY: u64 = 30;

/// How it is called.
pub(crate) fn cli() -> clap::Command {
    let number = |name: &'static str| Arg::new(name).long(name).value_name("N");
    let count = || value_parser!(u64).range(1..);
    clap::Command::new("fuzz")
        .about("Compare the program with the reference model on random packets (needs root)")
        .arg(
            number("policies")
                .default_value("1000")
                .value_parser(count())
                .help("Random policies, one after the other in force"),
        )
        .arg(
            number("packets")
                .default_value("10000")
                .value_parser(count())
                .help("Random packets under each policy"),
        )
        .arg(
            number("sequences")
                .default_value("1000")
                .value_parser(value_parser!(u64))
                .help("Random sequences of packets out and in under each policy; 0 for none"),
        )
        .arg(
            number("explained")
                .default_value("100")
                .value_parser(value_parser!(u64))
                .help("Random packets under each policy that `xdpfw explain` judges, too"),
        )
        .arg(
            number("seed")
                .value_parser(value_parser!(u64))
                .help("What all that is random follows from; by default the time"),
        )
        .arg(
            number("first")
                .default_value("0")
                .value_parser(value_parser!(u64))
                .help("Number of the first policy, to have one again without those before it"),
        )
        .arg(
            Arg::new("coverage")
                .long("coverage")
                .action(ArgAction::SetTrue)
                .conflicts_with_all(["policies", "packets", "sequences", "explained", "first"])
                .help(
                    "Instead, let a coverage-guided fuzzer at the packet logic itself (needs no \
                     root)",
                ),
        )
        .arg(
            number("seconds")
                .default_value("60")
                .value_parser(value_parser!(u64).range(1..=u64::from(u32::MAX)))
                .requires("coverage")
                .help("With --coverage: how long"),
        )
}

/// Lets the coverage-guided fuzzer run for a while.
pub(crate) fn briefly() -> Result<()> {
    coverage::run(BRIEFLY, now()?)
}

/// Runs either comparison.
pub(crate) fn run(matches: &ArgMatches) -> Result<()> {
    let number = |name: &str| matches.get_one::<u64>(name).copied();
    let seed = match number("seed") {
        Some(seed) => seed,
        None => now()?,
    };
    if matches.get_flag("coverage") {
        return coverage::run(number("seconds").unwrap_or(BRIEFLY), seed);
    }
    test::check_privileges()?;
    packages::install_tools()?;
    let build = build::run()?;
    let [first, policies, packets, sequences, explained] =
        ["first", "policies", "packets", "sequences", "explained"]
            .map(|name| number(name).unwrap_or_default());
    let numbers = [
        ("SEED", seed),
        ("FIRST", first),
        ("POLICIES", policies),
        ("PACKETS", packets),
        ("SEQUENCES", sequences),
        ("EXPLAINED", explained),
    ];
    say(format_args!(
        "fuzz: {policies} policies, {packets} packets, {sequences} sequences and \
         {explained} explanations each, seed {seed}"
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
