//! The scan: plans the packets of the peer, and sends them.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use rustix::process::Signal;
use xdpfw_tests::{Process, Sender, packets};

use crate::stage::{ANSWER, Stage};

/// The scanner's port: not one that servers answer from.
const SCANNER: u16 = 40_000;
/// UDP ports that are scanned, from 1 on.
pub(super) const UDP_PORTS: u16 = 1000;
/// TCP ports that scanners come back to; the list is gone through again and again
/// during the scan, a knock for every eighth probe.
const KNOCKS: [u16; 8] = [23, 23, 23, 23, 3389, 3389, 22, 6379];
/// How long the scan takes: several updates of the live statistics.
pub(super) const SCAN: Duration = Duration::from_secs(5);
/// Packets between two looks at the clock.
const CHUNK: usize = 256;
/// More than an update of the live statistics takes.
const LAST_UPDATE: Duration = Duration::from_millis(1500);

/// The protocols that have ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Protocol {
    Tcp,
    Udp,
}

/// A port of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Port {
    pub(super) protocol: Protocol,
    pub(super) number: u16,
}

impl Port {
    pub(super) const fn tcp(number: u16) -> Self {
        Self {
            protocol: Protocol::Tcp,
            number,
        }
    }

    pub(super) const fn udp(number: u16) -> Self {
        Self {
            protocol: Protocol::Udp,
            number,
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        write!(f, "{protocol} {}", self.number)
    }
}

/// What the peer sends, packet by packet.
pub(super) struct Scan {
    pub(super) probes: Vec<Port>,
}

impl Scan {
    pub(super) fn plan() -> Self {
        // Any odd number makes this a permutation of all ports; one near the golden
        // ratio looks like a scanner's random order.
        const STRIDE: u16 = 40_503;
        let tcp = (0..=u16::MAX)
            .map(|index| index.wrapping_mul(STRIDE))
            .filter(|&port| port != 0)
            .map(Port::tcp);
        let mut udp = (1..=UDP_PORTS).map(Port::udp);
        let mut knocks = KNOCKS.into_iter().cycle().map(Port::tcp);
        let mut probes = Vec::new();
        for (index, probe) in tcp.enumerate() {
            probes.push(probe);
            if index % KNOCKS.len() == 0 {
                probes.extend(knocks.next());
            }
            if index % 64 == 0 {
                probes.extend(udp.next());
            }
        }
        probes.extend(udp);
        Self { probes }
    }

    /// How many packets each port is sent.
    pub(super) fn sent(&self) -> BTreeMap<Port, u64> {
        let mut sent = BTreeMap::new();
        for &probe in &self.probes {
            *sent.entry(probe).or_default() += 1;
        }
        sent
    }

    /// Sends the probes from the peer, with live statistics on screen.
    pub(super) fn send(&self, stage: &Stage<'_>) -> Result<()> {
        let arguments = ["stats", "--watch", "1", "--top", "5"];
        stage.echo(&arguments);
        let mut watch = stage.lab.host.xdpfw(arguments).spawn()?;
        let (near, far) = (stage.lab.link().near(), stage.lab.link().far());
        let from = far.at(SCANNER);
        let mut sender = Sender::new(&stage.lab.peer, far)?;
        let still_runs = |watch: &mut Process| -> Result<()> {
            match watch.wait(Duration::ZERO)? {
                Some(status) => bail!("`xdpfw {}` ended too early ({status})", arguments.join(" ")),
                None => Ok(()),
            }
        };
        let start = Instant::now();
        for (index, chunk) in self.probes.chunks(CHUNK).enumerate() {
            for probe in chunk {
                let to = near.at(probe.number);
                sender.send(&match probe.protocol {
                    Protocol::Tcp => packets::syn(from, to),
                    Protocol::Udp => packets::udp(from, to, b"probe"),
                })?;
            }
            still_runs(&mut watch)?;
            let progress = (index * CHUNK) as f64 / self.probes.len() as f64;
            stage.pause(SCAN.mul_f64(progress).saturating_sub(start.elapsed()))?;
        }
        sender.settle()?;
        stage.pause(LAST_UPDATE)?;
        still_runs(&mut watch)?;
        watch.signal(Signal::INT)?;
        ensure!(
            watch.wait(ANSWER)?.is_some(),
            "`xdpfw {}` does not end when interrupted",
            arguments.join(" ")
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CLOSED, OPEN};

    #[test]
    fn scan_leaves_no_port_out() {
        let sent = Scan::plan().sent();
        assert_eq!(sent.len(), 65_535 + usize::from(UDP_PORTS));
        assert!(!sent.contains_key(&Port::tcp(0)));
        assert_eq!(sent[&Port::tcp(OPEN)], 1);
        assert_eq!(sent[&Port::tcp(CLOSED)], 1);
        assert_eq!(sent[&Port::tcp(3389)], 1 + 2048);
        assert!((1..=UDP_PORTS).all(|port| sent[&Port::udp(port)] == 1));
    }
}
