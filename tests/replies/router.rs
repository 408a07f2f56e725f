//! Proves that those behind a router get their answers through two filtered interfaces, and
//! that nobody outside starts anything inwards.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::Result;
use xdpfw_tests::{
    Family, Host, Tally,
    servers::{self, TcpServer, UdpEcho},
};

use crate::{
    ANY, assert_says, curl,
    daemons::{self, ADDRESS},
    filter,
    probes::ping,
    resolvers::dig,
    run,
    topology::Row,
};

/// Those inside may send whatever they like.
const POLICY: &str = "rule = [{ allow = 'any', on = ['eth0'] }, { allow = 'ssh' }]";
/// How long to wait for what cannot come; counters tell why it did not.
const IN_VAIN: Duration = Duration::from_millis(200);

#[test]
fn those_inside_are_answered_and_those_outside_start_nothing() -> Result<()> {
    let row = Row::<3>::new()?;
    let [inner, router, outer] = &row.hosts;
    let mut servers = Vec::new();
    for host in [inner, outer] {
        let http = TcpServer::http(host, SocketAddr::new(ANY, 80), "a document")?;
        let echo = UdpEcho::start_at(host, SocketAddr::new(ANY, 5000))?;
        servers.push((http, echo));
    }
    daemons::dnsmasq(outer)?;
    let addresses = |family: Family| {
        let inside = family.address(row.links[0].near());
        (inside, family.address(row.links[1].far()))
    };
    let ask = |family: Family| -> Result<()> {
        let (_, outside) = addresses(family);
        assert_says(inner, &curl(outside, 80), "a document")?;
        assert_says(inner, &dig(outside), ADDRESS)?;
        ping(inner, outside)
    };
    for family in Family::ALL {
        ask(family)?;
        let (inside, _) = addresses(family);
        assert_eq!(started(outer, inside)?, [true; 3]);
    }

    filter(router, &["eth0", "eth1"], POLICY);
    let served = (servers[0].0.served(), servers[0].1.served());
    for family in Family::ALL {
        let (inside, _) = addresses(family);
        let before = Tally::of(router)?;
        ask(family)?;
        let moved = Tally::of(router)?.since(&before);
        assert_eq!(moved.packets("drop default"), 0, "{moved:?}");

        let before = Tally::of(router)?;
        assert_eq!(started(outer, inside)?, [false; 3]);
        let expected = [("drop default", 3), ("tcp/80", 1), ("udp/5000", 1)];
        Tally::assert_moved(router, &before, &expected)?;
    }
    assert_eq!((servers[0].0.served(), servers[0].1.served()), served);
    Ok(())
}

/// Whether a host is answered by another's web server, by its echo over UDP, and by itself.
fn started(host: &Host, address: IpAddr) -> Result<[bool; 3]> {
    let fetch = curl(address, 80).replace("max-time 5", "max-time 0.5");
    let echo = SocketAddr::new(address, 5000);
    Ok([
        run(host, &fetch).is_ok(),
        servers::exchange(host, 0, echo, "hello", IN_VAIN).is_ok(),
        run(host, &format!("ping -c 1 -W 0.2 {address}")).is_ok(),
    ])
}
