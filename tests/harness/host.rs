//! Hosts: a network namespace, what runs in it, its xdpfw, its interfaces' settings.

use std::{
    env,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU8, Ordering},
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{Counters, Process, Xdpfw, device::Device, namespace::Namespace, process::capture};

/// A host: a network namespace with loopback up and IPv6 off, and an xdpfw of
/// its own. All of it is gone when this is dropped: processes, links, pins, the
/// namespace, the policy file.
#[derive(Debug)]
pub struct Host {
    namespace: Namespace,
    binary: PathBuf,
    /// Interfaces made so far; the next one is `eth` with this number.
    pub(crate) interfaces: AtomicU8,
    /// The first 10.x.0.0/24 that no interface of this host is in.
    pub(crate) free_subnet: AtomicU8,
}

impl Host {
    /// Makes a host with the xdpfw binary of this workspace: `XDPFW_BIN`, or what
    /// the release build left. Fails when not run by root.
    pub fn new() -> Result<Self> {
        Self::with_binary(&workspace_binary())
    }

    /// Makes a host with this xdpfw binary.
    pub fn with_binary(binary: &Path) -> Result<Self> {
        let binary = std::path::absolute(binary)
            .with_context(|| format!("cannot resolve {}", binary.display()))?;
        let host = Self {
            namespace: Namespace::create()?,
            binary,
            interfaces: AtomicU8::new(0),
            free_subnet: AtomicU8::new(0),
        };
        // Router solicitations and the like would disturb exact counts.
        host.set_ipv6(false)?;
        host.run("ip", ["link", "set", "lo", "up"])?;
        Ok(host)
    }

    /// The name of its network namespace.
    pub fn name(&self) -> &str {
        self.namespace.name()
    }

    /// The xdpfw that it has.
    pub fn binary(&self) -> &Path {
        &self.binary
    }

    /// A directory of its own, for files that live as long as it does.
    pub fn directory(&self) -> PathBuf {
        self.namespace.directory()
    }

    /// Its policy file, which need not exist.
    pub fn policy(&self) -> PathBuf {
        self.directory().join("policy.toml")
    }

    /// Where its xdpfw pins what it holds in the kernel.
    pub fn pins(&self) -> PathBuf {
        self.namespace.pins()
    }

    /// Where its xdpfw has the history of its policies.
    pub fn history(&self) -> PathBuf {
        self.namespace.history()
    }

    /// Its xdpfw with these arguments, ready to be run.
    pub fn xdpfw(&self, arguments: impl IntoIterator<Item: AsRef<OsStr>>) -> Xdpfw {
        let mut command = self.command(&self.binary);
        command
            .env("XDPFW_POLICY", self.policy())
            // Nobody's SSH session comes in over our interfaces.
            .env_remove("SSH_CONNECTION")
            .env_remove("SSH_CLIENT")
            // And who runs the tests is root.
            .env_remove("SUDO_USER")
            .env_remove("DOAS_USER");
        Xdpfw::new(command, &self.binary, arguments)
    }

    /// What its `xdpfw status` says, whose exit code is negative exactly if it warns.
    #[track_caller]
    pub fn status(&self) -> Value {
        self.xdpfw(["status"])
            .json_with(|status| match status["warnings"].as_array() {
                Some(warnings) if warnings.is_empty() => 0,
                _ => 8,
            })
    }

