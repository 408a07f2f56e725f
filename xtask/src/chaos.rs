//! Lets commands race, fail and die under traffic, many times.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::{Arg, ArgMatches, Command, value_parser};

use crate::{
    build,
    command::{cargo, run as run_command, say},
    packages, test,
};

/// How it is called.
pub(crate) fn cli() -> Command {
    let number = |name: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("N")
            .value_parser(value_parser!(u64))
    };
    Command::new("chaos")
        .about("Let commands race, fail and die under traffic (needs root)")
        .arg(
            number("rounds")
                .default_value("1000")
                .help("Rounds of one to four commands each"),
        )
        .arg(
            number("swaps")
                .default_value("1000")
                .help("Changes of policy with nothing but traffic beside them"),
        )
        .arg(number("seed").help("What all that is random follows from; by default the time"))
}

/// Runs both, one after the other.
pub(crate) fn run(matches: &ArgMatches) -> Result<()> {
    let number = |name: &str| matches.get_one::<u64>(name).copied();
    let seed = match number("seed") {
        Some(seed) => seed,
        None => SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
    };
    test::check_privileges()?;
    packages::install_tools()?;
    packages::install_clients()?;
    let build = build::run()?;
    say(format_args!("chaos: seed {seed}"));
    let mut command = cargo()?;
    command.args(["test", "--package"]).arg(test::KERNEL_TESTS);
    command.args(["--test", "chaos", "--", "--nocapture", "--test-threads=1"]);
    command.env("XDPFW_CHAOS_SEED", seed.to_string());
    for (name, variable) in [("rounds", "ROUNDS"), ("swaps", "SWAPS")] {
        let number = number(name).unwrap_or_default();
        command.env(format!("XDPFW_CHAOS_{variable}"), number.to_string());
    }
    run_command(build.export(&mut command))
}
