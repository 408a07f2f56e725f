//! Proves that a change of the policy is one change: the file keeps its comments and
//! its order, the kernel follows it, and what fails leaves both as they were.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use xdpfw_tests::{Host, Lab, Sender, packets};

/// A policy as a careful operator writes it.
const POLICY: &str = r#"# The web server in the corner.
version = 1
default = "drop"   # nobody needs more
interfaces = ["eth0"]  # the only cable

# The web itself.
[[rule]]
id = "r1"
allow = "tcp 443"  # and nothing else
comment = "web"

# Names.
[[rule]]
id = "r2"
allow = "udp 53"
remote_ports = [ 53, "1024-65535" ]

# Old machines.
[[rule]]
id = "r5"
deny = "tcp 8000-8100"

# That is all.
"#;
/// The peer's port where it does not matter.
const REMOTE: u16 = 40_000;

#[test]
fn every_edit_keeps_comments_and_order_and_is_in_force_at_once() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    fs::write(host.policy(), POLICY)?;
    host.xdpfw(["up", "eth0"]).ok();
    assert_eq!(policy(host)?, POLICY, "up adds nothing");
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
        assert_eq!(policy(host)?, text, "{arguments:?}");
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
    assert_eq!(policy(host)?, POLICY, "back at the beginning");
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
        policy(&host)?,
        "version = 1\n\n[[rule]]\nid = \"r1\"\nallow = \"tcp 443\"\n"
    );
    assert_eq!(mode(&host)?, 0o640);
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
fn the_file_is_for_root_and_its_group() -> Result<()> {
    let host = Host::new()?;
    for before in [0o600, 0o644, 0o666, 0o640] {
        fs::write(host.policy(), POLICY)?;
        fs::set_permissions(host.policy(), fs::Permissions::from_mode(before))?;
        host.xdpfw(["allow", "tcp", "80"]).ok();
        assert_eq!(mode(&host)?, 0o640, "was {before:o}");
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
    assert!(!fs::read_to_string(target)?.contains("r2"));
    Ok(())
}

#[test]
fn a_rule_that_is_there_is_not_added_again() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    fs::write(host.policy(), POLICY)?;
    host.xdpfw(["up", "eth0"]).ok();
    let before = state(&lab)?;
    let again: &[(&str, &[&str])] = &[
        ("r1", &["allow", "tcp", "443"]),
        ("r1", &["allow", "https"]),
        ("r1", &["allow", "443/tcp", "--comment", "other"]),
        ("r1", &["allow", "tcp", "0443", "--before", "r5"]),
        (
            "r2",
            &["allow", "dns/udp", "--remote-port", "53,1024-65535"],
        ),
        ("r5", &["deny", "tcp", "8000:8100"]),
    ];
    for &(id, arguments) in again {
        let said = host.xdpfw(arguments).ok();
        assert!(
            said.starts_with(&format!("{id}  ")) && said.contains("already there"),
            "{arguments:?}: {said}"
        );
        assert_eq!(state(&lab)?, before, "{arguments:?}");
    }
    let said = host.xdpfw(["allow", "tcp", "443"]).json();
    assert_eq!(
        (&said["added"], &said["rule"]["id"]),
        (&json!(false), &json!("r1"))
    );
    for arguments in [&["default", "drop"][..], &["apply"]] {
        let said = host.xdpfw(arguments).ok();
        assert!(said.contains("already so"), "{arguments:?}: {said}");
        assert_eq!(state(&lab)?, before, "{arguments:?}");
    }
    Ok(())
}

