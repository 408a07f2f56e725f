//! Proves how the filter comes up and goes down: on which interfaces and in which
//! modes, beside other programs, without locking anybody out, and with nothing
//! left behind.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use xdpfw_tests::{Host, Lab, Sender, Xdpfw, packets};

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// The lock that commands take turns with.
const LOCK: &str = "/run/xdpfw.lock";
/// An operator's way in, as sshd tells it.
const SSH: &str = "192.0.2.7 51000 10.0.0.1 22";
/// The peer's port where it does not matter.
const REMOTE: u16 = 40_000;

// Up and down.

#[test]
fn up_attaches_and_down_leaves_nothing_but_the_policy() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    assert_eq!(
        host.xdpfw(["up", "eth0"]).ok(),
        "eth0: native XDP (veth), default drop, 0 rules\n"
    );
    let interface = json!({
        "name": "eth0",
        "ifindex": ifindex(host, "eth0")?,
        "mode": "native",
    });
    let status = host.xdpfw(["status"]).json();
    assert_eq!(status["interfaces"], json!([interface]));
    assert_eq!(status["generation"], 1);
    assert_eq!(status["default"], "drop");
    assert!(is_dropped(&lab, 80)?);

    let saved = fs::read_to_string(host.policy())?;
    assert_eq!(saved, "version = 1\ninterfaces = [\"eth0\"]\n");
    assert_eq!(host.xdpfw(["down"]).ok(), "eth0: detached\n");
    assert_nothing_is_left(host, &["eth0"])?;
    assert_eq!(fs::read_to_string(host.policy())?, saved);

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
    let before = host.xdpfw(["status"]).json();
    host.xdpfw(["up", "eth0"]).ok();
    let after = host.xdpfw(["status"]).json();
    assert_eq!(interfaces_up(host), ["eth0", "eth1"]);
    assert_eq!(after["generation"], before["generation"]);
    assert_eq!(after["totals"], before["totals"]);
    assert!(is_dropped(&lab, 80)?);

    host.xdpfw(["down", "eth1", "eth0"]).ok();
    assert_nothing_is_left(host, &["eth0", "eth1"])
}

#[test]
fn what_was_detached_is_detached_when_the_command_ends() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    // The kernel takes its time where others configure interfaces meanwhile.
    let busy = Host::new()?;
    let script = "while :; do ip link add a type veth peer name b; ip link delete a; done";
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

    let status = host.xdpfw(["status"]).json();
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
        let status = host.xdpfw(["status"]).json();
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

// Interfaces and modes.

#[test]
fn the_mode_is_what_the_driver_can_or_what_was_asked_for() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.run("ip", ["link", "add", "br0", "type", "bridge"])?;
    for (interface, mode, in_force, warned) in [
        ("eth0", "auto", "native", false),
        ("eth0", "native", "native", false),
        ("eth0", "generic", "generic", false),
        ("lo", "auto", "generic", true),
        ("lo", "generic", "generic", false),
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

        let status = host.xdpfw(["status"]).json();
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
    for interface in ["lo", "br0"] {
        let said = host
            .xdpfw(["up", "eth0", interface, "--mode", "native"])
            .fails(5);
        assert_is_one_error(&said, "--mode generic");
        assert!(said.contains(interface), "{said}");
        assert_nothing_is_left(host, &["eth0", interface])?;
    }
    Ok(())
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

#[test]
fn an_unknown_interface_is_named_with_those_there_are() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    for arguments in [
        &["up", "nope"][..],
        &["up", "eth0", "nope"],
        &["up", "nope", "eth0"],
    ] {
        let said = host.xdpfw(arguments).fails(5);
        assert_is_one_error(&said, "`nope`");
        for name in ["lo", "eth0", "eth1"] {
            assert!(said.contains(name), "{said}");
        }
        assert_nothing_is_left(host, &["eth0", "eth1"])?;
        assert!(!host.policy().exists(), "{arguments:?}");
    }
    host.xdpfw(["up", "eth0"]).ok();
    let before = state(host, &["eth0", "eth1"])?;
    host.xdpfw(["up", "eth1", "nope"]).fails(5);
    assert_eq!(state(host, &["eth0", "eth1"])?, before);
    Ok(())
}

#[test]
fn names_with_dots_are_names() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    for name in ["eth0.100", "a.b.c-d_e", "…"] {
        rename(host, &only_interface(host)?, name)?;
        host.xdpfw(["up", name]).ok();
        assert_eq!(interfaces_up(host), [name]);
        host.xdpfw(["down", name]).ok();
        assert_nothing_is_left(host, &[name])?;
        fs::remove_file(host.policy())?;
    }
    Ok(())
}

