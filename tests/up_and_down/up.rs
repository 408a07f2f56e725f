//! Proves how the filter comes up and goes down: on one interface or several, in
//! the mode that can be had or was asked for, and with nothing left behind.

use std::{fs, net::TcpListener, process::Output};

use anyhow::{Context as _, Result};
use serde_json::json;
use xdpfw_tests::{
    Host, Lab, assert_is_one_error, assert_nothing_is_left, ifindex, interfaces_up, is_dropped,
    is_dropped_on, policy_text, state, text, xdp,
};

#[test]
fn up_without_a_rule_warns_of_the_services_it_closes_and_names_the_rules() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let listen = |port: u16| host.enter(|| Ok(TcpListener::bind(("0.0.0.0", port))?));
    let _listening = (listen(22)?, listen(3306)?);
    let output = host.xdpfw(["up", "eth0"]).output()?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(
        text(&output.stderr),
        "warning: closed by the default: tcp 22, 3306 (say `xdpfw allow tcp 22,3306`)\n"
    );
    // With rules, it is a remark.
    host.xdpfw(["allow", "ssh"]).ok();
    let output = host.xdpfw(["up", "eth0"]).output()?;
    assert_eq!(
        text(&output.stderr),
        "closed by the default: tcp 3306 (say `xdpfw allow tcp 3306`)\n"
    );
    Ok(())
}

#[test]
fn up_attaches_and_down_leaves_nothing_but_the_policy() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    assert_eq!(
        host.xdpfw(["up", "eth0"]).ok(),
        "eth0: native XDP (veth), default drop, 0 rules\n"
    );
    let mut status = host.status();
    // What they counted is shown elsewhere.
    for counted in ["passed", "dropped"] {
        assert!(status["interfaces"][0][counted].take().is_object());
    }
    let interface = json!({
        "name": "eth0",
        "passed": null,
        "dropped": null,
        "ifindex": ifindex(host, "eth0")?,
        "mode": "native",
        // Which of the two depends on the kernel.
        "egress": status["interfaces"][0]["egress"].as_str().context("no egress half")?,
    });
    assert_eq!(status["interfaces"], json!([interface]));
    assert_eq!(status["generation"], 1);
    assert_eq!(status["default"], "drop");
    assert!(is_dropped(&lab, 80)?);

    let saved = policy_text(host)?;
    assert_eq!(saved, "version = 1\ninterfaces = [\"eth0\"]\n");
    assert_eq!(host.xdpfw(["down"]).ok(), "eth0: detached\n");
    assert_nothing_is_left(host, &["eth0"])?;
    assert_eq!(policy_text(host)?, saved);

    let again = host.xdpfw(["down"]).output()?;
    assert_eq!(
        code_and_text(&again),
        (Some(0), String::new(), "nothing was up\n".into())
    );
    Ok(())
}

#[test]
fn up_again_touches_nothing() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["allow", "tcp", "443"]).ok();
    host.xdpfw(["up", "eth0"]).ok();
    let before = state(host, &["eth0"])?;
    for arguments in [&["up", "eth0"][..], &["up"], &["up", "eth0", "eth0"]] {
        let said = host.xdpfw(arguments).ok();
        assert!(
            said.starts_with("eth0: native XDP"),
            "{arguments:?}: {said}"
        );
        assert_eq!(state(host, &["eth0"])?, before, "{arguments:?}");
    }
    Ok(())
}

#[test]
fn up_without_interfaces_takes_those_of_the_policy() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    let said = host.xdpfw(["up"]).fails(2);
    assert_is_one_error(&said, "xdpfw up IFACE");
    assert_nothing_is_left(host, &["eth0", "eth1"])?;

    fs::write(host.policy(), "version = 1\ninterfaces = [\"eth1\"]\n")?;
    host.xdpfw(["up"]).ok();
    assert_eq!(interfaces_up(host), ["eth1"]);
    Ok(())
}

