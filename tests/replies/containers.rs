//! Proves that containers get their answers, behind a bridge and NAT on the filtered host or on
//! its own bridge, and that a port of theirs is published only where a rule allows it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context as _, Result};
use xdpfw_tests::{
    End, Family, Host, Lab, Link, Sender, Tally, add_ipv6, link, packets,
    servers::{self, TcpServer},
};

use crate::{
    ANY, assert_answered, assert_says, curl,
    daemons::{self, ADDRESS},
    filter,
    probes::ping,
    resolvers::dig,
    run,
    topology::{add_addresses, add_bridge, bridged, forward, masquerade, nft, send_all_errors},
};

#[test]
fn a_container_is_answered() -> Result<()> {
    let lab = Lab::with_ipv6(1)?;
    let (container, _) = add_container(&lab)?;
    for host in [&lab.host, &lab.peer] {
        send_all_errors(host)?;
    }
    let _server = TcpServer::http(&lab.peer, SocketAddr::new(ANY, 80), "a document")?;
    daemons::dnsmasq(&lab.peer)?;
    assert_answered(&lab.host, &["eth0"], || {
        for family in Family::ALL {
            let peer = family.address(lab.link().far());
            assert_says(&container, &curl(peer, 80), "a document")?;
            assert_says(&container, &dig(peer), ADDRESS)?;
            assert_says(&container, &format!("{} +tcp", dig(peer)), ADDRESS)?;
            ping(&container, peer)?;
            // The host is the first hop, and the peer's answer an ICMP error.
            let line = format!("traceroute -n -q 1 -w 2 {peer}");
            assert_says(&container, &line, &format!("2  {peer} "))?;
        }
        Ok(())
    })
}

/// A virtual machine, say: a neighbour of the peer's, whose frames the host only passes on.
#[test]
fn a_guest_on_the_hosts_own_bridge_is_answered() -> Result<()> {
    let lab = bridged()?;
    let guest = Host::new()?;
    let inside = link(&lab.host, &guest)?;
    add_ipv6(&inside, &lab.host, &guest)?;
    run(&lab.host, "ip address flush dev eth1")?;
    run(&lab.host, "ip link set eth1 master br0")?;
    run(&guest, "ip address flush dev eth0")?;
    let own = End {
        address: Ipv4Addr::new(10, 0, 0, 3),
        address6: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 3),
        link_local: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 3),
        ..inside.far().clone()
    };
    add_addresses(&guest, "eth0", &own)?;
    let _server = TcpServer::http(&lab.peer, SocketAddr::new(ANY, 80), "a document")?;
    daemons::dnsmasq(&lab.peer)?;
    assert_answered(&lab.host, &["eth0"], || {
        for family in Family::ALL {
            let peer = family.address(lab.link().far());
            assert_says(&guest, &curl(peer, 80), "a document")?;
            assert_says(&guest, &dig(peer), ADDRESS)?;
            ping(&guest, peer)?;
        }
        let server = format!("{}%eth0", lab.link().far().link_local);
        assert_says(&guest, &dig(&server), ADDRESS)
    })?;
    for family in Family::ALL {
        let before = Tally::of(&lab.host)?;
        let line = format!("ping -c 1 -W 0.2 {}", family.address(&own));
        assert!(run(&lab.peer, &line).is_err(), "{family:?}");
        // The peer may have asked where the guest is.
        let moved = Tally::of(&lab.host)?.since(&before);
        assert_eq!(moved.packets("drop default"), 1, "{moved:?}");
    }
    Ok(())
}

