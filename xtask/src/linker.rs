//! Finds a bpf-linker that reads the compiler's bitcode, or builds it. It links with an
//! LLVM of its own, which must be of the compiler's major version.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    command::{capture, empty, find_program, run, say, succeeds, target_dir},
    compiler::Compiler,
    packages,
};

/// The version that is built when none is there.
const VERSION: &str = "0.13.0";

/// The LLVM versions it has features for.
const LLVM_VERSIONS: std::ops::RangeInclusive<u32> = 21..=23;

/// A function whose bitcode carries what LLVM versions disagree about: attributes of
/// pointers, and memory intrinsics.
const PROBE: &str = "#![no_std]\n#[unsafe(no_mangle)]\n\
    pub extern \"C\" fn probe(to: &mut [u8; 64], from: &[u8; 64]) { to.copy_from_slice(from) }\n";

/// A bpf-linker that fits `compiler`, built if need be; `None` when its LLVM is not to
/// be had here, so that another compiler may be tried.
pub(crate) fn obtain(compiler: &Compiler) -> Result<Option<PathBuf>> {
    if let Some(linker) = find(compiler)? {
        return Ok(Some(linker));
    }
    let major = compiler.llvm();
    if !LLVM_VERSIONS.contains(&major) {
        say(format_args!("bpf-linker: {VERSION} knows no LLVM {major}"));
        return Ok(None);
    }
    if llvm_prefix(major).is_none() {
        let package = packages::llvm(major);
        if !packages::can_install(&package) {
            say(format_args!(
                "bpf-linker: there is no LLVM {major} to build it with"
            ));
            return Ok(None);
        }
        packages::install(&[&package])?;
    }
    let Some(prefix) = llvm_prefix(major) else {
        bail!("LLVM {major} is installed, but not where bpf-linker could find it; set LLVM_PREFIX");
    };
    build(compiler, &prefix)?;
    match find(compiler)? {
        Some(linker) => Ok(Some(linker)),
        None => bail!(
            "the bpf-linker just built cannot link what {} writes",
            compiler.describe()
        ),
    }
}

/// A linker that fits: ours, or the one in `PATH`.
fn find(compiler: &Compiler) -> Result<Option<PathBuf>> {
    let ours = tools_dir()?.join("bin/bpf-linker");
    let candidates = [ours.exists().then_some(ours), find_program("bpf-linker")];
    for linker in candidates.into_iter().flatten() {
        match fits(&linker, compiler)? {
            Ok(()) => {
                say(format_args!("bpf-linker: {}", linker.display()));
                return Ok(Some(linker));
            }
            Err(reason) => say(format_args!(
                "bpf-linker: not {}, {reason}",
                linker.display()
            )),
        }
    }
    Ok(None)
}

/// Whether `linker` links what `compiler` writes; if not, why.
fn fits(linker: &Path, compiler: &Compiler) -> Result<Result<(), String>> {
    if !succeeds(Command::new(linker).arg("--version")) {
        return Ok(Err("it does not start".into()));
    }
    let bytes = fs::read(linker).with_context(|| format!("cannot read {}", linker.display()))?;
    match llvm_of(&bytes) {
        Some(major) if major != compiler.llvm() => Ok(Err(format!("it has LLVM {major}"))),
        // Telling the version is only possible when LLVM is linked dynamically, and a
        // link that works says more.
        _ => Ok(links_probe(linker, compiler).map_err(|error| format!("{error:#}"))),
    }
}

fn links_probe(linker: &Path, compiler: &Compiler) -> Result<()> {
    let dir = tools_dir()?.join("probe");
    let file = |name: &str| dir.join(name);
    empty(&dir)?;
    fs::write(file("probe.rs"), PROBE).context("cannot write the linker's probe")?;
    // Bitcode for the host: that needs no library for the eBPF target.
    capture(
        compiler
            .rustc()
            .args([
                "--crate-type=lib",
                "--edition=2024",
                "-O",
                "--emit=llvm-bc",
                "-o",
            ])
            .args([file("probe.bc"), file("probe.rs")]),
    )?;
    capture(
        Command::new(linker)
            .args(["--target=bpf", "--export=probe", "-o"])
            .args([file("probe.o"), file("probe.bc")]),
    )?;
    let object = fs::read(file("probe.o")).context("it wrote no object")?;
    if !object.starts_with(b"\x7fELF") {
        bail!("what it wrote is no object");
    }
    Ok(())
}

fn build(compiler: &Compiler, llvm_prefix: &Path) -> Result<()> {
    let major = compiler.llvm();
    let tools = tools_dir()?;
    say(format_args!(
        "bpf-linker: building {VERSION} for LLVM {major} into {} (a minute or two)",
        tools.display()
    ));
    run(compiler
        .cargo()
        .args(["install", "--quiet", "--locked", "--force", "--root"])
        .arg(&tools)
        .args(["bpf-linker", "--version", VERSION, "--no-default-features"])
        .args(["--features", &format!("llvm-{major}")])
        // Its debug information would take most of the build.
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
        .env("LLVM_PREFIX", llvm_prefix))
    .with_context(|| {
        format!("cannot build bpf-linker {VERSION}, which this needs (is there a network?)")
    })
}

/// Where LLVM's libraries of version `major` are installed, ready to be linked with.
fn llvm_prefix(major: u32) -> Option<PathBuf> {
    let debian = PathBuf::from(format!("/usr/lib/llvm-{major}"));
    let elsewhere = [format!("llvm-config-{major}"), "llvm-config".into()]
        .iter()
        .filter_map(|name| find_program(name))
        .find(|config| {
            llvm_config(config, "--version")
                .is_some_and(|version| version.starts_with(&format!("{major}.")))
        })
        .and_then(|config| llvm_config(&config, "--prefix"));
    env::var_os("LLVM_PREFIX")
        .map(PathBuf::from)
        .or_else(|| debian.join("lib/libLLVM.so").exists().then_some(debian))
        .or(elsewhere.map(PathBuf::from))
}

fn llvm_config(program: &Path, question: &str) -> Option<String> {
    let answer = capture(Command::new(program).arg(question)).ok()?;
    Some(answer.trim_end().to_owned())
}

/// The major version of the libLLVM that an executable loads, from the name it loads it
/// by: `libLLVM.so.22.1` or `libLLVM-19.so`.
fn llvm_of(executable: &[u8]) -> Option<u32> {
    let number = |bytes: &[u8]| -> Option<u32> {
        let digits = bytes
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        std::str::from_utf8(&bytes[..digits]).ok()?.parse().ok()
    };
    executable.windows(8).enumerate().find_map(|(at, window)| {
        let rest = &executable[at + 8..];
        match window {
            b"libLLVM." => number(rest.strip_prefix(b"so.")?),
            b"libLLVM-" => number(rest),
            _ => None,
        }
    })
}

fn tools_dir() -> Result<PathBuf> {
    Ok(target_dir()?.join("tools"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn llvm_version_is_read_from_the_library_name() {
        assert_eq!(llvm_of(b"\x7fELF\0libLLVM.so.22.1\0libc.so.6\0"), Some(22));
        assert_eq!(llvm_of(b"\0libLLVM-19.so\0"), Some(19));
        assert_eq!(llvm_of(b"\0libLLVM.so\0libc.so.6\0"), None);
        assert_eq!(llvm_of(b"libLLVM."), None);
        assert_eq!(llvm_of(b""), None);
    }
}
