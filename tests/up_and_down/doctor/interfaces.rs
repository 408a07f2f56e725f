//! Faults of interfaces.

use std::fs;

use anyhow::Result;
use xdpfw_tests::{Host, Lab, interfaces_up, text};

use super::{assert_has_no_fault, assert_is_mended, call, code, doctor, find};
use crate::program::{Loaded, PASS, Pins, Program};

fn ip(host: &Host, line: &str) -> Result<()> {
    host.run("ip", line.split(' ')).map(drop)
}

#[test]
fn a_filtered_host_has_no_fault() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ id = \"r1\", allow = \"tcp 443\" }]");
    assert_has_no_fault(&lab.host);
    let said = doctor(&lab.host);
    assert_eq!(said["schema"], "xdpfw.doctor/1");
    assert_eq!(said["interfaces"][0]["name"], "eth0");
    assert_eq!(said["interfaces"][0]["driver"], "veth");
    assert_eq!(said["interfaces"][0]["mode"], "native");
    assert_eq!(said["fixed"], serde_json::json!([]));
    assert_eq!(said["host"]["btf"], true);
    let shown = call(&lab.host, &[]).ok();
    assert!(shown.contains("eth0       veth"), "{shown}");
    Ok(())
}

#[test]
fn a_large_mtu_is_named_before_the_filter_comes_up_and_after() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let remedy = "ip link set dev eth0 mtu 1500";
    ip(host, "link set dev eth0 mtu 9000")?;
    assert_is_mended(host, "mtu-large", "eth0", remedy)?;
    host.xdpfw(["up", "eth0"]).ok();
    assert_has_no_fault(host);
    ip(host, "link set dev eth0 mtu 9000")?;
    assert_is_mended(host, "mtu-large", "eth0", remedy)?;
    // Or it comes up for packets in several buffers.
    ip(host, "link set dev eth0 mtu 9000")?;
    host.xdpfw(["down"]).ok();
    host.xdpfw(["up", "eth0"]).ok();
    assert_has_no_fault(host);
    Ok(())
}

#[test]
fn a_port_of_a_bridge_is_named_and_the_bridge_filtered() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    ip(host, "link add br0 type bridge")?;
    ip(host, "link set eth0 master br0")?;
    assert_is_mended(host, "bridge-port", "eth0", "xdpfw up br0")?;
    assert_eq!(interfaces_up(host), ["br0"]);
    assert_has_no_fault(host);
    // Whoever filters the port is told, and no more.
    host.xdpfw(["down"]).ok();
    fs::remove_file(host.policy())?;
    host.xdpfw(["up", "eth0"]).ok();
    assert_has_no_fault(host);
    let said = doctor(host);
    let note = find(&said, "bridge-port", "eth0").unwrap();
    assert_eq!(note["remedy"], "xdpfw up br0 && xdpfw down eth0");
    super::obey(host, note)?;
    assert_eq!(interfaces_up(host), ["br0"]);
    Ok(())
}

#[test]
fn a_program_of_others_is_named_and_taken_off() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let pins = Pins::mount(host)?;
    let pin = pins.path("guard").display().to_string();
    let guard = Program::pinned(Loaded::plain("guard", PASS), pin.as_ref())?;
    let words = ["link", "set", "dev", "eth0", "xdpdrv", "pinned", &pin];
    host.run("ip", words)?;
    let said = doctor(host);
    let finding = find(&said, "foreign-xdp", "eth0").unwrap();
    let shown = finding["text"].as_str().unwrap();
    let whose = format!(
        "guard (id {}, native, attached without a link)",
        guard.id()?
    );
    assert!(shown.contains(&whose), "{shown}");
    assert!(shown.contains(&format!("--then {pin}")), "{shown}");
    assert_eq!(finding["fixable"], false);
    assert_is_mended(host, "foreign-xdp", "eth0", "xdpfw up eth0 --replace")?;
    assert_eq!(interfaces_up(host), ["eth0"]);
    Ok(())
}

#[test]
fn interfaces_that_are_open_are_named() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    assert_has_no_fault(host);
    // Nothing leads to the world by it, until a route does.
    ip(host, "route add default via 10.0.1.2")?;
    assert_is_mended(host, "interface-open", "eth1", "xdpfw up eth1")?;
    assert_eq!(interfaces_up(host), ["eth0", "eth1"]);
    host.xdpfw(["down", "eth1"]).ok();
    assert_is_mended(host, "interface-not-filtered", "eth1", "xdpfw up eth1")?;

    host.xdpfw(["down", "eth1"]).ok();
    ip(host, "link set dev eth1 down")?;
    ip(host, "link set dev eth1 name wan")?;
    let said = doctor(host);
    assert_eq!(code(&said), 8);
    assert!(
        find(&said, "interface-missing", "eth1").is_some(),
        "{said:#}"
    );
    Ok(())
}

#[test]
fn the_filter_of_another_namespace_is_no_program_of_others() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    lab.peer.xdpfw(["up", "eth1"]).ok();
    let words = ["link", "set", "eth1", "name", "taken", "netns", host.name()];
    lab.peer.run("ip", words)?;
    ip(host, "link set taken up")?;
    assert_is_mended(host, "interface-elsewhere", "taken", "xdpfw down taken")
}

#[test]
fn filters_behind_xdp_are_told_of() -> Result<()> {
    let lab = Lab::new()?.filtered("");
    let host = &lab.host;
    assert_eq!(find(&doctor(host), "tc-ingress", "eth0"), None);
    // A program of one instruction, which lets everything pass.
    let bytecode = ["bytecode", "1,6 0 0 4294967295,"];
    host.run("tc", "qdisc add dev eth0 clsact".split(' '))?;
    let add = "filter add dev eth0 ingress bpf".split(' ');
    host.run("tc", add.chain(bytecode))?;
    let said = doctor(host);
    let note = find(&said, "tc-ingress", "eth0").unwrap();
    super::obey(host, note)?;
    assert_has_no_fault(host);
    Ok(())
}

/// The kernel takes names that would act on a terminal.
#[test]
fn names_are_escaped() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    ip(host, "link set dev eth0 down")?;
    for (from, to) in [("eth0", "e\x1b[2J"), ("e\x1b[2J", "a;b$(c)")] {
        host.run(
            "ip",
            ["link", "set", "dev", from, "name", to, "mtu", "9000"],
        )?;
        ip(host, &format!("link set dev {to} up"))?;
        let output = call(host, &[]).output()?;
        assert!(
            !output.stdout.contains(&b'\x1b'),
            "{}",
            text(&output.stdout)
        );
        ip(host, &format!("link set dev {to} down"))?;
    }
    ip(host, "link set dev a;b$(c) up")?;
    let remedy = "ip link set dev 'a;b$(c)' mtu 1500";
    assert_is_mended(host, "mtu-large", "a;b$(c)", remedy)
}
