//! Proves that answers come to what the host itself translates on its way out, as cluster
//! addresses of Kubernetes are, and masqueraded traffic.

use std::net::SocketAddr;

use anyhow::Result;
use xdpfw_tests::{Family, Lab, servers::TcpServer};

use crate::{
    ANY, assert_answered, assert_says, curl,
    daemons::{self, ADDRESS},
    probes::ping,
    resolvers::dig,
    topology::nft,
};

#[test]
fn what_goes_to_a_translated_address_is_answered() -> Result<()> {
    const SERVICE: &str = "198.51.100.1";
    const SERVICE6: &str = "2001:db8:ffff::1";
    let lab = asked()?;
    let far = lab.link().far();
    for (family, address) in [("-4", SERVICE), ("-6", SERVICE6)] {
        lab.host
            .run("ip", [family, "route", "add", address, "dev", "eth0"])?;
    }
    let _server = TcpServer::http(&lab.peer, SocketAddr::new(ANY, 8080), "a document")?;
    nft(
        &lab.host,
        &format!(
            "table inet nat {{
                chain output {{
                    type nat hook output priority -100
                    ip daddr {SERVICE} tcp dport 80 dnat ip to {v4}:8080
                    ip daddr {SERVICE} dnat ip to {v4}
                    ip6 daddr {SERVICE6} tcp dport 80 dnat ip6 to [{v6}]:8080
                    ip6 daddr {SERVICE6} dnat ip6 to {v6}
                }}
            }}",
            v4 = far.address,
            v6 = far.address6
        ),
    )?;
    assert_answered(&lab.host, &["eth0"], || {
        for address in [SERVICE, SERVICE6] {
            assert_says(&lab.host, &curl(address.parse()?, 80), "a document")?;
            assert_says(&lab.host, &dig(address), ADDRESS)?;
            ping(&lab.host, address)?;
        }
        Ok(())
    })
}

#[test]
fn what_is_masqueraded_is_answered() -> Result<()> {
    for how in ["masquerade", "masquerade fully-random"] {
        let lab = asked()?;
        let _server = TcpServer::http(&lab.peer, SocketAddr::new(ANY, 80), "a document")?;
        nft(
            &lab.host,
            &format!(
                "table inet nat {{
                    chain postrouting {{
                        type nat hook postrouting priority 100
                        oifname eth0 {how}
                    }}
                }}"
            ),
        )?;
        assert_answered(&lab.host, &["eth0"], || {
            for family in Family::ALL {
                let peer = family.address(lab.link().far());
                assert_says(&lab.host, &curl(peer, 80), "a document")?;
                assert_says(&lab.host, &dig(peer), ADDRESS)?;
                ping(&lab.host, peer)?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// A host, and a peer with a name server.
fn asked() -> Result<Lab> {
    let lab = Lab::with_ipv6(1)?;
    daemons::dnsmasq(&lab.peer)?;
    Ok(lab)
}
