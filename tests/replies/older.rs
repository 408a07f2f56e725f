//! Proves that what was asked stays asked: conversations go on that are older than the filter,
//! or than the rules in force.

use std::net::{SocketAddr, TcpListener};

use anyhow::{Context as _, Result};
use xdpfw_tests::{Family, Host, Lab, PATIENCE, servers};

use crate::{ANY, POLICY, containers::add_container, filter};

/// The port that is asked.
const ASKED: u16 = 8000;

#[test]
fn a_connection_goes_on_that_is_older_than_the_filter() -> Result<()> {
    for family in Family::ALL {
        let lab = Lab::with_ipv6(1)?;
        assert_goes_on(&lab, &lab.host, family)?;
    }
    Ok(())
}

#[test]
fn a_connection_of_a_container_goes_on_that_is_older_than_the_filter() -> Result<()> {
    for family in Family::ALL {
        let lab = Lab::with_ipv6(1)?;
        let (container, _) = add_container(&lab)?;
        assert_goes_on(&lab, &container, family)?;
    }
    Ok(())
}

#[test]
fn a_datagram_may_be_answered_after_the_rules_have_changed() -> Result<()> {
    for family in Family::ALL {
        let lab = Lab::with_ipv6(1)?.filtered(POLICY);
        let link = lab.link();
        let (near, far) = (family.address(link.near()), family.address(link.far()));
        let own = servers::bind(&lab.host, SocketAddr::new(near, 0))?;
        let theirs = servers::bind(&lab.peer, SocketAddr::new(far, ASKED))?;
        own.send_to(b"question", SocketAddr::new(far, ASKED))?;
        assert_eq!(servers::received(&theirs)?, "question");
        for change in [
            &["allow", "tcp", "443"][..],
            &["deny", "udp", "any"],
            &["delete", "r2"],
        ] {
            lab.host.xdpfw(change).ok();
            theirs.send_to(b"answer", own.local_addr()?)?;
            let answer = servers::received(&own).with_context(|| format!("after {change:?}"));
            assert_eq!(answer?, "answer");
        }
    }
    Ok(())
}

/// Claims that a client's connection to the peer goes on after the lab's filter has come up,
/// whoever speaks first.
fn assert_goes_on(lab: &Lab, client: &Host, family: Family) -> Result<()> {
    let server = SocketAddr::new(family.address(lab.link().far()), ASKED);
    let listener = lab.peer.enter(|| Ok(TcpListener::bind((ANY, ASKED))?))?;
    let mut connections = Vec::new();
    for _ in 0..2 {
        let client = servers::connect(client, 0, server, PATIENCE)?;
        connections.push((client, listener.accept()?.0));
    }
    filter(&lab.host, &["eth0"], POLICY);
    for (is_asked, (client, server)) in [false, true].into_iter().zip(connections) {
        let [first, second] = if is_asked {
            [client, server]
        } else {
            [server, client]
        };
        servers::assert_alive(first, second)
            .with_context(|| format!("{family:?}, the client speaks first: {is_asked}"))?;
    }
    Ok(())
}
