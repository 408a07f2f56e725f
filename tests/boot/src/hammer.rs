//! Sends to closed and open ports of the guest throughout, and notes every answer and when it came.
//!
//! From a closed host nothing comes that was not asked for by it: no RST and no SYN-ACK, no echo
//! reply, no "port unreachable", over neither family.

use std::{
    collections::BTreeMap,
    fmt,
    io::{ErrorKind, Read as _},
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use socket2::Socket;
use xdpfw_tests::{End, Host, packet_socket, packets};

use crate::guest::{TAP, ends};

/// Nobody listens there: the answer is RST, or "port unreachable".
const REFUSED: u16 = 9;
/// A service of the image listens there, which no rule opens: the answer is SYN-ACK.
const LISTENING: u16 = 7777;
/// The rule `allow ssh` opens it.
const OPEN: u16 = 22;
/// Where we send from.
const OURS: std::ops::Range<u16> = 20_000..30_000;
/// How often closed ports are tried.
const PACE: Duration = Duration::from_millis(5);
/// The open port is tried every so many times: each answer takes the guest more than a drop does.
const SELDOM: u64 = 5;
/// `ETH_P_ALL` of linux/if_ether.h.
const EVERY_FRAME: u16 = 3;
/// How soon the receiver notices that it is to stop.
const NOTICE: Duration = Duration::from_millis(50);

/// An answer of the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// When it came.
    pub at: Instant,
    /// What it is.
    pub what: &'static str,
}

/// What was sent, and what came back.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Packets that were sent to closed ports.
    pub sent: u64,
    /// Answers that a closed host does not give.
    pub leaks: Vec<Answer>,
    /// When the open port answered.
    pub open: Vec<Instant>,
}

/// Sends and receives until it is dropped.
#[derive(Debug)]
pub struct Hammer {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    sent: AtomicU64,
    tally: Mutex<Tally>,
}

impl Hammer {
    /// Starts hammering from the peer's end of the wire.
    pub fn start(peer: &Host) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let sender = packet_socket(peer, TAP, 0)?;
        let receiver = packet_socket(peer, TAP, EVERY_FRAME)?;
        receiver
            .set_read_timeout(Some(NOTICE))
            .context("cannot receive")?;
        let (to, from) = (shared.clone(), shared.clone());
        Ok(Self {
            shared,
            threads: vec![
                thread::spawn(move || send(&sender, &to)),
                thread::spawn(move || receive(receiver, &from)),
            ],
        })
    }

    /// What came since this was asked last.
    pub fn take(&self) -> Tally {
        let mut tally = self.shared.tally();
        tally.sent = self.shared.sent.swap(0, Ordering::Relaxed);
        std::mem::take(&mut tally)
    }
}

impl Drop for Hammer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn is_running(&self) -> bool {
        !self.stopped.load(Ordering::Relaxed)
    }

    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends all probes again and again.
fn send(socket: &Socket, shared: &Shared) {
    let [guest, peer] = ends();
    let mut round = 0;
    while shared.is_running() {
        let port = OURS.start + (round % OURS.len() as u64) as u16;
        for packet in closed(&guest, &peer, port) {
            // The device takes nothing while the guest has none.
            if socket.send(&packets::frame(&peer, &guest, &packet)).is_ok() {
                shared.sent.fetch_add(1, Ordering::Relaxed);
            }
        }
        if round % SELDOM == 0 {
            let packet = packets::syn(peer.at(port), guest.at(OPEN));
            let _ = socket.send(&packets::frame(&peer, &guest, &packet));
        }
        round += 1;
        thread::sleep(PACE);
    }
}

/// What a closed host does not answer.
fn closed(guest: &End, peer: &End, port: u16) -> [Vec<u8>; 8] {
    /// Echo requests (RFC 792, RFC 4443).
    const ECHO: u8 = 8;
    const ECHO6: u8 = 128;
    let local = |end: &End, port| SocketAddr::from((end.link_local, port));
    [
        packets::syn(peer.at(port), guest.at(REFUSED)),
        packets::syn(peer.at(port), guest.at(LISTENING)),
        packets::udp(peer.at(port), guest.at(REFUSED), b"?"),
        packets::echo(peer.address, guest.address, ECHO, port),
        packets::syn(local(peer, port), local(guest, REFUSED)),
        packets::syn(local(peer, port), local(guest, LISTENING)),
        packets::udp(local(peer, port), local(guest, REFUSED), b"?"),
        packets::echo(peer.link_local, guest.link_local, ECHO6, port),
    ]
}

