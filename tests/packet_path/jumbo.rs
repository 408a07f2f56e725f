//! Proves that frames larger than a page are filtered in the driver, whole and counted
//! by their length; and what is said where the filter was not brought up for them.

use std::{
    fs,
    io::Read as _,
    net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket},
};

use anyhow::{Context as _, Result, ensure};
use socket2::{Socket, Type};
use xdpfw_tests::{
    Host, Lab, PATIENCE, Sender, Tally, assert_is_one_error, ifindex, interfaces_up, packets,
    servers::{self, TcpServer, UdpEcho},
    state, text, xdp_mode,
};

const MTU: &str = "9000";
/// An echo server is there, and a rule.
const OPEN: u16 = 53;
/// Neither is here.
const CLOSED: u16 = 54;

#[test]
fn jumbo_frames_are_filtered_in_the_driver_and_counted_whole() -> Result<()> {
    const DATAGRAMS: u64 = 5;
    // The longest that fit, too.
    let lens = [100, 3000, 4096, 8900];
    let lab = jumbo_lab(1)?;
    up_native(&lab.host, &["eth0"])?;
    lab.host.xdpfw(["allow", "udp", "53"]).ok();
    let _echo = UdpEcho::start_at(&lab.host, (Ipv6Addr::UNSPECIFIED, OPEN).into())?;
    let near = lab.link().near();
    for (address, header) in [(IpAddr::from(near.address), 20), (near.address6.into(), 40)] {
        for len in lens.into_iter().chain([8992 - header]) {
            let case = format!("{address}, {len} bytes");
            let frame = (14 + header + 8 + len) as u64;
            let before = Tally::of(&lab.host)?;
            let to = SocketAddr::new(address, OPEN);
            let query = "q".repeat(len);
            let answer = servers::exchange(&lab.peer, 0, to, &query, PATIENCE);
            assert_eq!(answer.with_context(|| case.clone())?, query, "{case}");
            let any = (Ipv6Addr::UNSPECIFIED, 0);
            let socket = lab.peer.enter(|| Ok(UdpSocket::bind(any)?))?;
            let closed = match address {
                IpAddr::V4(address) => address.to_ipv6_mapped(),
                IpAddr::V6(address) => address,
            };
            for _ in 0..DATAGRAMS {
                socket.send_to(query.as_bytes(), (closed, CLOSED))?;
            }
            let expected = [
                ("pass rule", 1),
                ("r1", 1),
                ("drop default", DATAGRAMS),
                ("udp/54", DATAGRAMS),
            ];
            let moved = Tally::assert_moved(&lab.host, &before, &expected)?;
            assert_eq!(moved.bytes("pass rule"), frame, "{case}");
            assert_eq!(moved.bytes("drop default"), DATAGRAMS * frame, "{case}");
        }
    }
    Ok(())
}

#[test]
fn tcp_fills_jumbo_frames() -> Result<()> {
    let lab = jumbo_lab(1)?;
    up_native(&lab.host, &["eth0"])?;
    for packets in fetch_both_ways(&lab)? {
        // The kernel gives a driver's program what the wire would carry, not more.
        assert!(packets >= DOCUMENT as u64 / 9000, "{packets}");
    }
    Ok(())
}

#[test]
fn segments_that_the_wire_would_not_carry_are_filtered_in_the_stack() -> Result<()> {
    let lab = jumbo_lab(1)?;
    lab.host.xdpfw(["up", "eth0", "--mode", "generic"]).ok();
    for packets in fetch_both_ways(&lab)? {
        assert!(
            packets < DOCUMENT as u64 / 9000,
            "{packets}: no large segments"
        );
    }
    Ok(())
}

/// BIG TCP: the kernel puts more segments together than the length in an IP header can say.
#[test]
fn segments_longer_than_any_datagram_are_filtered_in_the_stack() -> Result<()> {
    let lab = jumbo_lab(1)?;
    for (host, end) in [
        (&lab.host, lab.link().near()),
        (&lab.peer, lab.link().far()),
    ] {
        allow_aggregates(host, &end.interface)?;
    }
    lab.host.xdpfw(["up", "eth0", "--mode", "generic"]).ok();
    // How long they get is the sender's choice, and a slow machine's is a short one at times.
    let is_long = |packets: u64| packets < (DOCUMENT / 65_535) as u64;
    let expected = [has_ipv4_aggregates()?, true];
    let mut was_long = [false; 2];
    for _ in 0..10 {
        for (was_long, packets) in was_long.iter_mut().zip(fetch_both_ways(&lab)?) {
            *was_long |= is_long(packets);
        }
        if was_long == expected {
            break;
        }
    }
    assert_eq!(was_long, expected, "IPv4, IPv6");
    Ok(())
}