#[test]
fn interfaces_share_a_policy_and_come_and_go_alone() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0", "eth1"]).ok();
    assert_eq!(interfaces_up(host), ["eth0", "eth1"]);
    let programs = [xdp(host, "eth0")?, xdp(host, "eth1")?];
    assert_eq!(programs[0], programs[1]);

    let said = host.xdpfw(["allow", "tcp", "443"]).ok();
    assert_eq!(said, "r1  allow tcp 443 (https)   live on eth0, eth1\n");
    for link in 0..2 {
        assert!(is_dropped_on(&lab, link, 80)?, "eth{link}");
        assert!(!is_dropped_on(&lab, link, 443)?, "eth{link}");
    }

    assert_eq!(host.xdpfw(["down", "eth0"]).ok(), "eth0: detached\n");
    assert_eq!(interfaces_up(host), ["eth1"]);
    assert_eq!(xdp(host, "eth0")?, None);
    assert!(is_dropped_on(&lab, 1, 80)?);

    // The other way round, and with what was counted meanwhile.
    let before = host.status();
    host.xdpfw(["up", "eth0"]).ok();
    let after = host.status();
    assert_eq!(interfaces_up(host), ["eth0", "eth1"]);
    assert_eq!(after["generation"], before["generation"]);
    assert_eq!(after["totals"], before["totals"]);
    assert!(is_dropped(&lab, 80)?);

    host.xdpfw(["down", "eth1", "eth0"]).ok();
    assert_nothing_is_left(host, &["eth0", "eth1"])
}

#[test]
fn up_that_cannot_save_the_policy_attaches_nothing() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    // So that bpffs is mounted.
    host.xdpfw(["up", "eth0"]).ok();
    let before = state(host, &["eth0", "eth1"])?;
    let output = host
        .xdpfw(["up", "eth1"])
        .with_read_only_policy()
        .output()?;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("cannot save"), "{output:?}");
    assert_eq!(state(host, &["eth0", "eth1"])?, before);

    host.xdpfw(["down"]).ok();
    fs::remove_file(host.policy())?;
    let output = host
        .xdpfw(["up", "eth0"])
        .with_read_only_policy()
        .output()?;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_nothing_is_left(host, &["eth0", "eth1"])
}

#[test]
fn what_was_detached_is_detached_when_the_command_ends() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    // The kernel takes its time where others configure interfaces meanwhile.
    let busy = Host::new()?;
    let script = "while :; do ip link add name v0 type veth peer name v1; ip link delete v0; done";
    let _others = busy.spawn("sh", ["-c", script])?;
    host.xdpfw(["up", "eth0", "eth1"]).ok();
    for attempt in 0..10 {
        host.xdpfw(["down", "eth0"]).ok();
        assert_eq!(xdp(host, "eth0")?, None, "attempt {attempt}");
        host.xdpfw(["up", "eth0"]).ok();
        assert_ne!(xdp(host, "eth0")?, None, "attempt {attempt}");
    }
    // What is about to go must not be taken for being up, nor for another's.
    for arguments in [&["down", "eth0"][..], &["down"]] {
        for attempt in 0..10 {
            host.xdpfw(arguments).ok();
            host.xdpfw(["up"]).ok();
            assert!(is_dropped(&lab, 80)?, "{arguments:?}, attempt {attempt}");
        }
    }
    Ok(())
}

#[test]
fn down_of_what_is_not_up_changes_nothing() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    let before = state(host, &["eth0", "eth1"])?;
    for arguments in [
        &["down", "eth1"][..],
        &["down", "eth0", "eth1"],
        &["down", "nope"],
    ] {
        let said = host.xdpfw(arguments).fails(1);
        assert_is_one_error(&said, "not up");
        assert_eq!(state(host, &["eth0", "eth1"])?, before, "{arguments:?}");
    }
    Ok(())
}