#[test]
fn what_is_not_there_cannot_be_deleted() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    fs::write(host.policy(), POLICY)?;
    host.xdpfw(["up", "eth0"]).ok();
    let before = state(&lab)?;
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
        assert_eq!(state(&lab)?, before, "{arguments:?}");
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
        assert_eq!(policy(&host)?, after, "{arguments:?} on {before:?}");
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
            assert_eq!(policy(&host)?, text, "{what}, {arguments:?}");
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
fn apply_takes_a_file_or_stdin_or_the_policy_itself() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let (path, path_text) = other_file(host)?;
    host.xdpfw(["up", "eth0"]).ok();

    fs::write(&path, POLICY)?;
    let said = host.xdpfw(["apply", &path_text]).ok();
    assert_eq!(said, "default drop, 3 rules   live on eth0\n");
    assert_eq!((policy(host)?, generation(host)), (POLICY.into(), 2));
    assert_eq!(
        verdicts(&lab)?,
        "443 passes, 80 is dropped, 8080 is dropped"
    );
    assert_eq!(fs::read_to_string(&path)?, POLICY, "taken, not changed");
    assert_eq!(mode(host)?, 0o640);

    let changed = POLICY.replace("tcp 443", "tcp 80");
    host.xdpfw(["apply", "-"]).stdin(&*changed).ok();
    assert_eq!((policy(host)?, generation(host)), (changed.clone(), 3));
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
    for command in ["status", "list"] {
        let said = text(&host.xdpfw([command]).output()?.stderr);
        assert!(
            said.contains("differs from what is live"),
            "{command}: {said}"
        );
    }
    host.xdpfw(["apply"]).ok();
    assert_eq!((policy(host)?, generation(host)), (edited, 4));
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
    assert_eq!(policy(host)?, POLICY);
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
    let status = host.xdpfw(["status"]).json();
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
    let before = state(&lab)?;
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
        assert_eq!(state(&lab)?, before);
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
    assert_eq!(state(&lab)?, before);

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
    let before = state(&lab)?;
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
            assert_eq!(state(&lab)?, before, "{contents:?}");
        }
        let said = host.xdpfw(["apply", "-"]).stdin(contents).fails(3);
        assert_is_one_error(&said, &format!("standard input{place}"));
        assert_eq!(state(&lab)?, before, "{contents:?}");
    }
    fs::write(&path, b"version = 1\n# \xff\n")?;
    assert_is_one_error(&host.xdpfw(["apply", &path_text]).fails(3), "UTF-8");
    assert_is_one_error(
        &host.xdpfw(["apply", "nowhere.toml"]).fails(1),
        "nowhere.toml",
    );
    assert_eq!(state(&lab)?, before);
    Ok(())
}

#[test]
fn a_policy_beyond_the_bounds_is_refused_with_the_rules_to_blame() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    fs::write(host.policy(), POLICY)?;
    host.xdpfw(["up", "eth0"]).ok();
    let before = state(&lab)?;
    // So many local and remote ports that each pair is a case of its own.
    let mut wide = "version = 1\n".to_owned();
    for index in 0..600_u32 {
        let port = 1_000 + index;
        wide += &format!("[[rule]]\nallow = \"tcp {port}\"\nremote_ports = [{port}]\n");
    }
    let said = host.xdpfw(["apply", "-"]).stdin(wide).fails(3);
    assert_is_one_error(&said, "combinations");
    assert!(said.contains("r1"), "{said}");
    assert_eq!(state(&lab)?, before);
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
    let before = state(&lab)?;
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
        assert_eq!(state(&lab)?, before, "{arguments:?}");
    }
    // What is live can be seen all the same, and mended.
    for command in ["status", "list"] {
        let output = host.xdpfw([command]).output()?;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let said = text(&output.stderr);
        assert!(
            said.starts_with("warning: ") && said.contains(":13:"),
            "{said}"
        );
    }
    host.xdpfw(["stats"]).ok();
    host.xdpfw(["apply", "-"]).stdin(POLICY).ok();
    assert_eq!(policy(host)?, POLICY);
    Ok(())
}

#[test]
fn a_file_that_cannot_be_saved_leaves_the_kernel_as_it_was() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    fs::write(host.policy(), POLICY)?;
    host.xdpfw(["up", "eth0"]).ok();
    let before = state(&lab)?;
    for arguments in [
        &["allow", "tcp", "80"][..],
        &["delete", "r1"],
        &["default", "pass"],
        &["apply", "-"],
    ] {
        let output = with_read_only_policy(host, arguments)?;
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        assert_is_one_error(&text(&output.stderr), "cannot save");
        assert_eq!(text(&output.stdout), "", "{arguments:?}");
        assert_eq!(state(&lab)?, before, "{arguments:?}");
    }
    // Where nothing changes nothing is saved.
    let output = with_read_only_policy(host, &["allow", "tcp", "443"])?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    // And the next change is none the worse.
    host.xdpfw(["allow", "tcp", "80"]).ok();
    assert_eq!(verdicts(&lab)?, "443 passes, 80 passes, 8080 is dropped");
    Ok(())
}

