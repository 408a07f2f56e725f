//! Proves that over IPv6, too, this host's own conversations go on under default drop,
//! with link-local addresses and with sockets for both families; and that nobody gets
//! in by pretending to be part of one.

use std::{
    io::ErrorKind,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, Result};
use xdpfw_tests::{
    End, Host, Lab, Sender, Tally, ifindex,
    packets::{self, flags},
    servers::{self, TcpServer, UdpEcho},
};

/// How long to wait for what must come.
const PATIENCE: Duration = Duration::from_secs(10);
/// Local ports of clients: of the kernel's choice, well-known, and ephemeral.
const CLIENT_PORTS: [u16; 3] = [0, 853, 50_000];
/// The families that a client may think it talks in.
const KINDS: [Kind; 3] = [Kind::Global, Kind::LinkLocal, Kind::Mapped];

/// How a host's IPv6 socket names its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Global,
    LinkLocal,
    /// IPv4 on the wire.
    Mapped,
}

impl Kind {
    /// A port at one end of the lab's link, as a socket on `host` says it.
    fn at(self, host: &Host, end: &End, port: u16) -> Result<SocketAddrV6> {
        Ok(match self {
            Self::Global => end.at6(port),
            Self::LinkLocal => {
                let scope = ifindex(host, "eth0")?.try_into()?;
                SocketAddrV6::new(end.link_local, port, 0, scope)
            }
            Self::Mapped => SocketAddrV6::new(end.address.to_ipv6_mapped(), port, 0, 0),
        })
    }

    /// The same on the wire.
    fn on_wire(self, end: &End, port: u16) -> SocketAddr {
        match self {
            Self::Global => end.at6(port).into(),
            Self::LinkLocal => SocketAddr::new(end.link_local.into(), port),
            Self::Mapped => end.at(port).into(),
        }
    }

    /// Another host in the same subnet.
    fn stranger(self, port: u16) -> SocketAddr {
        let address = match self {
            Self::Global => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77).into(),
            Self::LinkLocal => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x77).into(),
            Self::Mapped => Ipv4Addr::new(10, 0, 0, 77).into(),
        };
        SocketAddr::new(address, port)
    }
}

#[test]
fn outgoing_tcp_and_udp_work_from_every_local_port() -> Result<()> {
    let lab = filtered("")?;
    let any = (Ipv6Addr::UNSPECIFIED, 53).into();
    let tcp = TcpServer::start_at(&lab.peer, any, "hello")?;
    let udp = UdpEcho::start_at(&lab.peer, any)?;
    let mut rounds = 0;
    for kind in KINDS {
        let server = kind.at(&lab.host, lab.link().far(), 53)?;
        for port in CLIENT_PORTS {
            let text = servers::fetch_from(&lab.host, port, server, PATIENCE);
            assert_eq!(text?, "hello", "{kind:?}, from port {port}");
            let answer = servers::exchange(&lab.host, port, server, "query", PATIENCE);
            assert_eq!(answer?, "query", "{kind:?}, from port {port}");
            rounds += 1;
        }
    }
    assert_eq!((tcp.served(), udp.served()), (rounds, rounds));
    let counted = Tally::of(&lab.host)?;
    let replies = counted.packets("pass reply");
    assert!(replies > 2 * rounds, "{counted:?}");
    assert_eq!(counted.judged(), replies + counted.mld(), "{counted:?}");
    Ok(())
}

#[test]
fn refusals_get_through() -> Result<()> {
    let lab = filtered("")?;
    for kind in KINDS {
        let closed = kind.at(&lab.host, lab.link().far(), 81)?;
        let error = lab
            .host
            .enter(|| Ok(TcpStream::connect_timeout(&closed.into(), PATIENCE).err()))?;
        let error = error.context("connected to a closed port")?;
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{kind:?}");
        // An ICMP error, which needs no socket.
        let error = servers::exchange(&lab.host, 0, closed, "query", PATIENCE).unwrap_err();
        let error: &std::io::Error = error.downcast_ref().context("another error")?;
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{kind:?}");
    }
    Tally::assert_moved(
        &lab.host,
        &Tally::default(),
        &[("pass reply", 3), ("pass icmp-error", 3)],
    )?;
    Ok(())
}