#[test]
fn a_renamed_interface_stays_filtered() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    let before = xdp(host, "eth0")?;
    rename(host, "eth0", "wan0")?;
    assert_eq!(xdp(host, "wan0")?, before);
    assert_eq!(interfaces_up(host), ["wan0"]);
    let said = host.xdpfw(["allow", "tcp", "443"]).ok();
    assert!(said.ends_with("live on wan0\n"), "{said}");
    assert!(is_dropped(&lab, 80)? && !is_dropped(&lab, 443)?);

    // Another one takes the old name.
    host.run("ip", ["link", "add", "eth0", "type", "veth"])?;
    assert_eq!(interfaces_up(host), ["wan0"]);
    host.xdpfw(["up", "eth0"]).ok();
    assert_eq!(interfaces_up(host), ["eth0", "wan0"]);
    host.xdpfw(["down"]).ok();
    assert_nothing_is_left(host, &["eth0", "wan0"])
}

#[test]
fn an_interface_that_came_back_is_missed_and_filtered_again_by_up() -> Result<()> {
    // Alone or beside another; with a new number or the old one.
    for (others, same_number) in [(0, false), (0, true), (1, false), (1, true)] {
        let lab = Lab::with_links(1 + others)?;
        let host = &lab.host;
        let mut arguments = vec!["up", "eth0"];
        if others > 0 {
            arguments.push("eth1");
        }
        host.xdpfw(["allow", "tcp", "443"]).ok();
        host.xdpfw(&arguments).ok();
        let number = ifindex(host, "eth0")?;
        host.run("ip", ["link", "delete", "eth0"])?;
        let gone = text(&host.xdpfw(["status"]).output()?.stderr);
        assert!(
            gone.contains("warning: ") && gone.contains("xdpfw up"),
            "{gone}"
        );

        come_back(&lab, same_number.then_some(number))?;
        let case = format!("{others} others, same number: {same_number}");
        assert_eq!(xdp(host, "eth0")?, None, "{case}");
        let back = text(&host.xdpfw(["status"]).output()?.stderr);
        assert!(back.contains("warning: "), "{case}: {back}");
        assert!(!interfaces_up(host).contains(&"eth0".to_owned()), "{case}");

        host.xdpfw(["up"]).ok();
        assert_eq!(interfaces_up(host), arguments[1..], "{case}");
        let healed = host.xdpfw(["status"]).output()?;
        assert_eq!(text(&healed.stderr), "", "{case}");
        assert!(is_dropped(&lab, 80)? && !is_dropped(&lab, 443)?, "{case}");
        host.xdpfw(["down"]).ok();
        assert_nothing_is_left(host, &["eth0"])?;
    }
    Ok(())
}

// Beside other programs.

#[test]
fn another_program_stays_where_it_is() -> Result<()> {
    for attach in [attach_by_link, attach_by_netlink, attach_generic] {
        // The peer's filter lends its program.
        let lab = Lab::with_links(2)?;
        let host = &lab.host;
        lab.peer.xdpfw(["up", "eth1"]).ok();
        let taken = attach(&lab)?;
        let other = xdp(host, &taken)?.context("nothing is attached")?;

        for mode in ["auto", "native", "generic"] {
            for arguments in [
                &["up", &taken, "--mode", mode][..],
                &["up", "eth0", &taken, "--mode", mode],
            ] {
                let said = host.xdpfw(arguments).fails(5);
                assert_is_one_error(&said, "another XDP program");
                assert!(said.contains(&taken), "{said}");
                assert!(
                    said.contains(&other.1.to_string()),
                    "no {}: {said}",
                    other.1
                );
                assert_eq!(xdp(host, &taken)?, Some(other.clone()), "{arguments:?}");
                assert_nothing_is_left(host, &["eth0"])?;
                assert!(!host.policy().exists(), "{arguments:?}");
            }
        }

        // Neither does it disturb, nor is it disturbed.
        host.xdpfw(["up", "eth0"]).ok();
        assert_eq!(interfaces_up(host), ["eth0"]);
        host.xdpfw(["up", &taken]).fails(5);
        assert_eq!(interfaces_up(host), ["eth0"]);
        assert!(is_dropped(&lab, 80)?);
        host.xdpfw(["down"]).ok();
        assert_eq!(xdp(host, &taken)?, Some(other));
    }
    Ok(())
}

/// Attached as xdpfw does it: in the peer, whence the interface moves here.
fn attach_by_link(lab: &Lab) -> Result<String> {
    lab.peer.run(
        "ip",
        [
            "link",
            "set",
            "eth1",
            "netns",
            lab.host.name(),
            "name",
            "ext1",
        ],
    )?;
    Ok("ext1".into())
}

fn attach_by_netlink(lab: &Lab) -> Result<String> {
    attach_pinned(lab, "xdpdrv")
}

fn attach_generic(lab: &Lab) -> Result<String> {
    attach_pinned(lab, "xdpgeneric")
}

