//! Builds the eBPF objects with their own toolchain, then the binary that embeds the
//! filter, and tells other commands where they are.

use std::{env, ffi::OsString, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    command::{cargo, run as run_command, say, target_dir},
    setup,
};

/// The crates of the eBPF programs, which the host's compiler does not build.
pub(crate) const EBPF_CRATES: [&str; 2] = ["xdpfw-ebpf", "xdpfw-yardsticks"];

/// Tells cargo to take all of the workspace but some packages.
pub(crate) fn all_but<'a>(packages: &[&'a str]) -> Vec<&'a str> {
    let excluded = packages.iter().flat_map(|name| ["--exclude", name]);
    ["--workspace"].into_iter().chain(excluded).collect()
}

/// The compiled eBPF programs.
#[derive(Debug)]
pub(crate) struct Objects {
    /// The filter that the binary embeds.
    pub(crate) filter: PathBuf,
    /// The programs that benchmarks compare it with.
    pub(crate) yardsticks: PathBuf,
}

/// A whole build.
#[derive(Debug)]
pub(crate) struct Build {
    pub(crate) objects: Objects,
    /// The xdpfw binary, release profile.
    pub(crate) binary: PathBuf,
}

impl Objects {
    /// Tells `command`, and the build scripts below it, where the objects are.
    pub(crate) fn export<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("XDPFW_EBPF_OBJECT", &self.filter)
            .env("XDPFW_YARDSTICKS", &self.yardsticks)
    }
}

impl Build {
    /// Tells `command` where the objects and the binary are.
    pub(crate) fn export<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        self.objects.export(command).env("XDPFW_BIN", &self.binary)
    }
}

/// How it is called.
pub(crate) fn cli() -> clap::Command {
    clap::Command::new("build").about("Build the eBPF objects and target/release/xdpfw")
}

/// Sets up the toolchain, then builds the eBPF objects and the binary.
pub(crate) fn run() -> Result<Build> {
    let objects = ebpf()?;
    say(format_args!("build: xdpfw"));
    run_command(objects.export(cargo()?.args(["build", "--release", "--package", "xdpfw"])))?;
    let binary = target_dir()?.join("release/xdpfw");
    say(format_args!("build: {} is ready", binary.display()));
    Ok(Build { objects, binary })
}

/// Sets up the toolchain, then builds the eBPF objects only.
pub(crate) fn ebpf() -> Result<Objects> {
    let setup::Toolchain { compiler, linker } = setup::toolchain()?;
    // A target directory of its own: another compiler than the host's writes there.
    let target_dir = target_dir()?.join("ebpf");
    let target = if cfg!(target_endian = "big") {
        "bpfeb-unknown-none"
    } else {
        "bpfel-unknown-none"
    };
    say(format_args!("build: eBPF objects"));
    let mut command = compiler.cargo();
    command
        // The lock file is the host cargo's to change.
        .args(["build", "--locked", "--release", "--bins"])
        .args(EBPF_CRATES.map(|name| format!("--package={name}")))
        .args(["-Z", "build-std=core", "--target", target])
        .arg("--target-dir")
        .arg(&target_dir)
        .env("PATH", path_with(linker)?)
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags());
    if compiler.is_stable() {
        command.env("RUSTC_BOOTSTRAP", "1");
    }
    run_command(&mut command)?;

    let built = target_dir.join(target).join("release");
    Ok(Objects {
        filter: built.join("xdpfw-filter"),
        yardsticks: built.join("xdpfw-yardsticks"),
    })
}

/// `PATH` with the directory of `linker` in front: rustc looks for bpf-linker there.
fn path_with(linker: PathBuf) -> Result<OsString> {
    let dir = linker.parent().map(PathBuf::from);
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths(dir.into_iter().chain(env::split_paths(&path)))
        .context("cannot put bpf-linker into PATH")
}

/// As aya-build has them: the host's architecture, whose kernel the programs run in, and
/// BTF, which is made from debug information.
fn rustflags() -> String {
    [
        format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH),
        "-Cdebuginfo=2".into(),
        "-Clink-arg=--btf".into(),
        // Comparisons with "less than" (Linux 4.14): without, each takes a register.
        "-Ctarget-cpu=v2".into(),
    ]
    .join("\x1f")
}