#[test]
fn a_connected_udp_socket_is_open_to_its_peer_alone() -> Result<()> {
    let lab = filtered("")?;
    let (near, far) = (lab.link().near(), lab.link().far());
    for kind in KINDS {
        for port in [5353, 50_000] {
            let socket = servers::bind(&lab.host, (Ipv6Addr::UNSPECIFIED, port))?;
            socket.connect(kind.at(&lab.host, far, 53)?)?;
            let before = Tally::of(&lab.host)?;
            let to = kind.on_wire(near, port);
            let datagram = |from: SocketAddr, text: &str| {
                packets::frame(far, near, &packets::udp(from, to, text.as_bytes()))
            };
            Sender::of_frames(&lab.peer, far)?.send_all([
                datagram(kind.on_wire(far, 54), "another port"),
                datagram(kind.stranger(53), "another host"),
                datagram(kind.on_wire(far, 53), "peer"),
            ])?;
            assert_eq!(servers::received(&socket)?, "peer", "{kind:?}");
            let at_port = format!("udp/{port}");
            Tally::assert_moved(
                &lab.host,
                &before,
                &[("drop default", 2), (&at_port, 2), ("pass reply", 1)],
            )?;
        }
    }
    Ok(())
}

#[test]
fn an_unconnected_udp_socket_is_open_only_by_udp_replies_bound() -> Result<()> {
    // WireGuard's port, which lies in Linux's ephemeral range.
    const PORT: u16 = 51_820;
    for (knob, is_open) in [("connected", false), ("off", false), ("bound", true)] {
        let lab = filtered(&format!("udp_replies = '{knob}'"))?;
        let (near, far) = (lab.link().near(), lab.link().far());
        let _socket = servers::bind(&lab.host, (Ipv6Addr::UNSPECIFIED, PORT))?;
        for kind in KINDS {
            let before = Tally::of(&lab.host)?;
            let hello = |port| {
                let (from, to) = (kind.on_wire(far, 40_000), kind.on_wire(near, port));
                packets::frame(far, near, &packets::udp(from, to, b"hello"))
            };
            // What nobody is bound to is closed under each.
            Sender::of_frames(&lab.peer, far)?.send_all([hello(PORT), hello(PORT + 1)])?;
            let expected = if is_open {
                &[("pass reply", 1), ("drop default", 1), ("udp/51821", 1)][..]
            } else {
                &[("drop default", 2), ("udp/51820", 1), ("udp/51821", 1)]
            };
            Tally::assert_moved(&lab.host, &before, expected)
                .with_context(|| format!("{knob}, {kind:?}"))?;
        }
    }
    Ok(())
}

#[test]
fn strays_are_dropped_and_counted() -> Result<()> {
    let lab = filtered("")?;
    let (near, far) = (lab.link().near(), lab.link().far());
    let any = (Ipv6Addr::UNSPECIFIED, 8080).into();
    let listener = TcpServer::start_at(&lab.host, any, "secret")?;
    let strays = [
        flags::SYN,
        flags::ACK,
        flags::SYN | flags::ACK,
        flags::RST,
        flags::FIN | flags::ACK,
    ];
    for kind in KINDS {
        for port in [8079, 8080, 50_000] {
            let before = Tally::of(&lab.host)?;
            let (from, to) = (kind.on_wire(far, 40_000), kind.on_wire(near, port));
            let segments = strays.map(|bits| packets::tcp(from, to, bits));
            let frames = segments.map(|segment| packets::frame(far, near, &segment));
            Sender::of_frames(&lab.peer, far)?.send_all(frames)?;
            let at_port = format!("tcp/{port}");
            Tally::assert_moved(&lab.host, &before, &[("drop default", 5), (&at_port, 5)])?;
        }
    }
    assert_eq!(listener.served(), 0);
    Ok(())
}