fn attach_pinned(lab: &Lab, mode: &str) -> Result<String> {
    let pin = files_below(&lab.peer.pins())
        .into_iter()
        .find(|pin| pin.ends_with("dispatcher"))
        .context("the peer has no program")?;
    let pin = pin.to_str().context("no UTF-8")?;
    lab.host
        .run("ip", ["link", "set", "dev", "eth1", mode, "pinned", pin])?;
    Ok("eth1".into())
}

// The way in.

#[test]
fn up_does_not_cut_the_ssh_session_it_runs_in() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let said = host
        .xdpfw(["up", "eth0"])
        .env("SSH_CONNECTION", SSH)
        .fails(6);
    for word in ["192.0.2.7", "tcp 22", "`xdpfw allow ssh`", "--force"] {
        assert!(said.contains(word), "no {word}: {said}");
    }
    assert_nothing_is_left(host, &["eth0"])?;
    assert!(!host.policy().exists());

    // Another port is not the way in.
    host.xdpfw(["allow", "tcp", "2222"]).ok();
    host.xdpfw(["up", "eth0"])
        .env("SSH_CONNECTION", SSH)
        .fails(6);
    assert_nothing_is_left(host, &["eth0"])?;
    host.xdpfw(["allow", "tcp", "22"]).ok();
    host.xdpfw(["up", "eth0"]).env("SSH_CONNECTION", SSH).ok();
    assert!(!is_dropped(&lab, 22)?);
    Ok(())
}

#[test]
fn the_remedy_names_the_port_of_the_session() -> Result<()> {
    let lab = Lab::new()?;
    let session = "192.0.2.7 51000 10.0.0.1 2222";
    let up = || {
        lab.host
            .xdpfw(["up", "eth0"])
            .env("SSH_CONNECTION", session)
    };
    let said = up().fails(6);
    assert!(said.contains("`xdpfw allow tcp 2222`"), "{said}");
    lab.host.xdpfw(["allow", "ssh"]).ok();
    up().fails(6);
    lab.host.xdpfw(["allow", "tcp", "2222"]).ok();
    up().ok();
    Ok(())
}

#[test]
fn the_session_is_found_when_sudo_has_cleared_the_environment() -> Result<()> {
    let lab = Lab::new()?;
    let script = "env --unset=SSH_CONNECTION \"$@\"; exit $?";
    let output = lab
        .host
        .command("sh")
        .args(["-c", script, "sh"])
        .args(argv(&lab.host, &["up", "eth0"])?)
        .env("XDPFW_POLICY", lab.host.policy())
        .env("SSH_CONNECTION", SSH)
        .output()?;
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    assert!(text(&output.stderr).contains("192.0.2.7"), "{output:?}");
    assert_nothing_is_left(&lab.host, &["eth0"])
}

#[test]
fn force_and_default_pass_are_let_through() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0", "--force"])
        .env("SSH_CONNECTION", SSH)
        .ok();
    assert!(is_dropped(&lab, 22)?);
    // Who has no way in can lose none.
    host.xdpfw(["allow", "tcp", "443"])
        .env("SSH_CONNECTION", SSH)
        .ok();
    host.xdpfw(["up", "eth0"]).env("SSH_CONNECTION", SSH).ok();
    host.xdpfw(["down"]).ok();

    host.xdpfw(["default", "pass"]).ok();
    host.xdpfw(["up", "eth0"]).env("SSH_CONNECTION", SSH).ok();
    assert!(!is_dropped(&lab, 22)?);
    Ok(())
}

#[test]
fn no_change_cuts_the_ssh_session_it_runs_in() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let other = host.directory().join("other.toml");
    let path = other.to_str().context("no UTF-8")?;
    fs::write(&other, "version = 1\n[[rule]]\nallow = \"tcp 443\"\n")?;
    let system_ports_only =
        "version = 1\n[[rule]]\nallow = \"tcp 22\"\nremote_ports = \"1-1023\"\n";
    host.xdpfw(["allow", "ssh"]).ok();
    host.xdpfw(["up", "eth0"]).env("SSH_CONNECTION", SSH).ok();
    let before = state(host, &["eth0"])?;
    let cuts: &[&[&str]] = &[
        &["delete", "r1"],
        &["delete", "allow", "tcp", "22"],
        &["deny", "ssh", "--before", "r1"],
        &["deny", "tcp", "any", "--before", "r1"],
        &[
            "deny",
            "tcp",
            "1-1023",
            "--remote-port",
            "51000",
            "--before",
            "r1",
        ],
        &["deny", "any", "--before", "r1"],
        &["apply", path],
        &["apply", "-"],
    ];
    for &arguments in cuts {
        let said = host
            .xdpfw(arguments)
            .env("SSH_CONNECTION", SSH)
            .stdin(system_ports_only)
            .fails(6);
        assert!(
            said.contains("192.0.2.7") && said.contains("tcp 22"),
            "{arguments:?}: {said}"
        );
        assert!(said.contains("--force"), "{arguments:?}: {said}");
        assert_eq!(state(host, &["eth0"])?, before, "{arguments:?}");
    }
    assert!(!is_dropped(&lab, 22)?);

    // What does not cut it passes: behind the rule, for others, or with --force.
    let passes: &[&[&str]] = &[
        &["deny", "ssh"],
        &["deny", "tcp", "23", "--before", "r1"],
        &[
            "deny",
            "tcp",
            "22",
            "--remote-port",
            "1-1023",
            "--before",
            "r1",
        ],
        &["default", "pass"],
        &["default", "drop"],
        &["delete", "r1", "--force"],
    ];
    for &arguments in passes {
        host.xdpfw(arguments).env("SSH_CONNECTION", SSH).ok();
    }
    assert!(is_dropped(&lab, 22)?);
    Ok(())
}