/// What a guest sends in the host's own name, from a port of the bridge that was there when
/// the filter came up or from one that came later, is no question of the host's.
#[test]
fn a_guest_in_the_hosts_name_opens_nothing() -> Result<()> {
    let lab = bridged()?;
    let (near, far) = (lab.link().near(), lab.link().far());
    let mut guests = Vec::new();
    let mut add_guest = |port: &str| -> Result<()> {
        let guest = Host::new()?;
        let inside = link(&lab.host, &guest)?;
        run(&lab.host, &format!("ip address flush dev {port}"))?;
        run(&lab.host, &format!("ip link set {port} master br0"))?;
        guests.push((guest, inside));
        Ok(())
    };
    add_guest("eth1")?;
    filter(&lab.host, &["eth0"], "rule = [{ allow = 'ssh' }]");
    add_guest("eth2")?;

    let answer = packets::udp(far.at(5000), near.at(40_000), b"answer");
    let mut peer = Sender::new(&lab.peer, far)?;
    for (guest, inside) in &guests {
        let question = packets::udp(near.at(40_000), far.at(5000), b"question");
        let frame = packets::frame(inside.far(), far, &question);
        let heard = servers::bind(&lab.peer, (far.address, 5000))?;
        Sender::of_frames(guest, inside.far())?.send_all([frame])?;
        assert_eq!(servers::received(&heard)?, "question");
        let before = Tally::of(&lab.host)?;
        peer.send_all([&answer])?;
        Tally::assert_moved(&lab.host, &before, &[("drop default", 1), ("udp/40000", 1)])?;
    }
    // The same from the host itself.
    let asking = servers::bind(&lab.host, (near.address, 40_000))?;
    asking.send_to(b"question", (far.address, 5000))?;
    peer.send_all([&answer])?;
    assert_eq!(servers::received(&asking)?, "answer");
    Ok(())
}

#[test]
fn a_published_port_is_reached_where_a_rule_allows_it() -> Result<()> {
    let lab = Lab::with_ipv6(1)?;
    let (container, inside) = add_container(&lab)?;
    let _server = TcpServer::http(&container, SocketAddr::new(ANY, 80), "a document")?;
    nft(
        &lab.host,
        &format!(
            "table inet publish {{
                chain prerouting {{
                    type nat hook prerouting priority -100
                    iifname eth0 meta nfproto ipv4 tcp dport 8080-8081 dnat ip to {}:80
                    iifname eth0 meta nfproto ipv6 tcp dport 8080-8081 dnat ip6 to [{}]:80
                }}
            }}",
            inside.far().address,
            inside.far().address6
        ),
    )?;
    for family in Family::ALL {
        let host = family.address(lab.link().near());
        let line = |port| curl(host, port).replace("max-time 5", "max-time 0.5");
        for port in [8080, 8081] {
            assert_says(&lab.peer, &line(port), "a document").context("without a filter")?;
        }

        filter(&lab.host, &["eth0"], crate::POLICY);
        let before = Tally::of(&lab.host)?;
        assert!(run(&lab.peer, &line(8080)).is_err());
        Tally::assert_moved(&lab.host, &before, &[("drop default", 1), ("tcp/8080", 1)])?;

        lab.host.xdpfw(["allow", "tcp", "8080"]).ok();
        assert_says(&lab.peer, &curl(host, 8080), "a document")?;
        let before = Tally::of(&lab.host)?;
        assert!(run(&lab.peer, &line(8081)).is_err());
        Tally::assert_moved(&lab.host, &before, &[("drop default", 1), ("tcp/8081", 1)])?;
        lab.host.xdpfw(["down"]).ok();
    }
    Ok(())
}

/// A container of the lab's host, behind a bridge, whose traffic the host masquerades; and the
/// link between them.
pub(crate) fn add_container(lab: &Lab) -> Result<(Host, Link)> {
    let container = Host::new()?;
    let inside = link(&lab.host, &container)?;
    add_ipv6(&inside, &lab.host, &container)?;
    add_bridge(&lab.host, inside.near())?;
    forward(&lab.host)?;
    for family in Family::ALL {
        let via = family.address(inside.near());
        run(&container, &format!("ip route add default via {via}"))?;
    }
    masquerade(&lab.host, "eth0")?;
    Ok((container, inside))
}
