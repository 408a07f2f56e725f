//! Runs commands and connections on the two hosts for the user to see, and asks their
//! kernels for numbers.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use xdpfw_tests::{
    Interrupted, Lab,
    servers::{exchange, fetch},
};

use crate::{
    GREETING, PEER_TCP, PEER_UDP,
    text::{Bold, say},
};

/// How long an answer may take that is expected,
pub(super) const ANSWER: Duration = Duration::from_secs(5);
/// and one that is not: less than the second after which TCP tries again.
const SILENCE: Duration = Duration::from_millis(300);

/// The running demo.
pub(super) struct Stage<'a> {
    pub(super) lab: &'a Lab,
    pub(super) interrupted: &'a Interrupted,
}

impl Stage<'_> {
    pub(super) fn title(&self, title: &str) {
        say(format_args!("\n{}", Bold(format_args!("{title}"))));
    }

    /// Shows a command as a user would type it.
    pub(super) fn echo(&self, arguments: &[&str]) {
        say(format_args!("$ xdpfw {}", arguments.join(" ")));
    }

    /// Runs xdpfw on the host, for the user to see.
    pub(super) fn xdpfw(&self, arguments: &[&str]) -> Result<()> {
        self.interrupted.check()?;
        self.echo(arguments);
        let status = self.lab.host.xdpfw(arguments).command()?.status()?;
        ensure!(
            status.success(),
            "`xdpfw {}` failed ({status})",
            arguments.join(" ")
        );
        Ok(())
    }

    /// Runs xdpfw on the host, for us to read.
    pub(super) fn json(&self, arguments: &[&str]) -> Result<Value> {
        let shown = || format!("xdpfw {} --json", arguments.join(" "));
        let arguments = [&["--json"], arguments].concat();
        let output = self.lab.host.xdpfw(arguments).output()?;
        ensure!(
            output.status.success(),
            "`{}` failed ({}): {}",
            shown(),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("what `{}` wrote is not JSON", shown()))
    }

    pub(super) fn peer_reaches(&self, port: u16) -> Result<()> {
        self.interrupted.check()?;
        let text = fetch(&self.lab.peer, self.lab.link().near().at(port), ANSWER)?;
        ensure!(text == GREETING, "tcp {port} answered {text:?}");
        say(format_args!("  peer → host  tcp {port:<5} {text:?}"));
        Ok(())
    }

    pub(super) fn peer_is_shut_out(&self, port: u16) -> Result<()> {
        self.interrupted.check()?;
        if let Ok(text) = fetch(&self.lab.peer, self.lab.link().near().at(port), SILENCE) {
            bail!("tcp {port} is closed but answered {text:?}");
        }
        say(format_args!("  peer → host  tcp {port:<5} no answer"));
        Ok(())
    }

    /// The host's own connections live under default drop.
    pub(super) fn host_reaches_peer(&self) -> Result<()> {
        self.interrupted.check()?;
        let (host, peer) = (&self.lab.host, self.lab.link().far());
        let text = fetch(host, peer.at(PEER_TCP), ANSWER)?;
        say(format_args!("  host → peer  tcp {PEER_TCP:<5} {text:?}"));
        let text = exchange(host, 0, peer.at(PEER_UDP), "a query, echoed", ANSWER)?;
        say(format_args!("  host → peer  udp {PEER_UDP:<5} {text:?}"));
        Ok(())
    }

    /// Sleeps, unless the user has had enough.
    pub(super) fn pause(&self, duration: Duration) -> Result<()> {
        let end = Instant::now() + duration;
        loop {
            self.interrupted.check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(Duration::from_millis(50)));
        }
    }

    /// Packets that the host's interface received so far.
    pub(super) fn received(&self) -> Result<u64> {
        let interface = &self.lab.link().near().interface;
        Ok(self.lab.host.counters(interface)?.rx_packets)
    }

    /// SYNs that the peer's kernel sent again for want of an answer.
    pub(super) fn repeated_syns(&self) -> Result<u64> {
        let table = self.lab.peer.enter(|| {
            fs::read_to_string("/proc/thread-self/net/netstat")
                .context("cannot read /proc/net/netstat")
        })?;
        // A line of names, then a line of values.
        let mut lines = table.lines().filter(|line| line.starts_with("TcpExt:"));
        let (names, values) = (lines.next(), lines.next());
        names
            .zip(values)
            .and_then(|(names, values)| {
                let mut pairs = names.split(' ').zip(values.split(' '));
                pairs.find(|(name, _)| *name == "TCPSynRetrans")
            })
            .and_then(|(_, value)| value.parse().ok())
            .context("no TCPSynRetrans in /proc/net/netstat")
    }
}
