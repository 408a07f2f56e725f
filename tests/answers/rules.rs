//! Proves that answers come before rules that deny, where they are known to answer what left:
//! under `replies = "sockets"` nothing is, and the rule decides.

use std::time::Duration;

use anyhow::Result;
use xdpfw_tests::{
    PATIENCE, Tally,
    json::reason,
    servers::{self, TcpServer, UdpEcho},
};

use crate::{filtered, naming::Naming};

/// How long a client waits for what cannot come; counters tell why it did not.
const IN_VAIN: Duration = Duration::from_millis(200);

/// Rules that deny the answers of a TCP server, and those to a UDP port.
const RULES: &str = "rule = [{ deny = 'tcp any', remote_ports = [80] }, { deny = 'udp 5353' }]";

crate::run_for_each_naming! {
    what_was_asked_from_here_comes_before_a_deny_rule
    a_deny_rule_comes_before_sockets
}

fn what_was_asked_from_here_comes_before_a_deny_rule(naming: Naming) -> Result<()> {
    let lab = filtered(naming, RULES)?;
    let far = |port| naming.at(&lab.host, lab.link().far(), port);
    let _server = TcpServer::start_at(&lab.peer, naming.any(80), "hello")?;
    let _echo = UdpEcho::start_at(&lab.peer, naming.any(53))?;
    let text = servers::fetch_from(&lab.host, 5000, far(80)?, PATIENCE);
    assert_eq!(text?, "hello");
    let answer = servers::exchange(&lab.host, 5353, far(53)?, "query", PATIENCE);
    assert_eq!(answer?, "query");
    crate::all_passed_as(&lab, "pass reply")?;
    Ok(())
}

fn a_deny_rule_comes_before_sockets(naming: Naming) -> Result<()> {
    let lab = filtered(naming, &format!("replies = 'sockets'\n{RULES}"))?;
    let far = |port| naming.at(&lab.host, lab.link().far(), port);
    let start = |port| TcpServer::start_at(&lab.peer, naming.any(port), "hello");
    let _servers = (start(80)?, start(81)?);
    let _echo = UdpEcho::start_at(&lab.peer, naming.any(53))?;

    let denied = servers::fetch_from(&lab.host, 5000, far(80)?, IN_VAIN);
    assert!(denied.is_err(), "{denied:?}");
    let text = servers::fetch_from(&lab.host, 5001, far(81)?, PATIENCE);
    assert_eq!(text?, "hello");
    let before = Tally::of(&lab.host)?;
    let denied = servers::exchange(&lab.host, 5353, far(53)?, "query", IN_VAIN);
    assert!(denied.is_err(), "{denied:?}");
    let answer = servers::exchange(&lab.host, 5354, far(53)?, "query", PATIENCE);
    assert_eq!(answer?, "query");

    let moved = Tally::of(&lab.host)?.since(&before);
    assert_eq!(moved.packets("udp/5353"), 1, "{moved:?}");
    let list = lab.host.xdpfw(["list"]).json();
    let hits = |rule: usize| list["rules"][rule]["packets"].as_u64();
    // The server repeats what the denied client does not acknowledge.
    assert!(hits(0) >= Some(1), "{list}");
    assert_eq!(hits(1), Some(1), "{list}");
    assert_eq!(reason(&lab.host.status(), "drop", "default")?, 0);
    Ok(())
}
