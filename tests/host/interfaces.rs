//! Proves that addresses, ports of bridges, default routes and forwarding are read as they are.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use anyhow::{Context as _, Result};
use xdpfw::{
    netlink::{self, Master, MasterKind},
    system::{Forwarding, forwarding},
};
use xdpfw_tests::Host;

/// Runs `ip` with these words on a host.
fn ip(host: &Host, words: &str) -> Result<()> {
    host.run("ip", words.split(' ')).map(drop)
}

/// The kernel's number for an interface.
fn ifindex(host: &Host, interface: &str) -> Result<u32> {
    Ok(u32::try_from(xdpfw_tests::ifindex(host, interface)?)?)
}

/// A host with two interfaces that lead nowhere.
fn host() -> Result<Host> {
    let host = Host::new()?;
    ip(&host, "link add a0 type veth peer name a1")?;
    for interface in ["a0", "a1"] {
        ip(&host, &format!("link set {interface} up"))?;
    }
    Ok(host)
}

#[test]
fn own_addresses_are_listed_with_their_interfaces() -> Result<()> {
    let host = host()?;
    host.set_ipv6(true)?;
    ip(&host, "address add 192.0.2.1/24 dev a0")?;
    ip(&host, "address add 192.0.2.3 peer 192.0.2.4/32 dev a1")?;
    ip(&host, "address add 2001:db8::1/64 dev a0 nodad")?;
    let index = |name: &str| ifindex(&host, name);
    let (a0, a1, lo) = (index("a0")?, index("a1")?, index("lo")?);
    let all: BTreeSet<_> = host.enter(netlink::own_addresses)?.into_iter().collect();
    let given = |(address, _): &(IpAddr, u32)| match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    };
    let expected = [
        ("127.0.0.1", lo),
        ("::1", lo),
        ("192.0.2.1", a0),
        ("192.0.2.3", a1),
    ];
    let mut expected: BTreeSet<(IpAddr, u32)> = expected
        .into_iter()
        .map(|(address, index)| Ok((address.parse()?, index)))
        .collect::<Result<_>>()?;
    expected.insert(("2001:db8::1".parse()?, a0));
    assert_eq!(
        all.into_iter().filter(given).collect::<BTreeSet<_>>(),
        expected
    );

    let of =
        |address: [u8; 4]| host.enter(|| netlink::interface_with(Ipv4Addr::from(address).into()));
    assert_eq!(of([192, 0, 2, 3])?.as_deref(), Some("a1"));
    assert_eq!(of([192, 0, 2, 4])?, None);
    Ok(())
}

#[test]
fn a_port_of_a_bridge_knows_its_bridge() -> Result<()> {
    let host = host()?;
    ip(&host, "link add br0 type bridge")?;
    ip(&host, "link set a0 master br0")?;
    let all = host.enter(netlink::interfaces)?;
    let master = |name: &str| {
        let interface = all.iter().find(|interface| interface.name == name);
        interface
            .map(|interface| interface.master)
            .context("it is not listed")
    };
    let bridge = Master {
        index: ifindex(&host, "br0")?,
        kind: MasterKind::Bridge,
    };
    assert_eq!(master("a0")?, Some(bridge));
    assert_eq!(master("a1")?, None);
    assert_eq!(master("br0")?, None);
    Ok(())
}

#[test]
fn default_routes_lead_to_their_interfaces() -> Result<()> {
    let host = host()?;
    let found = || host.enter(netlink::default_route_interfaces);
    let (a0, a1) = (ifindex(&host, "a0")?, ifindex(&host, "a1")?);
    let both = [a0.min(a1), a0.max(a1)];
    ip(&host, "address add 192.0.2.1/24 dev a0")?;
    ip(&host, "address add 198.51.100.1/24 dev a1")?;
    ip(&host, "route add 10.0.0.0/8 via 198.51.100.2")?;
    ip(&host, "route add unreachable default metric 9")?;
    assert!(found()?.is_empty());
    ip(&host, "route add default via 192.0.2.2")?;
    assert_eq!(found()?, [a0]);
    // As OpenVPN does it.
    ip(&host, "route add 128.0.0.0/1 via 198.51.100.2")?;
    assert_eq!(found()?, both);
    ip(&host, "route del default via 192.0.2.2")?;
    ip(&host, "route del 128.0.0.0/1")?;
    assert!(found()?.is_empty());
    ip(
        &host,
        "route add default table 7 nexthop via 192.0.2.2 nexthop via 198.51.100.2",
    )?;
    assert_eq!(found()?, both);
    ip(&host, "route flush table 7")?;
    host.set_ipv6(true)?;
    ip(&host, "-6 route add default dev a1")?;
    assert_eq!(found()?, [a1]);
    Ok(())
}

#[test]
fn a_router_forwards() -> Result<()> {
    let host = host()?;
    host.set_ipv6(true)?;
    for (family, name) in [
        ("ipv4", "all"),
        ("ipv4", "a0"),
        ("ipv6", "all"),
        ("ipv6", "a1"),
    ] {
        let key = format!("net/{family}/conf/{name}/forwarding");
        assert!(!host.enter(|| Ok(forwarding().is_on()))?, "before {key}");
        host.sysctl(&key, "1")?;
        let expected = Forwarding {
            ipv4: family == "ipv4",
            ipv6: family == "ipv6",
        };
        assert_eq!(host.enter(|| Ok(forwarding()))?, expected, "{key}");
        host.sysctl(&key, "0")?;
    }
    Ok(())
}
