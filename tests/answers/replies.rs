//! Proves that under default drop this host's own conversations go on, both
//! ways, and that nobody gets in by pretending to be part of one.

use std::{
    io::ErrorKind,
    net::{SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use xdpfw_tests::{
    Host, Lab, Sender,
    packets::{self, flags},
    servers::{self, TcpServer, UdpEcho},
};

/// How long to wait for what must come.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a client waits for what cannot come; counters tell why it did not.
const IN_VAIN: Duration = Duration::from_millis(200);
/// Local ports of clients: of the kernel's choice, well-known, registered, and
/// in the ephemeral range.
const CLIENT_PORTS: [u16; 4] = [0, 853, 5353, 50_000];

#[test]
fn outgoing_tcp_works_from_every_local_port() -> Result<()> {
    let lab = filtered("")?;
    let _server = TcpServer::start(&lab.peer, 80, "hello")?;
    for port in CLIENT_PORTS {
        let text = servers::fetch_from(&lab.host, port, lab.link().far().at(80), PATIENCE);
        assert_eq!(text?, "hello", "from port {port}");
    }
    let status = lab.host.status();
    assert!(reason(&status, "pass", "reply")? > 0);
    assert_eq!(status["totals"]["dropped"]["packets"], 0);
    Ok(())
}

#[test]
fn the_refusal_of_an_outgoing_connection_gets_through() -> Result<()> {
    let lab = filtered("")?;
    let closed = lab.link().far().at(81);
    let error = lab
        .host
        .enter(|| Ok(TcpStream::connect_timeout(&closed.into(), PATIENCE).err()))?;
    let kind = error.context("connected to a closed port")?.kind();
    assert_eq!(kind, ErrorKind::ConnectionRefused);
    Ok(())
}

#[test]
fn answers_to_a_connected_udp_socket_get_through_unless_turned_off() -> Result<()> {
    for knob in ["connected", "bound"] {
        let lab = filtered(&format!("udp_replies = '{knob}'"))?;
        let server = UdpEcho::start(&lab.peer, 53)?;
        for port in CLIENT_PORTS {
            let server = lab.link().far().at(53);
            let answer = servers::exchange(&lab.host, port, server, "query", PATIENCE);
            assert_eq!(answer?, "query", "{knob}, from port {port}");
        }
        assert_eq!(server.served(), CLIENT_PORTS.len() as u64);
        let status = lab.host.status();
        assert_eq!(reason(&status, "pass", "reply")?, server.served());
        assert_eq!(status["totals"]["dropped"]["packets"], 0);
    }
    let lab = filtered("udp_replies = 'off'")?;
    let _server = UdpEcho::start(&lab.peer, 53)?;
    for port in [853, 5353, 50_000] {
        let server = lab.link().far().at(53);
        let answer = servers::exchange(&lab.host, port, server, "query", IN_VAIN);
        assert!(answer.is_err(), "off, from port {port}: {answer:?}");
        wait_for_drops(&lab.host, &format!("udp/{port}"), 1)?;
    }
    Ok(())
}

#[test]
fn a_connected_udp_socket_is_open_to_its_peer_alone() -> Result<()> {
    let lab = filtered("")?;
    let (near, far) = (lab.link().near(), lab.link().far());
    for port in [5353, 50_000] {
        let socket = servers::bind(&lab.host, near.at(port))?;
        socket.connect(far.at(53))?;
        let mut sender = Sender::new(&lab.peer, far)?;
        let stranger = SocketAddrV4::new([10, 0, 0, 77].into(), 53);
        let datagram = |from, text: &str| packets::udp(from, near.at(port), text.as_bytes());
        sender.send_all([
            datagram(far.at(54), "another port"),
            datagram(stranger, "another host"),
            datagram(far.at(53), "peer"),
        ])?;
        assert_eq!(servers::received(&socket)?, "peer");
        wait_for_drops(&lab.host, &format!("udp/{port}"), 2)?;
    }
    Ok(())
}

#[test]
fn an_unconnected_udp_socket_is_open_only_by_udp_replies_bound() -> Result<()> {
    // WireGuard's port, which lies in Linux's ephemeral range.
    const PORT: u16 = 51_820;
    for (knob, expected) in [("connected", None), ("off", None), ("bound", Some("hello"))] {
        let lab = filtered(&format!("udp_replies = '{knob}'"))?;
        let (near, far) = (lab.link().near(), lab.link().far());
        let socket = servers::bind(&lab.host, near.at(PORT))?;
        let hello = packets::udp(far.at(40_000), near.at(PORT), b"hello");
        Sender::new(&lab.peer, far)?.send_all([&hello])?;
        if let Some(expected) = expected {
            assert_eq!(servers::received(&socket)?, expected, "{knob}");
            wait_for_drops(&lab.host, "udp/51820", 0)?;
        } else {
            wait_for_drops(&lab.host, "udp/51820", 1)?;
            assert!(is_silent(&socket)?, "{knob}");
        }
        // What nobody is bound to is closed under each.
        let hello = packets::udp(far.at(40_000), near.at(PORT + 1), b"hello");
        Sender::new(&lab.peer, far)?.send_all([&hello])?;
        wait_for_drops(&lab.host, "udp/51821", 1)?;
    }
    Ok(())
}

#[test]
fn strays_are_dropped_and_counted() -> Result<()> {
    let lab = filtered("")?;
    let (near, far) = (lab.link().near(), lab.link().far());
    // Someone listens, and no rule says that others may know.
    let listener = TcpServer::start(&lab.host, 8080, "secret")?;
    let strays = [
        flags::SYN,
        flags::ACK,
        flags::SYN | flags::ACK,
        flags::RST,
        flags::RST | flags::ACK,
        flags::FIN | flags::ACK,
        flags::PSH | flags::ACK,
        flags::PSH,
    ];
    for port in [8079, 8080, 8081, 50_000] {
        let segments = strays.map(|bits| packets::tcp(far.at(40_000), near.at(port), bits));
        Sender::new(&lab.peer, far)?.send_all(segments)?;
        wait_for_drops(&lab.host, &format!("tcp/{port}"), strays.len() as u64)?;
    }
    assert_eq!(listener.served(), 0);
    let status = lab.host.status();
    assert_eq!(status["totals"]["passed"]["packets"], 0);
    assert_eq!(reason(&status, "drop", "default")?, 4 * strays.len() as u64);
    Ok(())
}

#[test]
fn a_connection_opens_its_port_to_its_peer_alone() -> Result<()> {
    let lab = filtered("")?;
    let (near, far) = (lab.link().near(), lab.link().far());
    let listener = lab.peer.enter(|| Ok(TcpListener::bind(far.at(80))?))?;
    let client = servers::connect(&lab.host, 5000, far.at(80), PATIENCE)?;
    let (server, _) = listener.accept()?;

    let stranger = SocketAddrV4::new([10, 0, 0, 77].into(), 80);
    let from = |from, bits| packets::tcp(from, near.at(5000), bits);
    Sender::new(&lab.peer, far)?.send_all([
        from(far.at(81), flags::ACK),
        from(stranger, flags::ACK),
        from(stranger, flags::RST),
        from(far.at(81), flags::SYN | flags::ACK),
        // Even the peer itself does not open a connection this way.
        from(far.at(80), flags::SYN),
    ])?;
    wait_for_drops(&lab.host, "tcp/5000", 5)?;
    servers::assert_alive(client, server)
}

#[test]
fn an_inbound_connection_survives_the_deletion_of_its_rule() -> Result<()> {
    let lab = filtered("rule = [{ allow = 'tcp 443' }]")?;
    let (near, far) = (lab.link().near(), lab.link().far());
    let listener = lab.host.enter(|| Ok(TcpListener::bind(near.at(443))?))?;
    let client = servers::connect(&lab.peer, 40_001, near.at(443), PATIENCE)?;
    let (server, _) = listener.accept()?;

    lab.host.xdpfw(["delete", "r1"]).ok();
    let syn = packets::syn(far.at(40_002), near.at(443));
    Sender::new(&lab.peer, far)?.send_all([&syn])?;
    wait_for_drops(&lab.host, "tcp/443", 1)?;
    servers::assert_alive(client, server)?;
    let status = lab.host.status();
    assert!(reason(&status, "pass", "reply")? > 0);
    assert_eq!(status["totals"]["dropped"]["packets"], 1);
    Ok(())
}

#[test]
fn a_deny_rule_comes_before_replies() -> Result<()> {
    // Rules come first, and the first that matches decides; replies are what
    // the default lets through.
    let lab =
        filtered("rule = [{ deny = 'tcp any', remote_ports = [80] }, { deny = 'udp 5353' }]")?;
    let far = lab.link().far();
    let _servers = [80, 81].map(|port| TcpServer::start(&lab.peer, port, "hello"));
    let _echo = UdpEcho::start(&lab.peer, 53)?;

    let denied = servers::fetch_from(&lab.host, 5000, far.at(80), IN_VAIN);
    assert!(denied.is_err(), "{denied:?}");
    let text = servers::fetch_from(&lab.host, 5001, far.at(81), PATIENCE);
    assert_eq!(text?, "hello");
    let denied = servers::exchange(&lab.host, 5353, far.at(53), "query", IN_VAIN);
    assert!(denied.is_err(), "{denied:?}");
    let answer = servers::exchange(&lab.host, 5354, far.at(53), "query", PATIENCE);
    assert_eq!(answer?, "query");

    wait_for_drops(&lab.host, "udp/5353", 1)?;
    let list = lab.host.xdpfw(["list"]).json();
    let hits = |rule: usize| list["rules"][rule]["packets"].as_u64();
    // The server repeats what the denied client does not acknowledge.
    assert!(hits(0) >= Some(1), "{list}");
    assert_eq!(hits(1), Some(1), "{list}");
    let status = lab.host.status();
    assert_eq!(reason(&status, "drop", "default")?, 0);
    Ok(())
}

/// A host with a filter on its interface, under this policy.
fn filtered(policy: &str) -> Result<Lab> {
    let lab = Lab::new()?;
    lab.host.xdpfw(["up", "eth0"]).ok();
    lab.host
        .xdpfw(["apply", "-"])
        .stdin(format!("version = 1\ninterfaces = ['eth0']\n{policy}"))
        .ok();
    Ok(lab)
}

/// Whether nothing has come in.
fn is_silent(socket: &UdpSocket) -> Result<bool> {
    socket.set_nonblocking(true)?;
    match socket.recv(&mut [0; 64]) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Waits until so many drops are counted at a port; an error if there are more,
/// or not so many in time.
fn wait_for_drops(host: &Host, port: &str, expected: u64) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let stats = host.xdpfw(["stats", "--port", port]).json();
        let dropped = stats["ports"][0]["dropped_packets"]
            .as_u64()
            .with_context(|| format!("no count in {stats}"))?;
        if dropped == expected {
            return Ok(());
        }
        if dropped > expected || Instant::now() > deadline {
            bail!("{dropped} drops instead of {expected} at {port}");
        }
    }
}

fn reason(status: &Value, verdict: &str, reason: &str) -> Result<u64> {
    let reasons = status["reasons"].as_array().context("no reasons")?;
    let row = reasons
        .iter()
        .find(|row| row["verdict"] == verdict && row["reason"] == reason);
    row.and_then(|row| row["packets"].as_u64())
        .with_context(|| format!("no count of {verdict} {reason}"))
}
