//! Proves that a policy is applied as a whole or not at all: `--check` tells the
//! difference and makes none, and what fails leaves file and kernel as they were.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;
use xdpfw_tests::{
    Host, Lab, assert_is_one_error, generation, policy_mode, policy_text,
    sample::{POLICY, snapshot, verdicts},
    text,
};

#[test]
fn apply_takes_a_file_or_stdin_or_the_policy_itself() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let (path, path_text) = other_file(host)?;
    host.xdpfw(["up", "eth0"]).ok();

    fs::write(&path, POLICY)?;
    let said = host.xdpfw(["apply", &path_text]).ok();
    assert_eq!(said, "default drop, 3 rules   live on eth0\n");
    assert_eq!((policy_text(host)?, generation(host)), (POLICY.into(), 2));
    assert_eq!(
        verdicts(&lab)?,
        "443 passes, 80 is dropped, 8080 is dropped"
    );
    assert_eq!(fs::read_to_string(&path)?, POLICY, "taken, not changed");
    assert_eq!(policy_mode(host)?, 0o640);

    let changed = POLICY.replace("tcp 443", "tcp 80");
    host.xdpfw(["apply", "-"]).stdin(&*changed).ok();
    assert_eq!((policy_text(host)?, generation(host)), (changed.clone(), 3));
    assert_eq!(
        verdicts(&lab)?,
        "443 is dropped, 80 passes, 8080 is dropped"
    );

    // Edited by hand.
    let edited = changed.replace("deny = \"tcp 8000", "allow = \"tcp 8000");
    fs::write(host.policy(), &edited)?;
    assert_eq!(
        verdicts(&lab)?,
        "443 is dropped, 80 passes, 8080 is dropped"
    );
    let list = host.xdpfw(["list"]).output()?;
    let status = host.xdpfw(["status"]).output()?;
    assert_eq!(status.status.code(), Some(8), "{status:?}");
    for said in [text(&list.stderr), text(&status.stdout)] {
        assert!(
            said.contains("differs from what is live (say `xdpfw apply --check`)"),
            "{said}"
        );
    }
    host.xdpfw(["apply"]).ok();
    assert_eq!((policy_text(host)?, generation(host)), (edited, 4));
    assert_eq!(verdicts(&lab)?, "443 is dropped, 80 passes, 8080 passes");
    for command in ["status", "list"] {
        assert_eq!(
            text(&host.xdpfw([command]).output()?.stderr),
            "",
            "{command}"
        );
    }
    Ok(())
}

#[test]
fn apply_before_up_saves_and_says_so() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let said = host.xdpfw(["apply", "-"]).stdin(POLICY).ok();
    assert_eq!(
        said,
        "default drop, 3 rules   saved; not up (say `xdpfw up IFACE`)\n"
    );
    assert_eq!(policy_text(host)?, POLICY);
    host.xdpfw(["up"]).ok();
    assert_eq!(
        verdicts(&lab)?,
        "443 passes, 80 is dropped, 8080 is dropped"
    );
    Ok(())
}

#[test]
fn apply_names_interfaces_that_are_filtered_or_not_against_the_policy() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    let output = host
        .xdpfw(["apply", "-"])
        .stdin("version = 1\ninterfaces = [\"eth1\"]\n")
        .output()?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = text(&output.stderr);
    assert!(
        said.contains("eth1: in the policy, but not filtered"),
        "{said}"
    );
    assert!(
        said.contains("eth0: filtered, but not in the policy"),
        "{said}"
    );
    let status = host.status();
    assert_eq!(status["interfaces"][0]["name"], "eth0");
    Ok(())
}