#[test]
fn a_rule_that_stays_keeps_its_hits() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["allow", "tcp", "80"]).ok();
    host.xdpfw(["deny", "tcp", "81"]).ok();
    host.xdpfw(["up", "eth0"]).ok();
    let mut expected = vec![("r1", 0), ("r2", 0)];
    let send = |ports: &[u16]| -> Result<()> {
        let (near, far) = (lab.link().near(), lab.link().far());
        let syns = ports
            .iter()
            .map(|&port| packets::syn(far.at(REMOTE), near.at(port)));
        Sender::new(&lab.peer, far)?.send_all(syns)?;
        Ok(())
    };
    send(&[80, 80, 80, 81])?;
    (expected[0].1, expected[1].1) = (3, 1);
    assert_eq!(hits(host), expected);

    host.xdpfw(["allow", "tcp", "82"]).ok();
    send(&[82, 82])?;
    expected.push(("r3", 2));
    assert_eq!(hits(host), expected);

    host.xdpfw(["deny", "udp", "any", "--before", "r1"]).ok();
    host.xdpfw(["default", "pass"]).ok();
    send(&[80])?;
    expected.insert(0, ("r4", 0));
    expected[1].1 += 1;
    assert_eq!(hits(host), expected);

    // Gone and come back, it is another rule.
    host.xdpfw(["delete", "r3"]).ok();
    host.xdpfw(["allow", "tcp", "82"]).ok();
    expected[3] = ("r5", 0);
    assert_eq!(hits(host), expected);

    // A comment is no other rule; another action is.
    let text = policy(host)?;
    let edited = text
        .replace(
            "allow = \"tcp 80\"\n",
            "allow = \"tcp 80\"\ncomment = \"web\"\n",
        )
        .replace("deny = \"tcp 81\"", "allow = \"tcp 81\"");
    assert_ne!(text, edited);
    fs::write(host.policy(), edited)?;
    host.xdpfw(["apply"]).ok();
    expected[2].1 = 0;
    assert_eq!(hits(host), expected);
    send(&[80, 81])?;
    expected[1].1 += 1;
    expected[2].1 += 1;
    assert_eq!(hits(host), expected);
    Ok(())
}

#[test]
fn totals_and_ports_go_on_through_every_change() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    let mut dropped = 0;
    let changes: &[&[&str]] = &[
        &["allow", "tcp", "443"],
        &["default", "pass"],
        &["default", "drop"],
        &["deny", "tcp", "23"],
        &["delete", "r1", "r2"],
    ];
    for &change in changes {
        assert!(is_dropped(&lab, 23)?);
        dropped += 1;
        host.xdpfw(change).ok();
        if change == ["default", "pass"] {
            continue;
        }
        let stats = host.xdpfw(["stats", "--port", "tcp/23"]).json();
        assert_eq!(stats["ports"][0]["dropped_packets"], dropped, "{change:?}");
        if change == ["allow", "tcp", "443"] {
            host.xdpfw(["deny", "tcp", "23", "--before", "r1"]).ok();
        }
    }
    Ok(())
}

