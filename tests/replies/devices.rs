//! Proves that sockets get their answers that belong to a device on top of the filtered
//! interface: a bridge or a macvlan. VLANs, bonds and VRFs are in `interfaces/devices.rs`,
//! since not every kernel has them.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use xdpfw_tests::{End, Family, Lab, servers::TcpServer};

use crate::{
    ANY, assert_answered, assert_says, curl,
    daemons::{self, ADDRESS},
    probes::ping,
    resolvers::dig,
    run,
    topology::{add_addresses, bridged},
};

#[test]
fn the_bridge_above_is_answered() -> Result<()> {
    let lab = bridged()?;
    assert_device_is_answered(&lab, "br0", lab.link().near())
}

#[test]
fn a_macvlan_above_is_answered() -> Result<()> {
    let lab = Lab::with_ipv6(1)?;
    let near = lab.link().near();
    // The interface's own addresses, so that nothing goes out beside the device.
    let end = End {
        mac: [2, 0, 10, 9, 0, 1],
        ..near.clone()
    };
    let mac = end.mac_text();
    let line = format!("ip link add link eth0 name mac0 address {mac} type macvlan mode bridge");
    run(&lab.host, &line)?;
    run(&lab.host, "ip address flush dev eth0")?;
    add_addresses(&lab.host, "mac0", &end)?;
    for address in [
        end.address.to_string(),
        end.address6.to_string(),
        end.link_local.to_string(),
    ] {
        let line = format!("ip neigh replace {address} lladdr {mac} nud permanent dev eth0");
        run(&lab.peer, &line)?;
    }
    assert_device_is_answered(&lab, "mac0", &end)
}

/// Claims that sockets are answered that are bound to a device, or to its addresses.
fn assert_device_is_answered(lab: &Lab, device: &str, end: &End) -> Result<()> {
    let _server = TcpServer::http(&lab.peer, SocketAddr::new(ANY, 80), "a document")?;
    daemons::dnsmasq(&lab.peer)?;
    daemons::chronyd(&lab.peer)?;
    assert_answered(&lab.host, &["eth0"], || {
        for family in Family::ALL {
            let (own, peer) = (family.address(end), family.address(lab.link().far()));
            let fetch = curl(peer, 80);
            for interface in [device.to_owned(), own.to_string()] {
                let line = format!("{fetch} --interface {interface}");
                assert_says(&lab.host, &line, "a document")?;
            }
            assert_says(&lab.host, &format!("{} -b {own}#5353", dig(peer)), ADDRESS)?;
            ping(&lab.host, peer)?;
            ping(&lab.host, format!("-I {device} {peer}"))?;
        }
        let server = format!("{}%{device}", lab.link().far().link_local);
        assert_says(&lab.host, &dig(&server), ADDRESS)
    })
    .with_context(|| device.to_owned())
}
