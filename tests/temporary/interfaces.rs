//! Proves what becomes of interfaces that joined for a while only.

use anyhow::Result;
use xdpfw_tests::{Lab, servers};

use super::{Ground, OPEN, SOON};

/// Closed under the policy of all these tests.
const CLOSED: u16 = 3000;

fn is_served(ground: &Ground, link: usize) -> bool {
    let near = ground.lab.links[link].near().at(CLOSED);
    servers::exchange(&ground.lab.peer, 0, near, "x", SOON).is_ok()
}

#[test]
fn a_first_up_goes_back_to_nothing() -> Result<()> {
    let ground = Ground::new()?;
    let host = &ground.lab.host;
    let _server = servers::UdpEcho::start(host, CLOSED)?;
    host.xdpfw(["down"]).ok();
    for command in [&["rollback"][..], &["list"], &["down"]] {
        host.xdpfw(["up", "eth0", "--confirm", "2s"]).ok();
        assert!(!is_served(&ground, 0));
        assert_eq!(ground.open(), [OPEN]);
        assert_eq!(ground.warning().as_deref(), Some("pending"));
        if command != ["rollback"] {
            while !is_served(&ground, 0) {}
        }
        host.xdpfw(command).ok();
        assert!(is_served(&ground, 0), "{command:?}");
        assert!(!host.pins().exists(), "{command:?}");
    }
    host.xdpfw(["up", "eth0", "--confirm", "1m"]).ok();
    host.xdpfw(["confirm"]).ok();
    assert!(!is_served(&ground, 0));
    assert_eq!(ground.warning(), None);
    Ok(())
}

#[test]
fn an_interface_that_joined_is_open_again() -> Result<()> {
    let ground = Ground::over(Lab::with_links(2)?)?;
    let host = &ground.lab.host;
    let _server = servers::UdpEcho::start(host, CLOSED)?;
    host.xdpfw(["down", "eth1"]).ok();
    assert!(is_served(&ground, 1));
    host.xdpfw(["up", "eth1", "--confirm", "2s"]).ok();
    assert!(!is_served(&ground, 1));
    // Before any command runs, and without the filter on the other being lost.
    while !is_served(&ground, 1) {}
    assert!(!is_served(&ground, 0));
    let names = |ground: &Ground| {
        let status = ground.status();
        let rows = status["interfaces"].as_array().cloned().unwrap_or_default();
        rows.iter()
            .map(|row| row["name"].to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&ground), ["\"eth0\""]);
    assert!(is_served(&ground, 1));

    host.xdpfw(["up", "eth1", "--confirm", "1m"]).ok();
    host.xdpfw(["confirm"]).ok();
    assert_eq!(names(&ground), ["\"eth0\"", "\"eth1\""]);
    assert!(!is_served(&ground, 1));
    assert!(ground.saved()?.contains("eth1"));
    Ok(())
}