/// Whether the kernel makes such of IPv4: since 6.3.
fn has_ipv4_aggregates() -> Result<bool> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split(['.', '-']).map(str::parse::<u32>);
    let mut number = || numbers.next().context("no version")?.context("no number");
    Ok((number()?, number()?) >= (6, 3))
}

/// Lets an interface send and receive aggregates of this length, in bytes.
const AGGREGATE: u32 = 400_000;

/// Lets an interface send and receive long aggregates, as newer versions of `ip` can: by a
/// message to the kernel (linux/rtnetlink.h).
fn allow_aggregates(host: &Host, interface: &str) -> Result<()> {
    /// `IFLA_GSO_MAX_SIZE`, `IFLA_GRO_MAX_SIZE`, and the same for IPv4 (linux/if_link.h).
    const ATTRIBUTES: [u16; 4] = [41, 58, 63, 64];
    const RTM_NEWLINK: u16 = 16;
    /// `NLM_F_REQUEST | NLM_F_ACK`.
    const FLAGS: u16 = 5;
    let index = u32::try_from(ifindex(host, interface)?)?;
    let mut rest = Vec::new();
    rest.extend(RTM_NEWLINK.to_ne_bytes());
    rest.extend(FLAGS.to_ne_bytes());
    rest.extend([0; 8]);
    // `struct ifinfomsg`.
    rest.extend([0; 4]);
    rest.extend(index.to_ne_bytes());
    rest.extend([0; 8]);
    for attribute in ATTRIBUTES {
        rest.extend(8_u16.to_ne_bytes());
        rest.extend(attribute.to_ne_bytes());
        rest.extend(AGGREGATE.to_ne_bytes());
    }
    let len = (rest.len() + 4) as u32;
    let message = [&len.to_ne_bytes()[..], &rest].concat();
    host.enter(|| {
        let (domain, protocol) = (libc::AF_NETLINK.into(), libc::NETLINK_ROUTE.into());
        let mut socket = Socket::new(domain, Type::RAW, Some(protocol))?;
        socket.send(&message)?;
        let mut answer = [0; 64];
        let len = socket.read(&mut answer)?;
        // Behind the header of the answer is an error, or 0.
        ensure!(
            len >= 20 && answer[16..20] == [0; 4],
            "{interface}: {:?}",
            &answer[..len]
        );
        Ok(())
    })
}

/// Length of what is fetched, in bytes.
const DOCUMENT: usize = 4 << 20;

/// Fetches a document from the host and one from its peer, over both families, and
/// claims that all packets are counted; in how many each came to the host.
#[track_caller]
fn fetch_both_ways(lab: &Lab) -> Result<[u64; 2]> {
    lab.host.xdpfw(["allow", "tcp", "80"]).ok();
    let document = "x".repeat(DOCUMENT);
    let any = (Ipv6Addr::UNSPECIFIED, 80).into();
    let (near, far) = (lab.link().near(), lab.link().far());
    let mut came_in = [0; 2];
    let ends = [
        (IpAddr::from(near.address), IpAddr::from(far.address)),
        (near.address6.into(), far.address6.into()),
    ];
    for (came_in, (near, far)) in came_in.iter_mut().zip(ends) {
        for (server, client, to, counter) in [
            (&lab.host, &lab.peer, near, "pass rule"),
            (&lab.peer, &lab.host, far, "pass reply"),
        ] {
            let _server = TcpServer::start_at(server, any, &document)?;
            let (before, received) = Tally::settled(&lab.host, "eth0")?;
            let text = servers::fetch(client, SocketAddr::new(to, 80), PATIENCE)?;
            assert!(text == document, "{to}: {} bytes", text.len());
            let (after, now) = Tally::settled(&lab.host, "eth0")?;
            let moved = after.since(&before);
            let packets = moved.packets(counter);
            assert_eq!(moved.judged(), packets + moved.mld(), "{moved:?}");
            assert_eq!(now.rx_packets - received.rx_packets, moved.judged(), "{to}");
            // Whether a device counts its header depends on the way that packets take.
            let (bytes, headers) = (now.rx_bytes - received.rx_bytes, 14 * moved.judged());
            let counted = moved.judged_bytes();
            assert!(
                counted == bytes || counted == bytes + headers,
                "{to}: {counted} bytes counted, {bytes} received, {headers} of headers"
            );
            // The last is the host's own request, so the document comes in.
            *came_in = packets;
        }
    }
    Ok(came_in)
}