#[test]
fn the_default_is_not_changed_under_an_ssh_session() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["default", "pass"]).ok();
    host.xdpfw(["up", "eth0"]).env("SSH_CONNECTION", SSH).ok();
    let before = state(host, &["eth0"])?;
    let said = host
        .xdpfw(["default", "drop"])
        .env("SSH_CONNECTION", SSH)
        .fails(6);
    assert!(said.contains("192.0.2.7"), "{said}");
    assert_eq!(state(host, &["eth0"])?, before);
    assert!(!is_dropped(&lab, 22)?);
    host.xdpfw(["default", "drop", "--force"])
        .env("SSH_CONNECTION", SSH)
        .ok();
    assert!(is_dropped(&lab, 22)?);
    Ok(())
}

// Where pins live.

#[test]
fn bpffs_is_mounted_where_it_is_not() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let script = "
        while umount --lazy /sys/fs/bpf 2>/dev/null; do :; done
        ! grep --quiet ' /sys/fs/bpf ' /proc/self/mounts || exit 90
        \"$@\" status || exit 91
        ! grep --quiet ' /sys/fs/bpf ' /proc/self/mounts || exit 92
        \"$@\" up eth0 || exit 93
        grep --quiet ' /sys/fs/bpf bpf ' /proc/self/mounts || exit 94
        \"$@\" allow tcp 443 || exit 95
        \"$@\" --json status > \"$XDPFW_POLICY.status\" || exit 96
        \"$@\" down || exit 97
        [ -z \"$(ls -A /sys/fs/bpf/xdpfw)\" ] || exit 98";
    let output = in_private_mounts(host, script, &[])?.output()?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let status = fs::read(host.directory().join("policy.toml.status"))?;
    let status: Value = serde_json::from_slice(&status)?;
    assert_eq!(status["interfaces"][0]["name"], "eth0");
    assert_eq!(status["generation"], 2);
    assert_nothing_is_left(host, &["eth0"])
}

#[test]
fn up_refuses_a_mount_namespace_that_ends_with_it() -> Result<()> {
    let lab = Lab::new()?;
    let output = ip_netns_exec(&lab.host, &["up", "eth0"])?;
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert_is_one_error(&text(&output.stderr), "nsenter --net=");
    assert_nothing_is_left(&lab.host, &["eth0"])?;
    assert!(!lab.host.policy().exists());
    Ok(())
}

/// Where the pins are out of sight, no command may take that for "not up".
#[test]
fn a_filter_out_of_sight_is_not_taken_for_none() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    host.xdpfw(["allow", "tcp", "443"]).ok();
    host.xdpfw(["up", "eth0"]).ok();
    let before = state(host, &["eth0", "eth1"])?;
    for arguments in [
        &["up", "eth1"][..],
        &["down"],
        &["allow", "tcp", "80"],
        &["delete", "r1"],
        &["default", "pass"],
        &["status"],
        &["list"],
        &["stats"],
    ] {
        let output = ip_netns_exec(host, arguments)?;
        assert_eq!(output.status.code(), Some(5), "{arguments:?}: {output:?}");
        assert_is_one_error(&text(&output.stderr), "nsenter --net=");
        assert_eq!(state(host, &["eth0", "eth1"])?, before, "{arguments:?}");
    }
    Ok(())
}

#[test]
fn a_directory_open_to_others_is_refused() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let script = "
        while umount --lazy /sys/fs/bpf 2>/dev/null; do :; done
        mount -t bpf -o mode=1777 bpf /sys/fs/bpf || exit 90
        mkdir --mode=0777 /sys/fs/bpf/xdpfw || exit 91
        \"$@\" up eth0";
    let output = in_private_mounts(host, script, &[])?.output()?;
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert_is_one_error(&text(&output.stderr), "/sys/fs/bpf/xdpfw");
    assert_nothing_is_left(host, &["eth0"])
}

