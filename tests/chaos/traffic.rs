//! Traffic that goes on whatever happens: to a port that every policy opens, and to one that
//! none does.

use std::{
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use socket2::SockRef;
use xdpfw_tests::{Lab, PATIENCE, servers};

/// Open under every policy.
pub(super) const OPEN: u16 = 1000;
/// Closed under every policy.
pub(super) const CLOSED: u16 = 1001;
/// Between two packets to each of the ports.
const PACE: Duration = Duration::from_micros(500);
/// Bytes of a socket's buffer: a reader that has to wait must not lose packets.
const BUFFER: usize = 8 << 20;

#[derive(Debug, Default)]
struct Counts {
    sent: AtomicU64,
    received: AtomicU64,
    intruded: AtomicU64,
    paused: AtomicBool,
    is_silent: AtomicBool,
    ended: AtomicBool,
}

/// What is sent and received, until it is dropped.
pub(super) struct Traffic {
    counts: Arc<Counts>,
    threads: Vec<JoinHandle<Result<()>>>,
}

impl Traffic {
    /// Begins it, over all links by turns.
    pub(super) fn begin(lab: &Lab) -> Result<Self> {
        let counts = Arc::new(Counts::default());
        let mut threads = Vec::new();
        for port in [OPEN, CLOSED] {
            let socket = servers::bind(&lab.host, SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port))?;
            SockRef::from(&socket).set_recv_buffer_size(BUFFER)?;
            socket.set_read_timeout(Some(Duration::from_millis(50)))?;
            let counts = Arc::clone(&counts);
            threads.push(thread::spawn(move || {
                let received = match port {
                    OPEN => &counts.received,
                    _ => &counts.intruded,
                };
                while !counts.ended.load(Ordering::Relaxed) {
                    if socket.recv(&mut [0; 16]).is_ok() {
                        received.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Ok(())
            }));
        }
        let senders = lab.links.iter().map(|link| {
            let socket = servers::bind(&lab.peer, link.far().at(0))?;
            Ok((socket, link.near().at(OPEN), link.near().at(CLOSED)))
        });
        let senders: Vec<_> = senders.collect::<Result<_>>()?;
        let own = Arc::clone(&counts);
        threads.push(thread::spawn(move || send(&own, &senders)));
        Ok(Self { counts, threads })
    }

    /// Waits until all that was sent arrived, and nothing else. Nothing more is sent until it
    /// is [resumed](Self::resume).
    pub(super) fn pause(&self) -> Result<()> {
        let Counts {
            sent,
            received,
            intruded,
            paused,
            is_silent,
            ..
        } = &*self.counts;
        paused.store(true, Ordering::SeqCst);
        let patience = Instant::now() + PATIENCE;
        while !is_silent.load(Ordering::SeqCst) {
            ensure!(Instant::now() < patience, "the sender does not pause");
            thread::sleep(PACE);
        }
        let arrived = loop {
            let (sent, received) = (sent.load(Ordering::SeqCst), received.load(Ordering::SeqCst));
            if sent == received || Instant::now() > patience {
                break (sent, received);
            }
            thread::sleep(Duration::from_millis(1));
        };
        let (sent, received) = arrived;
        ensure!(
            sent == received,
            "{received} of {sent} packets arrived at the open port"
        );
        let intruded = intruded.load(Ordering::SeqCst);
        ensure!(intruded == 0, "{intruded} packets came to the closed port");
        Ok(())
    }

    /// Goes on.
    pub(super) fn resume(&self) {
        self.counts.paused.store(false, Ordering::SeqCst);
    }

    /// How many packets went to the open port.
    pub(super) fn sent(&self) -> u64 {
        self.counts.sent.load(Ordering::SeqCst)
    }

    /// Ends it.
    pub(super) fn end(mut self) -> Result<()> {
        self.counts.ended.store(true, Ordering::SeqCst);
        for thread in std::mem::take(&mut self.threads) {
            thread.join().ok().context("a thread has panicked")??;
        }
        Ok(())
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.counts.ended.store(true, Ordering::SeqCst);
    }
}

type Sender = (UdpSocket, SocketAddrV4, SocketAddrV4);

fn send(counts: &Counts, senders: &[Sender]) -> Result<()> {
    for (socket, open, closed) in senders.iter().cycle() {
        if counts.ended.load(Ordering::SeqCst) {
            break;
        }
        let is_paused = counts.paused.load(Ordering::SeqCst);
        counts.is_silent.store(is_paused, Ordering::SeqCst);
        if !is_paused {
            // Counted before: it may arrive before this thread goes on.
            counts.sent.fetch_add(1, Ordering::SeqCst);
            if socket.send_to(b"open", open).is_err() {
                // It did not leave.
                counts.sent.fetch_sub(1, Ordering::SeqCst);
            }
            // Refused by an ICMP error of another one, or sent.
            drop(socket.send_to(b"closed", closed));
        }
        thread::sleep(PACE);
    }
    Ok(())
}
