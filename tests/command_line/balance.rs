//! Proves that each packet of a scan at full speed is shown by `log` or told of as not shown, and
//! that `stats` counts it, at its interface too.

use std::{
    io::{BufRead as _, BufReader, Read},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use xdpfw_tests::{Lab, Link, PATIENCE, Sender, is_traced, json::number, packets, wait_until};

use crate::running::{ended, start};

/// What `log` told of.
#[derive(Default)]
struct Told {
    /// Packets that it showed.
    shown: AtomicU64,
    /// Packets of which it told how many it did not show.
    lost: AtomicU64,
}

impl Told {
    fn all(&self) -> u64 {
        self.shown.load(Ordering::SeqCst) + self.lost.load(Ordering::SeqCst)
    }

    /// Reads what is written, as fast as it comes, to its end.
    fn read(&self, lines: impl Read) -> Result<()> {
        for line in BufReader::new(lines).lines() {
            let event: Value = serde_json::from_str(&line?)?;
            match event["event"].as_str() {
                None => self.shown.fetch_add(1, Ordering::SeqCst),
                Some("lost") => self
                    .lost
                    .fetch_add(number(&event["count"])?, Ordering::SeqCst),
                Some(other) => bail!("{other}"),
            };
        }
        Ok(())
    }
}

/// Sends a packet to each port by this link; returns how many that were.
fn scan(lab: &Lab, link: &Link) -> Result<u64> {
    let (near, far) = (link.near(), link.far());
    let from = far.at(40_000);
    let packets = (0..=u16::MAX).map(|port| packets::syn(from, near.at(port)));
    Sender::new(&lab.peer, far)?.send_all(packets)
}

#[test]
fn each_packet_of_a_scan_is_shown_or_counted_as_lost() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    // Of the kernel's own packets, none is dropped.
    host.set_ipv6(false)?;
    lab.peer.set_ipv6(false)?;
    host.xdpfw(["up", "eth0", "eth1"]).ok();
    let mut log = start(host.xdpfw(["--json", "log"]))?;
    wait_until("listening", || is_traced(host))?;
    let stdout = log.stdout.take().context("no stdout")?;
    let told = Told::default();
    let sent: Vec<u64> = thread::scope(|scope| {
        let reader = scope.spawn(|| told.read(stdout));
        let scans: Vec<_> = lab
            .links
            .iter()
            .map(|link| scope.spawn(|| scan(&lab, link)))
            .collect();
        let sent = scans.into_iter().map(joined).collect::<Result<Vec<_>>>();
        // What it missed, it tells of a moment later. Ended too early, it fails below.
        let deadline = Instant::now() + PATIENCE;
        while sent
            .as_ref()
            .is_ok_and(|sent| told.all() < sent.iter().sum())
            && Instant::now() < deadline
        {
            thread::sleep(Duration::from_millis(20));
        }
        kill_process(Pid::from_child(&log), Signal::INT)?;
        let status = ended(&mut log, PATIENCE)?;
        if status.is_none() {
            log.kill()?;
            log.wait()?;
        }
        joined(reader)?;
        let status = status.context("log does not end")?;
        assert_eq!(status.code(), Some(0));
        sent
    })?;
    assert_eq!(sent, [65_536, 65_536]);
    let all: u64 = sent.iter().sum();
    let [shown, lost] = [&told.shown, &told.lost].map(|count| count.load(Ordering::SeqCst));
    assert_eq!(shown + lost, all, "{shown} shown, {lost} lost");
    assert!(shown > 0, "nothing is shown");

    let stats = host.xdpfw(["stats"]).json();
    assert_eq!(stats["totals"]["dropped"]["packets"], all);
    let interfaces = stats["interfaces"].as_array().context("no interfaces")?;
    for (name, sent) in ["eth0", "eth1"].into_iter().zip(sent) {
        let counted = interfaces.iter().find(|row| row["interface"] == name);
        let counted = counted.with_context(|| format!("{name} is not counted"))?;
        assert_eq!(counted["dropped"]["packets"], sent, "{name}");
    }
    let sum = interfaces
        .iter()
        .map(|row| number(&row["dropped"]["packets"]))
        .sum::<Result<u64>>()?;
    assert_eq!(sum, all);
    Ok(())
}

/// What a thread has to say; its panic is ours.
fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
