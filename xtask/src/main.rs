//! The project's own tasks, one module each; `cargo xtask --help` lists them.

mod bench;
mod build;
mod ci;
mod command;
mod compiler;
mod demo;
mod fuzz;
mod interrupt;
mod kernels;
mod linker;
mod lint;
mod packages;
mod services;
mod setup;
mod test;
mod verifier;

use std::process::ExitCode;

use clap::Parser;

/// The tasks of the xdpfw workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Find or install the eBPF toolchain, and what tests and demo need from the system
    Setup,
    /// Build the eBPF objects and target/release/xdpfw
    Build,
    /// Check format, clippy and documentation; warnings are errors
    Lint,
    Test(test::Args),
    /// Show the filter at work on a veth pair of its own (needs root)
    Demo,
    Bench(bench::Args),
    Fuzz(fuzz::Args),
    Verifier(verifier::Args),
    /// What continuous integration runs: lint, test, verifier, fuzz, demo, tests on other kernels
    Ci,
    Services(services::Args),
}

fn main() -> ExitCode {
    let outcome = match Task::parse() {
        Task::Setup => setup::run(),
        Task::Build => build::run().map(drop),
        Task::Lint => lint::run(),
        Task::Test(args) => test::run(&args),
        Task::Demo => demo::run(),
        Task::Bench(args) => bench::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Verifier(args) => verifier::run(&args),
        Task::Ci => ci::run(),
        Task::Services(args) => services::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            command::say(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
