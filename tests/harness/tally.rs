//! Reads all counters of a host's filter and compares them with the expected ones.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use crate::{
    Counters, Host, PATIENCE,
    json::{number, rows, word},
};

/// Counters by name, without those at zero: `drop default`, `tcp/443`, `r1`.
///
/// Reports to multicast routers are left out: the kernel sends them when it pleases,
/// and they are asked for with [`Tally::mld`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    packets: BTreeMap<String, u64>,
    bytes: BTreeMap<String, u64>,
    mld: u64,
    mld_bytes: u64,
}

impl Tally {
    /// All that a host's filter has counted.
    #[track_caller]
    pub fn of(host: &Host) -> Result<Self> {
        let mut tally = Self::default();
        let status = host.status();
        let [stats, list] = ["stats", "list"].map(|command| host.xdpfw([command]).json());
        for row in rows(&status["reasons"])? {
            let name = format!("{} {}", word(&row["verdict"])?, word(&row["reason"])?);
            if name == "pass mld" {
                tally.mld = number(&row["packets"])?;
                tally.mld_bytes = number(&row["bytes"])?;
            } else {
                tally.bytes.insert(name.clone(), number(&row["bytes"])?);
                tally.packets.insert(name, number(&row["packets"])?);
            }
        }
        for row in rows(&stats["ports"])? {
            let name = format!("{}/{}", word(&row["protocol"])?, row["port"]);
            tally.packets.insert(name, number(&row["dropped_packets"])?);
        }
        for row in rows(&list["rules"])? {
            tally
                .packets
                .insert(word(&row["id"])?.to_owned(), number(&row["packets"])?);
        }
        Ok(tally)
    }

    /// The same, with what the one filtered interface has received: of one moment, at
    /// which nothing is on the way.
    #[track_caller]
    pub fn settled(host: &Host, interface: &str) -> Result<(Self, Counters)> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let before = host.counters(interface)?;
            let tally = Self::of(host)?;
            // What was judged just now, the device may count in a moment.
            thread::sleep(Duration::from_millis(5));
            let after = host.counters(interface)?;
            if before == after {
                return Ok((tally, after));
            }
            ensure!(Instant::now() < deadline, "packets come in all the time");
        }
    }

    /// What has been counted since `before`.
    pub fn since(mut self, before: &Self) -> Self {
        for (own, old) in [
            (&mut self.packets, &before.packets),
            (&mut self.bytes, &before.bytes),
        ] {
            own.retain(|name, count| {
                *count -= old.get(name).copied().unwrap_or_default();
                *count > 0
            });
        }
        self.mld -= before.mld;
        self.mld_bytes -= before.mld_bytes;
        self
    }

    /// Packets of one counter.
    pub fn packets(&self, name: &str) -> u64 {
        self.packets.get(name).copied().unwrap_or_default()
    }

    /// Bytes of one reason.
    pub fn bytes(&self, reason: &str) -> u64 {
        self.bytes.get(reason).copied().unwrap_or_default()
    }

    /// Reports to multicast routers.
    pub const fn mld(&self) -> u64 {
        self.mld
    }

    /// All packets: every one has one reason.
    pub fn judged(&self) -> u64 {
        let reasons = self.packets.iter().filter(|(name, _)| name.contains(' '));
        reasons.map(|(_, packets)| packets).sum::<u64>() + self.mld
    }

    /// Bytes of all packets.
    pub fn judged_bytes(&self) -> u64 {
        self.bytes.values().sum::<u64>() + self.mld_bytes
    }

    /// Claims that since `before`, these counters and no others have moved, by so
    /// many packets; waits for those that are still on the way.
    #[track_caller]
    pub fn assert_moved(host: &Host, before: &Self, expected: &[(&str, u64)]) -> Result<Self> {
        let expected: BTreeMap<String, u64> = expected
            .iter()
            .filter(|(_, packets)| *packets > 0)
            .map(|(name, packets)| ((*name).to_owned(), *packets))
            .collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let moved = Self::of(host)?.since(before);
            let on_the_way = expected
                .iter()
                .any(|(name, &packets)| moved.packets(name) < packets);
            if !on_the_way || Instant::now() > deadline {
                assert_eq!(moved.packets, expected, "counters that have moved");
                return Ok(moved);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}