    /// A command that will run on this host.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        self.namespace.command(program)
    }

    /// Runs a program on this host to its end and returns its stdout.
    pub fn run(
        &self,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item: AsRef<OsStr>>,
    ) -> Result<String> {
        capture(self.command(program).args(arguments))
    }

    /// Starts a program on this host, which ends when the result is dropped, or
    /// with the host.
    pub fn spawn(
        &self,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item: AsRef<OsStr>>,
    ) -> Result<Process> {
        let mut process = Process::start(self.command(program).args(arguments))?;
        self.namespace.wait_for(&mut process)?;
        Ok(process)
    }

    /// The same, with a stdin of its own.
    pub fn spawn_with(
        &self,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item: AsRef<OsStr>>,
        stdin: impl Into<std::process::Stdio>,
    ) -> Result<Process> {
        let mut process =
            Process::start(self.command(program).args(arguments).stdin(stdin.into()))?;
        self.namespace.wait_for(&mut process)?;
        Ok(process)
    }

    /// Starts a name server that knows nothing but what these options say.
    pub fn start_dnsmasq(&self, options: &[&str]) -> Result<()> {
        let log = self.directory().join("dnsmasq.log");
        let log = format!("--log-facility={}", log.display());
        let own = [
            "--conf-file=/dev/null",
            "--user=root",
            "--pid-file=",
            "--no-resolv",
            "--no-hosts",
            &log,
        ];
        self.start_daemon("dnsmasq", own.iter().chain(options))
    }

    /// Starts a daemon on this host, one of those that `cargo xtask setup` has unpacked. It
    /// has detached itself and serves when this returns, and it ends with the host.
    pub fn start_daemon(
        &self,
        name: &str,
        arguments: impl IntoIterator<Item: AsRef<OsStr>>,
    ) -> Result<()> {
        let mut command = self.unpacked(name)?;
        capture(command.args(arguments)).map(drop)
    }

    /// A command of a daemon that `cargo xtask setup` has unpacked.
    pub fn unpacked(&self, name: &str) -> Result<Command> {
        let root = unpacked_root()?;
        let program = unpacked_file(name)?;
        let libraries = ["usr/lib", "lib"].map(|directory| {
            let machine = format!("{}-linux-gnu", env::consts::ARCH);
            root.join(directory).join(machine)
        });
        let mut command = self.command(program);
        command
            .env("LD_LIBRARY_PATH", env::join_paths(libraries)?)
            .current_dir(self.directory());
        Ok(command)
    }

    /// Runs `work` in a thread on this host. The sockets that it makes stay the
    /// host's, wherever they are used later.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.namespace.enter(work)
    }

    /// What has gone through one of its interfaces so far.
    pub fn counters(&self, interface: &str) -> Result<Counters> {
        Device::of(self, interface)?.counters()
    }

    /// Writes a setting of this host: `net/ipv4/ip_local_port_range`, say.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(key);
        self.enter(|| {
            fs::write(&path, value).with_context(|| format!("cannot write {}", path.display()))
        })
    }

    /// Turns IPv6 on or off for the interfaces there are and those to come.
    pub fn set_ipv6(&self, on: bool) -> Result<()> {
        let off = if on { "0" } else { "1" };
        for scope in ["all", "default"] {
            let key = format!("net/ipv6/conf/{scope}/disable_ipv6");
            match self.sysctl(&key, off) {
                // A kernel without IPv6 has it off.
                Err(error) if !on && is_not_found(&error) => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Sets a feature of an interface with ethtool. `gro` on at one end of a veth
    /// pair lets the other end's XDP program transmit and redirect to it; `txvlan`
    /// off lets the other end's program see VLAN tags.
    pub fn set_feature(&self, interface: &str, feature: &str, on: bool) -> Result<()> {
        let state = if on { "on" } else { "off" };
        self.run("ethtool", ["-K", interface, feature, state])
            .map(drop)
    }

    /// Gives the next interface its name.
    pub(crate) fn next_interface(&self) -> String {
        format!("eth{}", self.interfaces.fetch_add(1, Ordering::Relaxed))
    }
}

fn is_not_found(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

/// The binary that tests run unless told otherwise.
fn workspace_binary() -> PathBuf {
    if let Some(binary) = env::var_os("XDPFW_BIN") {
        return binary.into();
    }
    target_dir().join("release/xdpfw")
}

/// Where `cargo xtask setup` unpacks daemons.
fn unpacked_root() -> Result<PathBuf> {
    Ok(std::path::absolute(target_dir().join("tools/daemons"))?)
}

/// The program of a daemon that `cargo xtask setup` has unpacked.
pub fn unpacked_file(name: &str) -> Result<PathBuf> {
    let root = unpacked_root()?;
    let places = ["usr/sbin", "usr/bin", "usr/libexec/sshguard"];
    let mut files = places.iter().map(|place| root.join(place).join(name));
    files.find(|file| file.exists()).with_context(|| {
        let root = root.display();
        format!("no {name} below {root}; `cargo xtask setup` fetches it")
    })
}

/// A file that the package brings.
pub fn packaged(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../filter-user/package")
        .join(name)
}

/// Where cargo and xtask put what tests use.
fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_comes_and_goes() -> Result<()> {
        let host = Host::new()?;
        let (name, directory) = (host.name().to_owned(), host.directory());
        let namespace = Path::new("/run/netns").join(&name);
        let history = host.history();
        fs::create_dir_all(&history)?;
        assert!(namespace.exists() && directory.exists());
        assert!(host.run("ip", ["-br", "link"])?.contains("lo "));

        let process = host.spawn("sleep", ["60"])?;
        let proc = PathBuf::from(format!("/proc/{}", process.id()));
        // Its guard never runs: the host itself must end it.
        std::mem::forget(process);
        drop(host);
        assert!(!namespace.exists() && !directory.exists() && !history.exists());
        // Ended; whether reaped is another question.
        assert!(fs::metadata(proc.join("ns/net")).is_err());
        Ok(())
    }

    #[test]
    fn host_goes_in_a_panic() -> Result<()> {
        let host = Host::new()?;
        let namespace = Path::new("/run/netns").join(host.name());
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _host = host;
            std::panic::resume_unwind(Box::new(()));
        }));
        assert!(panic.is_err() && !namespace.exists());
        Ok(())
    }

    #[test]
    fn hosts_do_not_see_each_other() -> Result<()> {
        let (one, other) = (Host::new()?, Host::new()?);
        assert_ne!(one.pins(), other.pins());
        let bind = |host: &Host| host.enter(|| Ok(std::net::TcpListener::bind("127.0.0.1:443")?));
        let _same_port_on_both = (bind(&one)?, bind(&other)?);
        Ok(())
    }
}
