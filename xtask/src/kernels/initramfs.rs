//! Packs what is in a guest: xdpfw, the test binaries, the programs that they call with
//! their libraries, the kernel's modules, and the script that runs it all.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{TestBinary, cpio::Archive, debian::Kernel, modules};
use crate::{
    build::Build,
    command::{capture, find_program, root_dir},
    packages,
};

/// The programs of the system that tests call beside the [tools](packages::TOOLS); what
/// is not here is busybox's.
const PROGRAMS: [&str; 12] = [
    "cp", "env", "grep", "mkdir", "mount", "script", "setpriv", "sh", "stat", "timeout", "umount",
    "unshare",
];
/// What nmap reads, whatever it is asked.
const DATA: [&str; 4] = [
    "/usr/share/nmap/nmap-mac-prefixes",
    "/usr/share/nmap/nmap-payloads",
    "/usr/share/nmap/nmap-protocols",
    "/usr/share/nmap/nmap-services",
];
/// The script that the kernel starts.
const INIT: &str = include_str!("init.sh");
/// Users that programs ask for by name.
const USERS: &str = "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n";
/// Where the guest has xdpfw.
const BINARY: &str = "/xdpfw";

/// Writes the initial file system for a guest with this kernel, beside it.
pub(super) fn write(
    kernel: &Kernel,
    build: &Build,
    tests: &[TestBinary],
    args: &[&str],
) -> Result<PathBuf> {
    let mut archive = Archive::default();
    archive.file("/init".as_ref(), 0o755, INIT.as_bytes())?;
    archive.file("/etc/passwd".as_ref(), 0o644, USERS.as_bytes())?;
    for directory in ["/proc", "/sys", "/dev"] {
        archive.directory(directory.as_ref())?;
    }
    for (index, module) in modules::load_order(&kernel.modules)?
        .into_iter()
        .enumerate()
    {
        let path = format!("/modules/{index:02}-{}", module.name);
        archive.file(path.as_ref(), 0o644, &module.code)?;
    }
    add_program(
        &mut archive,
        &installed("busybox")?,
        "/applets/busybox".as_ref(),
    )?;
    let tools = packages::TOOLS.iter().map(|(program, _)| *program);
    for name in tools.chain(PROGRAMS) {
        let program = installed(name)?;
        add_program(&mut archive, &program, &program)?;
    }
    for file in DATA {
        add_file(&mut archive, file.as_ref(), file.as_ref())?;
    }
    add_program(&mut archive, &build.binary, BINARY.as_ref())?;

    // Where cargo runs tests, and where they look for what belongs to them.
    let package = root_dir().join("tests");
    add_files(&mut archive, &package)?;
    let mut plan = format!(
        "export XDPFW_BIN={BINARY} CARGO_MANIFEST_DIR={directory}\ncd {directory}\n",
        directory = quoted(&package.to_string_lossy())
    );
    for test in tests {
        let path = format!("/tests/{}", test.name);
        add_program(&mut archive, &test.path, path.as_ref())?;
        let words: Vec<String> = [test.name.as_str()]
            .iter()
            .chain(args)
            .map(|word| quoted(word))
            .collect();
        plan += &format!("run {}\n", words.join(" "));
    }
    archive.file("/plan".as_ref(), 0o644, plan.as_bytes())?;

    let path = kernel.directory.join("initramfs");
    fs::write(&path, archive.finish()?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Where a program of the system is.
fn installed(program: &str) -> Result<PathBuf> {
    find_program(program)
        .with_context(|| format!("there is no program {program}, which the tests call"))
}

/// Adds an executable and the libraries that it loads.
fn add_program(archive: &mut Archive, program: &Path, path: &Path) -> Result<()> {
    add_file(archive, program, path)?;
    // Fails for what loads none.
    let libraries = capture(Command::new("ldd").arg(program)).unwrap_or_default();
    for library in libraries_in(&libraries) {
        add_file(archive, library.as_ref(), library.as_ref())?;
    }
    Ok(())
}

fn add_file(archive: &mut Archive, file: &Path, path: &Path) -> Result<()> {
    if archive.contains(path) {
        return Ok(());
    }
    let read = || -> io::Result<_> {
        let permissions = fs::metadata(file)?.permissions();
        Ok((permissions.mode() & 0o777, fs::read(file)?))
    };
    let (mode, contents) = read().with_context(|| format!("cannot read {}", file.display()))?;
    Ok(archive.file(path, mode, &contents)?)
}

/// Adds all files below `directory`, where they are.
fn add_files(archive: &mut Archive, directory: &Path) -> Result<()> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    archive.directory(directory)?;
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            add_files(archive, &path)?;
        } else {
            add_file(archive, &path, &path)?;
        }
    }
    Ok(())
}

/// The files that `ldd` names.
fn libraries_in(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let file = line.split_once("=>").map_or(line, |(_, file)| file);
        file.split_whitespace()
            .next()
            .filter(|file| file.starts_with('/'))
    })
}

/// A word as the shell takes it back.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_ldd() {
        let text = "\tlinux-vdso.so.1 (0x00007ffd)\n\
            \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f34)\n\
            \tlibgone.so.1 => not found\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f43)\n";
        let libraries: Vec<&str> = libraries_in(text).collect();
        assert_eq!(
            libraries,
            [
                "/lib/x86_64-linux-gnu/libc.so.6",
                "/lib64/ld-linux-x86-64.so.2"
            ]
        );
        assert_eq!(libraries_in("\tstatically linked\n").count(), 0);
    }

    #[test]
    fn words_survive_the_shell() {
        assert_eq!(quoted("it's a; $test"), r"'it'\''s a; $test'");
    }
}
