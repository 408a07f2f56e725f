//! Proves that what this host asks a group is answered by whoever has something to say, where
//! the policy wants that, and by nobody else.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Result, ensure};
use socket2::{Domain, Protocol, Socket, Type};
use xdpfw_tests::{End, Family, Host, Lab, ifindex, servers};

/// How long to wait for what cannot come.
const IN_VAIN: Duration = Duration::from_millis(200);

/// Multicast DNS and SSDP, over both families.
const GROUPS: [(IpAddr, u16); 5] = [
    (IpAddr::V4(Ipv4Addr::new(224, 0, 0, 251)), 5353),
    (IpAddr::V4(Ipv4Addr::new(239, 255, 255, 250)), 1900),
    (
        IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb)),
        5353,
    ),
    (
        IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xc)),
        1900,
    ),
    (
        IpAddr::V6(Ipv6Addr::new(0xff05, 0, 0, 0, 0, 0, 0, 0xc)),
        1900,
    ),
];

/// A socket of a host that sends to groups by this interface, and takes part in one.
fn socket(host: &Host, end: &End, (group, port): (IpAddr, u16), local: u16) -> Result<UdpSocket> {
    let index = u32::try_from(ifindex(host, &end.interface)?)?;
    host.enter(|| {
        let (domain, any): (_, IpAddr) = match group {
            IpAddr::V4(_) => (Domain::IPV4, Ipv4Addr::UNSPECIFIED.into()),
            IpAddr::V6(_) => (Domain::IPV6, Ipv6Addr::UNSPECIFIED.into()),
        };
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_reuse_address(true)?;
        match group {
            IpAddr::V4(group) => {
                socket.set_multicast_if_v4(&end.address)?;
                socket.set_multicast_loop_v4(false)?;
                if local == port {
                    socket.join_multicast_v4(&group, &end.address)?;
                }
            }
            IpAddr::V6(group) => {
                socket.set_only_v6(true)?;
                socket.set_multicast_if_v6(index)?;
                socket.set_multicast_loop_v6(false)?;
                if local == port {
                    socket.join_multicast_v6(&group, index)?;
                }
            }
        }
        socket.bind(&SocketAddr::new(any, local).into())?;
        let socket = UdpSocket::from(socket);
        socket.set_read_timeout(Some(xdpfw_tests::PATIENCE))?;
        Ok(socket)
    })
}

/// Asks a group from some port; where the answers are to go.
fn ask(asking: &UdpSocket, asked: &UdpSocket, group: (IpAddr, u16)) -> Result<SocketAddr> {
    asking.send_to(b"who?", SocketAddr::from(group))?;
    let mut buffer = [0; 16];
    let (len, from) = asked.recv_from(&mut buffer)?;
    ensure!(&buffer[..len] == b"who?", "another question");
    Ok(from)
}

#[test]
fn groups_are_answered_by_their_members() -> Result<()> {
    for group in GROUPS {
        for (knob, is_answered) in [("false", false), ("true", true)] {
            let lab = Lab::with_ipv6(1)?.filtered(&format!("discovery = {knob}"));
            let (near, far) = (lab.link().near(), lab.link().far());
            let asking = socket(&lab.host, near, group, 0)?;
            let asked = socket(&lab.peer, far, group, group.1)?;
            let asker = ask(&asking, &asked, group)?;
            asked.send_to(b"me", asker)?;
            if !is_answered {
                assert!(servers::is_silent(&asking, IN_VAIN)?, "{group:?}");
                continue;
            }
            assert_eq!(servers::received(&asking)?, "me", "{group:?}");
            // Not from another port, nor to a port that asked nobody.
            let other = socket(&lab.peer, far, group, 4000)?;
            other.send_to(b"not me", asker)?;
            let idle = socket(&lab.host, near, group, 4001)?;
            asked.send_to(b"me", SocketAddr::new(asker.ip(), 4001))?;
            assert!(servers::is_silent(&asking, IN_VAIN)?, "{group:?}");
            assert!(servers::is_silent(&idle, IN_VAIN)?, "{group:?}");
        }
    }
    Ok(())
}

#[test]
fn those_who_take_part_in_multicast_dns_hear_the_group() -> Result<()> {
    for group in GROUPS.into_iter().filter(|(_, port)| *port == 5353) {
        let lab = Lab::with_ipv6(1)?.filtered("discovery = true");
        let (near, far) = (lab.link().near(), lab.link().far());
        let one = socket(&lab.host, near, group, group.1)?;
        let other = socket(&lab.peer, far, group, group.1)?;
        // Before it asks, it is told nothing.
        other.send_to(b"news", SocketAddr::from(group))?;
        assert!(servers::is_silent(&one, IN_VAIN)?, "{group:?}");
        ask(&one, &other, group)?;
        other.send_to(b"me", SocketAddr::from(group))?;
        assert_eq!(servers::received(&one)?, "me", "{group:?}");
    }
    Ok(())
}

#[test]
fn a_flow_with_a_group_lets_nobody_else_in() -> Result<()> {
    let lab = Lab::with_ipv6(1)?.filtered("discovery = true");
    let (near, far) = (lab.link().near(), lab.link().far());
    let group = GROUPS[0];
    let asking = socket(&lab.host, near, group, 0)?;
    let asked = socket(&lab.peer, far, group, group.1)?;
    let asker = ask(&asking, &asked, group)?;
    // SSDP's port answers SSDP's questions alone.
    let other = socket(&lab.peer, far, GROUPS[1], GROUPS[1].1)?;
    other.send_to(b"not me", asker)?;
    assert!(servers::is_silent(&asking, IN_VAIN)?);
    let family = Family::Ipv6;
    let elsewhere = SocketAddr::new(family.address(near), asker.port());
    let six = socket(&lab.peer, far, GROUPS[2], GROUPS[2].1)?;
    let hearing = socket(&lab.host, near, GROUPS[2], asker.port())?;
    six.send_to(b"not me", elsewhere)?;
    assert!(servers::is_silent(&hearing, IN_VAIN)?);
    Ok(())
}
