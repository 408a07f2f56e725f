//! Proves that tables of flows hold what counts: nothing that comes in is recorded, and what
//! is sent in bulk evicts no open connection.

use std::{
    net::{SocketAddrV4, TcpListener},
    ops::Range,
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use xdpfw_model::{PacketSource, Policy, random};
use xdpfw_tests::{
    End, Host, Lab, PATIENCE, Sender,
    packets::{self, flags},
    servers::{self, TcpServer},
};

use crate::{
    filter,
    topology::{Row, nft},
};

/// Tables as small as they can be with several CPUs, and no port that a socket would answer
/// for: those are all ports that this host's clients use. Those behind a second interface may
/// send what they like.
const SMALL: &str = "flows = { tcp = 1024, other = 1024 }
    [[rule]]
    allow = 'any'
    on = ['inner']
    [[rule]]
    deny = 'tcp high'
    [[rule]]
    deny = 'udp high'";
/// Packets that come in, of all kinds.
const FLOOD: u32 = 1_000_000;
/// Packets to each thing that is open.
const KNOCKS: u16 = 33_333;
/// Connections that nobody answers.
const SYNS: u32 = 100_000;
/// Connections that come to an end.
const SHORT: u32 = 200_000;
/// Of those, how many are under way at once.
const AT_ONCE: u32 = 50;

/// What `xdpfw flows` says of a field of a table.
fn count(flows: &Value, table: &str, field: &str) -> Result<u64> {
    let number = flows[table][field].as_u64();
    number.with_context(|| format!("no {table}.{field} in {flows}"))
}

fn flows(host: &Host) -> Value {
    host.xdpfw(["flows", "--top", "0"]).json()
}

fn inserted(host: &Host) -> Result<u64> {
    let flows = flows(host);
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

    let mut random = random(1);
    let source = PacketSource::aimed_at(&Policy::empty());
    let frames = (0..FLOOD).map(|_| {
        let mut frame = source.frame(&mut random);
        for (place, byte) in frame.iter_mut().zip([near.mac, far.mac].as_flattened()) {
            *place = *byte;
        }
        frame
    });
    // Some are too short to be sent.
    let frames = frames.filter(|frame| frame.len() >= 14);
    let sent = Sender::of_frames(&lab.peer, far)?.send_all(frames)?;
    assert!(sent > u64::from(FLOOD) * 9 / 10, "{sent}");

    let knocks = (1..=KNOCKS).flat_map(|number| {
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
    Sender::new(&lab.peer, far)?.send_all(knocks)?;
    assert_eq!(inserted(&lab.host)?, before);
    Ok(())
}

/// Drops what comes to these ports of a host before its stack can say that nobody is there.
fn silence(host: &Host, ports: &str) -> Result<()> {
    nft(
        host,
        &format!(
            "table inet silent {{
                chain input {{
                    type filter hook input priority -300
                    tcp dport {ports} drop
                    udp dport {ports} drop
                }}
            }}"
        ),
    )
}

/// Local ports of what is sent in bulk.
const BULK: Range<u32> = 10_000..20_000;

/// Both ends of a conversation that has this number.
fn ends(from: &End, to: &End, number: u32) -> (SocketAddrV4, SocketAddrV4) {
    let ports = BULK.end - BULK.start;
    let [local, remote] = [BULK.start + number % ports, 1000 + number / ports];
    (from.at(local as u16), to.at(remote as u16))
}

/// Sends from a host, whose packets leave by `way`, as `from`: SYNs that nobody answers,
/// connections that come to an end, and UDP.
fn send_in_bulk(host: &Host, from: &End, peer: &Host, to: &End) -> Result<()> {
    let (mut outward, mut inward) = (Sender::new(host, from)?, Sender::new(peer, to)?);
    let syns = (0..SYNS).map(|number| {
        let (from, to) = ends(from, to, number);
        packets::syn(from, to)
    });
    outward.send_all(syns)?;
    for first in (0..SHORT).step_by(AT_ONCE as usize) {
        let all = || (first..first + AT_ONCE).map(|number| ends(from, to, number));
        let out = |bits| move |(from, to)| packets::tcp(from, to, bits);
        const FIN: u8 = flags::FIN | flags::ACK;
        outward.send_all(all().map(out(flags::SYN)))?;
        outward.send_all(all().map(out(flags::ACK)))?;
        outward.send_all(all().map(out(FIN)))?;
        inward.send_all(all().map(|(from, to)| packets::tcp(to, from, FIN)))?;
        outward.send_all(all().map(out(flags::ACK)))?;
    }
    let datagrams = (0..SYNS).map(|number| {
        let (from, to) = ends(from, to, number);
        packets::udp(from, to, b"x")
    });
    outward.send_all(datagrams)?;
    Ok(())
}

#[test]
fn what_is_sent_in_bulk_evicts_no_open_connection() -> Result<()> {
    let row = Row::<3>::new()?;
    let [inner, router, outer] = &row.hosts;
    let (inside, outside) = (row.links[0].near(), row.links[1].far());
    let own = row.links[1].near();
    filter(router, &["eth0", "eth1"], &SMALL.replace("inner", "eth0"));
    for host in [inner, router] {
        silence(host, "10000-20000")?;
    }
    silence(outer, "1000-2000")?;

    // Two connections and a datagram wait for the rest of the test.
    let listener = outer.enter(|| Ok(TcpListener::bind((outside.address, 79))?))?;
    let forwarded = servers::connect(inner, 0, (outside.address, 79), PATIENCE)?;
    let (forwarded_server, _) = listener.accept()?;
    let local = servers::connect(router, 0, (outside.address, 79), PATIENCE)?;
    let (local_server, _) = listener.accept()?;
    let asked = servers::bind(outer, (outside.address, 5000))?;
    let asking = servers::bind(router, (own.address, 40_000))?;
    asking.send_to(b"question", (outside.address, 5000))?;
    assert_eq!(servers::received(&asked)?, "question");

    // What others send through this host evicts nothing of its own.
    send_in_bulk(inner, inside, outer, outside)?;
    let after = flows(router);
    for table in ["brief", "other"] {
        assert!(count(&after["forwarded"], table, "evicted")? > 0, "{after}");
        assert_eq!(count(&after, table, "evicted")?, 0, "{after}");
    }
    asked.send_to(b"answer", (own.address, 40_000))?;
    assert_eq!(servers::received(&asking)?, "answer");

    // Nor does what it sends itself evict an open connection, whoever opened that.
    send_in_bulk(router, own, outer, outside)?;
    let after = flows(router);
    for table in ["brief", "other"] {
        assert!(count(&after, table, "evicted")? > 0, "{after}");
    }
    for origin in [&after, &after["forwarded"]] {
        assert_eq!(count(origin, "tcp", "evicted")?, 0, "{after}");
    }
    // Sockets do not count before the rule, and there is none for what is forwarded.
    servers::assert_alive(local, local_server)?;
    servers::assert_alive(forwarded, forwarded_server)
}

#[test]
fn short_connections_of_a_program_evict_no_open_one() -> Result<()> {
    const MANY: u16 = 2000;
    let lab = Lab::new()?.filtered(SMALL);
    let (host, peer) = (&lab.host, &lab.peer);
    let far = lab.link().far();
    let listener = peer.enter(|| Ok(TcpListener::bind((far.address, 79))?))?;
    let client = servers::connect(host, 0, (far.address, 79), PATIENCE)?;
    let (server, _) = listener.accept()?;
    let _server = TcpServer::start(peer, 80, "short")?;
    for _ in 0..MANY {
        assert_eq!(servers::fetch(host, (far.address, 80), PATIENCE)?, "short");
    }
    let flows = flows(host);
    assert!(count(&flows, "brief", "evicted")? > 0, "{flows}");
    assert_eq!(count(&flows, "tcp", "evicted")?, 0, "{flows}");
    servers::assert_alive(client, server)
}
