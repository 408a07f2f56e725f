//! Builds xdpfw, then runs a program that measures or shows it: bench, boot-test, demo, pictures,
//! verifier. Each is a crate below `tests`, so that this one stays small.

use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt as _,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use clap::{Arg, ArgMatches, value_parser};

use crate::{
    build,
    command::{cargo, is_root, root_dir, run as run_command},
    package, packages,
};

/// A program below `tests`.
pub(crate) struct Program {
    /// The task by which it is run; the crate has `xdpfw-` in front.
    task: &'static str,
    about: &'static str,
    /// Whether it takes arguments, `--help` among them.
    has_arguments: bool,
    /// What it needs from the system beside the tools.
    prepare: fn() -> Result<()>,
}

pub(crate) const BENCH: Program = Program {
    task: "bench",
    about: "Measure what the filter costs, and what others cost (needs root)",
    has_arguments: true,
    prepare: || {
        packages::install_peers();
        Ok(())
    },
};
pub(crate) const BOOT_TEST: Program = Program {
    task: "boot-test",
    about: "Boot a Debian under xdpfw while a peer hammers it (needs root)",
    has_arguments: true,
    prepare: || {
        packages::install_debian()?;
        package::build().map(drop)
    },
};
pub(crate) const DEMO: Program = Program {
    task: "demo",
    about: "Show the filter at work on a veth pair of its own (needs root)",
    has_arguments: false,
    prepare: || Ok(()),
};
pub(crate) const PICTURES: Program = Program {
    task: "pictures",
    about: "Draw what xdpfw shows of a scanned host, for the documentation (needs root)",
    has_arguments: true,
    prepare: || Ok(()),
};
pub(crate) const VERIFIER: Program = Program {
    task: "verifier",
    about: "Show what the kernel's verifier makes of each program, and hold it to bounds \
            (needs root)",
    has_arguments: true,
    prepare: || Ok(()),
};

impl Program {
    /// How it is called. What its arguments may be is its own affair.
    pub(crate) fn cli(&self) -> clap::Command {
        let cli = clap::Command::new(self.task).about(self.about);
        if !self.has_arguments {
            return cli;
        }
        cli.disable_help_flag(true).arg(
            Arg::new("args")
                .num_args(0..)
                .trailing_var_arg(true)
                .allow_hyphen_values(true)
                .value_parser(value_parser!(OsString))
                .help("What `--help` in this place lists"),
        )
    }

    /// Replaces this process by the program: signals and the exit code are then its own.
    pub(crate) fn exec(&self, matches: &ArgMatches) -> Result<()> {
        let args = matches.try_get_many::<OsString>("args").ok().flatten();
        let args: Vec<&OsString> = args.unwrap_or_default().collect();
        let error = self.command(&args)?.exec();
        Err(error).context("cannot start cargo")
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Result<()> {
        run_command(&mut self.command(args)?)
    }

    fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<Command> {
        let mut command = cargo()?;
        command
            // Files are named from where the user is.
            .current_dir(env::current_dir()?)
            .args(["run", "--quiet", "--manifest-path"])
            .arg(root_dir().join("Cargo.toml"))
            .arg(format!("--package=xdpfw-{}", self.task))
            .arg("--")
            .args(args);
        if args.iter().any(|arg| needs_no_build(arg.as_ref())) {
            return Ok(command);
        }
        // Before the build, which nobody should wait for in vain.
        ensure!(
            is_root(),
            "the {task} needs root; run `sudo -E env \"PATH=$PATH\" cargo xtask {task}`",
            task = self.task
        );
        packages::install_tools()?;
        (self.prepare)()?;
        build::run()?.export(&mut command);
        Ok(command)
    }
}

/// Whether a program that is called with this has no use for xdpfw: it only says what it
/// takes, or reads the numbers of an earlier run.
fn needs_no_build(arg: &OsStr) -> bool {
    let arg = arg.to_string_lossy();
    matches!(&*arg, "-h" | "--help" | "--from") || arg.starts_with("--from=")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_numbers_and_help_need_no_build() {
        for arg in ["-h", "--help", "--from", "--from=bench.json"] {
            assert!(needs_no_build(arg.as_ref()), "{arg}");
        }
        for arg in ["--only", "from", "--json", "--fromage"] {
            assert!(!needs_no_build(arg.as_ref()), "{arg}");
        }
    }

    #[test]
    fn all_arguments_are_passed_on() {
        let words = ["bench", "--only", "packet,live", "-h", "--", "--json"];
        let matches = BENCH.cli().get_matches_from(words);
        let args: Vec<&OsString> = matches.get_many("args").unwrap_or_default().collect();
        assert_eq!(args, ["--only", "packet,live", "-h", "--", "--json"]);
    }
}
