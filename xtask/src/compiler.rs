//! Finds a Rust compiler that can build for eBPF: one that brings the source of its
//! library, because no eBPF target is distributed ready-built.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use crate::command::{capture, outer_cargo_vars, root_dir};

/// A Rust installation with library source: `bin/rustc`, `bin/cargo` under one prefix.
#[derive(Debug, PartialEq)]
pub(crate) struct Compiler {
    prefix: PathBuf,
    version: Version,
}

/// What `rustc -vV` says about itself, as far as it matters here.
#[derive(Debug, PartialEq)]
struct Version {
    release: String,
    llvm: u32,
}

impl Compiler {
    /// The compiler installed under `prefix`, if it is whole, brings its library's
    /// source, and is not older than this workspace needs.
    pub(crate) fn at(prefix: &Path) -> Option<Self> {
        let whole = ["bin/cargo", "lib/rustlib/src/rust/library/core"]
            .iter()
            .all(|part| prefix.join(part).exists());
        if !whole {
            return None;
        }
        let text = capture(without_outer_cargo(Command::new(prefix.join("bin/rustc"))).arg("-vV"));
        let version = Version::parse(&text.ok()?)?;
        version.is_new_enough().then(|| Self {
            prefix: prefix.to_path_buf(),
            version,
        })
    }

    /// The major version of the LLVM whose bitcode it writes.
    pub(crate) fn llvm(&self) -> u32 {
        self.version.llvm
    }

    /// Release and place, for people.
    pub(crate) fn describe(&self) -> String {
        let Version { release, llvm } = &self.version;
        format!("rustc {release} (LLVM {llvm}) in {}", self.prefix.display())
    }

    /// Its rustc, free of what the outer cargo set for its own.
    pub(crate) fn rustc(&self) -> Command {
        without_outer_cargo(Command::new(self.prefix.join("bin/rustc")))
    }

    /// Its cargo, free of what the outer cargo set for its own compiler, in the
    /// workspace's root.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = without_outer_cargo(Command::new(self.prefix.join("bin/cargo")));
        command
            .current_dir(root_dir())
            .env("RUSTC", self.prefix.join("bin/rustc"));
        command
    }

    /// Whether unstable flags must be unlocked (`RUSTC_BOOTSTRAP`).
    pub(crate) fn is_stable(&self) -> bool {
        !self.version.release.contains("nightly") && !self.version.release.contains("dev")
    }
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        Some(Self {
            release: field("release: ")?.to_owned(),
            llvm: field("LLVM version: ")?.split('.').next()?.parse().ok()?,
        })
    }

    fn is_new_enough(&self) -> bool {
        let major_minor = |text: &str| -> Option<(u32, u32)> {
            let mut parts = text.split('.').map(str::parse);
            Some((parts.next()?.ok()?, parts.next()?.ok()?))
        };
        major_minor(&self.release) >= major_minor(env!("CARGO_PKG_RUST_VERSION"))
    }
}

/// All installed compilers that will do, the best first: rustup's, nightly before the
/// others, then the one in `PATH`, then the distribution's.
pub(crate) fn installed() -> Vec<Compiler> {
    let list = capture(Command::new("rustup").args(["toolchain", "list"])).unwrap_or_default();
    let mut prefixes: Vec<PathBuf> = toolchains(&list)
        .iter()
        .filter_map(|name| sysroot(&[&format!("+{name}")]))
        .collect();
    prefixes.extend(sysroot(&[]));
    prefixes.push("/usr".into());

    let mut compilers = Vec::new();
    for compiler in prefixes.iter().filter_map(|prefix| Compiler::at(prefix)) {
        if !compilers.contains(&compiler) {
            compilers.push(compiler);
        }
    }
    compilers
}

/// The names in `rustup toolchain list`, nightly first.
fn toolchains(list: &str) -> Vec<&str> {
    let mut names: Vec<&str> = list
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        // "no installed toolchains" is the one line that is not a name.
        .filter(|name| *name != "no")
        .collect();
    names.sort_by_key(|name| !name.starts_with("nightly"));
    names
}

/// Where the `rustc` in `PATH`, called with `args`, has its installation.
fn sysroot(args: &[&str]) -> Option<PathBuf> {
    let output = capture(
        Command::new("rustc")
            .args(args)
            .args(["--print", "sysroot"]),
    )
    .ok()?;
    Some(output.trim_end().into())
}

/// Removes what `cargo run` and rustup set for us, so that another compiler is neither
/// replaced by ours nor loads our compiler's libraries.
fn without_outer_cargo(mut command: Command) -> Command {
    for key in [
        "CARGO",
        "CARGO_TARGET_DIR",
        "LD_LIBRARY_PATH",
        "RUSTC",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTDOC",
        "RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
    ] {
        command.env_remove(key);
    }
    for key in outer_cargo_vars() {
        command.env_remove(key);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_read_from_rustc() {
        let text = "rustc 1.97.0-nightly (0 2026-05-01)\nbinary: rustc\nhost: x86_64-unknown-linux-gnu\n\
                    release: 1.97.0-nightly\nLLVM version: 22.1.4\n";
        let version = Version::parse(text).unwrap();
        assert_eq!(
            version,
            Version {
                release: "1.97.0-nightly".into(),
                llvm: 22
            }
        );
        assert!(version.is_new_enough());
        assert_eq!(Version::parse("rustc 1.97.0"), None);
    }

    #[test]
    fn old_compilers_are_refused() {
        let version = |release: &str| Version {
            release: release.into(),
            llvm: 19,
        };
        assert!(!version("1.85.0").is_new_enough());
        assert!(!version("0.99.0").is_new_enough());
        assert!(!version("strange").is_new_enough());
        assert!(version(concat!(env!("CARGO_PKG_RUST_VERSION"), ".0")).is_new_enough());
        assert!(version("2.0.0").is_new_enough());
    }

    #[test]
    fn nightly_toolchains_come_first() {
        let list = "stable-x (active, default)\nnightly-x\n1.95.0-x\n";
        assert_eq!(toolchains(list), ["nightly-x", "stable-x", "1.95.0-x"]);
        assert!(toolchains("no installed toolchains\n").is_empty());
    }
}
