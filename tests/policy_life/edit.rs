//! Proves that an edit of the policy is one change: the file keeps its comments and
//! its order, and the kernel follows it.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, lchown, symlink},
    process::Stdio,
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use xdpfw_tests::{
    Host, Lab, assert_is_one_error, generation, policy_mode, policy_text,
    sample::{POLICY, snapshot, verdicts},
    text,
};

#[test]
fn every_edit_keeps_comments_and_order_and_is_in_force_at_once() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    fs::write(host.policy(), POLICY)?;
    host.xdpfw(["up", "eth0"]).ok();
    assert_eq!(policy_text(host)?, POLICY, "up adds nothing");
    assert_eq!(
        verdicts(&lab)?,
        "443 passes, 80 is dropped, 8080 is dropped"
    );

    let mut text = POLICY.to_owned();
    let mut generation = generation(host);
    let mut change = |arguments: &[&str], old: &str, new: &str, says: &str, verdicts_then: &str| {
        let said = host.xdpfw(arguments).ok();
        assert_eq!(said, format!("{says}\n"), "{arguments:?}");
        assert_eq!(text.matches(old).count(), 1, "{old:?}");
        text = text.replacen(old, new, 1);
        assert_eq!(policy_text(host)?, text, "{arguments:?}");
        generation += 1;
        assert_eq!(self::generation(host), generation, "{arguments:?}");
        assert_eq!(verdicts(&lab)?, verdicts_then, "{arguments:?}");
        anyhow::Ok(())
    };

    change(
        &["allow", "tcp", "80", "--comment", "for \"redirects\""],
        "deny = \"tcp 8000-8100\"\n",
        "deny = \"tcp 8000-8100\"\n\n\
         [[rule]]\nid = \"r6\"\nallow = \"tcp 80\"\ncomment = 'for \"redirects\"'\n",
        "r6  allow tcp 80 (http)   live on eth0",
        "443 passes, 80 passes, 8080 is dropped",
    )?;
    change(
        &["allow", "tcp", "8080", "--before", "r5"],
        "\n# Old machines.\n",
        "\n[[rule]]\nid = \"r7\"\nallow = \"tcp 8080\"\n\n# Old machines.\n",
        "r7  allow tcp 8080 (http-alt)   live on eth0",
        "443 passes, 80 passes, 8080 passes",
    )?;
    change(
        &["default", "pass"],
        "default = \"drop\"   # nobody",
        "default = \"pass\"   # nobody",
        "default pass   live on eth0",
        "443 passes, 80 passes, 8080 passes",
    )?;
    change(
        &["delete", "r7"],
        "\n[[rule]]\nid = \"r7\"\nallow = \"tcp 8080\"\n",
        "",
        "r7  allow tcp 8080 (http-alt)   deleted",
        "443 passes, 80 passes, 8080 is dropped",
    )?;
    change(
        &["default", "drop"],
        "default = \"pass\"   # nobody",
        "default = \"drop\"   # nobody",
        "default drop   live on eth0",
        "443 passes, 80 passes, 8080 is dropped",
    )?;
    change(
        &["delete", "allow", "http"],
        "\n[[rule]]\nid = \"r6\"\nallow = \"tcp 80\"\ncomment = 'for \"redirects\"'\n",
        "",
        "r6  allow tcp 80 (http)   deleted",
        "443 passes, 80 is dropped, 8080 is dropped",
    )?;
    assert_eq!(policy_text(host)?, POLICY, "back at the beginning");
    Ok(())
}

