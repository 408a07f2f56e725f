//! The ports of this host that another packet filter sends on to somebody else: those that
//! docker and podman publish for containers, and port forwards of a router. Who listens there
//! is behind NAT, so no socket of this host shows it.
//!
//! The programs that made the rules are asked. What cannot be asked publishes nothing: this is
//! for hints, and no change may depend on it.

mod iptables;
mod nft;

use std::{
    env,
    ffi::OsString,
    io::Read as _,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use xdpfw_common::Transport;

use crate::netlink::tracks_connections;

/// How long a program may take. The largest rule sets take a second.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where programs for administrators are, which `su` leaves out of `PATH`.
const ADMINISTRATORS: &str = "/usr/sbin:/sbin";

/// The ports that packet filters of this network namespace publish, in order, each once.
/// Those published on a loopback address alone are left out: no interface reaches them.
pub fn published_ports() -> Vec<(Transport, u16)> {
    // Without tracking there is no NAT; and listing rules would load the kernel's modules.
    if !tracks_connections() {
        return Vec::new();
    }
    // All start before any is waited for.
    let nft = Listing::start("nft", &["--json", "--terse", "list", "ruleset"]);
    // Without `-t nat`, which would make the kernel begin to translate.
    let iptables = ["iptables-save", "ip6tables-save"].map(|program| Listing::start(program, &[]));

    let read = |listing: Listing| listing.read(PATIENCE);
    let mut ports = Vec::new();
    if let Some(text) = nft.and_then(read) {
        ports.extend(nft::published(&text));
    }
    for text in iptables.into_iter().flatten().filter_map(read) {
        ports.extend(iptables::published(&text));
    }
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// A program that lists rules.
struct Listing {
    child: Child,
    output: mpsc::Receiver<Option<String>>,
}

impl Listing {
    /// Starts it; `None` if it is not there.
    fn start(program: &str, arguments: &[&str]) -> Option<Self> {
        let mut path = env::var_os("PATH").unwrap_or_default();
        if !path.is_empty() {
            path.push(":");
        }
        path.push(OsString::from(ADMINISTRATORS));
        let mut child = Command::new(program)
            .args(arguments)
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut stdout = child.stdout.take()?;
        let (sender, output) = mpsc::channel();
        thread::spawn(move || {
            let mut text = String::new();
            let read = stdout.read_to_string(&mut text);
            // Nobody listens any more if it took too long.
            let _ = sender.send(read.is_ok().then_some(text));
        });
        Some(Self { child, output })
    }

    /// What it printed; `None` if it failed or took longer than this.
    fn read(mut self, patience: Duration) -> Option<String> {
        let text = self.output.recv_timeout(patience).ok().flatten();
        if text.is_none() {
            let _ = self.child.kill();
        }
        let status = self.child.wait().ok()?;
        text.filter(|_| status.success())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
