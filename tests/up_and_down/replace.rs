//! Proves that programs of others are named, replaced only where that is asked for, and put back
//! if the filter does not come up.

use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use xdpfw_tests::{
    CAPABILITIES, Host, Lab, assert_is_one_error, assert_nothing_is_left, interfaces_up,
    is_dropped, xdp,
};

use crate::program::{Loaded, PASS, Pins, Program};

const GUARD: Loaded = Loaded::plain("guard", PASS);

/// How the other program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// By a link of this process.
    Link,
    /// In the driver, as `ip` does it.
    Netlink,
    /// In the network stack, as `ip` does it.
    Generic,
}

const ALL: [How; 3] = [How::Link, How::Netlink, How::Generic];

/// Attaches a pinned program; the link, if there is one, holds as long as the result.
fn attach(host: &Host, how: How, guard: &Program, pins: &Pins) -> Result<Option<OwnedFd>> {
    let pin = pins.path("guard").display().to_string();
    let by_ip = |place: &str| {
        host.run("ip", ["link", "set", "dev", "eth0", place, "pinned", &pin])
            .map(|_| None)
    };
    match how {
        How::Link => guard.attach(host, "eth0").map(Some),
        How::Netlink => by_ip("xdpdrv"),
        How::Generic => by_ip("xdpgeneric"),
    }
}

/// What is said of it.
fn shown(how: How, guard: &Program) -> Result<String> {
    let id = guard.id()?;
    Ok(match how {
        How::Link => {
            let pid = std::process::id();
            let name = std::fs::read_to_string("/proc/self/comm")?;
            format!(
                "guard (id {id}, native, attached by a link of {} (pid {pid}))",
                name.trim_end()
            )
        }
        How::Netlink => format!("guard (id {id}, native, attached without a link)"),
        How::Generic => format!("guard (id {id}, generic, attached without a link)"),
    })
}

#[test]
fn without_the_option_it_is_named_and_stays() -> Result<()> {
    for how in ALL {
        let lab = Lab::new()?;
        let host = &lab.host;
        let pins = Pins::mount(host)?;
        let guard = Program::pinned(GUARD, &pins.path("guard"))?;
        let _link = attach(host, how, &guard, &pins)?;
        let before = xdp(host, "eth0")?;
        let said = host.xdpfw(["up", "eth0"]).fails(5);
        let shown = format!("another XDP program is attached, {}", shown(how, &guard)?);
        assert_is_one_error(&said, &shown);
        let pin = pins.path("guard");
        let ways = format!(
            "`xdpfw up eth0 --replace` to take it off, with --then {} to run it behind",
            pin.display()
        );
        assert_is_one_error(&said, &ways);
        assert_eq!(xdp(host, "eth0")?, before, "{how:?}");
        assert!(!host.pins().exists(), "{how:?}");
        // One that is not pinned can only go.
        std::fs::remove_file(&pin)?;
        let said = host.xdpfw(["up", "eth0"]).fails(5);
        assert!(!said.contains("--then"), "{said}");
    }
    Ok(())
}

/// By its number, a program opens for CAP_SYS_ADMIN alone: for its name, and to be put back.
#[test]
fn whoever_may_not_know_its_name_is_told_its_number() -> Result<()> {
    for how in ALL {
        let lab = Lab::new()?;
        let host = &lab.host;
        lab.peer.xdpfw(["up", "eth0"]).ok();
        let pins = Pins::mount(host)?;
        let guard = Program::pinned(GUARD, &pins.path("guard"))?;
        let _link = attach(host, how, &guard, &pins)?;
        let before = xdp(host, "eth0")?;
        let id = guard.id()?;
        let limited = |words: &[&str]| host.xdpfw(words).with_capabilities(&CAPABILITIES);
        // Its pin tells its name to whoever may open that.
        let said = limited(&["up", "eth0"]).fails(5);
        assert!(
            said.contains(&format!("attached, guard (id {id}, ")),
            "{said}"
        );
        std::fs::remove_file(pins.path("guard"))?;
        let said = limited(&["up", "eth0"]).fails(5);
        let shown = format!("attached, one whose name takes CAP_SYS_ADMIN to read (id {id}, ");
        assert!(said.contains(&shown), "{said}");
        // It may be a filter whose pins are out of sight.
        for words in [&["status"][..], &["list"], &["down"]] {
            let output = limited(words).output()?;
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let warning = format!("eth0: runs an XDP program (id {id}) that may be a filter");
            assert!(said.contains(&warning), "{words:?}: {said}");
        }
        let said = limited(&["up", "eth0", "--replace"]).fails(4);
        assert!(said.contains(&format!("id {id}")), "{said}");
        assert!(said.contains("takes CAP_SYS_ADMIN to take off"), "{said}");
        assert_eq!(xdp(host, "eth0")?, before, "{how:?}");
        lab.peer.xdpfw(["down"]).ok();
    }
    Ok(())
}