#[test]
fn a_rule_said_again_is_moved_and_commented_with_its_remarks() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    fs::write(
        host.policy(),
        "version = 1\n\n[[rule]]\nid = \"r1\"\nallow = \"tcp 80\"\n\n\
         # Keep.\n[[rule]]\nid = \"r2\"\nallow = \"tcp 443\"\n",
    )?;
    host.xdpfw(["up", "eth0"]).ok();
    assert_eq!(verdicts(&lab)?, "443 passes, 80 passes, 8080 is dropped");
    let peer = lab.link().far().address.to_string();
    let output = host.xdpfw(["deny", "any", "--from", &peer]).output()?;
    assert_eq!(
        text(&output.stderr),
        "warning: r1 and r2 in front of r3 already allow some of it (say it again with --first)\n"
    );
    assert_eq!(verdicts(&lab)?, "443 passes, 80 passes, 8080 is dropped");
    let said = host.xdpfw(["deny", "any", "--from", &peer, "--first"]).ok();
    assert_eq!(
        said,
        format!("r3  deny any --from {peer}   moved, live on eth0\n")
    );
    assert_eq!(
        verdicts(&lab)?,
        "443 is dropped, 80 is dropped, 8080 is dropped"
    );
    let said = host
        .xdpfw(["allow", "https", "--before", "r3", "--comment", "-x"])
        .ok();
    assert_eq!(
        said,
        "r2  allow tcp 443 (https)   moved and commented, live on eth0\n"
    );
    assert_eq!(
        verdicts(&lab)?,
        "443 passes, 80 is dropped, 8080 is dropped"
    );
    assert_eq!(
        policy_text(host)?,
        format!(
            "version = 1\ninterfaces = [\"eth0\"]\n\n\
             # Keep.\n[[rule]]\nid = \"r2\"\nallow = \"tcp 443\"\ncomment = \"-x\"\n\n\
             [[rule]]\nid = \"r3\"\ndeny = \"any\"\nfrom = [\"{peer}\"]\n\n\
             [[rule]]\nid = \"r1\"\nallow = \"tcp 80\"\n"
        )
    );
    host.xdpfw(["delete", "--all"]).ok();
    assert_eq!(
        verdicts(&lab)?,
        "443 is dropped, 80 is dropped, 8080 is dropped"
    );
    Ok(())
}

#[test]
fn the_first_rule_makes_the_file() -> Result<()> {
    let host = Host::new()?;
    let said = host.xdpfw(["allow", "tcp", "443"]).ok();
    assert_eq!(
        said,
        "r1  allow tcp 443 (https)   saved; not up (say `xdpfw up IFACE`)\n"
    );
    assert_eq!(
        policy_text(&host)?,
        "version = 1\n\n[[rule]]\nid = \"r1\"\nallow = \"tcp 443\"\n"
    );
    assert_eq!(policy_mode(&host)?, 0o640);
    // A directory, too, where there is none.
    let deep = host.directory().join("a/b/policy.toml");
    host.xdpfw(["default", "pass"])
        .env("XDPFW_POLICY", &deep)
        .ok();
    assert_eq!(
        fs::read_to_string(deep)?,
        "version = 1\ndefault = \"pass\"\n"
    );
    Ok(())
}

#[test]
fn the_file_keeps_its_readers() -> Result<()> {
    let host = Host::new()?;
    host.xdpfw(["allow", "tcp", "80"]).ok();
    assert_eq!(policy_mode(&host)?, 0o640);
    for mode in [0o600, 0o644, 0o640] {
        fs::write(host.policy(), POLICY)?;
        fs::set_permissions(host.policy(), fs::Permissions::from_mode(mode))?;
        host.xdpfw(["allow", "tcp", "80"]).ok();
        assert_eq!(policy_mode(&host)?, mode);
    }
    // Nothing but the file is left in its directory.
    let files: Vec<_> = fs::read_dir(host.directory())?
        .flatten()
        .map(|file| file.file_name())
        .collect();
    assert_eq!(files, ["policy.toml"]);
    Ok(())
}

