//! Makes what a host needs outside this process: its network namespace, its directory below
//! [`HOSTS`], xdpfw's pins and history. All of it is removed when the value is dropped; what a killed
//! process left is removed by the next one.
//!
//! A directory is locked as long as its owner lives, so a left-over is a
//! directory whose lock is free.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    os::{
        fd::AsFd as _,
        unix::fs::{DirBuilderExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::{
    process::{Pid, Signal, geteuid, kill_process},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use crate::process::{Process, capture};

/// One directory per host, named as its namespace.
const HOSTS: &str = "/run/xdpfw-hosts";
/// Where `ip netns` has its namespaces.
const NAMESPACES: &str = "/run/netns";
/// Where xdpfw pins what it holds in the kernel, by inode of the namespace.
const PINS: &str = "/run/xdpfw/bpf";
/// Where xdpfw has the histories of policies, by name of the namespace.
const HISTORIES: &str = "/var/lib/xdpfw/netns";
/// How long killed processes may take to be gone.
const END: Duration = Duration::from_secs(2);

/// A network namespace of our own.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
    /// The namespace itself, and its inode.
    file: File,
    inode: u64,
    /// The lock that says the directory is in use.
    _claim: File,
}

impl Namespace {
    /// Makes one, after removing what killed processes left.
    pub(crate) fn create() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);

        ensure!(geteuid().is_root(), "kernel tests need root");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(HOSTS)
            .with_context(|| format!("cannot create {HOSTS}"))?;
        // Until the new directory is locked itself, it looks like a left-over.
        let registry = lock(Path::new(HOSTS))?;
        remove_leftovers()?;

        let name = format!(
            "xfw{}-{}",
            process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let dir = directory(&name);
        fs::create_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let claim = lock(&dir)?;
        if let Err(error) = capture(Command::new("ip").args(["netns", "add", &name])) {
            let _ = fs::remove_dir(&dir);
            return Err(error);
        }
        drop(registry);
        Self::open(name, claim)
    }

    /// The namespace that belongs to a locked directory.
    fn open(name: String, claim: File) -> Result<Self> {
        let path = Path::new(NAMESPACES).join(&name);
        let open = || -> io::Result<_> {
            let file = File::open(&path)?;
            let inode = file.metadata()?.ino();
            Ok((file, inode))
        };
        let (file, inode) = open().with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self {
            name,
            file,
            inode,
            _claim: claim,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A directory that lives as long as the namespace.
    pub(crate) fn directory(&self) -> PathBuf {
        directory(&self.name)
    }

    /// Where xdpfw's pins for this namespace are.
    pub(crate) fn pins(&self) -> PathBuf {
        Path::new(PINS).join(self.inode.to_string())
    }

    /// Where xdpfw has the history of this namespace's policies.
    pub(crate) fn history(&self) -> PathBuf {
        history(&self.name)
    }

    /// A command that runs in the namespace, and sees all mounts: `ip netns exec` would
    /// hide `/sys/fs/bpf` from it. Its process id is the program's.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net={NAMESPACES}/{}", self.name))
            .arg("--")
            .arg(program);
        command
    }

    /// Runs `work` in a thread that has entered the namespace.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let in_thread = || {
            move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
                .with_context(|| format!("cannot enter network namespace {}", self.name))?;
            work()
        };
        thread::scope(|scope| scope.spawn(in_thread).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Waits until a process that was started for the namespace has entered it,
    /// or ended: before, it would not be found here.
    pub(crate) fn wait_for(&self, process: &mut Process) -> Result<()> {
        let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
        let pid = pid.context("no process id")?;
        let deadline = Instant::now() + END;
        while !self.is_home_of(pid) && process.wait(Duration::ZERO)?.is_none() {
            ensure!(
                Instant::now() < deadline,
                "process {} does not enter network namespace {}",
                process.id(),
                self.name
            );
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Ends the processes that run in the namespace: all were started for it.
    /// Threads of ours that entered it are not in the way.
    fn end_processes(&self) {
        let deadline = Instant::now() + END;
        loop {
            let pids = self.processes();
            if pids.is_empty() || Instant::now() > deadline {
                return;
            }
            for pid in pids {
                let _ = kill_process(pid, Signal::KILL);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn processes(&self) -> Vec<Pid> {
        let Ok(entries) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        let ours = rustix::process::getpid();
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(Pid::from_raw)
            .filter(|&pid| pid != ours && self.is_home_of(pid))
            .collect()
    }

    fn is_home_of(&self, pid: Pid) -> bool {
        fs::metadata(format!("/proc/{}/ns/net", pid.as_raw_nonzero()))
            .is_ok_and(|namespace| namespace.ino() == self.inode)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.end_processes();
        // Unpinned, the links detach, whatever state xdpfw is in.
        let _ = fs::remove_dir_all(self.pins());
        remove(&self.name);
    }
}

/// Removes a namespace and, last, the directory by which it would be found again.
fn remove(name: &str) {
    let _ = capture(Command::new("ip").args(["netns", "delete", name]));
    let _ = fs::remove_dir_all(history(name));
    let _ = fs::remove_dir_all(directory(name));
}

/// Removes the hosts whose owners were killed. The caller holds the registry.
fn remove_leftovers() -> Result<()> {
    let entries = fs::read_dir(HOSTS).with_context(|| format!("cannot read {HOSTS}"))?;
    for entry in entries.flatten() {
        let Some(claim) = try_lock(&entry.path()) else {
            continue;
        };
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        match Namespace::open(name.clone(), claim) {
            Ok(namespace) => drop(namespace),
            Err(_) => remove(&name),
        }
    }
    Ok(())
}

fn directory(name: &str) -> PathBuf {
    Path::new(HOSTS).join(name)
}

fn history(name: &str) -> PathBuf {
    Path::new(HISTORIES).join(name)
}

/// Opens a directory and locks it for as long as the result lives.
fn lock(directory: &Path) -> Result<File> {
    let open = || -> io::Result<_> {
        let file = File::open(directory)?;
        file.lock()?;
        Ok(file)
    };
    open().with_context(|| format!("cannot lock {}", directory.display()))
}

/// The same, unless somebody else holds the lock.
fn try_lock(directory: &Path) -> Option<File> {
    let file = File::open(directory).ok()?;
    file.try_lock().ok()?;
    Some(file)
}
