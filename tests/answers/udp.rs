//! Proves which UDP sockets get answers under each setting of `replies`, and that a
//! connected socket is open to its peer alone.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result};
use xdpfw_tests::{
    PATIENCE, Sender, Tally, packets,
    servers::{self, UdpEcho},
};

use crate::{CLIENT_PORTS, all_passed_as, filtered, naming::Naming};

/// How long to wait for a datagram that has been counted as dropped.
const NO_TIME: Duration = Duration::from_millis(1);
/// How long a client waits for what cannot come; counters tell why it did not.
const IN_VAIN: Duration = Duration::from_millis(200);

crate::run_for_each_naming! {
    answers_to_a_connected_udp_socket_get_through_unless_turned_off
    a_connected_udp_socket_is_open_to_its_peer_alone
    an_unconnected_udp_socket_is_open_to_nobody_who_was_not_asked
}

fn answers_to_a_connected_udp_socket_get_through_unless_turned_off(naming: Naming) -> Result<()> {
    for knob in ["flows", "sockets"] {
        let lab = filtered(naming, &format!("replies = '{knob}'"))?;
        let server = UdpEcho::start_at(&lab.peer, naming.any(53))?;
        let address = naming.at(&lab.host, lab.link().far(), 53)?;
        for port in CLIENT_PORTS {
            let answer = servers::exchange(&lab.host, port, address, "query", PATIENCE);
            assert_eq!(answer?, "query", "{knob}, from port {port}");
        }
        assert_eq!(server.served(), CLIENT_PORTS.len() as u64, "{knob}");
        assert_eq!(all_passed_as(&lab, "pass reply")?, server.served());
    }
    let lab = filtered(naming, "replies = 'off'")?;
    let _server = UdpEcho::start_at(&lab.peer, naming.any(53))?;
    let address = naming.at(&lab.host, lab.link().far(), 53)?;
    for port in [853, 5353, 50_000] {
        let before = Tally::of(&lab.host)?;
        let answer = servers::exchange(&lab.host, port, address, "query", IN_VAIN);
        assert!(answer.is_err(), "off, from port {port}: {answer:?}");
        let at_port = format!("udp/{port}");
        let expected = [("drop default", 1), (&at_port, 1)];
        Tally::assert_moved(&lab.host, &before, &expected)?;
    }
    Ok(())
}

fn a_connected_udp_socket_is_open_to_its_peer_alone(naming: Naming) -> Result<()> {
    let lab = filtered(naming, "replies = 'sockets'")?;
    let (near, far) = (lab.link().near(), lab.link().far());
    // A port for each: a process that is just being started holds what was closed a moment longer.
    for local in [
        naming.any(5353),
        naming.any(50_000),
        naming.at(&lab.host, near, 5354)?,
        naming.at(&lab.host, near, 50_001)?,
    ] {
        let port = local.port();
        let socket = servers::bind(&lab.host, local)?;
        socket.connect(naming.at(&lab.host, far, 53)?)?;
        let before = Tally::of(&lab.host)?;
        let to = naming.on_wire(near, port);
        let datagram = |from: SocketAddr, text: &str| {
            packets::frame(far, near, &packets::udp(from, to, text.as_bytes()))
        };
        Sender::of_frames(&lab.peer, far)?.send_all([
            datagram(naming.on_wire(far, 54), "another port"),
            datagram(naming.stranger(53), "another host"),
            datagram(naming.on_wire(far, 53), "peer"),
        ])?;
        assert_eq!(servers::received(&socket)?, "peer", "{local}");
        let at_port = format!("udp/{port}");
        let expected = [("drop default", 2), (&at_port, 2), ("pass reply", 1)];
        Tally::assert_moved(&lab.host, &before, &expected)
            .with_context(|| format!("bound to {local}"))?;
    }
    Ok(())
}

fn an_unconnected_udp_socket_is_open_to_nobody_who_was_not_asked(naming: Naming) -> Result<()> {
    // WireGuard's port, which lies in Linux's ephemeral range, and another there.
    const PORTS: [u16; 2] = [51_820, 51_830];
    for knob in ["flows", "sockets", "off"] {
        let lab = filtered(naming, &format!("replies = '{knob}'"))?;
        let (near, far) = (lab.link().near(), lab.link().far());
        for local in [naming.any(PORTS[0]), naming.at(&lab.host, near, PORTS[1])?] {
            let port = local.port();
            let socket = servers::bind(&lab.host, local)?;
            let before = Tally::of(&lab.host)?;
            let hello = |port| {
                let (from, to) = (naming.on_wire(far, 40_000), naming.on_wire(near, port));
                packets::frame(far, near, &packets::udp(from, to, b"hello"))
            };
            Sender::of_frames(&lab.peer, far)?.send_all([hello(port), hello(port + 1)])?;
            let (at_port, at_next) = (format!("udp/{port}"), format!("udp/{}", port + 1));
            let expected = [("drop default", 2), (&*at_port, 1), (&*at_next, 1)];
            Tally::assert_moved(&lab.host, &before, &expected)
                .with_context(|| format!("{knob}, bound to {local}"))?;
            assert!(servers::is_silent(&socket, NO_TIME)?, "{knob}, {local}");
        }
    }
    Ok(())
}
