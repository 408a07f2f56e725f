//! A Debian in a directory, with namespaces of its own: what is done there touches neither this
//! machine's packages nor its filter. No systemd runs in it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::command::{capture, empty, say, target_dir};

/// What goes through the first program's stdin: nothing, until it is closed.
const HOLD: &str = "mount -t sysfs sysfs /sys && mount -t tmpfs tmpfs /run && exec cat";

/// A container; it ends with this value.
pub(super) struct Container {
    root: PathBuf,
    holder: Child,
    /// Its first process, as this machine numbers it.
    first: String,
}

impl Container {
    /// Starts one, with a network without anything but `lo`.
    pub(super) fn start() -> Result<Self> {
        let root = target_dir()?.join("debian/root");
        copy(&base()?, &root)?;
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--net", "--pid", "--fork", "--kill-child"])
            .arg("--mount-proc")
            .arg("--root")
            .arg(&root)
            .args(["sh", "-c", HOLD])
            .stdin(Stdio::piped());
        let mut holder = command.spawn().context("cannot start unshare")?;
        match first_process(holder.id(), &root) {
            Ok(first) => Ok(Self {
                root,
                holder,
                first,
            }),
            Err(error) => {
                let _ = holder.kill();
                Err(error)
            }
        }
    }

    /// Where its files are.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A program in it.
    pub(super) fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = self.entered(&["--mount", "--net", "--pid", "--root", "--wd=/"]);
        command
            .args(["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"])
            .args(["DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", program])
            .args(arguments)
            // Who asks a question gets no answer.
            .stdin(Stdio::null());
        command
    }

    /// Runs a program in it, and returns what it says on stdout.
    pub(super) fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        capture(&mut self.command(program, arguments))
    }

    /// Runs a program of this machine in its network.
    pub(super) fn in_network(&self, line: &[&str]) -> Result<String> {
        capture(self.entered(&["--net"]).args(line))
    }

    /// Makes another Debian in a directory of this one, for `chroot`.
    pub(super) fn nest(&self, directory: &str) -> Result<()> {
        copy(&base()?, &self.path(directory))
    }

    fn entered(&self, namespaces: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first]).args(namespaces);
        command.arg("--");
        command
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // With its first process all others end, and with the last one the namespaces.
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// The first process below `unshare`, once it is in its root and has mounted what it needs.
fn first_process(unshare: u32, root: &Path) -> Result<String> {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(10) {
        let children = format!("/proc/{unshare}/task/{unshare}/children");
        let children = fs::read_to_string(children).context("unshare has failed")?;
        if let Some(first) = children.split_whitespace().next()
            && fs::read_to_string(format!("/proc/{first}/comm")).is_ok_and(|name| name == "cat\n")
        {
            return Ok(first.to_owned());
        }
        thread::sleep(Duration::from_millis(20));
    }
    bail!("no container comes up in {}", root.display())
}

/// A Debian to be copied, of this machine's release.
fn base() -> Result<PathBuf> {
    let base = target_dir()?.join("debian/base");
    if base.join("var/lib/dpkg/status").exists() {
        return Ok(base);
    }
    let codename =
        capture(Command::new("sh").args(["-c", ". /etc/os-release; echo $VERSION_CODENAME"]))?;
    let codename = codename.trim_end();
    say(format_args!(
        "container: fetching Debian {codename} (a minute)"
    ));
    let making = base.with_extension("making");
    empty(&making)?;
    capture(
        Command::new("debootstrap")
            .args(["--variant=minbase", codename])
            .arg(&making),
    )?;
    fs::rename(&making, &base).context("cannot name what debootstrap made")?;
    Ok(base)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    empty(to)?;
    capture(
        Command::new("cp")
            .args(["--archive", "--reflink=auto", "--no-target-directory"])
            .args([from, to]),
    )
    .map(drop)
}