#[test]
fn up_that_cannot_save_the_policy_attaches_nothing() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    // So that bpffs is mounted.
    host.xdpfw(["up", "eth0"]).ok();
    let before = state(host, &["eth0", "eth1"])?;
    let output = with_read_only_policy(host, &["up", "eth1"])?;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("cannot save"), "{output:?}");
    assert_eq!(state(host, &["eth0", "eth1"])?, before);

    host.xdpfw(["down"]).ok();
    fs::remove_file(host.policy())?;
    let output = with_read_only_policy(host, &["up", "eth0"])?;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_nothing_is_left(host, &["eth0", "eth1"])
}

#[test]
fn a_second_command_waits_for_the_first() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    let before = state(host, &["eth0"])?;
    let lock = File::options().create(true).append(true).open(LOCK)?;
    lock.lock()?;
    let mut writer = start(host.xdpfw(["allow", "tcp", "443"]))?;
    let mut reader = start(host.xdpfw(["--json", "list"]))?;
    // However long they are given, they do not get on.
    assert_eq!(ended(&mut writer, Duration::from_millis(300))?, None);
    assert_eq!(ended(&mut reader, Duration::from_millis(100))?, None);
    assert_eq!(fs::read_to_string(host.policy())?, before.policy);

    lock.unlock()?;
    for child in [&mut writer, &mut reader] {
        let status = ended(child, PATIENCE)?.context("it waits for nobody")?;
        assert_eq!(status.code(), Some(0));
    }
    assert!(!is_dropped(&lab, 443)?);
    Ok(())
}

// What goes on.

#[test]
fn trace_tells_of_each_packet_and_puts_the_plain_generation_back() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let (near, far) = (lab.link().near(), lab.link().far());
    host.xdpfw(["allow", "tcp", "443"]).ok();
    host.xdpfw(["up", "eth0"]).ok();
    let mut trace = start(host.xdpfw(["trace", "-n", "3"]))?;
    wait_until("tracing", || is_traced(host))?;
    let from = far.at(REMOTE);
    Sender::new(&lab.peer, far)?.send_all([
        packets::syn(from, near.at(443)),
        packets::syn(from, near.at(80)),
        packets::udp(from, near.at(53), b"query"),
        packets::syn(from, near.at(22)),
    ])?;
    let status = ended(&mut trace, PATIENCE)?.context("trace does not end")?;
    assert_eq!(status.code(), Some(0));
    let mut said = String::new();
    let mut stdout = trace.stdout.take().context("no stdout")?;
    stdout.read_to_string(&mut said)?;
    let lines: Vec<&str> = said.lines().collect();
    let (from, to) = (from.to_string(), near.address);
    assert_eq!(
        lines,
        [
            format!("pass rule: tcp {from} -> {to}:443 by r1"),
            format!("drop default: tcp {from} -> {to}:80"),
            format!("drop default: udp {from} -> {to}:53"),
        ]
    );
    assert!(!is_traced(host));
    // Counted as ever, before, during and after.
    assert_eq!(host.xdpfw(["list"]).json()["rules"][0]["packets"], 1);
    let dropped = host
        .xdpfw(["stats", "--port", "tcp/80,udp/53,tcp/22"])
        .json();
    for port in dropped["ports"].as_array().context("no ports")? {
        assert_eq!(port["dropped_packets"], 1, "{port}");
    }
    assert!(is_dropped(&lab, 80)? && !is_dropped(&lab, 443)?);
    Ok(())
}

#[test]
fn trace_puts_the_plain_generation_back_however_it_ends() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    for signal in [Signal::INT, Signal::TERM] {
        let mut trace = start(host.xdpfw(["trace"]))?;
        wait_until("tracing", || is_traced(host))?;
        // Its own traffic tells that it listens.
        read_line_while(&mut trace, || is_dropped(&lab, 80))?;
        kill_process(Pid::from_child(&trace), signal)?;
        let status = ended(&mut trace, PATIENCE)?.context("trace does not end")?;
        assert_eq!(status.code(), Some(0), "{signal:?}");
        assert!(!is_traced(host), "{signal:?}");
    }
    // Whoever reads it has seen enough.
    let mut trace = start(host.xdpfw(["trace"]))?;
    wait_until("tracing", || is_traced(host))?;
    drop(trace.stdout.take());
    assert!(is_dropped(&lab, 80)?);
    let status = ended(&mut trace, PATIENCE)?.context("trace does not end")?;
    assert_eq!(status.code(), Some(0));
    assert!(!is_traced(host));
    Ok(())
}

