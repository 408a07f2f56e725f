//! What comes to a host at the edge: scans, knocks on the usual ports, and customers.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use xdpfw_tests::{Interrupted, Lab, Sender, packets};

/// How often packets are sent.
const BEAT: Duration = Duration::from_millis(20);
/// Ports that are knocked at, over and over, and how often of a hundred.
const KNOCKS: [(u16, u64); 9] = [
    (23, 34),
    (22, 16),
    (3389, 13),
    (445, 11),
    (6379, 8),
    (5900, 6),
    (8080, 5),
    (25, 4),
    (1433, 3),
];

/// Packets that come in until it is ended.
pub(super) struct Traffic {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Result<()>>,
}

impl Traffic {
    /// Has the peer of a lab send them.
    pub(super) fn start(lab: &Lab) -> Result<Self> {
        let to = *lab.link().near().at(0).ip();
        let mut sender = Sender::new(&lab.peer, lab.link().far())?;
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let (start, mut number) = (Instant::now(), 0);
            while !ends.load(Ordering::Relaxed) {
                for _ in 0..packets_at(start.elapsed().as_secs_f64()) {
                    number += 1;
                    sender.send(&packet(number, to))?;
                }
                thread::sleep(BEAT);
            }
            Ok(())
        });
        Ok(Self { is_over, thread })
    }

    /// Ends it.
    pub(super) fn end(self) -> Result<()> {
        self.is_over.store(true, Ordering::Relaxed);
        let ended = self.thread.join();
        ended.map_err(|_| anyhow!("what sends packets has panicked"))?
    }
}

/// Packets of a beat: they swell and ebb, and now and then somebody floods.
fn packets_at(seconds: f64) -> u64 {
    let swell = 26.0 + 16.0 * (seconds / 19.0).sin() + 9.0 * (seconds / 5.0).sin();
    let flood = match seconds % 83.0 {
        since if since > 52.0 && since < 66.0 => 60.0,
        _ => 0.0,
    };
    (swell + flood).max(1.0) as u64
}

fn packet(number: u64, to: Ipv4Addr) -> Vec<u8> {
    // As random as it has to be, and the same each time (Knuth's multiplicative hashing).
    let random = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    let from = |network: [u8; 3], host: u64| {
        let [a, b, c] = network;
        let port = 30_000 + (random >> 8 & 0x3fff) as u16;
        SocketAddrV4::new(Ipv4Addr::new(a, b, c, host as u8), port)
    };
    let to = |port| SocketAddrV4::new(to, port);
    match random % 100 {
        // One bot in front of all others.
        0..=21 => packets::syn(from([198, 51, 100], 66), to(23)),
        22..=63 => {
            let mut left = (random >> 24) % 100;
            let knock = KNOCKS.iter().find(|(_, share)| {
                let is_it = left < *share;
                left = left.saturating_sub(*share);
                is_it
            });
            let port = knock.map_or(23, |(port, _)| *port);
            packets::syn(from([203, 0, 113], (random >> 12) % 24 + 1), to(port))
        }
        // A scan, port by port.
        64..=77 => packets::syn(from([198, 51, 100], 7), to((random >> 10) as u16 | 1)),
        78..=83 => packets::udp(from([203, 0, 113], 200), to(5060), b"OPTIONS sip:100"),
        84..=87 => packets::udp(from([198, 51, 100], 53), to(1900), b"M-SEARCH"),
        _ => packets::syn(from([198, 51, 100], (random >> 14) % 100 + 100), to(443)),
    }
}

/// Waits, unless the user has had enough.
pub(super) fn wait(duration: Duration, interrupted: &Interrupted) -> Result<()> {
    let end = Instant::now() + duration;
    while Instant::now() < end {
        interrupted.check()?;
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
