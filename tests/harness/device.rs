//! Reads the kernel's counters of an interface.

use std::{fs::File, os::unix::fs::FileExt as _};

use anyhow::{Context as _, Result};

use crate::Host;

/// What has gone through an interface. For a veth pair, what XDP has judged
/// counts as received here and as transmitted at the other end, whatever the
/// verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets received.
    pub rx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Packets that were lost on the way in.
    pub rx_dropped: u64,
    /// Packets transmitted.
    pub tx_packets: u64,
    /// Bytes transmitted.
    pub tx_bytes: u64,
    /// Packets that were lost on the way out.
    pub tx_dropped: u64,
}

/// Reads the counters of an interface, from any thread.
#[derive(Debug)]
pub(crate) struct Device {
    interface: String,
    /// The table of the host's interfaces; opened there, it stays that host's.
    table: File,
}

impl Device {
    pub(crate) fn of(host: &Host, interface: &str) -> Result<Self> {
        let table = host.enter(|| {
            File::open("/proc/thread-self/net/dev").context("cannot open /proc/net/dev")
        })?;
        Ok(Self {
            interface: interface.to_owned(),
            table,
        })
    }

    pub(crate) fn counters(&self) -> Result<Counters> {
        let mut text = [0; 4096];
        let len = self
            .table
            .read_at(&mut text, 0)
            .context("cannot read /proc/net/dev")?;
        counters_in(&String::from_utf8_lossy(&text[..len]), &self.interface)
            .with_context(|| format!("no interface {}", self.interface))
    }
}

/// Finds an interface in `/proc/net/dev`: eight columns each for both ways, of
/// which the first, second and fourth are bytes, packets and drops.
fn counters_in(table: &str, interface: &str) -> Option<Counters> {
    let columns = table
        .lines()
        .find_map(|line| line.trim_start().strip_prefix(interface)?.strip_prefix(':'))?;
    let columns: Vec<u64> = columns
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    let [
        rx_bytes,
        rx_packets,
        _,
        rx_dropped,
        _,
        _,
        _,
        _,
        tx_bytes,
        tx_packets,
        _,
        tx_dropped,
        ..,
    ] = columns[..]
    else {
        return None;
    };
    Some(Counters {
        rx_packets,
        rx_bytes,
        rx_dropped,
        tx_packets,
        tx_bytes,
        tx_dropped,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found() {
        let table = "Inter-|   Receive  |  Transmit\n face |bytes ...\n\
            \x20   lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n\
            \x20 eth0:21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36\n";
        let counters = Counters {
            rx_bytes: 21,
            rx_packets: 22,
            rx_dropped: 24,
            tx_bytes: 29,
            tx_packets: 30,
            tx_dropped: 32,
        };
        assert_eq!(counters_in(table, "eth0"), Some(counters));
        assert_eq!(counters_in(table, "eth"), None);
        assert_eq!(counters_in(table, "eth1"), None);
    }
}
