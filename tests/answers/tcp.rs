//! Proves that the host's own TCP connections go on, and that a connection opens its port to
//! its peer alone.

use std::{
    io::{self, ErrorKind},
    net::{SocketAddr, TcpListener, TcpStream},
};

use anyhow::{Context as _, Result};
use xdpfw_tests::{
    PATIENCE, Sender, Tally,
    packets::{self, flags},
    servers::{self, TcpServer},
};

use crate::{CLIENT_PORTS, all_passed_as, filtered, naming::Naming};

crate::run_for_each_naming! {
    outgoing_tcp_works_from_every_local_port
    refusals_get_through
    strays_are_dropped_and_counted
    a_connection_opens_its_port_to_its_peer_alone
    an_inbound_connection_survives_the_deletion_of_its_rule
}

fn outgoing_tcp_works_from_every_local_port(naming: Naming) -> Result<()> {
    let lab = filtered(naming, "")?;
    let server = TcpServer::start_at(&lab.peer, naming.any(80), "hello")?;
    let address = naming.at(&lab.host, lab.link().far(), 80)?;
    for port in CLIENT_PORTS {
        let text = servers::fetch_from(&lab.host, port, address, PATIENCE);
        assert_eq!(text?, "hello", "from port {port}");
    }
    assert_eq!(server.served(), CLIENT_PORTS.len() as u64);
    // The peer accepts, and then sends.
    assert!(all_passed_as(&lab, "pass reply")? >= 2 * server.served());
    Ok(())
}

fn refusals_get_through(naming: Naming) -> Result<()> {
    let lab = filtered(naming, "")?;
    let closed = naming.at(&lab.host, lab.link().far(), 81)?;
    let error = lab
        .host
        .enter(|| Ok(TcpStream::connect_timeout(&closed, PATIENCE).err()))?;
    let error = error.context("connected to a closed port")?;
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    // An ICMP error, which needs no socket.
    let error = servers::exchange(&lab.host, 0, closed, "query", PATIENCE).err();
    let error = error.context("a closed port answers")?;
    let error: &io::Error = error.downcast_ref().context("another error")?;
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    Tally::assert_moved(
        &lab.host,
        &Tally::default(),
        &[("pass reply", 1), ("pass icmp-error", 1)],
    )?;
    Ok(())
}

fn strays_are_dropped_and_counted(naming: Naming) -> Result<()> {
    let lab = filtered(naming, "")?;
    let (near, far) = (lab.link().near(), lab.link().far());
    // Someone listens, and no rule says that others may know.
    let listener = TcpServer::start_at(&lab.host, naming.any(8080), "secret")?;
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
    let each = strays.len() as u64;
    for port in [8079, 8080, 8081, 50_000] {
        let before = Tally::of(&lab.host)?;
        let (from, to) = (naming.on_wire(far, 40_000), naming.on_wire(near, port));
        let segments = strays.map(|bits| packets::tcp(from, to, bits));
        let frames = segments.map(|segment| packets::frame(far, near, &segment));
        Sender::of_frames(&lab.peer, far)?.send_all(frames)?;
        let at_port = format!("tcp/{port}");
        let expected = [("drop default", each), (&at_port, each)];
        Tally::assert_moved(&lab.host, &before, &expected)?;
    }
    assert_eq!(listener.served(), 0);
    let counted = Tally::of(&lab.host)?;
    assert_eq!(counted.packets("drop default"), 4 * each);
    assert_eq!(counted.judged(), 4 * each + counted.mld(), "{counted:?}");
    if naming == Naming::Ipv4 {
        // Without IPv6, the kernel itself sends nothing.
        let status = lab.host.status();
        assert_eq!(status["totals"]["passed"]["packets"], 0);
    }
    Ok(())
}

fn a_connection_opens_its_port_to_its_peer_alone(naming: Naming) -> Result<()> {
    let lab = filtered(naming, "")?;
    let (near, far) = (lab.link().near(), lab.link().far());
    let listener = lab.peer.enter(|| Ok(TcpListener::bind(naming.any(80))?))?;
    let server = naming.at(&lab.host, far, 80)?;
    let client = servers::connect(&lab.host, 5000, server, PATIENCE)?;
    let (server, _) = listener.accept()?;

    let before = Tally::of(&lab.host)?;
    let to = naming.on_wire(near, 5000);
    let from = |from: SocketAddr, bits| packets::frame(far, near, &packets::tcp(from, to, bits));
    Sender::of_frames(&lab.peer, far)?.send_all([
        from(naming.on_wire(far, 81), flags::ACK),
        from(naming.stranger(80), flags::ACK),
        from(naming.stranger(80), flags::RST),
        from(naming.on_wire(far, 81), flags::SYN | flags::ACK),
        // Even the peer itself does not open a connection this way.
        from(naming.on_wire(far, 80), flags::SYN),
    ])?;
    let expected = [("drop default", 5), ("tcp/5000", 5)];
    Tally::assert_moved(&lab.host, &before, &expected)?;
    servers::assert_alive(client, server)
}

fn an_inbound_connection_survives_the_deletion_of_its_rule(naming: Naming) -> Result<()> {
    let lab = filtered(naming, "rule = [{ allow = 'tcp 443' }]")?;
    let (near, far) = (lab.link().near(), lab.link().far());
    let listener = lab.host.enter(|| Ok(TcpListener::bind(naming.any(443))?))?;
    let address = naming.at(&lab.peer, near, 443)?;
    let client = servers::connect(&lab.peer, 40_001, address, PATIENCE)?;
    let (server, _) = listener.accept()?;

    lab.host.xdpfw(["delete", "r1"]).ok();
    let before = Tally::of(&lab.host)?;
    let syn = packets::syn(naming.on_wire(far, 40_002), naming.on_wire(near, 443));
    Sender::of_frames(&lab.peer, far)?.send_all([packets::frame(far, near, &syn)])?;
    let expected = [("drop default", 1), ("tcp/443", 1)];
    Tally::assert_moved(&lab.host, &before, &expected)?;
    servers::assert_alive(client, server)?;
    let moved = Tally::of(&lab.host)?.since(&before);
    let replies = moved.packets("pass reply");
    assert!(replies > 0, "{moved:?}");
    assert_eq!(moved.judged(), 1 + replies + moved.mld(), "{moved:?}");
    assert_eq!(lab.host.status()["totals"]["dropped"]["packets"], 1);
    Ok(())
}
