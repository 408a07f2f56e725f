//! Measures what real clients meet in a flood of new connections: without a defence, with the
//! kernel's SYN cookies, with xdpfw's, and behind nftables' synproxy. For a person to read:
//! `cargo xtask test -- cookies_measured --ignored --nocapture`.

use std::{
    io::{Read as _, Write as _},
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use xdpfw_tests::{Host, Lab, PATIENCE, servers, servers::TcpServer, task::say};

use crate::cookies::SETTING;

/// Where the server listens.
const PORT: u16 = 443;
const DOCUMENT: &str = "hello";
/// Rounds, in which all have their turn, so that what else the machine does meets all of them.
const ROUNDS: usize = 3;
/// Clients of a turn, and the time between them.
const CLIENTS: u32 = 100;
const PACE: Duration = Duration::from_millis(20);
/// How long the flood lasts before the first client comes.
const LEAD: Duration = Duration::from_secs(2);

/// What stands between the flood and the server.
#[derive(Clone, Copy, Debug)]
enum Guard {
    /// Nothing: `tcp_syncookies = 0`.
    Nothing,
    /// What Linux does of its own: `tcp_syncookies = 1`.
    Kernel,
    /// xdpfw, as an XDP program in this mode.
    Xdpfw(&'static str),
    /// nftables' synproxy.
    Synproxy,
}

const GUARDS: [Guard; 5] = [
    Guard::Nothing,
    Guard::Kernel,
    Guard::Xdpfw("generic"),
    Guard::Xdpfw("native"),
    Guard::Synproxy,
];

/// As in nft(8), for this port.
const SYNPROXY: &str = "
    add table ip guard
    add chain ip guard raw { type filter hook prerouting priority raw; }
    add rule ip guard raw tcp dport 443 tcp flags syn notrack
    add chain ip guard input { type filter hook input priority 0; }
    add rule ip guard input tcp dport 443 ct state invalid,untracked synproxy mss 1460 wscale 7 timestamp sack-perm
    add rule ip guard input ct state invalid drop";

/// What came out in a turn.
struct Turn {
    /// SYNs that came in, and what left, each second.
    asked: f64,
    answered: f64,
    /// How long those clients took that could connect.
    times: Vec<Duration>,
}

#[test]
#[ignore = "measures for minutes, with hping3"]
fn beside_synproxy() -> Result<()> {
    let mut turns: [Vec<Turn>; GUARDS.len()] = Default::default();
    for _ in 0..ROUNDS {
        for (guard, turns) in GUARDS.into_iter().zip(&mut turns) {
            turns.push(turn(guard)?);
        }
    }
    for (guard, turns) in GUARDS.iter().zip(&turns) {
        for turn in turns {
            let mut times = turn.times.clone();
            times.sort_unstable();
            let at = |share: usize| times.get(times.len().saturating_sub(1) * share / 100);
            say(format_args!(
                "{guard:?}: {:.0} SYN/s, {:.0} answers/s, {} of {CLIENTS} connect, median {:?}, 99 % {:?}",
                turn.asked,
                turn.answered,
                times.len(),
                at(50).copied().unwrap_or_default(),
                at(99).copied().unwrap_or_default(),
            ));
        }
        if matches!(guard, Guard::Xdpfw(_)) {
            ensure!(
                turns
                    .iter()
                    .all(|turn| turn.times.len() == CLIENTS as usize)
            );
        }
    }
    Ok(())
}

fn turn(guard: Guard) -> Result<Turn> {
    let lab = Lab::new()?;
    put(guard, &lab)?;
    let (near, peer) = (lab.link().near(), &lab.peer);
    let far = lab.link().far().address.to_string();
    // The answers have to go somewhere.
    lab.host
        .run("ip", ["route", "add", "default", "via", &far])?;
    let _server = TcpServer::http(&lab.host, near.at(PORT).into(), DOCUMENT)?;
    let (to, port) = (near.address.to_string(), PORT.to_string());
    let flood = ["--flood", "--rand-source", "-q", "-S", "-p", &port, &to];
    let _flood = peer.spawn("hping3", flood)?;
    thread::sleep(LEAD);
    let (begin, before) = (Instant::now(), peer.counters("eth0")?);
    let clients = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                // One that cannot connect does not keep the others waiting.
                thread::sleep(PACE);
                scope.spawn(|| {
                    let begin = Instant::now();
                    connects(peer, near.at(PORT).into()).then(|| begin.elapsed())
                })
            })
            .collect();
        clients
            .into_iter()
            .map(thread::ScopedJoinHandle::join)
            .collect::<Result<Vec<_>, _>>()
    });
    let clients = clients.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    let times = clients.into_iter().flatten().collect();
    let (seconds, after) = (begin.elapsed().as_secs_f64(), peer.counters("eth0")?);
    Ok(Turn {
        asked: (after.tx_packets - before.tx_packets) as f64 / seconds,
        answered: (after.rx_packets - before.rx_packets) as f64 / seconds,
        times,
    })
}

/// Whether a client is served. It speaks first: behind a synproxy, a server that does would wait a second
/// until it may.
fn connects(peer: &Host, server: SocketAddr) -> bool {
    let served = || -> Result<bool> {
        let mut stream = servers::connect(peer, 0, server, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
        let mut said = String::new();
        stream.read_to_string(&mut said)?;
        Ok(said.ends_with(DOCUMENT))
    };
    served().unwrap_or(false)
}

fn put(guard: Guard, lab: &Lab) -> Result<()> {
    let host = &lab.host;
    match guard {
        Guard::Nothing => host.sysctl(SETTING, "0"),
        Guard::Kernel => host.sysctl(SETTING, "1"),
        Guard::Xdpfw(mode) => {
            if mode == "native" {
                // Who takes what a veth hands back.
                lab.peer.xdpfw(["default", "pass"]).ok();
                lab.peer.xdpfw(["up", "eth0", "--mode", mode]).ok();
            }
            host.sysctl(SETTING, "2")?;
            let port = PORT.to_string();
            host.xdpfw(["allow", "tcp", &port, "--syn-cookies"]).ok();
            host.xdpfw(["up", "eth0", "--mode", mode]).ok();
            Ok(())
        }
        Guard::Synproxy => {
            // What belongs to no connection must not begin one.
            for line in SYNPROXY.lines().filter(|line| !line.trim().is_empty()) {
                host.run("nft", [line])?;
            }
            host.sysctl("net/netfilter/nf_conntrack_tcp_loose", "0")
        }
    }
}
