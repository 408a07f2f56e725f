//! What is no scan.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use xdpfw_tests::{
    Lab, PATIENCE, capture,
    packets::{self, flags},
    servers,
};

use super::{POLICY, Row, found, lab, page::Section};
use crate::judge::Judge;

/// The peer's port where it does not matter.
const REMOTE: u16 = 40_000;
/// The open port.
const OPEN: u16 = 80;
/// Clients that are there at once.
const CLIENTS: usize = 1_000;

type Traffic = (&'static str, fn(&Lab) -> Result<()>);

const BENIGN: [Traffic; 10] = [
    ("iperf3 to an open port", bulk),
    ("1,000 HTTP clients at once", crowd),
    (
        "a host that tries three closed ports again and again for an hour",
        stubborn,
    ),
    ("`traceroute` (UDP, ICMP and TCP)", |lab| {
        run(lab, "traceroute -n -w 0.2 -q 3 -N 90")?;
        run(lab, "traceroute -n -I -w 0.2")?;
        run(lab, "traceroute -n -T -p 443 -w 0.2")
    }),
    ("`traceroute -6`", |lab| {
        run(lab, "traceroute -6 -n -w 0.2 -N 90")
    }),
    ("`mtr --udp`, `mtr --tcp` and `mtr`", |lab| {
        run(lab, "mtr -n -r -c 3 -i 0.2 --udp")?;
        run(lab, "mtr -n -r -c 3 -i 0.2 --tcp -P 443")?;
        run(lab, "mtr -n -r -c 3 -i 0.2")
    }),
    (
        "500 clients behind one address, one in ten of which mistypes a port",
        crowd_behind_nat,
    ),
    (
        "2,000 peers of a swarm over UDP, three datagrams each to one port",
        swarm,
    ),
    (
        "a monitoring system that checks 20 open ports each minute for an hour",
        monitoring,
    ),
    (
        "late segments of 200 connections that this host has reset",
        late,
    ),
];

pub(super) fn prove() -> Result<Section> {
    let mut rows = Vec::new();
    for (name, send) in BENIGN {
        let policy = match name.contains("monitoring") {
            true => POLICY.replace("tcp 80", "tcp 80-99"),
            false => POLICY.to_owned(),
        };
        let lab = lab(&policy)?;
        send(&lab).with_context(|| name.to_owned())?;
        let list = found(&lab.host)?;
        assert!(list.is_empty(), "{name}: {list:?}");
        rows.push(Row::new(name, &["0", "0"]));
    }
    Ok(Section {
        text: "## What is no scan\n",
        heads: &["traffic", "found", "banned"],
        rows,
    })
}

/// Runs a program on the peer against the host. Whether it reaches it does not matter.
fn run(lab: &Lab, command: &str) -> Result<()> {
    let near = lab.link().near();
    let to = match command.contains(" -6 ") {
        true => near.address6.to_string(),
        false => near.address.to_string(),
    };
    let mut words = command.split(' ');
    let program = words.next().context("no program")?;
    let output = lab.peer.command(program).args(words).arg(to).output()?;
    ensure!(
        !output.stdout.is_empty(),
        "{command}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn bulk(lab: &Lab) -> Result<()> {
    let port = OPEN.to_string();
    let to = lab.link().near().address.to_string();
    let _server = lab.host.spawn("iperf3", ["-s", "-1", "-p", &port])?;
    let listens = || {
        let sockets = lab.host.run("ss", ["-Hltn"]).unwrap_or_default();
        sockets.contains(&format!(":{port} "))
    };
    xdpfw_tests::wait_until("a server", listens)?;
    capture(
        lab.peer
            .command("iperf3")
            .args(["-c", &to, "-p", &port, "-t", "1", "-P", "4"]),
    )?;
    Ok(())
}

fn crowd(lab: &Lab) -> Result<()> {
    const REQUEST: &[u8; 27] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const ANSWER: &[u8; 39] = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
    let to = lab.link().near().at(OPEN);
    let listener = lab.host.enter(|| Ok(TcpListener::bind(to)?))?;
    let server = thread::spawn(move || -> Result<()> {
        let mut held: Vec<TcpStream> = Vec::new();
        while held.len() < CLIENTS {
            held.push(listener.accept()?.0);
        }
        // All are there: now they are served.
        held.iter_mut().try_for_each(|one| {
            let mut request = [0; REQUEST.len()];
            one.read_exact(&mut request)?;
            ensure!(request == *REQUEST, "{request:?}");
            Ok(one.write_all(ANSWER)?)
        })
    });
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = servers::connect(&lab.peer, 0, to, PATIENCE)?;
        client.write_all(REQUEST)?;
        clients.push(client);
    }
    for client in &mut clients {
        client.set_read_timeout(Some(PATIENCE))?;
        let mut answer = [0; ANSWER.len()];
        client.read_exact(&mut answer)?;
        ensure!(answer == *ANSWER, "{answer:?}");
    }
    match server.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The kernel of a client tries five times within a minute or so.
fn stubborn(lab: &Lab) -> Result<()> {
    let judge = Judge::of(lab)?;
    let (near, far) = (lab.link().near(), lab.link().far());
    for minute in 0..60 {
        let syns =
            [22, 445, 3_389].map(|port| packets::syn(far.at(REMOTE + minute), near.at(port)));
        for _ in 0..5 {
            judge.dropped(syns.clone())?;
        }
        judge.pass(Duration::from_secs(60))?;
    }
    Ok(())
}

fn crowd_behind_nat(lab: &Lab) -> Result<()> {
    const MISTYPED: [u16; 8] = [443, 8_000, 8_008, 8_080, 8_443, 8_888, 81, 22];
    let judge = Judge::of(lab)?;
    let (near, far) = (lab.link().near(), lab.link().far());
    let clients = (0..500_u16).flat_map(|client| {
        let from = far.at(10_000 + client);
        let mistyped = (client % 10 == 0)
            .then(|| MISTYPED[usize::from(client / 10) % MISTYPED.len()])
            .map(|port| packets::syn(from, near.at(port)));
        let good = [flags::SYN, flags::ACK, flags::FIN | flags::ACK]
            .map(|bits| packets::tcp(from, near.at(OPEN), bits));
        good.into_iter().chain(mistyped)
    });
    judge.dropped(clients).map(drop)
}

fn swarm(lab: &Lab) -> Result<()> {
    let judge = Judge::of(lab)?;
    let near = lab.link().near();
    let datagrams = (0..6_000_u32).map(|number| {
        let address = Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + number % 2_000);
        let from = SocketAddrV4::new(address, 51_413);
        packets::udp(from, near.at(51_413), b"d1:ad2:id20:")
    });
    judge.dropped(datagrams).map(drop)
}

fn monitoring(lab: &Lab) -> Result<()> {
    let judge = Judge::of(lab)?;
    let (near, far) = (lab.link().near(), lab.link().far());
    for _ in 0..60 {
        judge.dropped((80..100).map(|port| packets::syn(far.at(REMOTE), near.at(port))))?;
        judge.pass(Duration::from_secs(60))?;
    }
    Ok(())
}

/// What is on the way when a client of this host closes with a reset, as browsers and proxies do.
fn late(lab: &Lab) -> Result<()> {
    let judge = Judge::of(lab)?;
    let (near, far) = (lab.link().near(), lab.link().far());
    let listener = lab.peer.enter(|| Ok(TcpListener::bind(far.at(8_000))?))?;
    for _ in 0..200 {
        let client = servers::connect(&lab.host, 0, far.at(8_000), PATIENCE)?;
        let (mut server, _) = listener.accept()?;
        let port = client.local_addr()?.port();
        // Closed with something unread, a connection is reset.
        server.write_all(b"late")?;
        client.peek(&mut [0; 4])?;
        drop(client);
        let segment = packets::tcp(far.at(8_000), near.at(port), flags::ACK);
        judge.dropped([segment])?;
    }
    Ok(())
}
