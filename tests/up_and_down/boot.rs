//! Proves what comes up at boot and when an interface comes: all of the policy that is there, and
//! never nothing where the policy file is damaged.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
};

use anyhow::{Context as _, Result, ensure};
use xdpfw_tests::{
    Host, Lab, assert_is_one_error, assert_nothing_is_left, generation, interfaces_up, is_dropped,
    is_dropped_on, link, policy_text, state,
};

/// The kinds of the warnings of `status`.
fn warnings(host: &Host) -> Vec<String> {
    let status = host.status();
    let warnings = status["warnings"].as_array().cloned().unwrap_or_default();
    let kinds = warnings.iter().filter_map(|one| one["kind"].as_str());
    kinds.map(str::to_owned).collect()
}

fn boot(host: &Host) -> String {
    host.xdpfw(["up", "--boot"]).ok()
}

#[test]
fn interfaces_that_fit_a_pattern_are_filtered_and_later_ones_when_they_come() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    let policy = "version = 1\ninterfaces = ['eth*', '!eth1', 'wan0']\n";
    fs::write(host.policy(), policy)?;
    let said = boot(host);
    assert!(said.starts_with("eth0: "), "{said}");
    assert_eq!(interfaces_up(host), ["eth0"]);
    assert_eq!(warnings(host), ["interface-missing"]);
    assert!(is_dropped_on(&lab, 0, 80)?);
    // One that is none of the policy's changes nothing.
    let before = state(host, &["eth0", "eth1"])?;
    assert_eq!(host.xdpfw(["up", "--boot", "eth1"]).ok(), "");
    assert_eq!(host.xdpfw(["up", "--boot", "eth0"]).ok(), "");
    assert_eq!(host.xdpfw(["up", "--boot", "gone0"]).ok(), "");
    assert_eq!(state(host, &["eth0", "eth1"])?, before);

    let third = link(host, &lab.peer)?;
    let name = third.near().interface.clone();
    assert_eq!(
        warnings(host),
        ["interface-missing", "interface-not-filtered"]
    );
    host.xdpfw(["up", "--boot", &name]).ok();
    assert_eq!(interfaces_up(host), ["eth0", &name]);
    assert_eq!(warnings(host), ["interface-missing"]);
    // It is asked for by name, and the policy says no.
    let said = host.xdpfw(["up", "eth1"]).fails(2);
    assert_is_one_error(&said, "`!eth1`");
    assert_eq!(policy_text(host)?, policy);
    Ok(())
}

#[test]
fn without_an_interface_nothing_is_filtered_until_one_comes() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    fs::write(host.policy(), "version = 1\n")?;
    assert_eq!(boot(host), "");
    assert_eq!(interfaces_up(host), [""; 0]);
    assert_nothing_is_left(host, &["eth0"])?;
    fs::write(host.policy(), "version = 1\ninterfaces = ['wan0']\n")?;
    assert_eq!(boot(host), "");
    assert!(interfaces_up(host).is_empty());
    host.run("ip", ["link", "set", "eth0", "down"])?;
    host.run("ip", ["link", "set", "eth0", "name", "wan0"])?;
    host.xdpfw(["up", "--boot", "wan0"]).ok();
    assert_eq!(interfaces_up(host), ["wan0"]);
    // Where the operator has taken the filter off, no interface brings it back.
    host.xdpfw(["down"]).ok();
    assert_eq!(host.xdpfw(["up", "--boot", "wan0"]).ok(), "");
    assert_nothing_is_left(host, &["wan0"])
}

#[test]
fn one_that_is_deleted_and_comes_back_is_filtered_by_the_same_rules() -> Result<()> {
    let lab = Lab::with_links(2)?
        .filtered("rule = [{ allow = 'tcp 443', on = 'eth1' }, { allow = 'tcp 80' }]");
    let host = &lab.host;
    host.xdpfw(["up", "eth1"]).ok();
    assert!(!is_dropped_on(&lab, 1, 443)?);
    for _ in 0..3 {
        made_anew(host)?;
        host.xdpfw(["up", "--boot", "eth1"]).ok();
        assert_eq!(interfaces_up(host), ["eth0", "eth1"]);
        // The rule is for the one that is there now.
        assert_eq!(warnings(host), [""; 0]);
        let before = generation(host);
        assert_eq!(host.xdpfw(["up", "--boot", "eth1"]).ok(), "");
        assert_eq!(generation(host), before);
    }
    Ok(())
}

#[test]
fn an_interface_that_comes_while_something_temporary_is_in_force_is_filtered() -> Result<()> {
    let lab = Lab::with_links(2)?.filtered("rule = [{ allow = 'tcp 80' }]");
    let host = &lab.host;
    host.xdpfw(["up", "eth1"]).ok();
    host.xdpfw(["allow", "tcp", "443", "--confirm", "1h"]).ok();
    made_anew(host)?;
    host.xdpfw(["up", "--boot", "eth1"]).ok();
    assert_eq!(interfaces_up(host), ["eth0", "eth1"]);
    assert!(!is_dropped(&lab, 443)?);
    host.xdpfw(["rollback"]).ok();
    assert!(is_dropped(&lab, 443)?);
    assert_eq!(interfaces_up(host), ["eth0", "eth1"]);
    Ok(())
}

/// Deletes eth1, and makes another one of that name.
fn made_anew(host: &Host) -> Result<()> {
    host.run("ip", ["link", "del", "eth1"])?;
    assert_eq!(interfaces_up(host), ["eth0"]);
    let veth = "link add eth1 type veth peer name other";
    host.run("ip", veth.split(' '))?;
    Ok(())
}

/// Damages the policy file.
type Damage = fn(&Host) -> Result<()>;

