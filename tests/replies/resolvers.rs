//! Proves that names are resolved: by dig, and by forwarders that ask on behalf of others.

use anyhow::{Context as _, Result};
use xdpfw_tests::{Family, Lab};

use crate::{
    assert_answered, assert_says,
    daemons::{self, ADDRESS, NAME},
    topology::bridged,
};

#[test]
fn dig_gets_its_answer_from_any_local_port() -> Result<()> {
    let lab = Lab::with_ipv6(1)?;
    daemons::dnsmasq(&lab.peer)?;
    assert_answered(&lab.host, &["eth0"], || {
        for family in Family::ALL {
            let (near, far) = (lab.link().near(), lab.link().far());
            let (own, server) = (family.address(near), family.address(far));
            for options in [
                "",
                &format!(" -b {own}#53"),
                &format!(" -b {own}#5353"),
                " +tcp",
            ] {
                assert_says(&lab.host, &format!("{}{options}", dig(server)), ADDRESS)
                    .with_context(|| format!("dig{options}"))?;
            }
        }
        Ok(())
    })
}

#[test]
fn dnsmasq_forwards() -> Result<()> {
    for family in Family::ALL {
        let lab = Lab::with_ipv6(1)?;
        daemons::dnsmasq(&lab.peer)?;
        daemons::dnsmasq_forwarder(&lab.host, family.address(lab.link().far()))?;
        assert_answered(&lab.host, &["eth0"], || {
            assert_says(&lab.host, &dig("127.0.0.1"), ADDRESS)
        })
        .with_context(|| format!("{family:?}"))?;
    }
    Ok(())
}

#[test]
fn unbound_forwards() -> Result<()> {
    for family in Family::ALL {
        let lab = Lab::with_ipv6(1)?;
        daemons::dnsmasq(&lab.peer)?;
        daemons::unbound_forwarder(&lab.host, family.address(lab.link().far()))?;
        let count = std::cell::Cell::new(0);
        assert_answered(&lab.host, &["eth0"], || {
            // Another name each time: it remembers what it knows.
            count.set(count.get() + 1);
            let name = format!("{}.{NAME}", count.get());
            assert_says(&lab.host, &dig("127.0.0.1").replace(NAME, &name), ADDRESS)
        })
        .with_context(|| format!("{family:?}"))?;
    }
    Ok(())
}

#[test]
fn a_link_local_resolver_answers_above_and_below_a_bridge() -> Result<()> {
    for (lab, interface) in [(Lab::with_ipv6(1)?, "eth0"), (bridged()?, "br0")] {
        daemons::dnsmasq(&lab.peer)?;
        let server = format!("{}%{interface}", lab.link().far().link_local);
        assert_answered(&lab.host, &["eth0"], || {
            assert_says(&lab.host, &dig(&server), ADDRESS)
        })
        .context(server.clone())?;
    }
    Ok(())
}

/// The command line that asks a name server, once.
pub(crate) fn dig(server: impl std::fmt::Display) -> String {
    format!("dig +short +tries=1 +time=5 @{server} {NAME}")
}
