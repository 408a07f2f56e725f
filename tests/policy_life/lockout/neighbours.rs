//! An IPv6 session needs neighbour discovery, and routers.

use anyhow::{Context as _, Result};
use xdpfw_tests::{Lab, state};

#[test]
fn an_ipv6_session_is_guarded_too() -> Result<()> {
    /// From a host on the link, and one with a link-local address.
    const SESSIONS: [&str; 2] = [
        "2001:db8::7 51000 2001:db8::1 22",
        "fe80::7%eth0 51000 fe80::1%eth0 22",
    ];
    for session in SESSIONS {
        let lab = Lab::new()?;
        let host = &lab.host;
        let say = |arguments: &[&str]| host.xdpfw(arguments).env("SSH_CONNECTION", session);
        let said = say(&["up", "eth0"]).fails(6);
        let peer = session.split([' ', '%']).next().context("no peer")?;
        for word in [peer, "tcp 22", "`xdpfw allow ssh`"] {
            assert!(said.contains(word), "no {word}: {said}");
        }
        say(&["allow", "ssh"]).ok();
        say(&["up", "eth0"]).ok();
        let before = state(host, &["eth0"])?;
        for cuts in [
            &["deny", "icmp6", "any"][..],
            &["deny", "icmp6", "neighbour-solicitation"],
            &["deny", "any"],
            &["deny", "icmp6", "136", "--from", "fe80::/10"],
            &["deny", "tcp", "22", "--from", "::/0", "--before", "r1"],
        ] {
            let said = say(cuts).fails(6);
            assert!(
                said.contains(peer) && said.contains("r2"),
                "{cuts:?}: {said}"
            );
            assert_eq!(state(host, &["eth0"])?, before, "{cuts:?}");
        }
        for passes in [
            &["deny", "icmp", "any"][..],
            &["deny", "icmp6", "router-solicitation"],
            &["deny", "any", "--from", "192.0.2.0/24"],
            &["allow", "icmp6", "133-137"],
            &["deny", "any"],
        ] {
            say(passes).ok();
        }
    }
    Ok(())
}

#[test]
fn routers_must_be_heard_by_whom_they_lead_to() -> Result<()> {
    for (session, cut) in [
        ("2001:db8:7::7 51000 2001:db8::1 22", true),
        // Nothing that routers say makes a difference on the link.
        ("fe80::7%eth0 51000 fe80::1%eth0 22", false),
    ] {
        let lab = Lab::new()?;
        let say = |arguments: &[&str]| lab.host.xdpfw(arguments).env("SSH_CONNECTION", session);
        say(&["allow", "ssh"]).ok();
        say(&["up", "eth0"]).ok();
        let before = state(&lab.host, &["eth0"])?;
        let deny = say(&["deny", "icmp6", "router-advertisement"]);
        if cut {
            let said = deny.fails(6);
            assert!(said.contains("r2 denies icmp6 134"), "{said}");
            assert_eq!(state(&lab.host, &["eth0"])?, before);
        } else {
            deny.ok();
        }
        // The nearest that routers do not send.
        say(&["deny", "icmp6", "133"]).ok();
    }
    Ok(())
}
