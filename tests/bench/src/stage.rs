//! Makes the hosts that are measured: one that is to be protected, and a peer that floods it.
//! All of it goes with its owner: interfaces, pins and policy.

pub(crate) mod cpus;
pub(crate) mod filter;
pub(crate) mod lists;
pub(crate) mod policy;
pub(crate) mod traffic;
pub(crate) mod yardsticks;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::programs::XdpMode;
use rustix::net::netdevice::name_to_index;
use serde_json::Value;
use tempfile::TempDir;
use xdpfw_common::abi::ABI_VERSION;
use xdpfw_tests::{Lab, Link, Process, capture, link};

use crate::{
    measure::Build,
    stage::{
        policy::Policy,
        yardsticks::{GENERATOR, NOOP, Spread, Yardsticks},
    },
};

/// How long a command may take to have put its program in force.
const PATIENCE: Duration = Duration::from_secs(5);

/// A host and its peer, joined by a link for those who may come in, and by one or more
/// that floods come over.
pub(crate) struct Stage {
    pub(crate) lab: Lab,
    /// The links that floods come over.
    pub(crate) floods: Vec<Link>,
    binary: PathBuf,
    yardsticks: PathBuf,
    /// Keeps the peer's stack out of the floods' links.
    _deaf: Yardsticks,
    /// Where the policy file is: on a disk, whose delays a user has, too.
    directory: TempDir,
}

impl Stage {
    /// Sets it up, without a filter.
    pub(crate) fn new(build: &Build, floods: usize) -> Result<Self> {
        let beside = build.binary.parent().context("xdpfw is in no directory")?;
        let directory = TempDir::with_prefix_in("bench-", beside)
            .context("cannot make a directory for the policy")?;
        let lab = Lab::with_binary(&build.binary)?;
        let floods = (0..floods)
            .map(|_| link(&lab.host, &lab.peer))
            .collect::<Result<Vec<_>>>()?;
        let mut deaf = Yardsticks::load(&build.yardsticks, Spread::SCAN)?;
        for link in &floods {
            // As on a network card, packets come in by NAPI, with or without a program.
            lab.host.set_feature(&link.near().interface, "gro", true)?;
            let far = &link.far().interface;
            lab.peer.enter(|| {
                deaf.get_mut(NOOP)?
                    .attach(far, XdpMode::Driver)
                    .with_context(|| format!("cannot attach a program to {far}"))
            })?;
        }
        Ok(Self {
            lab,
            floods,
            binary: build.binary.clone(),
            yardsticks: build.yardsticks.clone(),
            _deaf: deaf,
            directory,
        })
    }

    /// The host's interfaces.
    pub(crate) fn interfaces(&self) -> impl Iterator<Item = &str> {
        let links = std::iter::once(self.lab.link()).chain(&self.floods);
        links.map(|link| link.near().interface.as_str())
    }

    /// Our own programs, anew.
    pub(crate) fn yardsticks(&self, spread: Spread) -> Result<Yardsticks> {
        Yardsticks::load(&self.yardsticks, spread)
    }

    /// Our own programs, anew, with the one that makes traffic ready to be used.
    pub(crate) fn generator(&self, spread: Spread) -> Result<Yardsticks> {
        let mut yardsticks = self.yardsticks(spread)?;
        self.lab.peer.enter(|| {
            // Nothing comes by there. But for a program that no interface runs, the kernel
            // rewrites the code that calls programs (`bpf_dispatcher_change_prog`) before
            // and after each use, and then waits for all CPUs.
            yardsticks
                .get_mut(GENERATOR)?
                .attach("lo", XdpMode::Skb)
                .context("cannot attach the generator to the peer's lo")
        })?;
        Ok(yardsticks)
    }

    /// Puts the interfaces under xdpfw.
    pub(crate) fn up(&self) -> Result<()> {
        let mut arguments = vec!["up", "--mode", "native"];
        arguments.extend(self.interfaces());
        self.xdpfw(&arguments).map(drop)
    }

    /// Has xdpfw apply a policy.
    pub(crate) fn apply(&self, policy: Policy) -> Result<()> {
        self.apply_text(&policy.xdpfw(self.interfaces()))
    }

    /// The same for a policy file.
    pub(crate) fn apply_text(&self, text: &str) -> Result<()> {
        let file = self.write("apply.toml", text)?;
        self.xdpfw(&["apply", &file.to_string_lossy()]).map(drop)
    }

    /// Runs xdpfw on the host and returns what it wrote to stdout.
    pub(crate) fn xdpfw(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.command(&self.binary);
        self.lab.host.enter(|| capture(command.args(arguments)))
    }

