//! Proves that tables of flows hold what counts: nothing that comes in is recorded, and what
//! this host sends in bulk evicts no open connection.

use std::net::TcpListener;

use anyhow::{Context as _, Result};
use serde_json::Value;
use xdpfw_tests::{
    Host, Lab, PATIENCE, Sender,
    packets::{self, flags},
    servers::{self, TcpServer},
};

/// Tables as small as they can be with several CPUs, and no port that a rule would answer
/// for: `tcp high` are all ports that this host's clients use.
const SMALL: &str = "flows = { tcp = 1024, other = 1024 }
    rule = [{ allow = 'ssh' }, { deny = 'tcp high' }]";
/// More than any table holds.
const MANY: u16 = 6000;

/// What `xdpfw flows` says of a field of a table of the host's own flows.
fn count(flows: &Value, table: &str, field: &str) -> Result<u64> {
    let number = flows[table][field].as_u64();
    number.with_context(|| format!("no {table}.{field} in {flows}"))
}

fn inserted(host: &Host) -> Result<u64> {
    let flows = host.xdpfw(["flows", "--top", "0"]).json();
    let mut sum = 0;
    for table in ["tcp", "other", "brief"] {
        sum += count(&flows, table, "inserted")?;
        sum += count(&flows["forwarded"], table, "inserted")?;
    }
    Ok(sum)
}

#[test]
fn nothing_that_comes_in_is_recorded() -> Result<()> {
    let lab = Lab::new()?.filtered(
        "rule = [{ allow = 'tcp 80,81' }, { allow = 'udp 53' }, { allow = 'icmp echo-request' }]",
    );
    let _server = TcpServer::start(&lab.host, 80, "")?;
    let (near, far) = (lab.link().near(), lab.link().far());
    let before = inserted(&lab.host)?;
    let flood = (1..=MANY).flat_map(|number| {
        let from = far.at(number);
        [
            packets::syn(from, near.at(number)),
            packets::tcp(from, near.at(number), flags::ACK),
            packets::udp(from, near.at(number), b"x"),
            // What is open answers: accepts, refuses, says that nobody listens.
            packets::syn(from, near.at(80)),
            packets::syn(from, near.at(81)),
            packets::tcp(from, near.at(80), flags::ACK | flags::PSH),
            packets::udp(from, near.at(53), b"x"),
            packets::echo(far.address, near.address, 8, number),
            packets::echo(far.address, near.address, 0, number),
        ]
    });
    Sender::new(&lab.peer, far)?.send_all(flood)?;
    assert_eq!(inserted(&lab.host)?, before);
    Ok(())
}

#[test]
fn scans_and_short_connections_evict_no_open_one() -> Result<()> {
    let lab = Lab::new()?.filtered(SMALL);
    let (host, peer) = (&lab.host, &lab.peer);
    let (near, far) = (lab.link().near(), lab.link().far());
    let listener = peer.enter(|| Ok(TcpListener::bind((far.address, 79))?))?;
    let client = servers::connect(host, 0, (far.address, 79), PATIENCE)?;
    let (server, _) = listener.accept()?;

    let scan = (1..=MANY).map(|port| packets::syn(near.at(50_000), far.at(port)));
    Sender::new(host, near)?.send_all(scan)?;
    let _server = TcpServer::start(peer, 80, "short")?;
    for _ in 0..MANY / 3 {
        assert_eq!(servers::fetch(host, (far.address, 80), PATIENCE)?, "short");
    }
    let flows = host.xdpfw(["flows", "--top", "0"]).json();
    let evicted = |table: &str| count(&flows, table, "evicted");
    assert!(evicted("brief")? > 0, "{flows}");
    assert_eq!(evicted("tcp")?, 0, "{flows}");
    // Sockets do not count before the rule.
    servers::assert_alive(client, server)
}
