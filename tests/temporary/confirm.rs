//! Proves that a change that is confirmed stays, and that nothing else changes before.

use std::{fs, os::unix::fs::PermissionsExt as _};

use anyhow::Result;
use xdpfw_tests::{assert_is_one_error, text as words};

use super::{Ground, NEXT, OPEN};

#[test]
fn what_is_confirmed_stays_and_is_saved_then() -> Result<()> {
    let ground = Ground::new()?;
    let host = &ground.lab.host;
    let before = ground.saved()?;
    fs::set_permissions(host.policy(), fs::Permissions::from_mode(0o600))?;
    ground.apply("2s");
    assert_eq!(ground.open(), [NEXT]);
    assert_eq!(ground.saved()?, before);
    let said = host.xdpfw(["confirm"]).ok();
    assert!(said.starts_with("confirmed: "), "{said}");
    assert_eq!(ground.saved()?, ground.next());
    let mode = fs::metadata(host.policy())?.permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(ground.warning(), None);
    // Beyond the deadline that it had.
    std::thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(ground.open(), [NEXT]);
    assert_eq!(ground.warning(), None);
    // It is in the history now, with who made it.
    let history = host.xdpfw(["history"]).json();
    let newest = &history["history"][0];
    assert_eq!(newest["command"], "apply - --confirm 2s");
    assert_eq!(newest["in_force"], true);
    // An edit goes on from there.
    host.xdpfw(["allow", "udp", &OPEN.to_string()]).ok();
    assert_eq!(ground.open(), [OPEN, NEXT]);
    Ok(())
}

#[test]
fn each_command_that_changes_rules_may_be_confirmed() -> Result<()> {
    let ground = Ground::new()?;
    let host = &ground.lab.host;
    let next = NEXT.to_string();
    for (command, open) in [
        (&["allow", "udp", &next][..], &[OPEN, NEXT][..]),
        (&["deny", "any", "--first"], &[]),
        (&["delete", "r1"], &[]),
        (&["default", "pass"], &[OPEN, NEXT]),
    ] {
        let before = ground.saved()?;
        host.xdpfw(command.iter().chain(&["--confirm", "1m"])).ok();
        assert_eq!(ground.open(), open, "{command:?}");
        assert_eq!(ground.warning().as_deref(), Some("pending"), "{command:?}");
        let said = host.xdpfw(["rollback"]).ok();
        assert!(said.starts_with("taken back: "), "{said}");
        assert_eq!(ground.open(), [OPEN], "{command:?}");
        assert_eq!(ground.saved()?, before, "{command:?}");
        assert_eq!(ground.warning(), None, "{command:?}");
    }
    // What changes nothing needs no confirmation.
    host.xdpfw(["allow", "udp", &OPEN.to_string(), "--confirm", "1m"])
        .ok();
    assert_eq!(ground.warning(), None);
    Ok(())
}

#[test]
fn no_other_change_is_made_while_one_is_pending() -> Result<()> {
    let ground = Ground::new()?;
    let host = &ground.lab.host;
    ground.apply("1m");
    let generation = ground.status()["pending"]["generation"].clone();
    for command in [
        &["allow", "tcp", "22"][..],
        &["deny", "tcp", "22"],
        &["delete", "r1"],
        &["default", "pass"],
        &["apply"],
        &["apply", "--force"],
        &["allow", "tcp", "22", "--confirm", "1m"],
        &["up"],
        &["stats", "--reset"],
        &["bypass", "--for", "1m"],
    ] {
        let said = host.xdpfw(command).fails(1);
        assert_is_one_error(&said, "a change is pending until ");
        assert!(
            said.contains("`xdpfw confirm` or `xdpfw rollback`"),
            "{said}"
        );
    }
    assert_eq!(ground.status()["pending"]["generation"], generation);
    // What changes nothing goes on, and says it.
    for command in [&["list"][..], &["stats"], &["flows"]] {
        host.xdpfw(command).ok();
    }
    let output = host.xdpfw(["list"]).output()?;
    let said = words(&output.stderr);
    assert!(said.contains("the last change goes back at "), "{said}");
    assert_eq!(ground.open(), [NEXT]);
    host.xdpfw(["down"]).ok();
    assert!(!host.pins().exists());
    Ok(())
}