    /// Starts commands that look on, their output unread, and waits until so many of them listen
    /// to packets.
    pub(crate) fn watch(&self, commands: &[&str], listeners: usize) -> Result<Vec<Process>> {
        let binary = self.binary.to_string_lossy();
        let unread = "exec \"$0\" \"$@\" >/dev/null 2>&1";
        let watchers = commands
            .iter()
            .map(|command| {
                let words = ["-c", unread, &*binary]
                    .into_iter()
                    .chain(command.split(' '));
                self.lab.host.spawn("sh", words)
            })
            .collect::<Result<_>>()?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status: Value = serde_json::from_str(&self.xdpfw(&["--json", "status"])?)?;
            if status["listeners"] == listeners {
                return Ok(watchers);
            }
            ensure!(Instant::now() < deadline, "{commands:?} do not listen");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// A command for a thread that has entered the host: nothing is started in between
    /// that would be measured, too.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("XDPFW_POLICY", self.file("policy.toml"))
            // Nobody's SSH session comes in over our interfaces.
            .env_remove("SSH_CONNECTION")
            .env_remove("SSH_CLIENT");
        command
    }

    /// Runs xdpfw on the host; returns how long it took.
    pub(crate) fn time_xdpfw(&self, arguments: &[&str]) -> Result<Duration> {
        self.time(&self.binary, arguments, Stdio::null())
    }

    /// The same for one that reads this file.
    pub(crate) fn time_xdpfw_reading(&self, arguments: &[&str], file: &Path) -> Result<Duration> {
        let input = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
        self.time(&self.binary, arguments, Stdio::from(input))
    }

    /// Runs any program on the host, its output unread; returns how long it took.
    pub(crate) fn time(
        &self,
        program: &Path,
        arguments: &[&str],
        input: Stdio,
    ) -> Result<Duration> {
        let start = Instant::now();
        let mut child = self.start(program, arguments, input)?;
        let status = child.wait().context("cannot wait for a command")?;
        let elapsed = start.elapsed();
        succeeded(status, program, arguments)?;
        Ok(elapsed)
    }

    /// Runs xdpfw on the host; returns the most memory that it had in use, in bytes.
    pub(crate) fn peak_of_xdpfw(&self, arguments: &[&str]) -> Result<u64> {
        self.peak(&self.binary, arguments)
    }

    /// Runs any program on the host; returns the most memory that it had in use, in bytes.
    ///
    /// The kernel's account at its end (`ru_maxrss`) begins with ours, which is more.
    pub(crate) fn peak(&self, program: &Path, arguments: &[&str]) -> Result<u64> {
        let mut child = self.start(program, arguments, Stdio::null())?;
        let file = format!("/proc/{}/status", child.id());
        let mut peak = 0;
        loop {
            // Gone with the process: what was read last is its peak, up to a moment.
            let text = fs::read_to_string(&file).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
            peak = peak.max(
                kibibytes
                    .and_then(|number| number.parse().ok())
                    .unwrap_or(0),
            );
            if let Some(status) = child.try_wait().context("cannot wait for a command")? {
                succeeded(status, program, arguments)?;
                return Ok(peak * 1024);
            }
            thread::sleep(Duration::from_micros(500));
        }
    }

    fn start(&self, program: &Path, arguments: &[&str], input: Stdio) -> Result<Child> {
        let mut command = self.command(program);
        command.args(arguments).stdin(input).stdout(Stdio::null());
        self.lab.host.enter(|| {
            command
                .spawn()
                .with_context(|| format!("cannot start {}", program.display()))
        })
    }

    /// Writes a file beside the policy.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let file = self.file(name);
        fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }

    /// A file beside the policy.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where what the generation in force has of its own is pinned.
    pub(crate) fn generation(&self) -> Result<PathBuf> {
        let pins = self.lab.host.pins().join(format!("abi-{ABI_VERSION}"));
        let directory = pins.join("generations");
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
        Ok(generation.path())
    }
}

fn succeeded(status: ExitStatus, program: &Path, arguments: &[&str]) -> Result<()> {
    ensure!(
        status.success(),
        "`{} {}` failed ({status})",
        program.display(),
        arguments.join(" ")
    );
    Ok(())
}

/// The kernel's number for an interface, on the host of this thread.
pub(crate) fn index(interface: &str) -> Result<u32> {
    let socket = std::net::UdpSocket::bind(("0.0.0.0", 0))?;
    name_to_index(&socket, interface).with_context(|| format!("no interface {interface}"))
}

/// The context (`struct xdp_md`) of a frame of `len` bytes that came in, through its
/// first queue, by the interface with this index.
pub(crate) fn context(len: usize, interface: u32) -> Result<Vec<u8>> {
    let [data, data_meta, rx_queue_index, egress_ifindex] = [0; 4];
    let fields = [
        data,
        u32::try_from(len)?,
        data_meta,
        interface,
        rx_queue_index,
        egress_ifindex,
    ];
    Ok(fields.into_iter().flat_map(u32::to_ne_bytes).collect())
}
