//! The project's own tasks, one module each; `cargo xtask --help` lists them.

mod apt;
mod build;
mod chaos;
mod ci;
mod command;
mod compiler;
mod fuzz;
mod kernels;
mod linker;
mod lint;
mod package;
mod packages;
mod program;
mod services;
mod setup;
mod test;
mod upgrade;

use std::process::ExitCode;

use anyhow::Result;
use clap::{ArgMatches, Command};

use self::program::{BENCH, BOOT_TEST, DEMO, PICTURES, VERIFIER};

/// A task: how it is called, and what it does.
type Task = (fn() -> Command, fn(&ArgMatches) -> Result<()>);

const TASKS: [Task; 15] = [
    (setup::cli, |_| setup::run()),
    (build::cli, |_| build::run().map(drop)),
    (lint::cli, |_| lint::run()),
    (test::cli, |matches| test::run(&test::Args::from(matches))),
    (|| DEMO.cli(), |matches| DEMO.exec(matches)),
    (|| BENCH.cli(), |matches| BENCH.exec(matches)),
    (|| BOOT_TEST.cli(), |matches| BOOT_TEST.exec(matches)),
    (|| PICTURES.cli(), |matches| PICTURES.exec(matches)),
    (fuzz::cli, fuzz::run),
    (chaos::cli, chaos::run),
    (upgrade::cli, upgrade::run),
    (package::cli, package::run),
    (|| VERIFIER.cli(), |matches| VERIFIER.exec(matches)),
    (ci::cli, |_| ci::run()),
    (services::cli, services::run),
];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            command::say(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let tasks = TASKS.map(|(cli, run)| (cli(), run));
    let cli = Command::new("cargo xtask")
        .bin_name("cargo xtask")
        .about("The tasks of the xdpfw workspace")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(tasks.iter().map(|(cli, _)| cli.clone()));
    let matches = cli.get_matches();
    let Some((name, matches)) = matches.subcommand() else {
        return Ok(());
    };
    tasks
        .iter()
        .find(|(cli, _)| cli.get_name() == name)
        .map_or(Ok(()), |(_, run)| run(matches))
}
