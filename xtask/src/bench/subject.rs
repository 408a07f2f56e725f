//! Owns what is measured: a host under xdpfw with a veth pair to a peer, the way a
//! user would set it up. It goes with its owner: interfaces, pins and policy.

use std::{
    fs,
    mem::MaybeUninit,
    os::fd::{AsFd as _, AsRawFd as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::{maps::MapInfo, programs::ProgramInfo};
use tempfile::TempDir;
use xdpfw_common::abi::{ABI_VERSION, names};
use xdpfw_tests::Lab;

use crate::{
    build::Build,
    command::{capture, target_dir},
};

/// The one port that the policy opens.
pub(super) const OPEN: u16 = 443;

/// How long the kernel may take to detach a program.
const PATIENCE: Duration = Duration::from_secs(2);

/// A host with one filtered interface, whose policy is: drop all but [`OPEN`].
pub(super) struct Subject {
    pub(super) lab: Lab,
    binary: PathBuf,
    /// Where the policy file is: on a disk, whose delays a user has, too.
    directory: TempDir,
}

impl Subject {
    /// Sets it up, and xdpfw on it.
    pub(super) fn new(build: &Build) -> Result<Self> {
        let directory = TempDir::with_prefix_in("bench-", target_dir()?)
            .context("cannot make a directory for the policy")?;
        let subject = Self {
            lab: Lab::with_binary(&build.binary)?,
            binary: build.binary.clone(),
            directory,
        };
        subject.up()?;
        subject.xdpfw(&["allow", "tcp", &OPEN.to_string()])?;
        Ok(subject)
    }

    /// Puts the interface under xdpfw, with new programs and counters at zero.
    pub(super) fn up(&self) -> Result<()> {
        let interface = &self.lab.link().near().interface;
        self.xdpfw(&["up", "--mode", "native", interface]).map(drop)
    }

    /// Takes the filter off the interface.
    pub(super) fn down(&self) -> Result<()> {
        self.xdpfw(&["down"])?;
        // The kernel gives the interface free some time after the pin is gone.
        let deadline = Instant::now() + PATIENCE;
        while self.has_program()? {
            ensure!(
                Instant::now() < deadline,
                "`xdpfw down` has left its program on the interface"
            );
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Whether an XDP program is attached to the interface.
    fn has_program(&self) -> Result<bool> {
        let Lab { host, .. } = &self.lab;
        let interface = &self.lab.link().near().interface;
        let link = host.run("ip", ["-details", "link", "show", "dev", interface])?;
        Ok(link.contains("prog/xdp"))
    }

    /// Runs xdpfw on the host and returns what it wrote to stdout.
    pub(super) fn xdpfw(&self, arguments: &[&str]) -> Result<String> {
        self.lab
            .host
            .enter(|| capture(self.command().args(arguments)))
    }

    /// Runs xdpfw on the host, unread, and returns how long it took.
    pub(super) fn time(&self, arguments: &[&str]) -> Result<Duration> {
        self.lab.host.enter(|| {
            let mut command = self.command();
            command.args(arguments).stdout(Stdio::null());
            let start = Instant::now();
            let output = command.output().context("cannot start xdpfw")?;
            let elapsed = start.elapsed();
            ensure!(
                output.status.success(),
                "`xdpfw {}` failed ({}): {}",
                arguments.join(" "),
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
            Ok(elapsed)
        })
    }

    /// Applies a policy; returns how long that took, and the most memory it had in use,
    /// in bytes.
    pub(super) fn apply(&self, file: &Path) -> Result<(Duration, u64)> {
        self.lab.host.enter(|| {
            let mut command = self.command();
            command.arg("--quiet").arg("apply").arg(file);
            let start = Instant::now();
            let child = command.spawn().context("cannot start xdpfw")?;
            let pid = libc::pid_t::try_from(child.id())?;
            let (mut status, mut usage) = (0, MaybeUninit::<libc::rusage>::uninit());
            // SAFETY: both outlive the call, which waits for our own child.
            let waited = unsafe { libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) };
            let elapsed = start.elapsed();
            ensure!(waited == pid, "cannot wait for xdpfw");
            ensure!(
                status == 0,
                "`xdpfw apply {}` failed ({status})",
                file.display()
            );
            // SAFETY: written by the call that succeeded.
            let kibibytes = unsafe { usage.assume_init() }.ru_maxrss;
            Ok((elapsed, u64::try_from(kibibytes)? * 1024))
        })
    }

    /// What the maps of the filter in force take, in bytes, without its counters.
    pub(super) fn map_memory(&self) -> Result<u64> {
        let program = ProgramInfo::from_pin(self.filter()?)?;
        let mut sum = 0;
        for id in program.map_ids()?.context("the kernel tells no maps")? {
            let map = MapInfo::from_id(id)?;
            if !matches!(map.name_as_str(), Some(names::COUNTERS | names::RULE_HITS)) {
                sum += memory(&map)?;
            }
        }
        Ok(sum)
    }

    /// A file beside the policy.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where the program is pinned that every interface runs.
    pub(super) fn dispatcher(&self) -> PathBuf {
        self.pins().join("dispatcher")
    }

    /// Where the program of the generation in force is pinned.
    pub(super) fn filter(&self) -> Result<PathBuf> {
        let directory = self.pins().join("generations");
        let generations = fs::read_dir(&directory)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .with_context(|| format!("cannot read {}", directory.display()))?;
        // A command that succeeded leaves none but the one it put in force.
        let [generation] = &generations[..] else {
            anyhow::bail!(
                "{} generations in {} instead of one",
                generations.len(),
                directory.display()
            );
        };
        Ok(generation.path().join("program"))
    }

    fn pins(&self) -> PathBuf {
        self.lab.host.pins().join(format!("abi-{ABI_VERSION}"))
    }

    /// xdpfw with the subject's policy, for a thread that has entered the host:
    /// nothing is started in between that would be measured, too.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .env("XDPFW_POLICY", self.file("policy.toml"))
            // Nobody's SSH session comes in over our interface.
            .env_remove("SSH_CONNECTION")
            .env_remove("SSH_CLIENT");
        command
    }
}

/// What a map takes by the kernel's account (`bpf_map_show_fdinfo` in
/// kernel/bpf/syscall.c).
fn memory(map: &MapInfo) -> Result<u64> {
    let fd = map.fd()?;
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    let bytes = line.context("the kernel does not tell what a map takes")?;
    Ok(bytes.trim().parse()?)
}