#[test]
fn json_has_the_fields_that_are_promised() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    fs::write(host.policy(), POLICY)?;
    host.xdpfw(["up", "eth0"]).ok();
    assert!(is_dropped(&lab, 23)?);

    let status = host.xdpfw(["status"]).json();
    assert_keys(
        &status,
        "schema default generation traced interfaces totals reasons",
    );
    assert_eq!(status["schema"], "xdpfw.status/1");
    assert_eq!(status["default"], "drop");
    assert_eq!(status["generation"], 1);
    assert_keys(&status["interfaces"][0], "name ifindex mode");
    assert_totals(&status["totals"]);
    for reason in status["reasons"].as_array().context("no reasons")? {
        assert_keys(reason, "reason verdict packets bytes");
        assert!(["pass", "drop"].contains(&reason["verdict"].as_str().unwrap_or("")));
    }

    let list = host.xdpfw(["list"]).json();
    assert_keys(&list, "schema default rules");
    assert_eq!(list["schema"], "xdpfw.list/1");
    let rule = |id, action, protocol, local: &[&str], remote: &[&str], comment: Value| {
        json!({
            "id": id, "action": action, "protocol": protocol, "local_ports": local,
            "remote_ports": remote, "from": [], "to": [], "interfaces": [], "rate": null,
            "expires": null, "comment": comment, "packets": 0, "bytes": 0,
        })
    };
    assert_eq!(
        list["rules"],
        json!([
            rule("r1", "allow", "tcp", &["443"], &[], json!("web")),
            rule(
                "r2",
                "allow",
                "udp",
                &["53"],
                &["53", "1024-65535"],
                Value::Null
            ),
            rule("r5", "deny", "tcp", &["8000-8100"], &[], Value::Null),
        ])
    );

    let stats = host.xdpfw(["stats"]).json();
    assert_keys(&stats, "schema at ports totals");
    assert_eq!(stats["schema"], "xdpfw.stats/1");
    assert_totals(&stats["totals"]);
    assert_eq!(
        stats["ports"],
        json!([{
            "protocol": "tcp", "port": 23, "service": "telnet", "class": "well-known",
            "dropped_packets": 1,
        }])
    );
    // RFC 3339: `2025-01-31T12:00:00.5Z`.
    let at = stats["at"].as_str().context("no time")?;
    assert!(
        at.len() >= 20 && at.as_bytes()[10] == b'T' && at.ends_with('Z'),
        "{at}"
    );
    Ok(())
}

#[test]
fn stats_show_what_was_asked_for_in_the_order_of_drops() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let (near, far) = (lab.link().near(), lab.link().far());
    host.xdpfw(["up", "eth0"]).ok();
    let mut sender = Sender::new(&lab.peer, far)?;
    for (port, times) in [(23, 3), (3389, 1), (80, 2), (60_000, 1)] {
        let syn = packets::syn(far.at(REMOTE), near.at(port));
        sender.send_all(std::iter::repeat_n(syn, times))?;
    }
    sender.send_all([packets::udp(far.at(REMOTE), near.at(53), b"query")])?;
    let ports = |arguments: &[&str]| -> Vec<String> {
        let stats = host.xdpfw([&["stats"], arguments].concat()).json();
        let ports = stats["ports"].as_array().cloned().unwrap_or_default();
        let shown = |port: &Value| {
            let (protocol, number) = (&port["protocol"], &port["port"]);
            format!(
                "{}/{number} {}",
                protocol.as_str().unwrap_or("?"),
                port["dropped_packets"]
            )
        };
        ports.iter().map(shown).collect()
    };
    let all = [
        "tcp/23 3",
        "tcp/80 2",
        "tcp/3389 1",
        "tcp/60000 1",
        "udp/53 1",
    ];
    assert_eq!(ports(&[]), all);
    assert_eq!(ports(&["--top", "2"]), all[..2]);
    assert_eq!(ports(&["--top", "0"]), [""; 0]);
    assert_eq!(ports(&["--top", "99"]), all);
    assert_eq!(ports(&["--port", "tcp/80"]), ["tcp/80 2"]);
    assert_eq!(
        ports(&["--port", "80/tcp,udp/dns,tcp/443"]),
        ["tcp/80 2", "udp/53 1", "tcp/443 0"]
    );
    assert_eq!(
        ports(&["--port", "tcp/80", "--port", "tcp/23", "--top", "1"]),
        ["tcp/23 3"]
    );

    let table = host.xdpfw(["stats", "--top", "2"]).ok();
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("drops/s"), "{table}");
    assert!(lines[1].ends_with("23/tcp telnet  well-known"), "{table}");
    assert!(lines[2].ends_with("80/tcp http    well-known"), "{table}");
    assert!(lines[3].contains("3 more ports"), "{table}");
    assert!(!table.contains("3389"), "{table}");
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
        policy(host)?,
        "version = 1\ninterfaces = [\"eth0\"]\ndefault = \"pass\"\n"
    );
    // Data is not messages, and errors are errors.
    assert!(host.xdpfw(["-q", "list"]).ok().contains("default pass"));
    assert_is_one_error(&host.xdpfw(["-q", "delete", "r9"]).fails(1), "no rule r9");
    Ok(())
}