#[test]
fn a_trace_whose_terminal_is_gone_puts_the_plain_generation_back() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    let mut trace = start(host.xdpfw(["trace"]))?;
    wait_until("tracing", || is_traced(host))?;
    read_line_while(&mut trace, || is_dropped(&lab, 80))?;
    kill_process(Pid::from_child(&trace), Signal::HUP)?;
    ended(&mut trace, PATIENCE)?.context("trace does not end")?;
    assert!(!is_traced(host));
    Ok(())
}

#[test]
fn a_change_of_the_policy_ends_the_trace() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    let mut trace = start(host.xdpfw(["trace"]))?;
    wait_until("tracing", || is_traced(host))?;
    host.xdpfw(["allow", "tcp", "443"]).ok();
    let status = ended(&mut trace, PATIENCE)?.context("trace does not end")?;
    assert_eq!(status.code(), Some(0));
    assert!(!is_traced(host) && !is_dropped(&lab, 443)?);
    Ok(())
}

#[test]
fn a_killed_trace_is_tidied_up_by_the_next_change() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    let mut trace = start(host.xdpfw(["trace"]))?;
    wait_until("tracing", || is_traced(host))?;
    trace.kill()?;
    trace.wait()?;
    assert!(is_traced(host) && is_dropped(&lab, 80)?);
    host.xdpfw(["apply"]).ok();
    assert!(!is_traced(host) && is_dropped(&lab, 80)?);
    Ok(())
}

#[test]
fn watched_stats_are_an_object_a_line_until_interrupted() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    let mut watch = start(host.xdpfw(["stats", "--watch", "0.1", "--json"]))?;
    let mut lines = BufReader::new(watch.stdout.take().context("no stdout")?).lines();
    let mut next = || -> Result<Value> {
        let line = lines.next().context("no more lines")??;
        Ok(serde_json::from_str(&line)?)
    };
    for _ in 0..2 {
        let stats = next()?;
        assert_eq!(stats["schema"], "xdpfw.stats/1");
        assert_eq!(stats["ports"], json!([]));
    }
    assert!(is_dropped(&lab, 23)?);
    let deadline = Instant::now() + PATIENCE;
    while next()?["ports"][0]["port"] != 23 {
        ensure!(Instant::now() < deadline, "the drop is not shown");
    }
    kill_process(Pid::from_child(&watch), Signal::INT)?;
    let status = ended(&mut watch, PATIENCE)?.context("it does not end")?;
    assert_eq!(status.code(), Some(0));
    for line in lines {
        serde_json::from_str::<Value>(&line?)?;
    }
    Ok(())
}

#[test]
fn an_interrupt_is_never_missed() -> Result<()> {
    let lab = Lab::new()?;
    lab.host.xdpfw(["up", "eth0"]).ok();
    // Busy most of the time, so that some interrupts come at a bad one.
    for attempt in 0..10 {
        let mut watch = start(lab.host.xdpfw(["stats", "--watch", "0.01", "--json"]))?;
        let mut stdout = BufReader::new(watch.stdout.take().context("no stdout")?);
        for _ in 0..3 {
            ensure!(stdout.read_line(&mut String::new())? > 0, "no more lines");
        }
        kill_process(Pid::from_child(&watch), Signal::INT)?;
        let reader = thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        let status = ended(&mut watch, Duration::from_secs(2))?;
        if status.is_none() {
            watch.kill()?;
            watch.wait()?;
        }
        assert!(reader.join().is_ok());
        assert_eq!(
            status.and_then(|status| status.code()),
            Some(0),
            "attempt {attempt}"
        );
    }
    Ok(())
}

#[test]
fn watching_ends_with_its_reader() -> Result<()> {
    let lab = Lab::new()?;
    lab.host.xdpfw(["up", "eth0"]).ok();
    for arguments in [
        &["stats", "--watch", "0.05", "--json"][..],
        &["stats", "--watch", "0.05"],
    ] {
        let mut watch = start(lab.host.xdpfw(arguments))?;
        let mut stdout = BufReader::new(watch.stdout.take().context("no stdout")?);
        ensure!(
            stdout.read_line(&mut String::new())? > 0,
            "{arguments:?}: no line"
        );
        drop(stdout);
        let status = ended(&mut watch, PATIENCE)?.context("it does not end")?;
        assert_eq!(status.code(), Some(0), "{arguments:?}");
    }
    Ok(())
}

