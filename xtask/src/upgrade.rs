//! Upgrades from a real older version: builds it, brings its filter up, and lets this version take
//! its place under traffic.

use std::{fs, os::unix::fs::symlink, path::Path};

use anyhow::{Context as _, Result, ensure};
use clap::{Arg, ArgMatches, Command};

use crate::{
    build,
    command::{capture, cargo, run as run_command, say, target_dir},
    packages, test,
};

/// Where the version of the state is that a filter leaves in the kernel.
const ABI: &str = "filter-common/src/abi/mod.rs";
/// What begins its line.
const VERSION: &str = "pub const ABI_VERSION";

/// How it is called.
pub(crate) fn cli() -> Command {
    Command::new("upgrade")
        .about("Upgrade from an older version under traffic (needs root)")
        .arg(Arg::new("from").long("from").value_name("REVISION").help(
            "Which one, in Git's words; by default the last whose state in the kernel was \
                 of another version",
        ))
}

/// Builds the older version, and runs the tests of upgrades with it.
pub(crate) fn run(matches: &ArgMatches) -> Result<()> {
    test::check_privileges()?;
    packages::install_tools()?;
    packages::install_clients()?;
    let build = build::run()?;
    let revision = match matches.get_one::<String>("from") {
        Some(revision) => revision.clone(),
        None => previous()?,
    };
    let tree = target_dir()?.join("previous");
    check_out(&revision, &tree)?;
    say(format_args!("upgrade: building {revision}"));
    let mut command = cargo()?;
    command.args(["xtask", "build"]).current_dir(&tree);
    run_command(command.env("CARGO_TARGET_DIR", tree.join("target")))?;
    let mut command = cargo()?;
    command.args(["test", "--package", test::KERNEL_TESTS]);
    command.args(["--test", "chaos", "--", "upgrade::"]);
    command.env("XDPFW_PREVIOUS_BIN", tree.join("target/release/xdpfw"));
    run_command(build.export(&mut command))
}

/// The last revision whose state was of another version.
fn previous() -> Result<String> {
    let changed = git(&["log", "-1", "--format=%H", "-G", VERSION, "--", ABI])?;
    ensure!(!changed.is_empty(), "no commit changes {VERSION} in {ABI}");
    git(&["rev-parse", &format!("{changed}^")])
}

/// Has a work tree of a revision, which shares the tools that were set up here.
fn check_out(revision: &str, tree: &Path) -> Result<()> {
    let path = tree
        .to_str()
        .context("the target directory has an odd name")?;
    if tree.join(".git").exists() {
        git(&["-C", path, "checkout", "--quiet", "--detach", revision])?;
    } else {
        git(&["worktree", "prune"])?;
        git(&["worktree", "add", "--quiet", "--detach", path, revision])?;
    }
    let (tools, shared) = (tree.join("target/tools"), target_dir()?.join("tools"));
    if shared.exists() && !tools.exists() {
        fs::create_dir_all(tree.join("target"))?;
        symlink(shared, tools)?;
    }
    Ok(())
}

fn git(arguments: &[&str]) -> Result<String> {
    let said = capture(std::process::Command::new("git").args(arguments))?;
    Ok(said.trim().to_owned())
}
