//! Finds or installs the eBPF toolchain and the tools, so that every other task can take
//! them for granted. Does nothing twice.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::{
    command::say,
    compiler::{self, Compiler},
    linker, packages,
};

/// A compiler and the linker that reads its bitcode.
pub(crate) struct Toolchain {
    pub(crate) compiler: Compiler,
    pub(crate) linker: PathBuf,
}

/// How it is called.
pub(crate) fn cli() -> clap::Command {
    clap::Command::new("setup")
        .about("Find or install the eBPF toolchain, and what tests and demo need from the system")
}

/// The toolchain, and what tests and demo need from the system.
pub(crate) fn run() -> Result<()> {
    toolchain()?;
    packages::install_tools()?;
    packages::install_clients()
}

/// The first compiler that has a linker, or can get one; else the distribution's.
pub(crate) fn toolchain() -> Result<Toolchain> {
    for compiler in compiler::installed() {
        if let Some(toolchain) = complete(compiler)? {
            return Ok(toolchain);
        }
    }
    say(format_args!(
        "compiler: none is installed that builds for eBPF and has its LLVM"
    ));
    packages::install(&packages::COMPILER).context(
        "no eBPF toolchain: neither a rustup toolchain with rust-src and bpf-linker, nor the \
         distribution's Rust with its source",
    )?;
    if let Some(compiler) = Compiler::at("/usr".as_ref())
        && let Some(toolchain) = complete(compiler)?
    {
        return Ok(toolchain);
    }
    bail!(
        "the distribution's Rust is too old, or its source or LLVM is missing; \
         `rustup component add rust-src` and a matching bpf-linker will do instead"
    )
}

fn complete(compiler: Compiler) -> Result<Option<Toolchain>> {
    say(format_args!("compiler: {}", compiler.describe()));
    let linker = linker::obtain(&compiler)?;
    Ok(linker.map(|linker| Toolchain { compiler, linker }))
}
