//! Proves that no command cuts the SSH session it runs in, unless it is told to.

use std::fs;

use anyhow::{Context as _, Result};
use xdpfw_tests::{Lab, assert_nothing_is_left, is_dropped, state, text};

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
fn an_address_on_no_interface_is_taken_at_its_worst() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    // Nobody here has 10.99.0.1.
    let session = "192.0.2.7 51000 10.99.0.1 22";
    for (rules, refused) in [
        ("[[rule]]\nallow = \"ssh\"\non = \"eth0\"\n", true),
        (
            "[[rule]]\ndeny = \"tcp any\"\non = \"eth9\"\n[[rule]]\nallow = \"ssh\"\n",
            true,
        ),
        ("[[rule]]\nallow = \"ssh\"\n", false),
    ] {
        fs::write(host.policy(), format!("version = 1\n{rules}"))?;
        let up = host.xdpfw(["up", "eth0"]).env("SSH_CONNECTION", session);
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
            &["deny", "icmp6", "router-advertisement"],
            &["deny", "any", "--from", "192.0.2.0/24"],
            &["allow", "icmp6", "133-137"],
            &["deny", "any"],
        ] {
            say(passes).ok();
        }
    }
    Ok(())
}