#[test]
fn check_tells_the_difference_and_makes_none() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let (path, path_text) = other_file(host)?;
    fs::write(host.policy(), POLICY)?;
    host.xdpfw(["up", "eth0"]).ok();
    let before = snapshot(&lab)?;
    let changed = POLICY
        .replace("allow = \"tcp 443\"", "allow = \"tcp 80\"")
        .replace(
            "default = \"drop\"",
            "default = \"pass\"\nfragments = \"drop\"",
        )
        .replace("\n# That is all.", "\n[[rule]]\nallow = \"ssh\"\n");
    fs::write(&path, &changed)?;
    for arguments in [
        &["apply", "--check", &path_text][..],
        &["apply", "-", "--check"],
    ] {
        let output = host.xdpfw(arguments).stdin(&*changed).output()?;
        assert_eq!(output.status.code(), Some(8), "{output:?}");
        assert_eq!(
            text(&output.stdout),
            "- r1  allow tcp 443 (https)\n\
             + r1  allow tcp 80 (http)\n\
             + r6  allow tcp 22 (ssh)\n\
             ~ default drop -> pass\n\
             ~ fragments pass -> drop\n"
        );
        assert_eq!(snapshot(&lab)?, before);
    }
    let output = host
        .xdpfw(["--json", "apply", "--check", &path_text])
        .output()?;
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    let difference: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(difference["schema"], "xdpfw.apply/1");
    assert_eq!(difference["differs"], true);
    assert_eq!(difference["added"].as_array().map(Vec::len), Some(2));
    assert_eq!(difference["removed"].as_array().map(Vec::len), Some(1));

    // The order alone, too.
    let turned = "version = 1\n[[rule]]\nid = \"r2\"\nallow = \"udp 53\"\nremote_ports = [53, \"1024-65535\"]\n\
        [[rule]]\nid = \"r1\"\nallow = \"tcp 443\"\ncomment = \"web\"\n\
        [[rule]]\nid = \"r5\"\ndeny = \"tcp 8000-8100\"\n";
    let output = host
        .xdpfw(["apply", "--check", "-"])
        .stdin(turned)
        .output()?;
    assert_eq!(output.status.code(), Some(8), "{output:?}");
    assert_eq!(text(&output.stdout), "~ the order of the rules\n");

    // The same in other words is the same.
    let same = POLICY
        .replace("tcp 443", "https")
        .replace("8000-8100", "8000:8100");
    for arguments in [&["apply", "--check"][..], &["apply", "--check", "-"]] {
        let output = host.xdpfw(arguments).stdin(&*same).output()?;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(text(&output.stdout), "");
    }
    assert_eq!(snapshot(&lab)?, before);

    // Against what is live, not against the file.
    fs::write(host.policy(), &changed)?;
    host.xdpfw(["apply", "--check"]).fails(8);
    fs::write(host.policy(), POLICY)?;
    host.xdpfw(["apply", "--check"]).ok();
    Ok(())
}

#[test]
fn what_cannot_be_applied_leaves_everything_as_it_was() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let (path, path_text) = other_file(host)?;
    fs::write(host.policy(), POLICY)?;
    host.xdpfw(["up", "eth0"]).ok();
    let before = snapshot(&lab)?;
    for (contents, place) in [
        ("version = 1\ninterface = [\"eth0\"]\n", ":2:1: "),
        (
            "version = 1\n\n[[rule]]\nid = \"r1\"\nallow = \"tcp 4",
            ":5:15: ",
        ),
        ("version = 1\ndefault = \"reject\"\n", ":2:11: "),
        ("version = 1\ndefault = 1\n", ":2:11: "),
        ("version = 2\n", ":1:11: "),
        (
            "version = 1\n[[rule]]\nid = \"r1\"\nallow = \"ssh\"\n[[rule]]\nid = \"r1\"\ndeny = \"any\"\n",
            ":6:6: ",
        ),
        ("version = 1\n[[rule]]\nallow = \"tcp 99999\"\n", ":3:9: "),
        ("", ":1:1: "),
    ] {
        fs::write(&path, contents)?;
        for arguments in [
            &["apply", &path_text][..],
            &["apply", "--check", &path_text],
        ] {
            let said = host.xdpfw(arguments).fails(3);
            assert_is_one_error(&said, &format!("{path_text}{place}"));
            assert_eq!(snapshot(&lab)?, before, "{contents:?}");
        }
        let said = host.xdpfw(["apply", "-"]).stdin(contents).fails(3);
        assert_is_one_error(&said, &format!("standard input{place}"));
        assert_eq!(snapshot(&lab)?, before, "{contents:?}");
    }
    fs::write(&path, b"version = 1\n# \xff\n")?;
    assert_is_one_error(&host.xdpfw(["apply", &path_text]).fails(3), "UTF-8");
    assert_is_one_error(
        &host.xdpfw(["apply", "nowhere.toml"]).fails(1),
        "nowhere.toml",
    );
    assert_eq!(snapshot(&lab)?, before);
    Ok(())
}