#[test]
fn a_connection_opens_its_port_to_its_peer_alone() -> Result<()> {
    let lab = filtered("")?;
    let (near, far) = (lab.link().near(), lab.link().far());
    let any = (Ipv6Addr::UNSPECIFIED, 80);
    let listener = lab.peer.enter(|| Ok(TcpListener::bind(any)?))?;
    for (kind, port) in KINDS.into_iter().zip(5000..) {
        let client = servers::connect(&lab.host, port, kind.at(&lab.host, far, 80)?, PATIENCE)?;
        let (server, _) = listener.accept()?;
        let before = Tally::of(&lab.host)?;
        let to = kind.on_wire(near, port);
        let from =
            |from: SocketAddr, bits| packets::frame(far, near, &packets::tcp(from, to, bits));
        Sender::of_frames(&lab.peer, far)?.send_all([
            from(kind.on_wire(far, 81), flags::ACK),
            from(kind.stranger(80), flags::ACK),
            from(kind.stranger(80), flags::RST),
            // Even the peer itself does not open a connection this way.
            from(kind.on_wire(far, 80), flags::SYN),
        ])?;
        let at_port = format!("tcp/{port}");
        Tally::assert_moved(&lab.host, &before, &[("drop default", 4), (&at_port, 4)])?;
        servers::assert_alive(client, server)?;
    }
    Ok(())
}

#[test]
fn an_inbound_connection_survives_the_deletion_of_its_rule() -> Result<()> {
    let lab = filtered("rule = [{ allow = 'tcp 443' }]")?;
    let any = (Ipv6Addr::UNSPECIFIED, 443);
    let listener = lab.host.enter(|| Ok(TcpListener::bind(any)?))?;
    let mut pairs = Vec::new();
    for (kind, port) in KINDS.into_iter().zip(40_001..) {
        let near = kind.at(&lab.peer, lab.link().near(), 443)?;
        let client = servers::connect(&lab.peer, port, near, PATIENCE)?;
        pairs.push((client, listener.accept()?.0));
    }
    lab.host.xdpfw(["delete", "r1"]).ok();
    let before = Tally::of(&lab.host)?;
    for (client, server) in pairs {
        servers::assert_alive(client, server)?;
    }
    let moved = Tally::of(&lab.host)?.since(&before);
    assert!(moved.packets("pass reply") > 0, "{moved:?}");
    assert_eq!(moved.judged(), moved.packets("pass reply") + moved.mld());
    Ok(())
}

#[test]
fn dhcp_clients_are_answered_unless_turned_off() -> Result<()> {
    for (knob, answered) in [("true", true), ("false", false)] {
        let lab = filtered(&format!("dhcp_client = {knob}"))?;
        let (near, far) = (lab.link().near(), lab.link().far());
        let datagram = |from, to| {
            let packet = packets::udp(
                Kind::LinkLocal.on_wire(far, from),
                Kind::LinkLocal.on_wire(near, to),
                b"advertise",
            );
            packets::frame(far, near, &packet)
        };
        Sender::of_frames(&lab.peer, far)?.send_all([
            datagram(547, 546),
            datagram(547, 545),
            datagram(546, 546),
            // Those of the other family.
            datagram(67, 68),
        ])?;
        let mut expected = vec![("udp/545", 1), ("udp/68", 1)];
        expected.extend(if answered {
            [("pass dhcp-client", 1), ("drop default", 3), ("udp/546", 1)]
        } else {
            [("pass dhcp-client", 0), ("drop default", 4), ("udp/546", 2)]
        });
        Tally::assert_moved(&lab.host, &Tally::default(), &expected)?;
    }
    Ok(())
}

/// A host with a filter on its interface, under this policy.
fn filtered(policy: &str) -> Result<Lab> {
    let lab = Lab::with_ipv6(1)?;
    for host in [&lab.host, &lab.peer] {
        // Each error that is due is sent.
        host.sysctl("net/ipv6/icmp/ratelimit", "0")?;
    }
    lab.host.xdpfw(["up", "eth0"]).ok();
    lab.host
        .xdpfw(["apply", "-"])
        .stdin(format!("version = 1\ninterfaces = ['eth0']\n{policy}"))
        .ok();
    Ok(lab)
}
