//! Proves that sockets get their answers under default drop that are bound to a device above
//! the filtered interface, or to a VRF around it, and that SCTP does. Bridges and macvlans are
//! in `replies/devices.rs`.
//!
//! As in [`devices`](super::devices), not every kernel has what this takes.

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream, UdpSocket},
};

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, Socket, Type};
use xdpfw_tests::{
    End, Host, Lab, PATIENCE, ifindex,
    servers::{self, TcpServer, UdpEcho, received},
};

use super::devices::{bond, route, vlan};

/// The ports of the peer's servers.
const TCP: u16 = 80;
const UDP: u16 = 53;
/// Any address of both families.
const ANY: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

#[test]
#[ignore = "needs 8021q: cargo xtask test --kernel 6.1"]
fn a_vlan_above_is_answered() -> Result<()> {
    for offload in [true, false] {
        let lab = Lab::with_ipv6(1)?;
        // What the host's end does not write into the frame goes out beside it.
        lab.host.set_feature("eth0", "txvlan", offload)?;
        let mut ends = vlan(&lab, lab.link().near(), lab.link().far(), 100)?;
        for (number, end) in (1..).zip(&mut ends) {
            end.address6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0x900, 0, 0, 0, number);
        }
        let [near, far] = ends;
        add_ipv6(&lab.host, &near)?;
        add_ipv6(&lab.peer, &far)?;
        let peers = peers(&lab.host, &far)?;
        assert_answered(&lab, &near.interface, &["eth0"], &peers)
            .with_context(|| format!("tag written by the device: {offload}"))?;
    }
    Ok(())
}

#[test]
#[ignore = "needs bonding: cargo xtask test --kernel 6.1"]
fn a_bond_is_answered_by_whichever_member_is_active() -> Result<()> {
    // The bond itself, and then what is below it: a bond's member takes no native program.
    for filtered in [&["bond0"][..], &["eth0", "eth1", "--mode", "generic"]] {
        let (lab, near) = bond()?;
        for (active, link) in ["eth0", "eth1"].into_iter().zip(&lab.links) {
            let far = link.far();
            let line = format!("link set bond0 type bond active_slave {active}");
            lab.host.run("ip", line.split(' '))?;
            route(&lab.peer, &near, &far.interface)?;
            route(&lab.host, far, "bond0")?;
            let peer = SocketAddr::new(far.address.into(), 0);
            assert_answered(&lab, "bond0", filtered, &[peer])
                .with_context(|| format!("{active} is active, up {filtered:?}"))?;
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs vrf: cargo xtask test --kernel 6.1"]
fn a_vrf_is_answered() -> Result<()> {
    let lab = Lab::with_ipv6(1)?;
    let (near, far) = (lab.link().near(), lab.link().far());
    for line in [
        "link add vrf0 type vrf table 100",
        "link set vrf0 up",
        "link set eth0 master vrf0",
    ] {
        lab.host.run("ip", line.split(' '))?;
    }
    // The interface has lost them on the way.
    add_ipv6(&lab.host, near)?;
    let peers = peers(&lab.host, far)?;
    assert_answered(&lab, "eth0", &["eth0"], &peers)?;
    // Link-local peers are named by an interface, never by the VRF.
    assert_answered(&lab, "vrf0", &["eth0"], &peers[..2])
}

#[test]
#[ignore = "needs sctp: cargo xtask test --kernel 6.1"]
fn sctp_is_answered() -> Result<()> {
    /// `IPPROTO_SCTP`.
    const SCTP: i32 = 132;
    let lab = Lab::with_ipv6(1)?;
    let far = lab.link().far();
    let ask = || -> Result<()> {
        for address in [IpAddr::from(far.address), far.address6.into()] {
            let server = SocketAddr::new(address, 3868);
            let open = |host: &Host| {
                host.enter(|| {
                    let protocol = Some(Protocol::from(SCTP));
                    let domain = Domain::for_address(server);
                    Ok(Socket::new(domain, Type::STREAM, protocol)?)
                })
            };
            let listener = open(&lab.peer)?;
            listener.bind(&server.into())?;
            listener.listen(1)?;
            let client = open(&lab.host)?;
            client.connect_timeout(&server.into(), PATIENCE)?;
            let (accepted, _) = listener.accept()?;
            servers::assert_alive(client.into(), accepted.into())?;
        }
        Ok(())
    };
    ask().context("without a filter")?;
    filter(&lab.host, &["eth0"]);
    ask().context("under default drop")
}

/// Claims that sockets that are bound to a device are answered by these peers: without a
/// filter, and with one that `up` with these words puts into force. Nothing is dropped then.
fn assert_answered(lab: &Lab, device: &str, filtered: &[&str], peers: &[SocketAddr]) -> Result<()> {
    let _server = TcpServer::start_at(&lab.peer, SocketAddr::new(ANY, TCP), "hello")?;
    let _echo = UdpEcho::start_at(&lab.peer, SocketAddr::new(ANY, UDP))?;
    let ask = || {
        let mut peers = peers.iter();
        peers.try_for_each(|&peer| ask(&lab.host, device, peer))
    };
    ask().context("without a filter")?;
    filter(&lab.host, filtered);
    ask().context("under default drop")?;
    let status = lab.host.status();
    assert_eq!(status["totals"]["dropped"]["packets"], 0, "{status}");
    lab.host.xdpfw(["down"]).ok();
    Ok(())
}

/// Asks a peer by TCP, by a UDP socket that is not connected, and by ping.
fn ask(host: &Host, device: &str, peer: SocketAddr) -> Result<()> {
    let bound = |kind| {
        host.enter(|| {
            let socket = Socket::new(Domain::for_address(peer), kind, None)?;
            socket.bind_device(Some(device.as_bytes()))?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(socket)
        })
    };
    let at = |port| {
        let mut peer = peer;
        peer.set_port(port);
        peer
    };
    let stream = bound(Type::STREAM)?;
    stream
        .connect_timeout(&at(TCP).into(), PATIENCE)
        .with_context(|| format!("tcp to {peer}"))?;
    let text = io::read_to_string(TcpStream::from(stream))?;
    assert_eq!(text, "hello");
    let socket = UdpSocket::from(bound(Type::DGRAM)?);
    socket.send_to(b"question", at(UDP))?;
    let answer = received(&socket).with_context(|| format!("udp to {peer}"))?;
    assert_eq!(answer, "question");
    let address = peer.ip().to_string();
    host.run("ping", ["-c", "1", "-W", "10", "-I", device, &address])
        .map(drop)
}

/// Brings the filter up with these words; only SSH may come in.
#[track_caller]
fn filter(host: &Host, up: &[&str]) {
    host.xdpfw(["up"].iter().chain(up)).ok();
    host.xdpfw(["allow", "ssh"]).ok();
}

/// Gives an end its IPv6 addresses.
fn add_ipv6(host: &Host, end: &End) -> Result<()> {
    let interface = &end.interface;
    host.sysctl(&format!("net/ipv6/conf/{interface}/disable_ipv6"), "0")?;
    for address in [end.address6, end.link_local] {
        let line = format!("address replace {address}/64 dev {interface} nodad");
        host.run("ip", line.split(' '))?;
    }
    Ok(())
}

/// All addresses of a peer's end, as a host names them whose interface has the same name.
fn peers(host: &Host, end: &End) -> Result<[SocketAddr; 3]> {
    let scope = ifindex(host, &end.interface)?.try_into()?;
    Ok([
        SocketAddr::new(end.address.into(), 0),
        SocketAddr::new(end.address6.into(), 0),
        SocketAddrV6::new(end.link_local, 0, 0, scope).into(),
    ])
}