#[test]
fn an_interface_with_jumbo_frames_that_joins_late_is_told_how() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    up_native(host, &["eth0"])?;
    for end in [host, &lab.peer] {
        end.run("ip", ["link", "set", "eth1", "mtu", MTU])?;
    }
    let before = state(host, &["eth0", "eth1"])?;
    let said = host.xdpfw(["up", "eth1", "--mode", "native"]).fails(5);
    assert_is_one_error(&said, "eth1: its MTU of 9000 is too large");
    assert!(said.contains("`xdpfw down`, then `xdpfw up`"), "{said}");
    assert!(said.contains("--mode generic"), "{said}");
    assert_eq!(state(host, &["eth0", "eth1"])?, before);

    // Otherwise it is filtered all the same, if later, and that is said.
    let output = host.xdpfw(["up", "eth1"]).output()?;
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let warning = "warning: eth1: no native XDP here (its MTU of 9000 is too large";
    assert!(stderr.starts_with(warning), "{stderr}");
    assert!(stderr.contains("`xdpfw down`, then `xdpfw up`"), "{stderr}");
    assert_eq!(xdp_mode(host, "eth1")?, "generic");
    assert_drops_large(&lab, 1)?;

    // As was said.
    host.xdpfw(["down"]).ok();
    up_native(host, &["eth0", "eth1"])?;
    assert_eq!(interfaces_up(host), ["eth0", "eth1"]);
    assert_drops_large(&lab, 1)
}

#[test]
fn a_jumbo_interface_may_join_where_there_was_one_from_the_start() -> Result<()> {
    let lab = Lab::with_links(2)?;
    for end in [&lab.host, &lab.peer] {
        end.run("ip", ["link", "set", "eth1", "mtu", MTU])?;
    }
    // Not filtered, but there.
    up_native(&lab.host, &["eth0"])?;
    up_native(&lab.host, &["eth1"])?;
    assert_drops_large(&lab, 1)
}

#[test]
fn a_neighbour_with_jumbo_frames_is_told_of() -> Result<()> {
    let lab = Lab::new()?;
    lab.peer.run("ip", ["link", "set", "eth0", "mtu", MTU])?;
    let said = lab.host.xdpfw(["up", "eth0", "--mode", "native"]).fails(5);
    assert_is_one_error(&said, "eth0: its MTU or its peer's is too large");
    let output = lab.host.xdpfw(["up", "eth0"]).output()?;
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains("its MTU or its peer's is too large"),
        "{stderr}"
    );
    assert_eq!(xdp_mode(&lab.host, "eth0")?, "generic");
    Ok(())
}

/// A lab whose links carry jumbo frames.
fn jumbo_lab(links: u8) -> Result<Lab> {
    let lab = Lab::with_ipv6(links)?;
    for link in &lab.links {
        for (host, end) in [(&lab.host, link.near()), (&lab.peer, link.far())] {
            host.run("ip", ["link", "set", &end.interface, "mtu", MTU])?;
        }
    }
    Ok(lab)
}

/// Brings interfaces up, and claims that it is in the driver.
#[track_caller]
fn up_native(host: &Host, interfaces: &[&str]) -> Result<()> {
    let output = host.xdpfw([&["up"], interfaces].concat()).output()?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(text(&output.stderr), "");
    for interface in interfaces {
        assert_eq!(xdp_mode(host, interface)?, "native", "{interface}");
    }
    Ok(())
}

/// Claims that a large datagram to a closed port is dropped and counted whole.
#[track_caller]
fn assert_drops_large(lab: &Lab, link: usize) -> Result<()> {
    let (near, far) = (lab.links[link].near(), lab.links[link].far());
    let before = Tally::of(&lab.host)?;
    let packet = packets::udp(far.at(40_000), near.at(CLOSED), &[0; 8900]);
    Sender::new(&lab.peer, far)?.send_all([packet])?;
    let expected = [("drop default", 1), ("udp/54", 1)];
    let moved = Tally::assert_moved(&lab.host, &before, &expected)?;
    assert_eq!(moved.bytes("drop default"), 14 + 20 + 8 + 8900);
    Ok(())
}
