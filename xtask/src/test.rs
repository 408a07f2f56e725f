//! Owns the test run. A run that could not do all tests fails; it never skips.

use anyhow::{Result, bail};

use crate::{
    build::{self, Build},
    command::{cargo, has_sudo, is_root, run as run_command, say},
    packages,
};

/// Loads programs and makes network namespaces, hence runs as root.
const KERNEL_TESTS: &str = "xdpfw-tests";

/// Runs every test of the workspace, with `args` for the test binaries.
pub(crate) fn run(args: &[String]) -> Result<()> {
    // Before the builds: nobody should wait minutes for this answer.
    check_privileges()?;
    packages::install_tools()?;
    let build = build::run()?;
    if is_root() {
        say(format_args!("test: everything"));
        return cargo_test(&build, &["--workspace", "--exclude", "xdpfw-ebpf"], args);
    }
    say(format_args!("test: what needs no privileges"));
    let unprivileged = [
        "--workspace",
        "--exclude",
        "xdpfw-ebpf",
        "--exclude",
        KERNEL_TESTS,
    ];
    cargo_test(&build, &unprivileged, args)?;
    say(format_args!("test: in the kernel, with sudo"));
    cargo_test(&build, &kernel_tests(), args)
}

/// Fails where nothing can be done in the kernel.
pub(crate) fn check_privileges() -> Result<()> {
    if !is_root() && !has_sudo() {
        bail!(
            "the kernel tests need root, and sudo wants a password or is missing; \
             run `sudo -v` first, or run this as root"
        );
    }
    Ok(())
}

/// What tells cargo to run the tests in the kernel, as root.
pub(crate) fn kernel_tests() -> Vec<&'static str> {
    let mut options = vec!["--package", KERNEL_TESTS];
    if !is_root() {
        // Only what runs is run by root: built as root, files in target/ would be root's.
        let runner = "target.'cfg(unix)'.runner = ['sudo', '-n', '-E']";
        options.extend(["--config", runner]);
    }
    options
}

fn cargo_test(build: &Build, options: &[&str], args: &[String]) -> Result<()> {
    let mut command = cargo()?;
    command.args(["test", "--no-fail-fast"]).args(options);
    if !args.is_empty() {
        command.arg("--").args(args);
    }
    run_command(build.export(&mut command))
}