#[test]
fn counting_begins_anew_after_down() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["allow", "tcp", "443"]).ok();
    host.xdpfw(["up", "eth0"]).ok();
    host.xdpfw(["allow", "tcp", "80"]).ok();
    assert!(is_dropped(&lab, 22)? && !is_dropped(&lab, 443)?);
    host.xdpfw(["down"]).ok();
    host.xdpfw(["up"]).ok();

    let status = host.status();
    assert_eq!(status["generation"], 1);
    assert_eq!(status["totals"]["dropped"]["packets"], 0);
    assert_eq!(status["totals"]["passed"]["packets"], 0);
    assert_eq!(host.xdpfw(["stats"]).json()["ports"], json!([]));
    let list = host.xdpfw(["list"]).json();
    assert_eq!(list["rules"][0]["packets"], 0);
    assert_eq!(list["rules"][1]["packets"], 0);
    Ok(())
}

#[test]
fn before_up_and_after_down_everything_says_so() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["allow", "tcp", "443"]).ok();
    for up in [false, true] {
        if up {
            host.xdpfw(["up", "eth0"]).ok();
            host.xdpfw(["down"]).ok();
        }
        let status = host.xdpfw(["status"]).output()?;
        assert!(text(&status.stderr).contains("not up"), "{status:?}");
        let status = host.status();
        assert_eq!(
            (&status["generation"], &status["interfaces"]),
            (&json!(0), &json!([]))
        );
        assert_eq!(host.xdpfw(["list"]).json()["rules"][0]["id"], "r1");
        for arguments in [&["stats"][..], &["stats", "--reset"], &["trace"]] {
            assert_is_one_error(&host.xdpfw(arguments).fails(1), "not up");
        }
    }
    Ok(())
}

#[test]
fn the_mode_is_what_the_driver_can_or_what_was_asked_for() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.run("ip", ["link", "add", "br0", "type", "bridge"])?;
    for (interface, mode, in_force, warned) in [
        ("eth0", "auto", "native", false),
        ("eth0", "native", "native", false),
        ("eth0", "generic", "generic", false),
        ("br0", "auto", "generic", true),
        ("br0", "generic", "generic", false),
    ] {
        let case = format!("{interface} {mode}");
        let output = host.xdpfw(["up", interface, "--mode", mode]).output()?;
        let (code, stdout, stderr) = code_and_text(&output);
        assert_eq!(code, Some(0), "{case}: {stderr}");
        let begins = format!("{interface}: {in_force} XDP");
        assert!(stdout.starts_with(&begins), "{case}: {stdout}");
        let warning = format!("warning: {interface}: no native XDP");
        assert_eq!(stderr.starts_with(&warning), warned, "{case}: {stderr}");

        let status = host.status();
        assert_eq!(status["interfaces"][0]["mode"], in_force, "{case}");
        let (kernels_mode, _) = xdp(host, interface)?.context("nothing is attached")?;
        assert_eq!(kernels_mode, in_force, "{case}");
        if interface == "eth0" {
            assert!(is_dropped(&lab, 80)?, "{case}");
        }
        host.xdpfw(["down"]).ok();
    }
    Ok(())
}

#[test]
fn native_is_not_downgraded_when_it_was_asked_for() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.run("ip", ["link", "add", "br0", "type", "bridge"])?;
    let said = host
        .xdpfw(["up", "eth0", "br0", "--mode", "native"])
        .fails(5);
    assert_is_one_error(&said, "--mode generic");
    assert!(said.contains("br0"), "{said}");
    assert_nothing_is_left(host, &["eth0", "br0"])
}

#[test]
fn another_mode_than_the_one_in_force_is_refused() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    for (mode, other) in [("native", "generic"), ("generic", "native")] {
        host.xdpfw(["up", "eth0", "--mode", mode]).ok();
        let before = state(host, &["eth0"])?;
        let said = host.xdpfw(["up", "eth0", "--mode", other]).fails(1);
        assert_is_one_error(&said, "`xdpfw down eth0`");
        assert_eq!(state(host, &["eth0"])?, before, "{mode}");
        // What was not asked for is not refused.
        host.xdpfw(["up", "eth0", "--mode", mode]).ok();
        host.xdpfw(["up", "eth0"]).ok();
        assert_eq!(state(host, &["eth0"])?, before, "{mode}");
        host.xdpfw(["down"]).ok();
    }
    Ok(())
}

fn code_and_text(output: &Output) -> (Option<i32>, String, String) {
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}