#[test]
fn reset_shows_what_was_and_counts_from_zero() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["allow", "tcp", "443"]).ok();
    host.xdpfw(["up", "eth0"]).ok();
    let policy = fs::read_to_string(host.policy())?;
    assert!(is_dropped(&lab, 23)? && !is_dropped(&lab, 443)?);

    let last = host.xdpfw(["stats", "--reset"]).json();
    assert_eq!(last["ports"][0]["port"], 23);
    assert_eq!(last["totals"]["dropped"]["packets"], 1);
    let first = host.xdpfw(["stats"]).json();
    assert_eq!(first["ports"], json!([]));
    assert_eq!(
        first["totals"]["dropped"],
        json!({"packets": 0, "bytes": 0})
    );
    assert_eq!(first["totals"]["passed"], json!({"packets": 0, "bytes": 0}));
    assert_eq!(host.xdpfw(["list"]).json()["rules"][0]["packets"], 0);
    assert_eq!(fs::read_to_string(host.policy())?, policy);

    assert!(is_dropped(&lab, 23)? && !is_dropped(&lab, 443)?);
    assert_eq!(
        host.xdpfw(["stats"]).json()["ports"][0]["dropped_packets"],
        1
    );
    assert_eq!(host.xdpfw(["list"]).json()["rules"][0]["packets"], 1);
    Ok(())
}

// Helpers.

/// What a command that fails must leave alone.
#[derive(Debug, PartialEq)]
struct State {
    policy: String,
    generation: Value,
    /// Mode and program of each interface.
    programs: Vec<Option<(String, u64)>>,
}

fn state(host: &Host, interfaces: &[&str]) -> Result<State> {
    Ok(State {
        policy: fs::read_to_string(host.policy())?,
        generation: host.xdpfw(["status"]).json()["generation"].clone(),
        programs: interfaces
            .iter()
            .map(|interface| xdp(host, interface))
            .collect::<Result<_>>()?,
    })
}

fn assert_nothing_is_left(host: &Host, interfaces: &[&str]) -> Result<()> {
    for interface in interfaces {
        assert_eq!(xdp(host, interface)?, None, "{interface}");
    }
    assert!(
        !host.pins().exists(),
        "{:?} is left with {:?}",
        host.pins(),
        files_below(&host.pins())
    );
    Ok(())
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return vec![directory.to_owned()];
    };
    entries
        .flatten()
        .flat_map(|entry| files_below(&entry.path()))
        .collect()
}

/// The filtered interfaces, by name.
fn interfaces_up(host: &Host) -> Vec<String> {
    let status = host.xdpfw(["status"]).json();
    let interfaces = status["interfaces"].as_array().cloned().unwrap_or_default();
    let mut names: Vec<String> = interfaces
        .iter()
        .filter_map(|interface| Some(interface["name"].as_str()?.to_owned()))
        .collect();
    names.sort();
    names
}

fn is_traced(host: &Host) -> bool {
    host.xdpfw(["status"]).json()["traced"] == true
}

/// What the kernel says of an interface.
fn link_of(host: &Host, interface: &str) -> Result<Value> {
    let links = host.run("ip", ["-json", "link", "show", "dev", interface])?;
    let links: Value = serde_json::from_str(&links)?;
    Ok(links[0].clone())
}

fn ifindex(host: &Host, interface: &str) -> Result<u64> {
    link_of(host, interface)?["ifindex"]
        .as_u64()
        .context("no ifindex")
}

/// The mode and the id of the XDP program on an interface.
fn xdp(host: &Host, interface: &str) -> Result<Option<(String, u64)>> {
    let xdp = &link_of(host, interface)?["xdp"];
    if xdp.is_null() {
        return Ok(None);
    }
    // `XDP_ATTACHED_DRV` and `XDP_ATTACHED_SKB` in linux/if_link.h.
    let mode = match xdp["mode"].as_u64() {
        Some(1) => "native",
        Some(2) => "generic",
        _ => bail!("an unknown mode: {xdp}"),
    };
    let program = xdp["prog"]["id"].as_u64().context("no program")?;
    Ok(Some((mode.to_owned(), program)))
}

/// The host's interface, when there is only one beside `lo`.
fn only_interface(host: &Host) -> Result<String> {
    let links: Value = serde_json::from_str(&host.run("ip", ["-json", "link"])?)?;
    Ok(links[1]["ifname"]
        .as_str()
        .context("no interface")?
        .to_owned())
}

/// Renames an interface; older kernels do so only while it is down.
fn rename(host: &Host, old: &str, new: &str) -> Result<()> {
    host.run("ip", ["link", "set", old, "down"])?;
    host.run("ip", ["link", "set", old, "name", new])?;
    host.run("ip", ["link", "set", new, "up"])?;
    Ok(())
}