// Helpers.

/// What a command that fails must leave alone.
#[derive(Debug, PartialEq)]
struct State {
    policy: String,
    generation: u64,
    verdicts: String,
}

fn state(lab: &Lab) -> Result<State> {
    Ok(State {
        policy: policy(&lab.host)?,
        generation: generation(&lab.host),
        verdicts: verdicts(lab)?,
    })
}

fn policy(host: &Host) -> Result<String> {
    fs::read_to_string(host.policy()).context("cannot read the policy")
}

fn mode(host: &Host) -> Result<u32> {
    Ok(fs::metadata(host.policy())?.permissions().mode() & 0o7777)
}

fn generation(host: &Host) -> u64 {
    host.xdpfw(["status"]).json()["generation"]
        .as_u64()
        .unwrap_or(0)
}

/// Ids and hits of the rules.
fn hits(host: &Host) -> Vec<(&'static str, u64)> {
    let list = host.xdpfw(["list"]).json();
    let rules = list["rules"].as_array().cloned().unwrap_or_default();
    let known = ["r1", "r2", "r3", "r4", "r5"];
    rules
        .iter()
        .filter_map(|rule| {
            let id = known.into_iter().find(|&id| rule["id"] == id)?;
            Some((id, rule["packets"].as_u64()?))
        })
        .collect()
}

/// What becomes of three ports that the tests are about.
fn verdicts(lab: &Lab) -> Result<String> {
    let verdicts: Vec<String> = [443, 80, 8080]
        .into_iter()
        .map(|port| {
            let verdict = if is_dropped(lab, port)? {
                "is dropped"
            } else {
                "passes"
            };
            Ok(format!("{port} {verdict}"))
        })
        .collect::<Result<_>>()?;
    Ok(verdicts.join(", "))
}

/// Whether a SYN from the peer to this port is dropped.
fn is_dropped(lab: &Lab, port: u16) -> Result<bool> {
    let (near, far) = (lab.link().near(), lab.link().far());
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
        _ => bail!("port {port}: not counted"),
    }
}

/// A file beside the policy.
fn other_file(host: &Host) -> Result<(PathBuf, String)> {
    let path = host.directory().join("other.toml");
    let text = path.to_str().context("no UTF-8")?.to_owned();
    Ok((path, text))
}

/// Runs xdpfw where the directory of its policy cannot be written.
fn with_read_only_policy(host: &Host, arguments: &[&str]) -> Result<Output> {
    let script = "
        directory=$(dirname \"$XDPFW_POLICY\")
        mount --bind \"$directory\" \"$directory\" || exit 90
        mount -o remount,bind,ro \"$directory\" || exit 91
        echo 'version = 1' | \"$@\"; exit $?";
    let xdpfw = host.xdpfw(arguments).command()?;
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(xdpfw.get_program())
        .args(xdpfw.get_args())
        .env("XDPFW_POLICY", host.policy())
        .env_remove("SSH_CONNECTION")
        .stdin(Stdio::null())
        .output()?;
    Ok(output)
}

#[track_caller]
fn assert_keys(object: &Value, keys: &str) {
    let mut found: Vec<&str> = object
        .as_object()
        .map(|object| object.keys().map(String::as_str).collect())
        .unwrap_or_default();
    let mut expected: Vec<&str> = keys.split(' ').collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected, "{object}");
}

#[track_caller]
fn assert_totals(totals: &Value) {
    assert_keys(totals, "passed dropped");
    for way in ["passed", "dropped"] {
        assert_keys(&totals[way], "packets bytes");
        assert!(totals[way]["packets"].is_u64() && totals[way]["bytes"].is_u64());
    }
}

#[track_caller]
fn assert_is_one_error(stderr: &str, said: &str) {
    assert!(
        stderr.starts_with("error: ") && stderr.lines().count() == 1 && stderr.contains(said),
        "not one line with {said:?}: {stderr}"
    );
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
