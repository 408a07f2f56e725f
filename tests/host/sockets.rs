//! Proves that every socket of the namespace is listed once, with what it is doing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};

use anyhow::{Context as _, Result};
use socket2::{Domain, SockAddr, Type};
use xdpfw::system::{Socket, SocketState, sockets};
use xdpfw_common::Transport;
use xdpfw_tests::{Host, Lab};

/// Nobody has it, so what goes there stays unanswered while neighbours are asked for it.
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 77)), 9);

/// What is compared of a socket.
type Seen = (Transport, SocketAddr, Option<SocketAddr>, SocketState);

fn listed() -> Result<Vec<Seen>> {
    let seen = |socket: Socket| (socket.transport, socket.local, socket.remote, socket.state);
    let mut all: Vec<Seen> = sockets()?.into_iter().map(seen).collect();
    all.sort_unstable_by_key(|&(transport, local, remote, _)| (transport, local, remote));
    Ok(all)
}

#[test]
fn sockets_are_listed_with_their_state() -> Result<()> {
    let lab = Lab::new()?;
    lab.host.enter(|| {
        assert_eq!(listed()?, []);
        let localhost = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let v4 = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80))?;
        let v6 = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 81))?;
        // A socket for both families shows IPv4 addresses as IPv6.
        let client = TcpStream::connect(localhost(81))?;
        let (server, _) = v6.accept()?;
        let waiting = socket2::Socket::new(Domain::IPV4, Type::STREAM, None)?;
        waiting.set_nonblocking(true)?;
        let _ = waiting.connect(&SockAddr::from(NOBODY));
        let bound = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 53))?;
        let connected = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        connected.connect(localhost(53))?;

        let waiting_at = waiting.local_addr()?.as_socket().context("no address")?;
        let (tcp, udp) = (Transport::Tcp, Transport::Udp);
        let mut expected = vec![
            (tcp, v4.local_addr()?, None, SocketState::Listening),
            (tcp, v6.local_addr()?, None, SocketState::Listening),
            (
                tcp,
                client.local_addr()?,
                Some(localhost(81)),
                SocketState::Connected,
            ),
            (
                tcp,
                localhost(81),
                Some(client.local_addr()?),
                SocketState::Connected,
            ),
            (tcp, waiting_at, Some(NOBODY), SocketState::Connecting),
            (udp, bound.local_addr()?, None, SocketState::Listening),
            (
                udp,
                connected.local_addr()?,
                Some(localhost(53)),
                SocketState::Connected,
            ),
        ];
        expected.sort_unstable_by_key(|&(transport, local, remote, _)| (transport, local, remote));
        assert_eq!(listed()?, expected);

        let ended = client.local_addr()?;
        drop((client, server));
        let all = listed()?;
        let end = all.iter().find(|&&(_, local, ..)| local == ended);
        assert!(
            end.is_none_or(|&(.., state)| state == SocketState::Closing),
            "{all:?}"
        );
        Ok(())
    })
}

#[test]
fn a_socket_has_an_owner() -> Result<()> {
    let host = Host::new()?;
    host.enter(|| {
        let _socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 53))?;
        let all = sockets()?;
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].uid, 0);
        assert_ne!(all[0].inode, 0);
        Ok(())
    })
}
