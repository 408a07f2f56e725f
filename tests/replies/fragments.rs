//! Proves that answers come in fragments, and to questions in fragments.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use xdpfw_tests::{
    Family, Lab,
    servers::{self, UdpEcho},
};

use crate::{ANY, assert_answered, probes::ping};

#[test]
fn large_packets_are_answered() -> Result<()> {
    let lab = Lab::with_ipv6(1)?;
    let _echo = UdpEcho::start_at(&lab.peer, SocketAddr::new(ANY, 53))?;
    let question = "long question ".repeat(300);
    assert_answered(&lab.host, &["eth0"], || {
        for family in Family::ALL {
            let far = family.address(lab.link().far());
            ping(&lab.host, format!("-s {} {far}", question.len()))?;
            let name = match far {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().into(),
                IpAddr::V6(_) => far,
            };
            let socket = servers::bind(&lab.host, SocketAddr::new(ANY, 0))?;
            socket.send_to(question.as_bytes(), SocketAddr::new(name, 53))?;
            let answer = servers::received(&socket).with_context(|| format!("udp to {far}"))?;
            ensure!(answer == question, "another answer from {far}");
        }
        Ok(())
    })
}