const DAMAGES: [(&str, Damage); 7] = [
    ("unknown key", |host| {
        let text = policy_text(host)?;
        Ok(fs::write(host.policy(), format!("x = 1\n{text}"))?)
    }),
    ("64 are supported", |host| {
        let rule = |port: u32| {
            let until = format!("2099-12-24T18:{:02}:{:02}Z", port / 60, port % 60);
            format!("[[rule]]\nallow = 'tcp {port}'\nuntil = '{until}'\n")
        };
        let rules: String = (1..=65).map(rule).collect();
        Ok(fs::write(
            host.policy(),
            format!("version = 1\ninterfaces = ['eth0']\n{rules}"),
        )?)
    }),
    ("version", |host| Ok(fs::write(host.policy(), "")?)),
    ("names no interface", |host| {
        Ok(fs::write(host.policy(), "version = 1\n")?)
    }),
    ("is not there", |host| Ok(fs::remove_file(host.policy())?)),
    ("others than root may write it", |host| {
        let mode = fs::Permissions::from_mode(0o666);
        Ok(fs::set_permissions(host.policy(), mode)?)
    }),
    ("belongs to user 12345", |host| {
        Ok(chown(host.policy(), Some(12_345), None)?)
    }),
];

/// A host whose filter was up by a policy that lets ports 80 and 443 in.
fn booted() -> Result<Lab> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["allow", "tcp", "80"]).ok();
    host.xdpfw(["up", "eth0"]).ok();
    host.xdpfw(["allow", "tcp", "443"]).ok();
    host.xdpfw(["down"]).ok();
    Ok(lab)
}

#[test]
fn where_the_policy_file_is_damaged_the_last_policy_is_in_force() -> Result<()> {
    for (why, damage) in DAMAGES {
        let lab = booted()?;
        let host = &lab.host;
        let good = policy_text(host)?;
        damage(host).context(why)?;
        let damaged = fs::read(host.policy()).ok();
        let said = host.xdpfw(["up", "--boot"]).fails(3);
        assert_is_one_error(&said, "policy 3 of the history is in force instead");
        assert!(said.contains(why) && said.contains("xdpfw apply"), "{said}");
        for (port, is_open) in [(80, true), (443, true), (22, false)] {
            assert_eq!(!is_dropped(&lab, port)?, is_open, "{why}: {port}");
        }
        assert_eq!(fs::read(host.policy()).ok(), damaged, "{why}");
        assert!(warnings(host).contains(&"fallback".to_owned()), "{why}");
        // A restart leaves it at that, and so does whatever changes no rule.
        let before = generation(host);
        let said = host.xdpfw(["up", "--boot"]).fails(3);
        assert!(said.contains("what is in force stays"), "{said}");
        assert_eq!(generation(host), before, "{why}");
        host.xdpfw(["stats", "--reset"]).ok();
        assert!(warnings(host).contains(&"fallback".to_owned()), "{why}");

        fs::remove_file(host.policy()).ok();
        fs::write(host.policy(), good)?;
        host.xdpfw(["apply"]).ok();
        assert_eq!(warnings(host), [""; 0], "{why}");
    }
    Ok(())
}

#[test]
fn without_a_history_nothing_but_the_operators_way_in_is_open() -> Result<()> {
    // Where the operator came from, and what is open then to the peer, and to others.
    let lab = booted()?;
    let peer = lab.link().far().address.to_string();
    let near = lab.link().near().address.to_string();
    for (operator, open) in [
        (None, &[22][..]),
        (Some(format!("{peer} 50000 {near} 2222")), &[2222]),
        (Some(format!("192.0.2.77 50000 {near} 2222")), &[]),
    ] {
        let lab = booted()?;
        let host = &lab.host;
        if let Some(operator) = &operator {
            let command = host.xdpfw(["allow", "tcp", "2222"]);
            command.env("SSH_CONNECTION", operator).ok();
        }
        match operator.is_some() {
            true => fs::write(host.policy(), "version = ")?,
            // One that is gone is no better.
            false => fs::remove_file(host.policy())?,
        }
        let numbers = fs::read_dir(host.history())?.count();
        let last = host.history().join(format!("{numbers}.toml"));
        let text = fs::read_to_string(&last)?;
        let (head, _) = text.split_once('\n').context("no head")?;
        match operator {
            // The change is known, and the policy is not.
            Some(_) => fs::write(&last, format!("{head}\nversion = "))?,
            None => fs::remove_dir_all(host.history())?,
        }
        let said = host.xdpfw(["up", "--boot"]).fails(3);
        assert_is_one_error(&said, "nothing but ");
        for port in [22, 80, 443, 2222] {
            let is_open = open.contains(&port);
            ensure!(
                is_dropped(&lab, port)? != is_open,
                "{operator:?}: {port}, {said}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_restart_does_not_lock_its_operator_out() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp 22' }]");
    let host = &lab.host;
    let (near, far) = (lab.link().near().address, lab.link().far().address);
    fs::write(
        host.policy(),
        "version = 1\ninterfaces = ['eth0']\nrule = [{ allow = 'tcp 80' }]\n",
    )?;
    let session = format!("{far} 50000 {near} 22");
    let command = || host.xdpfw(["up", "--boot"]);
    let said = command().env("SSH_CONNECTION", &session).fails(6);
    assert!(said.contains("what is in force stays"), "{said}");
    assert!(!is_dropped(&lab, 22)? && is_dropped(&lab, 80)?);
    command().ok();
    assert!(is_dropped(&lab, 22)? && !is_dropped(&lab, 80)?);
    // Nor does a start by hand: nothing is filtered then, as before.
    host.xdpfw(["down"]).ok();
    let said = command().env("SSH_CONNECTION", &session).fails(6);
    assert!(said.contains("would cut your SSH session"), "{said}");
    assert_nothing_is_left(host, &["eth0"])
}
