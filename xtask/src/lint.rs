//! Checks format, clippy and documentation without running anything. Warnings are errors.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{
    build::{self, EBPF_CRATES},
    command::{cargo, run as run_command, say, succeeds},
    fuzz::fuzzer,
};

/// How it is called.
pub(crate) fn cli() -> clap::Command {
    clap::Command::new("lint").about("Check format, clippy and documentation; warnings are errors")
}

/// Runs all checks, the quick ones first.
pub(crate) fn run() -> Result<()> {
    install_components()?;
    say(format_args!("lint: format"));
    run_command(cargo()?.args(["fmt", "--all", "--check"]))?;
    run_command(fuzzer()?.args(["fmt", "--check"]))?;

    // xdpfw embeds the filter, so even checking it needs the object.
    let objects = build::ebpf()?;
    let host = |task: &str, options: &[&str]| -> Result<()> {
        let mut command = cargo()?;
        command.args([task, "--workspace"]);
        command.args(EBPF_CRATES.map(|name| format!("--exclude={name}")));
        command.args(options);
        run_command(
            objects
                .export(&mut command)
                .env("RUSTDOCFLAGS", "-Dwarnings"),
        )
    };
    say(format_args!("lint: clippy"));
    host("clippy", &["--all-targets", "--", "-Dwarnings"])?;
    ebpf("clippy", &["--lib", "--bins", "--", "-Dwarnings"])?;
    // Without libFuzzer, which has to be compiled by a C++ compiler.
    run_command(fuzzer()?.args([
        "clippy",
        "--locked",
        "--no-default-features",
        "--",
        "-Dwarnings",
    ]))?;
    say(format_args!("lint: documentation"));
    host("doc", &["--no-deps", "--document-private-items"])?;
    ebpf("doc", &["--no-deps", "--document-private-items"])
}

/// Checks the eBPF crates, for the host: the compiler for the eBPF target comes without
/// clippy. Like that target, it must not unwind.
fn ebpf(task: &str, options: &[&str]) -> Result<()> {
    run_command(
        cargo()?
            .arg(task)
            .args(EBPF_CRATES.map(|name| format!("--package={name}")))
            .args(options)
            .env("CARGO_PROFILE_DEV_PANIC", "abort")
            .env("RUSTDOCFLAGS", "-Dwarnings"),
    )
}

/// Gets rustfmt and clippy where rustup was installed without them.
fn install_components() -> Result<()> {
    for (subcommand, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if succeeds(cargo()?.args([subcommand, "--version"])) {
            continue;
        }
        say(format_args!("lint: installing {component}"));
        run_command(Command::new("rustup").args(["component", "add", component]))
            .with_context(|| format!("cannot install {component}, which lint needs"))?;
    }
    Ok(())
}