#[test]
fn a_policy_beyond_the_bounds_is_refused_with_the_rules_to_blame() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    fs::write(host.policy(), POLICY)?;
    host.xdpfw(["up", "eth0"]).ok();
    let before = snapshot(&lab)?;
    // Each remote port has another list of prefixes.
    let mut wide = "version = 1\n".to_owned();
    for index in 0..800_u32 {
        let (port, b, c) = (1 + index, index / 256, index % 256);
        wide += &format!(
            "[[rule]]\nallow = \"tcp 22\"\nfrom = \"10.{b}.{c}.0/24\"\nremote_ports = [\"1-{port}\"]\n"
        );
    }
    let said = host.xdpfw(["apply", "-"]).stdin(wide).fails(3);
    assert_is_one_error(&said, "combinations");
    assert!(said.contains("r800"), "{said}");
    assert_eq!(snapshot(&lab)?, before);
    Ok(())
}

#[test]
fn a_broken_policy_stops_every_edit_but_not_the_filter() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    fs::write(host.policy(), POLICY)?;
    host.xdpfw(["up", "eth0"]).ok();
    let broken = POLICY.replace("[[rule]]\nid = \"r2\"", "[[rule]\nid = \"r2\"");
    fs::write(host.policy(), &broken)?;
    let before = snapshot(&lab)?;
    for arguments in [
        &["allow", "tcp", "80"][..],
        &["delete", "r1"],
        &["default", "pass"],
        &["apply"],
        &["apply", "--check"],
        &["up", "eth0"],
    ] {
        let said = host.xdpfw(arguments).fails(3);
        assert_is_one_error(&said, "policy.toml:13:");
        assert_eq!(snapshot(&lab)?, before, "{arguments:?}");
    }
    // What is live can be seen all the same, and mended.
    let list = host.xdpfw(["list"]).output()?;
    assert_eq!(list.status.code(), Some(0), "{list:?}");
    let status = host.xdpfw(["status"]).output()?;
    assert_eq!(status.status.code(), Some(8), "{status:?}");
    for said in [text(&list.stderr), text(&status.stdout)] {
        let warning = said.lines().find(|line| line.starts_with("warning: "));
        assert!(
            warning.is_some_and(|warning| warning.contains(":13:")),
            "{said}"
        );
    }
    host.xdpfw(["stats"]).ok();
    host.xdpfw(["apply", "-"]).stdin(POLICY).ok();
    assert_eq!(policy_text(host)?, POLICY);
    Ok(())
}

#[test]
fn a_file_that_cannot_be_saved_leaves_the_kernel_as_it_was() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    fs::write(host.policy(), POLICY)?;
    host.xdpfw(["up", "eth0"]).ok();
    let before = snapshot(&lab)?;
    for arguments in [
        &["allow", "tcp", "80"][..],
        &["delete", "r1"],
        &["default", "pass"],
        &["apply", "-"],
    ] {
        let output = host
            .xdpfw(arguments)
            .stdin("version = 1\n")
            .with_read_only_policy()
            .output()?;
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        assert_is_one_error(&text(&output.stderr), "cannot save");
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
        assert_eq!(snapshot(&lab)?, before, "{arguments:?}");
    }
    // Where nothing changes nothing is saved.
    let output = host
        .xdpfw(["allow", "tcp", "443"])
        .with_read_only_policy()
        .output()?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    // And the next change is none the worse.
    host.xdpfw(["allow", "tcp", "80"]).ok();
    assert_eq!(verdicts(&lab)?, "443 passes, 80 passes, 8080 is dropped");
    Ok(())
}

/// A file beside the policy.
fn other_file(host: &Host) -> Result<(PathBuf, String)> {
    let path = host.directory().join("other.toml");
    let text = path.to_str().context("no UTF-8")?.to_owned();
    Ok((path, text))
}