/// Makes the lab's first pair again, as it was but for its number.
fn come_back(lab: &Lab, number: Option<u64>) -> Result<()> {
    let (near, far) = (lab.link().near(), lab.link().far());
    let mut words = vec!["link".to_owned(), "add".into(), near.interface.clone()];
    if let Some(number) = number {
        words.extend(["index".to_owned(), number.to_string()]);
    }
    words.extend(["type", "veth", "peer", "name"].map(str::to_owned));
    words.extend([
        far.interface.clone(),
        "netns".into(),
        lab.peer.name().into(),
    ]);
    lab.host.run("ip", &words)?;
    for (host, end) in [(&lab.host, near), (&lab.peer, far)] {
        let address = format!("{}/24", end.address);
        let mac = text_of(end.mac);
        host.run("ip", ["link", "set", &end.interface, "address", &mac, "up"])?;
        host.run("ip", ["address", "add", &address, "dev", &end.interface])?;
    }
    // As the harness has it, nobody asks for anybody's address.
    for (host, end, other) in [(&lab.host, near, far), (&lab.peer, far, near)] {
        let (address, mac) = (other.address.to_string(), text_of(other.mac));
        host.run(
            "ip",
            [
                "neigh",
                "replace",
                &address,
                "lladdr",
                &mac,
                "nud",
                "permanent",
                "dev",
                &end.interface,
            ],
        )?;
    }
    Ok(())
}

fn text_of(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Whether a SYN from the peer to this port is dropped.
fn is_dropped(lab: &Lab, port: u16) -> Result<bool> {
    is_dropped_on(lab, 0, port)
}

fn is_dropped_on(lab: &Lab, link: usize, port: u16) -> Result<bool> {
    let (near, far) = (lab.links[link].near(), lab.links[link].far());
    let totals = || {
        let status = lab.host.xdpfw(["status"]).json();
        ["passed", "dropped"].map(|way| status["totals"][way]["packets"].as_u64())
    };
    let [passed, dropped] = totals();
    let syn = packets::syn(far.at(REMOTE), near.at(port));
    Sender::new(&lab.peer, far)?.send_all([syn])?;
    match totals() {
        [now, _] if now > passed => Ok(false),
        [_, now] if now > dropped => Ok(true),
        _ => bail!(
            "port {port}: neither passed nor dropped; nothing filters {}",
            near.interface
        ),
    }
}

/// Starts a command, its stdout to be read.
fn start(xdpfw: Xdpfw) -> Result<Child> {
    let mut command = xdpfw.command()?;
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().context("cannot start nsenter")
}

/// How a process ended, if it does so in time.
fn ended(child: &mut Child, timeout: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + timeout;
    loop {
        let status = child.try_wait()?;
        if status.is_some() || Instant::now() > deadline {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        ensure!(Instant::now() < deadline, "not {what}");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Waits for a line of output, which `cause` brings about.
fn read_line_while(child: &mut Child, cause: impl Fn() -> Result<bool>) -> Result<()> {
    cause()?;
    let stdout = child.stdout.as_mut().context("no stdout")?;
    ensure!(stdout.read(&mut [0; 1])? > 0, "no output");
    Ok(())
}

/// The words that run this host's xdpfw, from anywhere.
fn argv(host: &Host, arguments: &[&str]) -> Result<Vec<OsString>> {
    let command = host.xdpfw(arguments).command()?;
    let program = [command.get_program()].into_iter();
    Ok(program
        .chain(command.get_args())
        .map(OsString::from)
        .collect())
}

/// A shell script in a mount namespace of its own; `"$@"` is this host's xdpfw.
fn in_private_mounts(host: &Host, script: &str, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", script, "sh"])
        .args(argv(host, arguments)?)
        .env("XDPFW_POLICY", host.policy())
        .env_remove("SSH_CONNECTION")
        .stdin(Stdio::null());
    Ok(command)
}

/// Runs xdpfw where the directory of its policy cannot be written.
fn with_read_only_policy(host: &Host, arguments: &[&str]) -> Result<Output> {
    let script = "
        directory=$(dirname \"$XDPFW_POLICY\")
        mount --bind \"$directory\" \"$directory\" || exit 90
        mount -o remount,bind,ro \"$directory\" || exit 91
        \"$@\"; exit $?";
    Ok(in_private_mounts(host, script, arguments)?.output()?)
}

/// Runs xdpfw as `ip netns exec` does: in a mount namespace without bpffs, which
/// ends with it.
fn ip_netns_exec(host: &Host, arguments: &[&str]) -> Result<Output> {
    let words = argv(host, arguments)?;
    let start = words
        .iter()
        .position(|word| word == "--")
        .context("no --")?;
    let output = Command::new("ip")
        .args(["netns", "exec", host.name()])
        .args(&words[start + 1..])
        .env("XDPFW_POLICY", host.policy())
        .env_remove("SSH_CONNECTION")
        .stdin(Stdio::null())
        .output()?;
    Ok(output)
}

#[track_caller]
fn assert_is_one_error(stderr: &str, said: &str) {
    assert!(
        stderr.starts_with("error: ") && stderr.lines().count() == 1 && stderr.contains(said),
        "not one line with {said:?}: {stderr}"
    );
}

fn code_and_text(output: &Output) -> (Option<i32>, String, String) {
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
