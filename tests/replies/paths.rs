//! Proves that an answer may come by another interface than its question went: by one that is
//! filtered, too, and else where `answers_from` says so.

use std::net::IpAddr;

use anyhow::Result;
use xdpfw_tests::{Family, Lab, Tally};

use crate::{POLICY, assert_answered, filter, probes::ping, run};

#[test]
fn an_answer_may_come_by_another_filtered_interface() -> Result<()> {
    let lab = crossed()?;
    assert_answered(&lab.host, &["eth0", "eth1"], || {
        Family::ALL
            .into_iter()
            .try_for_each(|family| ping(&lab.host, asked(&lab, family)))
    })
}

#[test]
fn what_leaves_by_an_unfiltered_interface_is_answered_where_the_policy_says_so() -> Result<()> {
    let lab = crossed()?;
    for family in Family::ALL {
        filter(&lab.host, &["eth0"], POLICY);
        let before = Tally::of(&lab.host)?;
        let line = format!("ping -c 1 -W 0.2 {}", asked(&lab, family));
        assert!(run(&lab.host, &line).is_err(), "{family:?}");
        Tally::assert_moved(&lab.host, &before, &[("drop default", 1)])?;

        let policy = format!("answers_from = ['eth1']\n{POLICY}");
        filter(&lab.host, &["eth0"], &policy);
        ping(&lab.host, asked(&lab, family))?;
        lab.host.xdpfw(["down"]).ok();
    }
    Ok(())
}

/// A host that asks its peer by `eth1`, and is answered by `eth0`.
fn crossed() -> Result<Lab> {
    let lab = Lab::with_ipv6(2)?;
    let [first, second] = [&lab.links[0], &lab.links[1]];
    for host in [&lab.host, &lab.peer] {
        for interface in ["all", "eth0", "eth1"] {
            host.sysctl(&format!("net/ipv4/conf/{interface}/rp_filter"), "0")?;
        }
    }
    for family in Family::ALL {
        let target = family.address(first.far());
        let own = family.address(first.near());
        let via = family.address(second.far());
        // More exact than that of the link.
        let line = format!("ip route add {target} via {via} dev eth1 src {own}");
        run(&lab.host, &line)?;
    }
    Ok(lab)
}

/// What the host asks: the peer's address of the first link.
fn asked(lab: &Lab, family: Family) -> IpAddr {
    family.address(lab.link().far())
}