/// Notes what comes from the guest.
fn receive(mut socket: Socket, shared: &Shared) {
    let [guest, _] = ends();
    let mut frame = [0; 2048];
    while shared.is_running() {
        let length = match socket.read(&mut frame) {
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            // The device was down for a moment.
            Err(_) => {
                thread::sleep(NOTICE);
                continue;
            }
        };
        // Our own frames come by here, too.
        if frame.get(6..12) != Some(&guest.mac[..]) {
            continue;
        }
        let at = Instant::now();
        match meaning(&frame[..length]) {
            Some(Meaning::Open) => shared.tally().open.push(at),
            Some(Meaning::Leak(what)) => shared.tally().leaks.push(Answer { at, what }),
            None => {}
        }
    }
}

/// What a frame of the guest says to us.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    /// The open port has a service.
    Open,
    /// A closed one has answered.
    Leak(&'static str),
}

fn meaning(frame: &[u8]) -> Option<Meaning> {
    /// "Port unreachable" is of these types (RFC 792, RFC 4443).
    const UNREACHABLE: u8 = 3;
    const UNREACHABLE6: u8 = 1;
    /// Echo replies.
    const REPLY: u8 = 0;
    const REPLY6: u8 = 129;
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let over6 = matches!(packet.net, Some(NetSlice::Ipv6(_)));
    let leak = |over4, six| Some(Meaning::Leak(if over6 { six } else { over4 }));
    match packet.transport? {
        TransportSlice::Tcp(tcp) => match tcp.source_port() {
            OPEN if tcp.syn() && OURS.contains(&tcp.destination_port()) => Some(Meaning::Open),
            REFUSED | LISTENING if tcp.rst() => leak("RST", "RST/v6"),
            REFUSED | LISTENING => leak("SYN-ACK", "SYN-ACK/v6"),
            _ => None,
        },
        TransportSlice::Udp(udp) => match udp.source_port() {
            REFUSED | LISTENING => leak("UDP", "UDP/v6"),
            _ => None,
        },
        TransportSlice::Icmpv4(icmp) => match icmp.type_u8() {
            UNREACHABLE => leak("unreachable", ""),
            REPLY => leak("echo-reply", ""),
            _ => None,
        },
        TransportSlice::Icmpv6(icmp) => match icmp.type_u8() {
            UNREACHABLE6 => leak("", "unreachable/v6"),
            REPLY6 => leak("", "echo-reply/v6"),
            _ => None,
        },
        TransportSlice::Igmp(_) => None,
    }
}

impl Tally {
    /// Takes what another has, which is later.
    pub fn add(&mut self, later: Self) {
        self.sent += later.sent;
        self.leaks.extend(later.leaks);
        self.open.extend(later.open);
    }

    /// The two answers of the open port with the longest time between them.
    pub fn longest_silence(&self) -> Option<[Instant; 2]> {
        let pairs = self.open.windows(2).map(|pair| [pair[0], pair[1]]);
        pairs.max_by_key(|[from, to]| *to - *from)
    }
}

/// How many answers of which kind: `no answer`, or `RST 12, SYN-ACK 3`.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.leaks.is_empty() {
            return write!(f, "no answer to {} packets", self.sent);
        }
        let mut kinds = BTreeMap::new();
        for answer in &self.leaks {
            *kinds.entry(answer.what).or_insert(0) += 1;
        }
        let kinds: Vec<String> = kinds
            .iter()
            .map(|(what, count)| format!("{what} {count}"))
            .collect();
        write!(f, "{} to {} packets", kinds.join(", "), self.sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_from_the_rest() {
        let [guest, peer] = ends();
        let meaning_of = |packet: &[u8]| meaning(&packets::frame(&guest, &peer, packet));
        let tcp = |port, bits| packets::tcp(guest.at(port), peer.at(OURS.start), bits);
        use packets::flags::{ACK, RST, SYN};
        assert_eq!(meaning_of(&tcp(OPEN, SYN | ACK)), Some(Meaning::Open));
        assert_eq!(meaning_of(&tcp(OPEN, RST | ACK)), None);
        let leak = |what| Some(Meaning::Leak(what));
        assert_eq!(meaning_of(&tcp(REFUSED, RST | ACK)), leak("RST"));
        assert_eq!(meaning_of(&tcp(LISTENING, SYN | ACK)), leak("SYN-ACK"));
        let echo = packets::echo(guest.link_local, peer.link_local, 129, 1);
        assert_eq!(meaning_of(&echo), leak("echo-reply/v6"));
        // The guest's own doings.
        let solicitation = packets::icmp(guest.link_local, peer.link_local, 135);
        assert_eq!(meaning_of(&solicitation), None);
    }
}