#[test]
fn a_link_stays_a_link() -> Result<()> {
    let host = Host::new()?;
    let target = host.directory().join("kept/elsewhere.toml");
    fs::create_dir(host.directory().join("kept"))?;
    fs::write(&target, POLICY)?;
    symlink("kept/elsewhere.toml", host.policy())?;
    host.xdpfw(["delete", "r2"]).ok();
    assert!(fs::symlink_metadata(host.policy())?.is_symlink());
    assert!(!fs::read_to_string(&target)?.contains("r2"));
    // Also where there is nothing at its end yet.
    fs::remove_file(&target)?;
    host.xdpfw(["allow", "tcp", "80"]).ok();
    assert!(fs::symlink_metadata(host.policy())?.is_symlink());
    assert!(fs::read_to_string(&target)?.contains("tcp 80"));
    // Another's link does not choose where root makes a file.
    fs::remove_file(&target)?;
    fs::remove_file(host.policy())?;
    symlink("kept/elsewhere.toml", host.policy())?;
    lchown(host.policy(), Some(65_534), Some(65_534))?;
    let said = host.xdpfw(["allow", "tcp", "80"]).fails(3);
    assert_is_one_error(&said, "say `chown -h root ");
    assert!(!target.exists());
    Ok(())
}

#[test]
fn a_rule_that_is_there_is_not_added_again() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    fs::write(host.policy(), POLICY)?;
    host.xdpfw(["up", "eth0"]).ok();
    let before = snapshot(&lab)?;
    let again: &[(&str, &[&str])] = &[
        ("r1", &["allow", "tcp", "443"]),
        ("r1", &["allow", "https"]),
        ("r1", &["allow", "443/tcp"]),
        ("r1", &["allow", "tcp", "0443", "--before", "r2"]),
        (
            "r2",
            &["allow", "dns/udp", "--remote-port", "53,1024-65535"],
        ),
        // The order of a list says nothing.
        (
            "r2",
            &["allow", "dns/udp", "--remote-port", "1024-65535,53"],
        ),
        ("r5", &["deny", "tcp", "8000:8100"]),
    ];
    for &(id, arguments) in again {
        let said = host.xdpfw(arguments).ok();
        assert!(
            said.starts_with(&format!("{id}  ")) && said.contains("already there"),
            "{arguments:?}: {said}"
        );
        assert_eq!(snapshot(&lab)?, before, "{arguments:?}");
    }
    let said = host.xdpfw(["allow", "tcp", "443"]).json();
    assert_eq!(
        (&said["added"], &said["rule"]["id"]),
        (&json!(false), &json!("r1"))
    );
    for arguments in [&["default", "drop"][..], &["apply"]] {
        let said = host.xdpfw(arguments).ok();
        assert!(said.contains("already so"), "{arguments:?}: {said}");
        assert_eq!(snapshot(&lab)?, before, "{arguments:?}");
    }
    Ok(())
}

#[test]
fn what_is_not_there_cannot_be_deleted() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    fs::write(host.policy(), POLICY)?;
    host.xdpfw(["up", "eth0"]).ok();
    let before = snapshot(&lab)?;
    for arguments in [
        &["delete", "r3"][..],
        // All or none.
        &["delete", "r1", "r3"],
        &["delete", "allow", "tcp", "80"],
        &["delete", "deny", "tcp", "443"],
        // Other remote ports make another rule.
        &["delete", "allow", "udp", "53"],
        &["allow", "tcp", "80", "--before", "r3"],
    ] {
        let said = host.xdpfw(arguments).fails(1);
        assert_is_one_error(&said, "xdpfw list");
        assert_eq!(snapshot(&lab)?, before, "{arguments:?}");
    }
    Ok(())
}

