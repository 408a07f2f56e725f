//! Builds the Debian package; `--check` tries it.
//!
//! What is in it stands in `filter-user/Cargo.toml`, for cargo-deb. This writes the files that the
//! program itself prints: manual pages and completions. The sources of all others are in
//! `filter-user/package`.

mod check;
mod container;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command as Process,
};

use anyhow::{Context as _, Result, ensure};
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::{
    apt::only_entry,
    build,
    command::{
        capture, cargo, empty, outer_cargo_vars, root_dir, run as run_command, say, target_dir,
    },
    packages,
};

/// The version of cargo-deb that is built when it is not there.
const CARGO_DEB: &str = "3.8.0";
/// The shells that the package has completions for.
const SHELLS: [&str; 3] = ["bash", "fish", "zsh"];

/// How it is called.
pub(crate) fn cli() -> Command {
    Command::new("package")
        .about("Build the Debian package, in target/package")
        .arg(
            Arg::new("check")
                .long("check")
                .action(ArgAction::SetTrue)
                .help(
                    "Also ask lintian, and install, upgrade, remove and purge it in a container \
                     (needs root)",
                ),
        )
}

/// Builds the package, and tries it if wanted.
pub(crate) fn run(matches: &ArgMatches) -> Result<()> {
    let is_checked = matches.get_flag("check");
    if is_checked {
        check::prepare()?;
    }
    let package = build()?;
    say(format_args!("package: {} is ready", package.display()));
    match is_checked {
        true => check::run(&package),
        false => Ok(()),
    }
}

/// Builds the binary and the package.
pub(crate) fn build() -> Result<PathBuf> {
    packages::install_packaging()?;
    let cargo_deb = cargo_deb()?;
    let build = build::run()?;
    // Where cargo-deb looks for whatever is built.
    write_files(&build.binary, &target_dir()?.join("release/package"))?;
    pack(&cargo_deb, &target_dir()?.join("package"))
}

/// Packs what is built, and nothing else: twice the same, to the byte.
fn pack(cargo_deb: &Path, into: &Path) -> Result<PathBuf> {
    empty(into)?;
    let mut command = Process::new(cargo_deb);
    command
        .args([
            "--no-build",
            "--no-dbgsym",
            "--package",
            "xdpfw",
            "--output",
        ])
        .arg(into)
        .current_dir(root_dir())
        .env("CARGO_TARGET_DIR", target_dir()?)
        .env("SOURCE_DATE_EPOCH", of_changelog("Timestamp")?);
    for key in outer_cargo_vars() {
        command.env_remove(key);
    }
    capture(&mut command)?;
    let package = only_entry(into).context("cargo-deb has written nothing")?;
    let version = of_changelog("Version")?;
    ensure!(
        package
            .display()
            .to_string()
            .contains(&format!("_{version}_")),
        "filter-user/package/changelog ends with {version}, which is not the version in Cargo.toml"
    );
    Ok(package)
}

/// Writes what the program prints, and the changelog, compressed as Debian wants it.
fn write_files(program: &Path, directory: &Path) -> Result<()> {
    let pages = directory.join("man");
    empty(&pages)?;
    capture(Process::new(program).args(["man", "--dir"]).arg(&pages))?;
    for entry in fs::read_dir(&pages)? {
        compress(&entry?.path())?;
    }
    for shell in SHELLS {
        let script = capture(Process::new(program).args(["completions", shell]))?;
        let file = directory.join(shell);
        fs::write(&file, script).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let changelog = directory.join("changelog");
    fs::copy(changelog_file(), &changelog).context("cannot copy the changelog")?;
    compress(&changelog)
}

/// Compresses a file, without its name and time.
fn compress(file: &Path) -> Result<()> {
    capture(Process::new("gzip").args(["-9", "-n", "-f"]).arg(file)).map(drop)
}

/// What the last entry of the changelog says: its version, or its time in seconds.
fn of_changelog(field: &str) -> Result<String> {
    let mut command = Process::new("dpkg-parsechangelog");
    let answer = capture(command.args(["-S", field, "-l"]).arg(changelog_file()))?;
    Ok(answer.trim_end().to_owned())
}

fn changelog_file() -> PathBuf {
    root_dir().join("filter-user/package/changelog")
}

/// cargo-deb, built if need be.
fn cargo_deb() -> Result<PathBuf> {
    let tools = target_dir()?.join("tools");
    let program = tools.join("bin/cargo-deb");
    let is_there = || {
        let version = capture(Process::new(&program).arg("--version"));
        version.is_ok_and(|version| version.contains(CARGO_DEB))
    };
    if !is_there() {
        say(format_args!(
            "cargo-deb: building {CARGO_DEB} into {} (two minutes)",
            tools.display()
        ));
        let mut command = cargo()?;
        command
            .args(["install", "--quiet", "--locked", "--force", "--root"])
            .arg(&tools)
            .args(["cargo-deb", "--version", CARGO_DEB, "--no-default-features"]);
        run_command(&mut command).with_context(|| {
            format!("cannot build cargo-deb {CARGO_DEB}, which this needs (is there a network?)")
        })?;
    }
    Ok(program)
}
