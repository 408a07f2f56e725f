//! The session must get in by every interface that it may come by.

use std::fs;

use anyhow::Result;
use xdpfw_tests::{Lab, assert_nothing_is_left, state};

#[test]
fn the_guard_knows_addresses_and_interfaces() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let own = lab.link().near().address;
    let session = format!("192.0.2.7 51000 {own} 22");
    let up = |rules: &str| -> Result<_> {
        fs::write(host.policy(), format!("version = 1\n{rules}"))?;
        Ok(host.xdpfw(["up", "eth0"]).env("SSH_CONNECTION", &session))
    };
    let rule = |action: &str, words: &str, options: &str| {
        format!("[[rule]]\n{action} = \"{words}\"\n{options}\n")
    };
    let ssh = rule("allow", "tcp 22", "");
    let from = |prefix: &str| format!("from = \"{prefix}\"");
    let on = |name: &str| format!("on = \"{name}\"");
    for refused in [
        rule("allow", "tcp 22", &from("198.51.100.0/24")),
        rule("allow", "tcp 22", &from("2001:db8::/32")),
        rule("allow", "tcp 22", "to = \"10.99.0.1\""),
        rule("deny", "any", &from("192.0.2.0/24")) + &ssh,
        // The interface with the session's address is found, and is eth0.
        rule("allow", "tcp 22", &on("eth1")),
        rule("deny", "tcp any", &on("eth0")) + &ssh,
    ] {
        let said = up(&refused)?.fails(6);
        assert!(said.contains("192.0.2.7"), "{refused}: {said}");
        // An `allow` at the end would not help.
        let before = said.contains("`xdpfw allow ssh --before r1`");
        assert_eq!(before, refused.contains("deny"), "{refused}: {said}");
        assert_nothing_is_left(host, &["eth0"])?;
    }
    for passes in [
        rule("allow", "tcp 22", &from("192.0.2.0/24")),
        rule("deny", "any", &from("198.51.100.0/24")) + &ssh,
        rule("allow", "tcp 22", &on("eth0")),
        rule("deny", "tcp any", &on("eth1")) + &ssh,
    ] {
        up(&passes)?.ok();
        host.xdpfw(["down"]).ok();
    }
    Ok(())
}

#[test]
fn an_address_on_no_interface_must_get_in_by_all() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    // Nobody here has 10.99.0.1.
    let session = "192.0.2.7 51000 10.99.0.1 22";
    for (rules, refused) in [
        ("[[rule]]\nallow = \"ssh\"\non = \"eth0\"\n", true),
        (
            "[[rule]]\ndeny = \"tcp any\"\non = \"eth1\"\n[[rule]]\nallow = \"ssh\"\n",
            true,
        ),
        ("[[rule]]\nallow = \"ssh\"\n", false),
    ] {
        fs::write(host.policy(), format!("version = 1\n{rules}"))?;
        let up = host
            .xdpfw(["up", "eth0", "eth1"])
            .env("SSH_CONNECTION", session);
        if refused {
            let said = up.fails(6);
            assert!(said.contains("192.0.2.7"), "{rules}: {said}");
        } else {
            up.ok();
        }
    }
    Ok(())
}

#[test]
fn an_address_may_be_reached_by_another_interface() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    // The address is on eth0; nothing says that the packets come by it.
    let session = format!("192.0.2.7 51000 {} 22", lab.link().near().address);
    host.xdpfw(["allow", "ssh", "--on", "eth0"]).ok();
    let up = || {
        host.xdpfw(["up", "eth0", "eth1"])
            .env("SSH_CONNECTION", &session)
    };
    let said = up().fails(6);
    for word in ["eth1", "not known", "--force"] {
        assert!(said.contains(word), "no {word}: {said}");
    }
    assert_nothing_is_left(host, &["eth0", "eth1"])?;
    host.xdpfw(["allow", "ssh", "--on", "eth1"]).ok();
    up().ok();
    host.xdpfw(["delete", "r2"])
        .env("SSH_CONNECTION", &session)
        .fails(6);
    // An interface that was not filtered let everything in.
    host.xdpfw(["down", "eth1"]).ok();
    host.xdpfw(["delete", "r2"])
        .env("SSH_CONNECTION", &session)
        .ok();
    let before = state(host, &["eth0"])?;
    up().fails(6);
    assert_eq!(state(host, &["eth0"])?, before);
    Ok(())
}

#[test]
fn a_bridge_is_no_way_around_its_port() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.run("ip", ["link", "add", "br0", "type", "bridge"])?;
    host.run("ip", ["link", "set", "eth0", "master", "br0"])?;
    host.run("ip", ["link", "set", "br0", "up"])?;
    host.run("ip", ["address", "add", "10.9.0.1/24", "dev", "br0"])?;
    let up = || {
        host.xdpfw(["up", "eth0", "br0"])
            .env("SSH_CONNECTION", "10.9.0.2 51000 10.9.0.1 22")
    };
    host.xdpfw(["allow", "ssh", "--on", "br0"]).ok();
    let said = up().fails(6);
    assert!(said.contains("eth0"), "{said}");
    assert_nothing_is_left(host, &["eth0", "br0"])?;
    host.xdpfw(["allow", "ssh", "--on", "eth0"]).ok();
    up().ok();
    Ok(())
}

#[test]
fn a_link_local_session_is_found_however_far_below() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    host.run("ip", ["link", "add", "br0", "type", "bridge"])?;
    host.run("ip", ["link", "set", "eth0", "master", "br0"])?;
    let upper = ["link", "add", "upper", "link", "br0", "type", "macvlan"];
    host.run("ip", upper)?;
    let up = |name: &str, zone: &str| {
        let session = format!("fe80::7%{zone} 51000 fe80::1%{zone} 22");
        let up = host.xdpfw(["up", name]);
        up.env("SSH_CONNECTION", session)
    };
    for zone in ["upper", "br0", "eth0"] {
        let said = up("eth0", zone).fails(6);
        assert!(said.contains("fe80::7"), "{zone}: {said}");
        assert_nothing_is_left(host, &["eth0"])?;
    }
    // By another link it does not come.
    up("eth1", "upper").ok();
    Ok(())
}

#[test]
fn a_link_local_session_is_found_when_its_link_has_another_name() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    for (old, new) in [("eth0", "wan"), ("eth1", "eth0")] {
        host.run("ip", ["link", "set", old, "down"])?;
        host.run("ip", ["link", "set", old, "name", new])?;
    }
    // The lab has none.
    let ipv6 = ["-qw", "net.ipv6.conf.wan.disable_ipv6=0"];
    host.run("sysctl", ipv6)?;
    let address = ["address", "add", "fe80::1/64", "dev", "wan", "nodad"];
    host.run("ip", ["link", "set", "wan", "up"])?;
    host.run("ip", address)?;
    let session = "fe80::7%eth0 51000 fe80::1%eth0 22";
    let up = host.xdpfw(["up", "wan"]).env("SSH_CONNECTION", session);
    up.fails(6);
    Ok(())
}