#[test]
fn it_may_be_too_late_to_confirm() -> Result<()> {
    let ground = Ground::new()?;
    let host = &ground.lab.host;
    assert_is_one_error(&host.xdpfw(["confirm"]).fails(1), "no change is pending");
    ground.apply("1s");
    ground.wait_until_open(&[OPEN])?;
    let said = host.xdpfw(["confirm"]).fails(7);
    assert!(
        said.contains("error: too late: the change was not confirmed by "),
        "{said}"
    );
    assert_is_one_error(&host.xdpfw(["confirm"]).fails(1), "no change is pending");
    // Whoever means to take it back does not undo another one.
    ground.apply("1s");
    ground.wait_until_open(&[OPEN])?;
    let before = ground.saved()?;
    let said = host.xdpfw(["rollback"]).fails(7);
    assert!(said.contains("error: too late: "), "{said}");
    assert_eq!(ground.saved()?, before);
    host.xdpfw(["down"]).ok();
    assert_is_one_error(&host.xdpfw(["confirm"]).fails(1), "not up");
    let said = host
        .xdpfw(["allow", "tcp", "22", "--confirm", "1m"])
        .fails(2);
    assert_is_one_error(&said, "nothing is filtered, so there is nothing to confirm");
    Ok(())
}

#[test]
fn a_file_that_is_edited_meanwhile_is_not_overwritten() -> Result<()> {
    let ground = Ground::new()?;
    let host = &ground.lab.host;
    ground.apply("1m");
    let edited = format!("{}# by hand\n", ground.saved()?);
    fs::write(host.policy(), &edited)?;
    let output = host.xdpfw(["confirm"]).output()?;
    assert_eq!(output.status.code(), Some(0));
    let said = words(&output.stderr);
    assert!(
        said.contains("edited before the rules in force were saved"),
        "{said}"
    );
    assert_eq!(ground.saved()?, edited);
    assert_eq!(ground.open(), [NEXT]);
    assert_eq!(ground.warning().as_deref(), Some("policy-differs"));
    Ok(())
}

#[test]
fn what_cannot_be_saved_is_not_confirmed() -> Result<()> {
    let ground = Ground::new()?;
    let host = &ground.lab.host;
    ground.apply("1m");
    let before = ground.saved()?;
    let said = host.xdpfw(["confirm"]).with_read_only_policy().fails(1);
    assert_is_one_error(&said, "cannot save ");
    assert_eq!(ground.warning().as_deref(), Some("pending"));
    assert_eq!(ground.saved()?, before);
    // Nor is a change begun that could not be saved.
    host.xdpfw(["rollback"]).ok();
    let apply = host.xdpfw(["apply", "-", "--confirm", "1m"]);
    let said = apply.stdin(ground.next()).with_read_only_policy().fails(1);
    assert_is_one_error(&said, "cannot save ");
    assert_eq!(ground.warning(), None);
    assert_eq!(ground.open(), [OPEN]);
    Ok(())
}

#[test]
fn the_guard_lets_through_what_goes_back() -> Result<()> {
    let ground = Ground::new()?;
    let host = &ground.lab.host;
    host.xdpfw(["allow", "ssh"]).ok();
    let near = ground.lab.link().near();
    let session = format!(
        "{} 51000 {} 22",
        ground.lab.link().far().address,
        near.address
    );
    let delete = |rest: &[&str]| {
        let words = ["delete", "r2"];
        let command = host.xdpfw(words.iter().chain(rest));
        command.env("SSH_CONNECTION", &session)
    };
    let said = delete(&[]).fails(6);
    assert!(said.contains("say --confirm 60s, or --force"), "{said}");
    let output = delete(&["--confirm", "1m"]).output()?;
    let said = words(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("this cuts your SSH session from "), "{said}");
    assert!(said.contains("until it goes back"), "{said}");
    host.xdpfw(["rollback"]).ok();
    Ok(())
}