#[test]
fn ids_are_never_renumbered() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    for port in ["1", "2", "3", "4"] {
        host.xdpfw(["allow", "tcp", port]).ok();
    }
    host.xdpfw(["up", "eth0"]).ok();
    let ports_of = |ids: &[&str]| -> Vec<Value> {
        let list = host.xdpfw(["list"]).json();
        let rules = list["rules"].as_array().cloned().unwrap_or_default();
        let found: Vec<&str> = rules
            .iter()
            .filter_map(|rule| rule["id"].as_str())
            .collect();
        assert_eq!(found, ids);
        rules
            .iter()
            .map(|rule| rule["local_ports"][0].clone())
            .collect()
    };
    host.xdpfw(["delete", "r2"]).ok();
    assert_eq!(ports_of(&["r1", "r3", "r4"]), ["1", "3", "4"]);
    host.xdpfw(["allow", "tcp", "5", "--before", "r1"]).ok();
    assert_eq!(ports_of(&["r5", "r1", "r3", "r4"]), ["5", "1", "3", "4"]);
    host.xdpfw(["delete", "r4", "r1", "r4"]).ok();
    assert_eq!(ports_of(&["r5", "r3"]), ["5", "3"]);
    // Down and up, through the file.
    host.xdpfw(["down"]).ok();
    host.xdpfw(["up"]).ok();
    assert_eq!(ports_of(&["r5", "r3"]), ["5", "3"]);
    host.xdpfw(["allow", "tcp", "6"]).ok();
    assert_eq!(ports_of(&["r5", "r3", "r6"]), ["5", "3", "6"]);
    Ok(())
}

#[test]
fn the_first_rule_that_matches_decides() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["allow", "tcp", "443"]).ok();
    host.xdpfw(["up", "eth0"]).ok();
    host.xdpfw(["deny", "tcp", "any"]).ok();
    assert_eq!(
        verdicts(&lab)?,
        "443 passes, 80 is dropped, 8080 is dropped"
    );
    host.xdpfw(["allow", "tcp", "80"]).ok();
    assert_eq!(
        verdicts(&lab)?,
        "443 passes, 80 is dropped, 8080 is dropped"
    );
    host.xdpfw(["delete", "r3"]).ok();
    host.xdpfw(["allow", "tcp", "80", "--before", "r2"]).ok();
    assert_eq!(verdicts(&lab)?, "443 passes, 80 passes, 8080 is dropped");
    host.xdpfw(["deny", "any", "--before", "r1"]).ok();
    assert_eq!(
        verdicts(&lab)?,
        "443 is dropped, 80 is dropped, 8080 is dropped"
    );
    Ok(())
}

#[test]
fn other_ways_to_write_a_file_are_kept_too() -> Result<()> {
    let host = Host::new()?;
    for (before, arguments, after) in [
        // Rules in a list.
        (
            "version = 1\nrule = [\n  { allow = \"tcp 443\" }, # web\n]\n",
            &["list"][..],
            "version = 1\nrule = [\n  { allow = \"tcp 443\" }, # web\n]\n",
        ),
        // Words kept as they were written.
        (
            "version = 0x1\ndefault = 'pass'\n[[rule]]\nid = 'r1'\nallow = 'HTTPS'\n",
            &["deny", "tcp", "80"],
            "version = 0x1\ndefault = 'pass'\n[[rule]]\nid = 'r1'\nallow = 'HTTPS'\n\n\
             [[rule]]\nid = \"r2\"\ndeny = \"tcp 80\"\n",
        ),
        // Ids are given where there are none.
        (
            "version = 1\n[[rule]]\nallow = \"tcp 443\"\n[[rule]]\nid = \"r7\"\ndeny = \"any\"\n[[rule]]\nallow = \"udp 1\"\n",
            &["delete", "r9"],
            "version = 1\n[[rule]]\nallow = \"tcp 443\"\nid = \"r8\"\n\
             [[rule]]\nid = \"r7\"\ndeny = \"any\"\n",
        ),
    ] {
        fs::write(host.policy(), before)?;
        host.xdpfw(arguments).ok();
        assert_eq!(policy_text(&host)?, after, "{arguments:?} on {before:?}");
    }
    Ok(())
}

