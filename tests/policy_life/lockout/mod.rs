//! Proves that no command cuts the SSH session it runs in, unless it is told to.

mod links;
mod neighbours;
mod sessions;
mod stations;
mod tunnels;

use std::fs;

use anyhow::{Context as _, Result};
use xdpfw_tests::{Lab, Tally, assert_nothing_is_left, is_dropped, state, text};

/// An operator's way in, as sshd tells it.
const SSH: &str = "192.0.2.7 51000 10.0.0.1 22";

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
    let host = &lab.host;
    // The shell is in the same network namespace: elsewhere, it would not be asked.
    let xdpfw = host.xdpfw(["up", "eth0"]).command()?;
    let script = "env --unset=SSH_CONNECTION \"$@\"; exit $?";
    let output = host
        .command("sh")
        .args(["-c", script, "sh"])
        .arg(xdpfw.get_program())
        .args(xdpfw.get_args())
        .env("XDPFW_POLICY", host.policy())
        .env("SSH_CONNECTION", SSH)
        .output()?;
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    assert!(text(&output.stderr).contains("192.0.2.7"), "{output:?}");
    assert_nothing_is_left(host, &["eth0"])
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

#[test]
fn what_the_guard_asks_is_not_counted() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["allow", "ssh"]).ok();
    host.xdpfw(["up", "eth0"]).env("SSH_CONNECTION", SSH).ok();
    let before = Tally::of(host)?;
    host.xdpfw(["delete", "r1"])
        .env("SSH_CONNECTION", SSH)
        .fails(6);
    host.xdpfw(["allow", "tcp", "443"])
        .env("SSH_CONNECTION", SSH)
        .ok();
    Tally::assert_moved(host, &before, &[]).map(drop)
}
