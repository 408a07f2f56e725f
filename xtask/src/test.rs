//! Runs the tests. A run that could not do all of them fails; it never skips.

use anyhow::{Result, bail};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::{
    build::{self, Build, EBPF_CRATES, all_but},
    command::{cargo, has_sudo, is_root, run as run_command, say},
    kernels::{self, Version},
    packages,
};

/// Loads programs and makes network namespaces, hence runs as root.
pub(crate) const KERNEL_TESTS: &str = "xdpfw-tests";

/// How it is called.
pub(crate) fn cli() -> Command {
    Command::new("test")
        .about("Run every test: unit, property, command line, kernel (these need root)")
        .arg(
            Arg::new("kernel")
                .long("kernel")
                .value_name("VERSION")
                .value_parser(value_parser!(Version))
                .action(ArgAction::Append)
                .help(
                    "Run the kernel tests on Debian's kernel of this version, 6.1 for example, \
                     in a virtual machine, and no other tests; may be repeated, and then the \
                     machines run side by side",
                ),
        )
        .arg(
            Arg::new("args")
                .last(true)
                .num_args(0..)
                .value_name("ARGS")
                .help("Passed on to the test binaries"),
        )
}

/// Which tests, and what for.
#[derive(Default)]
pub(crate) struct Args {
    /// None: the tests of this machine.
    kernels: Vec<Version>,
    /// For the test binaries.
    args: Vec<String>,
}

impl From<&ArgMatches> for Args {
    fn from(matches: &ArgMatches) -> Self {
        Self {
            kernels: values(matches, "kernel"),
            args: values(matches, "args"),
        }
    }
}

fn values<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &str) -> Vec<T> {
    matches
        .get_many(name)
        .into_iter()
        .flatten()
        .cloned()
        .collect()
}

impl Args {
    /// The kernel tests on these kernels.
    pub(crate) fn on_kernels(kernels: &[Version]) -> Self {
        Self {
            kernels: kernels.to_vec(),
            args: Vec::new(),
        }
    }
}

/// Runs every test of the workspace, or those of the kernel on other kernels.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.kernels.is_empty() {
        return on_this_kernel(&args.args);
    }
    packages::install_tools()?;
    packages::install_machines()?;
    let build = build::run()?;
    kernels::test(&args.kernels, &build, KERNEL_TESTS, &args.args)
}

fn on_this_kernel(args: &[String]) -> Result<()> {
    // Before the builds: nobody should wait minutes for this answer.
    check_privileges()?;
    packages::install_tools()?;
    packages::install_clients()?;
    let build = build::run()?;
    let mut excluded = EBPF_CRATES.to_vec();
    if is_root() {
        say(format_args!("test: everything"));
        return cargo_test(&build, &all_but(&excluded), args);
    }
    say(format_args!("test: what needs no privileges"));
    excluded.push(KERNEL_TESTS);
    cargo_test(&build, &all_but(&excluded), args)?;
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