#[test]
fn where_nothing_changes_not_a_byte_does() -> Result<()> {
    let host = Host::new()?;
    for (what, text) in [
        (
            "no line end at the end",
            POLICY.replace("\n\n# That is all.\n", ""),
        ),
        (
            "lines that end as on other systems",
            POLICY.replace('\n', "\r\n"),
        ),
        ("a byte order mark", format!("\u{feff}{POLICY}")),
        ("blanks at the ends of lines", POLICY.replace('\n', " \t\n")),
        ("many empty lines", POLICY.replace("\n\n", "\n\n\n\n")),
    ] {
        fs::write(host.policy(), &text)?;
        for arguments in [
            &["allow", "tcp", "443"][..],
            &["default", "drop"],
            &["apply"],
        ] {
            let said = host.xdpfw(arguments).ok();
            assert!(said.contains("already"), "{what}, {arguments:?}: {said}");
            assert_eq!(policy_text(&host)?, text, "{what}, {arguments:?}");
        }
    }
    Ok(())
}

#[test]
fn rules_in_a_list_can_be_edited() -> Result<()> {
    let host = Host::new()?;
    fs::write(
        host.policy(),
        "version = 1\nrule = [\n  { allow = \"tcp 443\" },\n  { id = \"r5\", deny = \"udp any\" },\n]\n",
    )?;
    host.xdpfw(["allow", "tcp", "80", "--before", "r5"]).ok();
    host.xdpfw(["delete", "allow", "tcp", "443"]).ok();
    let list = host.xdpfw(["list"]).json();
    let rules = list["rules"].as_array().context("no rules")?;
    let ids: Vec<&Value> = rules.iter().map(|rule| &rule["id"]).collect();
    assert_eq!(ids, ["r7", "r5"]);
    Ok(())
}

#[test]
fn quiet_commands_say_nothing_and_do_the_same() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    for arguments in [
        &["-q", "up", "eth0"][..],
        &["-q", "allow", "tcp", "443"],
        &["-q", "allow", "tcp", "443"],
        &["-q", "default", "pass"],
        &["-q", "delete", "r1"],
        &["-q", "apply"],
        &["-q", "down"],
        &["-q", "down"],
    ] {
        let output = host.xdpfw(arguments).output()?;
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        assert_eq!(
            text(&output.stdout) + &text(&output.stderr),
            "",
            "{arguments:?}"
        );
    }
    assert_eq!(
        policy_text(host)?,
        "version = 1\ninterfaces = [\"eth0\"]\ndefault = \"pass\"\n"
    );
    // Data is not messages, and errors are errors.
    assert!(host.xdpfw(["-q", "list"]).ok().contains("default pass"));
    assert_is_one_error(&host.xdpfw(["-q", "delete", "r9"]).fails(1), "no rule r9");
    Ok(())
}

/// A command that has done what it was asked for says so, though its words are lost; one that
/// was asked for words has failed.
#[test]
fn what_is_done_is_no_failure_for_want_of_room_for_its_words() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    fs::write(host.policy(), POLICY)?;
    let codes = [
        (&["up", "eth0"][..], 0),
        (&["allow", "tcp", "8080"], 0),
        (&["--json", "allow", "tcp", "8081"], 0),
        (&["default", "drop"], 0),
        (&["delete", "allow", "tcp", "8080"], 0),
        (&["apply"], 0),
        (&["list"], 1),
        (&["--json", "list"], 1),
        (&["status"], 1),
        (&["stats"], 1),
        (&["flows"], 1),
        (&["apply", "--check"], 0),
        (&["allow", "tcp", "1", "--dry-run"], 1),
        (&["down"], 0),
    ];
    for (arguments, code) in codes {
        let full = fs::File::options().write(true).open("/dev/full")?;
        let mut command = host.xdpfw(arguments).command()?;
        let output = command
            .stdin(Stdio::null())
            .stdout(full)
            .stderr(Stdio::piped())
            .spawn()?
            .wait_with_output()?;
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        let is_told = said.contains("standard output");
        // What has nothing to say has nothing to lose.
        assert!(
            is_told || arguments == ["apply", "--check"],
            "{arguments:?}: {said}"
        );
    }
    assert!(policy_text(host)?.contains("8081"));
    Ok(())
}
