//! Proves that tracked connections and published ports are found, with real NAT.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::Result;
use xdpfw::{
    netlink::{Tracked, tracked_connections},
    system::published_ports,
};
use xdpfw_common::Transport;
use xdpfw_tests::{
    Host, Lab, PATIENCE,
    servers::{self, TcpServer, UdpEcho},
};

/// Another address of the host, by which its packets leave.
const MASK: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

/// Adds nftables rules to a host.
fn nft(host: &Host, rules: &str) -> Result<()> {
    host.run("nft", [rules]).map(drop)
}

#[test]
fn tracked_connections_are_as_their_answers_look() -> Result<()> {
    let lab = Lab::new()?;
    let (near, far) = (lab.link().near(), lab.link().far());
    let tracked = || lab.host.enter(tracked_connections);
    assert_eq!(tracked()?, []);

    lab.host.run(
        "ip",
        ["address", "add", "10.0.0.9/24", "dev", &near.interface],
    )?;
    nft(
        &lab.host,
        "table ip nat { chain out { type nat hook postrouting priority 100; snat to 10.0.0.9; }; }",
    )?;
    // The peer's neighbours are written down for good.
    lab.peer.run(
        "ip",
        [
            "neighbour",
            "replace",
            "10.0.0.9",
            "lladdr",
            &near.mac_text(),
            "dev",
            &far.interface,
        ],
    )?;
    assert_eq!(tracked()?, []);

    let server = TcpServer::start_at(&lab.peer, far.at(80).into(), "hello")?;
    assert_eq!(servers::fetch(&lab.host, far.at(80), PATIENCE)?, "hello");
    assert_eq!(server.served(), 1);
    let all = tracked()?;
    let [over] = all[..] else { panic!("{all:?}") };
    assert_eq!(over.transport, Transport::Tcp);
    assert_eq!(over.remote, far.at(80).into());
    assert_eq!(over.local.ip(), IpAddr::V4(MASK));
    assert!(
        over.answered && over.assured && !over.established,
        "{over:?}"
    );

    let _echo = UdpEcho::start(&lab.peer, 53)?;
    servers::exchange(&lab.host, 5353, far.at(53), "query", PATIENCE)?;
    let udp: Vec<Tracked> = tracked()?
        .into_iter()
        .filter(|one| one.transport == Transport::Udp)
        .collect();
    let expected = Tracked {
        transport: Transport::Udp,
        remote: far.at(53).into(),
        local: SocketAddr::from((MASK, 5353)),
        asked: far.at(53).into(),
        answered: true,
        assured: false,
        established: false,
    };
    assert_eq!(udp, [expected]);

    let listener = lab.peer.enter(|| Ok(TcpListener::bind(far.at(81))?))?;
    let _client = servers::connect(&lab.host, 0, far.at(81), PATIENCE)?;
    let _server = listener.accept()?;
    let established: Vec<Tracked> = tracked()?
        .into_iter()
        .filter(|one| one.established)
        .collect();
    let [open] = established[..] else {
        panic!("{established:?}")
    };
    assert_eq!(open.remote, far.at(81).into());
    assert!(open.answered && open.assured);
    Ok(())
}

#[test]
fn published_ports_are_found_by_nft() -> Result<()> {
    let host = Host::new()?;
    let found = || host.enter(|| Ok(published_ports()));
    assert_eq!(found()?, []);
    nft(
        &host,
        "table ip nat { chain in { type nat hook prerouting priority -100; \
         tcp dport 8080 dnat to 172.17.0.2:80; udp dport 53 dnat to 172.17.0.2; \
         ip daddr 127.0.0.1 tcp dport 81 dnat to 172.17.0.2; }; }",
    )?;
    assert_eq!(found()?, [(Transport::Tcp, 8080), (Transport::Udp, 53)]);
    Ok(())
}
