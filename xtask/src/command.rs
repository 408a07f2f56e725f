//! What all tasks use: lines for the user, other programs, and where things are.

use std::{
    env,
    ffi::OsStr,
    fmt, fs,
    io::{self, ErrorKind, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

/// Writes one line to stderr; a closed stderr is no reason to stop.
pub(crate) fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Runs `command` to its end with our own stdin, stdout and stderr.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start `{}`", Shown(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", Shown(command));
    }
    Ok(())
}

/// Runs `command` to its end and returns what it wrote to stdout; on failure the
/// error carries what it wrote to stderr.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot start `{}`", Shown(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`{}` failed ({}): {}",
            Shown(command),
            output.status,
            one_line(&stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Whether `command` starts and succeeds; nothing of it is shown.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// The root of the workspace.
pub(crate) fn root_dir() -> PathBuf {
    let manifest_dir = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    manifest_dir
        .parent()
        .map_or_else(|| manifest_dir.clone(), Path::to_path_buf)
}

/// Where cargo puts what it builds; absolute, since tasks run in several directories.
pub(crate) fn target_dir() -> Result<PathBuf> {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => std::path::absolute(&dir)
            .with_context(|| format!("cannot resolve CARGO_TARGET_DIR={}", dir.display())),
        None => Ok(root_dir().join("target")),
    }
}

/// The cargo that runs us, for what is built for the host, in the workspace's root.
pub(crate) fn cargo() -> Result<Command> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(root_dir())
        .env("CARGO_TARGET_DIR", target_dir()?);
    for key in outer_cargo_vars() {
        command.env_remove(key);
    }
    Ok(command)
}

/// What the outer `cargo run` tells us about this package; passed on, it would make
/// build scripts that look at it run again after every `cargo build` by hand.
pub(crate) fn outer_cargo_vars() -> impl Iterator<Item = String> {
    env::vars_os()
        .filter_map(|(key, _)| key.into_string().ok())
        .filter(|key| key.starts_with("CARGO_PKG_") || key.starts_with("CARGO_MANIFEST_"))
}

/// Makes a directory, without what an interrupted run left in it.
pub(crate) fn empty(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => fs::create_dir_all(directory),
    }
    .with_context(|| format!("cannot empty {}", directory.display()))
}

/// Finds a program in `PATH` or where administrators' programs are, which `PATH`
/// often leaves out for other users.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|dir| dir.join(name))
        .find(|file| {
            file.metadata()
                .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        })
}

/// Whether we are root.
pub(crate) fn is_root() -> bool {
    // A process owns its directory there.
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Whether sudo works without asking for a password.
pub(crate) fn has_sudo() -> bool {
    succeeds(Command::new("sudo").args(["-n", "true"]))
}

/// A command as one would type it.
struct Shown<'a>(&'a Command);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = Path::new(self.0.get_program());
        let name = program.file_name().unwrap_or(program.as_os_str());
        write!(f, "{}", name.display())?;
        self.0
            .get_args()
            .map(OsStr::display)
            .try_for_each(|arg| write!(f, " {arg}"))
    }
}

/// The last lines of a program's complaint, as one.
fn one_line(stderr: &str) -> String {
    let lines: Vec<&str> = stderr
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(3)..].join("; ")
}