#[test]
fn with_the_option_it_goes_and_is_named() -> Result<()> {
    for how in ALL {
        let lab = Lab::new()?;
        let host = &lab.host;
        let pins = Pins::mount(host)?;
        let guard = Program::pinned(GUARD, &pins.path("guard"))?;
        let link = attach(host, how, &guard, &pins)?;
        let output = host.xdpfw(["up", "eth0", "--replace"]).output()?;
        assert_eq!(output.status.code(), Some(0), "{how:?}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let line = format!("eth0: took off {}", shown(how, &guard)?);
        assert!(said.lines().any(|shown| shown == line), "{line}: {said}");
        assert_eq!(host.status()["interfaces"][0]["mode"], "native", "{how:?}");
        let packets = guard.packets()?;
        assert!(is_dropped(&lab, 80)?);
        assert_eq!(guard.packets()?, packets, "{how:?}");
        // Who held it takes nothing away with it.
        drop(link);
        assert!(is_dropped(&lab, 80)?);
        host.xdpfw(["up", "eth0", "--replace"]).ok();
        host.xdpfw(["down"]).ok();
        assert_nothing_is_left(host, &["eth0"])?;
    }
    Ok(())
}

#[test]
fn it_may_run_behind_the_filter_from_then_on() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let pins = Pins::mount(host)?;
    let pin = pins.path("guard");
    let guard = Program::pinned(GUARD, &pin)?;
    let _link = attach(host, How::Link, &guard, &pins)?;
    host.xdpfw(["allow", "tcp", "443"]).ok();
    let pin = pin.to_str().context("a path")?;
    host.xdpfw(["up", "eth0", "--replace", "--then", pin]).ok();
    assert_eq!(host.status()["then"]["id"], guard.id()?);
    let packets = guard.packets()?;
    assert!(is_dropped(&lab, 80)? && !is_dropped(&lab, 443)?);
    assert_eq!(guard.packets()?, packets + 1);
    Ok(())
}

/// Whether the filter is refused right behind it, or another interface refuses later.
#[test]
fn it_is_put_back_if_the_filter_does_not_come_up() -> Result<()> {
    for how in ALL {
        for up in [false, true] {
            let lab = Lab::with_links(2)?;
            let host = &lab.host;
            host.run("ip", ["link", "add", "br0", "type", "bridge"])?;
            let pins = Pins::mount(host)?;
            let guard = Program::pinned(GUARD, &pins.path("guard"))?;
            if up {
                host.xdpfw(["up", "eth1"]).ok();
            }
            let _link = attach(host, how, &guard, &pins)?;
            let before = xdp(host, "eth0")?;
            let pin = pins.path("guard").display().to_string();
            let on_bridge = ["link", "set", "dev", "br0", "xdpgeneric", "pinned", &pin];
            host.run("ip", on_bridge)?;
            let bridge = xdp(host, "br0")?;
            for interfaces in [&["br0"][..], &["eth0", "br0"]] {
                let case = format!("{how:?} {up} {interfaces:?}");
                let mode = ["--replace", "--mode", "native"];
                let arguments = ["up"].iter().chain(interfaces).chain(&mode);
                let said = host.xdpfw(arguments).fails(5);
                assert_is_one_error(&said, "br0: its driver (bridge) has no native XDP");
                assert_eq!(xdp(host, "eth0")?, before, "{case}");
                assert_eq!(xdp(host, "br0")?, bridge, "{case}");
                let filtered: &[&str] = if up { &["eth1"] } else { &[] };
                assert_eq!(interfaces_up(host), filtered, "{case}");
                assert_eq!(host.pins().exists(), up, "{case}");
            }
        }
    }
    Ok(())
}

/// What it replaced would not come back with the change.
#[test]
fn it_is_not_to_be_confirmed() -> Result<()> {
    let host = Host::new()?;
    let said = host
        .xdpfw(["up", "eth0", "--replace", "--confirm", "60s"])
        .fails(2);
    assert!(said.contains("--confirm"), "{said}");
    Ok(())
}

/// The filter of another namespace goes by `down`, which knows of both its halves.
#[test]
fn a_filter_of_another_namespace_is_not_replaced() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    lab.peer.xdpfw(["up", "eth1"]).ok();
    lab.peer.run(
        "ip",
        ["link", "set", "eth1", "name", "taken", "netns", host.name()],
    )?;
    let before = xdp(host, "taken")?;
    let said = host.xdpfw(["up", "taken", "--replace"]).fails(5);
    assert_is_one_error(&said, "say `xdpfw down taken` first");
    assert_eq!(xdp(host, "taken")?, before);
    assert_eq!(host.status()["then"], Value::Null);
    assert_eq!(host.status()["interfaces"], json!([]));
    Ok(())
}
