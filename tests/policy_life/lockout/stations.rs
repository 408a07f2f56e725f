//! Rules by MAC address hold for whoever hands the session's packets over.

use std::fs;

use anyhow::Result;
use xdpfw_tests::{Lab, assert_nothing_is_left};

/// A station that has nothing to do with the session.
const STRANGER: &str = "02:00:00:00:66:66";

#[test]
fn the_guard_knows_who_hands_packets_over() -> Result<()> {
    let lab = Lab::with_ipv6(1)?;
    let host = &lab.host;
    let (near, far) = (lab.link().near(), lab.link().far());
    host.run(
        "ip",
        [
            "route",
            "add",
            "198.51.100.0/24",
            "via",
            &far.address.to_string(),
        ],
    )?;
    let peer = far.mac_text();
    let neighbour = format!("{} 51000 {} 22", far.address, near.address);
    let neighbour6 = format!("{} 51000 {} 22", far.address6, near.address6);
    let behind_router = format!("198.51.100.7 51000 {} 22", near.address);
    let nowhere = format!("192.0.2.7 51000 {} 22", near.address);
    let rule = |words: &str, mac: &str| format!("[[rule]]\n{words}\nmac = \"{mac}\"\n");
    let deny = |mac: &str| rule("deny = \"any\"", mac) + "[[rule]]\nallow = \"tcp 22\"\n";
    let allow = |mac: &str| rule("allow = \"tcp 22\"", mac);
    for (session, rules, passes) in [
        (&neighbour, deny(&peer), false),
        (&neighbour, deny(STRANGER), true),
        (&neighbour, allow(&peer), true),
        (&neighbour, allow(STRANGER), false),
        (&neighbour6, deny(&peer), false),
        (&neighbour6, deny(STRANGER), true),
        (&neighbour6, allow(&peer), true),
        (&neighbour6, allow(STRANGER), false),
        (&behind_router, deny(&peer), false),
        (&behind_router, deny(STRANGER), true),
        // Another router may be on the way back.
        (&behind_router, allow(&peer), false),
        // It may be anybody.
        (&nowhere, deny(STRANGER), false),
        (&nowhere, allow(&peer), false),
    ] {
        fs::write(host.policy(), format!("version = 1\n{rules}"))?;
        let up = host.xdpfw(["up", "eth0"]).env("SSH_CONNECTION", session);
        if passes {
            up.ok();
            host.xdpfw(["down"]).ok();
        } else {
            let said = up.fails(6);
            assert!(
                said.contains(session.split(' ').next().unwrap_or_default()),
                "{said}"
            );
            assert_nothing_is_left(host, &["eth0"])?;
        }
    }
    Ok(())
}

#[test]
fn a_rule_by_which_the_session_gets_in_is_not_taken_away() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let (near, far) = (lab.link().near(), lab.link().far());
    let session = format!("{} 51000 {} 22", far.address, near.address);
    let say = |words: &[&str]| host.xdpfw(words).env("SSH_CONNECTION", &session);
    say(&["allow", "tcp", "22", "--mac", &far.mac_text()]).ok();
    say(&["allow", "tcp", "22", "--mac", STRANGER]).ok();
    say(&["up", "eth0"]).ok();
    let said = say(&["delete", "r1"]).fails(6);
    assert!(said.contains(&far.address.to_string()), "{said}");
    say(&["delete", "r2"]).ok();
    Ok(())
}
