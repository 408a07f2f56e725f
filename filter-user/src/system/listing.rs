//! Runs other programs that know what the kernel does not tell, and reads what they list.

use std::{
    io::Read as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, ensure};

use super::Place;

/// How long a program may take. The largest rule sets of packet filters take a second.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// Where programs are that root runs. Not where the caller's `PATH` says: others may have a
/// say in that.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program that lists something.
pub(super) struct Listing {
    child: Child,
    output: mpsc::Receiver<Option<String>>,
}

impl Listing {
    /// Starts it; `None` if it is not there, or others than root may write it.
    pub(super) fn start(program: &str, arguments: &[&str]) -> Option<Self> {
        let mut child = Command::new(find(program, PATH)?)
            .args(arguments)
            .env_clear()
            .env("PATH", PATH)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut stdout = child.stdout.take()?;
        let (sender, output) = mpsc::channel();
        let read = move || {
            let mut text = String::new();
            let read = stdout.read_to_string(&mut text);
            // Nobody listens any more if it took too long.
            let _ = sender.send(read.is_ok().then_some(text));
        };
        // Without a thread, nobody sends, and nothing was printed.
        drop(thread::Builder::new().spawn(read));
        Some(Self { child, output })
    }

    /// What it printed; `None` if it failed or took longer than this.
    pub(super) fn read(mut self, patience: Duration) -> Option<String> {
        let text = self.output.recv_timeout(patience).ok().flatten();
        if text.is_none() {
            let _ = self.child.kill();
        }
        let status = self.child.wait().ok()?;
        text.filter(|_| status.success())
    }
}

/// Runs a program of root's to its end, with these words behind its name, and returns what it
/// said if it failed.
///
/// # Errors
///
/// It is not there, cannot be started, or fails.
pub fn run(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let path = find(program, PATH).with_context(|| format!("there is no `{program}`"))?;
    let output = Command::new(path)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{program}`"))?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// The first program of this name that is root's, in directories with colons between them.
fn find(program: &str, directories: &str) -> Option<PathBuf> {
    let mut programs = directories
        .split(':')
        .map(|at| PathBuf::from(at).join(program));
    // It is run by the name that it has here: some programs go by that.
    programs.find(|path| Place::find(path).is_ok_and(|place| place.stat().is_some()))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use rustix::process::geteuid;

    use super::*;

    #[test]
    fn root_runs_no_program_that_others_may_write() -> anyhow::Result<()> {
        let top = tempfile::tempdir()?;
        let directories = ["file", "directory", "own"].map(|name| top.path().join(name));
        for (directory, (of_file, of_directory)) in
            directories
                .iter()
                .zip([(0o775, 0o755), (0o755, 0o775), (0o755, 0o755)])
        {
            fs::create_dir(directory)?;
            let program = directory.join("nft");
            fs::write(&program, "")?;
            fs::set_permissions(&program, fs::Permissions::from_mode(of_file))?;
            fs::set_permissions(directory, fs::Permissions::from_mode(of_directory))?;
        }
        let paths = directories.each_ref().map(|at| at.display().to_string());
        let found = find("nft", &paths.join(":"));
        // Others run what they like.
        let expected = if geteuid().is_root() { 2 } else { 0 };
        assert_eq!(found, Some(directories[expected].join("nft")));
        Ok(())
    }

    #[test]
    fn only_a_program_that_succeeds_in_time_is_read() {
        let read = |program: &str, arguments: &[&str], patience| {
            Listing::start(program, arguments)?.read(patience)
        };
        let says = ["-c", "echo ports"];
        let fails = ["-c", "echo ports; exit 1"];
        assert_eq!(read("sh", &says, PATIENCE).as_deref(), Some("ports\n"));
        assert_eq!(read("sh", &fails, PATIENCE), None);
        assert_eq!(read("xdpfw-no-such-program", &[], PATIENCE), None);
        assert_eq!(read("sleep", &["60"], Duration::from_millis(10)), None);
    }
}
