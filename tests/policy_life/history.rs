//! Proves that each policy that was in force or saved can be had back: what the history keeps,
//! who may read it, and that nothing which goes wrong with it is in the way of a change.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::Path,
    thread,
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use xdpfw_tests::{
    Host, Lab, Xdpfw, assert_is_one_error, generation, policy_text,
    sample::{POLICY, snapshot, verdicts},
    text,
};

/// Policies that are kept.
const KEPT: u64 = 50;
/// A user who is not root.
const OTHER: u32 = 12_345;

/// The entries, newest first.
fn entries(host: &Host) -> Vec<Value> {
    let history = host.xdpfw(["history"]).json();
    assert_eq!(history["schema"], "xdpfw.history/1");
    history["history"].as_array().cloned().unwrap_or_default()
}

/// A field of every entry, newest first.
fn all(host: &Host, field: &str) -> Vec<Value> {
    let entries = entries(host);
    entries.iter().map(|entry| entry[field].clone()).collect()
}

/// The text of a policy of the history, behind the line that says whose it is.
fn text_of(host: &Host, number: u64) -> Result<String> {
    let file = host.history().join(format!("{number}.toml"));
    let contents = fs::read_to_string(file)?;
    let (head, text) = contents.split_once('\n').context("no head")?;
    assert!(head.starts_with("# xdpfw.history/1 {"), "{head}");
    Ok(text.to_owned())
}

fn mode(path: &Path) -> Result<u32> {
    Ok(fs::metadata(path)?.permissions().mode() & 0o7777)
}

#[test]
fn every_change_of_the_policy_is_kept_and_nothing_else() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    assert_eq!(entries(host), Vec::<Value>::new());
    assert!(!host.history().exists(), "reading makes nothing");
    let file = host.directory().join("new.toml");
    let new = POLICY.replace("tcp 443", "tcp 80");
    fs::write(&file, &new)?;
    let path = file.to_str().context("no UTF-8")?;

    let changes: &[(&[&str], &str)] = &[
        (&["allow", "tcp", "443"], "+ r1 allow tcp 443 (https)"),
        (&["up", "eth0"], "+ interface eth0"),
        (&["deny", "udp", "53"], "+ r2 deny udp 53 (dns)"),
        (&["up", "eth1"], "+ interface eth1"),
        (&["default", "pass"], "~ default drop -> pass"),
        (&["delete", "r2"], "- r2 deny udp 53 (dns)"),
        (&["rollback"], "+ r2 deny udp 53 (dns)"),
    ];
    let mut expected = Vec::new();
    for (words, summary) in changes {
        host.xdpfw(*words).ok();
        expected.insert(0, (words.join(" "), *summary));
        assert_eq!(text_of(host, expected.len() as u64)?, policy_text(host)?);
        // What changes nothing is none; what is about to be seen neither.
        for other in [
            &["allow", "tcp", "443"][..],
            &["allow", "tcp", "444", "--dry-run"],
            &["apply"],
            &["rollback", "--dry-run"],
            &["list"],
        ] {
            // Some of them are refused at times.
            host.xdpfw(other).output()?;
        }
    }
    for words in [&["stats", "--reset"][..], &["up"], &["down"], &["up"]] {
        host.xdpfw(words).ok();
    }
    host.xdpfw(["apply", path]).ok();
    host.xdpfw(["apply", "-"]).stdin(POLICY).ok();
    // Edited by hand, it is what `apply` says.
    fs::write(host.policy(), &new)?;
    host.xdpfw(["apply"]).ok();
    expected.insert(0, (format!("apply {path}"), "")); // Several differences.
    expected.insert(0, ("apply -".to_owned(), ""));
    expected.insert(0, ("apply".to_owned(), ""));

    let found = entries(host);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (index, (entry, (command, summary))) in found.iter().zip(&expected).enumerate() {
        assert_eq!(entry["number"], json!(expected.len() - index));
        assert_eq!(entry["command"], json!(command));
        if !summary.is_empty() {
            assert_eq!(entry["summary"], json!(summary), "{command}");
        }
        assert_eq!(entry["in_force"], json!(index == 0), "{command}");
    }
    assert!(
        found[0]["summary"]
            .as_str()
            .unwrap_or("")
            .contains("r1 allow tcp 80")
    );

    // Root's alone, and `down` leaves it.
    host.xdpfw(["down"]).ok();
    assert_eq!(entries(host).len(), expected.len());
    assert_eq!(mode(&host.history())?, 0o700);
    for entry in fs::read_dir(host.history())? {
        assert_eq!(mode(&entry?.path())?, 0o600);
    }
    Ok(())
}

#[test]
fn an_entry_says_who_made_it_and_from_where() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let file = host
        .directory()
        .join("it's \x1b]0;x\x07 \u{202e}$(id)\n.toml");
    fs::write(&file, POLICY)?;
    let path = file.to_str().context("no UTF-8")?;
    host.xdpfw(["apply", path])
        .env("SUDO_USER", "ali\x1b[2Jce")
        .env("SSH_CONNECTION", "2001:db8::7 51000 2001:db8::1 22")
        .ok();
    host.xdpfw(["allow", "tcp", "2"])
        .env("DOAS_USER", "bob")
        .ok();
    host.xdpfw(["allow", "tcp", "3"]).ok();

    let found = entries(host);
    for entry in &found {
        let mut keys: Vec<&String> = entry.as_object().context("no object")?.keys().collect();
        keys.sort();
        let promised = [
            "at", "command", "from", "in_force", "number", "summary", "user",
        ];
        assert_eq!(keys, promised);
        let at = entry["at"].as_str().context("no time")?;
        assert!(at.contains('T') && at.ends_with('Z'), "{at}");
    }
    assert_eq!(found[2]["user"], "ali\x1b[2Jce (sudo)");
    assert_eq!(found[2]["from"], "2001:db8::7");
    let command = found[2]["command"].as_str().context("no command")?;
    // As a shell takes it.
    let typed = host.run("sh", ["-c", &format!("printf '%s|' {command}")])?;
    assert_eq!(typed, format!("apply|{path}|"));
    assert_eq!(found[1]["user"], "bob (doas)");
    assert_eq!(found[0]["command"], "allow tcp 3");

    let table = host.xdpfw(["history"]).ok();
    assert_eq!(table.lines().count(), 1 + found.len(), "{table}");
    for unseen in ['\x1b', '\x07', '\u{202e}'] {
        assert!(!table.contains(unseen), "{table:?}");
    }
    assert!(
        table.contains("ali\\u{1b}[2Jce (sudo), 2001:db8::7"),
        "{table}"
    );
    Ok(())
}

#[test]
fn only_the_last_are_kept_and_numbers_go_on() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    for port in 1..=KEPT + 2 {
        host.xdpfw(["allow", "udp", &port.to_string()]).ok();
    }
    let numbers: Vec<u64> = (3..=KEPT + 2).rev().collect();
    assert_eq!(json!(all(host, "number")), json!(numbers));
    assert_eq!(fs::read_dir(host.history())?.count() as u64, KEPT);
    for number in ["2", "53", "0"] {
        for words in [&["rollback", number][..], &["history", "--diff", number]] {
            let said = host.xdpfw(words).fails(1);
            assert_is_one_error(&said, "there are 3 to 52");
        }
    }
    host.xdpfw(["rollback", "3"]).ok();
    assert_eq!(entries(host)[0]["number"], KEPT + 3);
    assert_eq!(policy_text(host)?, text_of(host, KEPT + 3)?);
    assert_eq!(policy_text(host)?.matches("udp").count(), 3);
    Ok(())
}

#[test]
fn rollback_undoes_the_last_change_and_then_itself() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let said = host.xdpfw(["rollback"]).fails(1);
    assert_is_one_error(&said, "no policy is in the history");
    fs::write(host.policy(), POLICY)?;
    host.xdpfw(["up"]).ok();
    let said = host.xdpfw(["rollback"]).fails(1);
    assert_is_one_error(&said, "policy 1 is the first in the history");
    assert_eq!(entries(host)[0]["command"], "up");

    let first = "443 passes, 80 is dropped, 8080 is dropped";
    let second = "443 passes, 80 passes, 8080 is dropped";
    host.xdpfw(["allow", "tcp", "80"]).ok();
    let changed = policy_text(host)?;
    let before = snapshot(&lab)?;
    let output = host.xdpfw(["rollback", "--dry-run"]).output()?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(text(&output.stdout), "- r6  allow tcp 80 (http)\n");
    assert_eq!(snapshot(&lab)?, before);

    let said = host.xdpfw(["rollback"]).ok();
    assert_eq!(
        said,
        "policy 1, as 3: default drop, 3 rules   live on eth0\n"
    );
    assert_eq!(
        (policy_text(host)?, verdicts(&lab)?),
        (POLICY.into(), first.into())
    );
    let said = host.xdpfw(["rollback"]).ok();
    assert!(said.starts_with("policy 2, as 4: "), "{said}");
    assert_eq!(
        (policy_text(host)?, verdicts(&lab)?),
        (changed, second.into())
    );

    // What is in force already makes no entry.
    let said = host.xdpfw(["rollback", "2"]).ok();
    assert!(said.contains("already so, live on eth0"), "{said}");
    assert_eq!(entries(host).len(), 4);
    host.xdpfw(["rollback", "1"]).ok();
    assert_eq!(verdicts(&lab)?, first);
    assert_eq!(entries(host)[0]["command"], "rollback 1");

    // While nothing is filtered, it is the file that goes back.
    host.xdpfw(["down"]).ok();
    host.xdpfw(["rollback", "2"]).ok();
    host.xdpfw(["rollback"]).ok();
    assert_eq!(policy_text(host)?, POLICY);
    Ok(())
}

#[test]
fn rollback_is_guarded_and_whole_as_every_change() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let link = lab.link();
    host.xdpfw(["up", "eth0"]).ok();
    host.xdpfw(["allow", "ssh"]).ok();
    let before = snapshot(&lab)?;
    let (peer, server) = (link.far().address, link.near().address);
    let session = format!("{peer} 51000 {server} 22");
    let in_session = |words: &[&str]| host.xdpfw(words).env("SSH_CONNECTION", &session);
    in_session(&["rollback"]).fails(6);
    let output = host.xdpfw(["rollback"]).with_read_only_policy().output()?;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_is_one_error(&text(&output.stderr), "cannot save");
    assert_eq!(snapshot(&lab)?, before);
    assert_eq!(entries(host).len(), 2);
    in_session(&["rollback", "--force"]).ok();
    assert_ne!(snapshot(&lab)?, before);
    Ok(())
}

#[test]
fn a_difference_of_two_policies_is_shown() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["allow", "tcp", "443"]).ok();
    host.xdpfw(["up", "eth0"]).ok();
    host.xdpfw(["default", "pass"]).ok();
    host.xdpfw(["delete", "r1"]).ok();
    for (words, expected) in [
        (
            &["1", "4"][..],
            "- r1  allow tcp 443 (https)\n~ default drop -> pass\n",
        ),
        (&["4", "3"], "+ r1  allow tcp 443 (https)\n"),
        (&["3"], "- r1  allow tcp 443 (https)\n"),
        (&["1", "2"], ""),
        (&["4"], ""),
    ] {
        let words = [&["history", "--diff"][..], words].concat();
        assert_eq!(host.xdpfw(&words).ok(), expected, "{words:?}");
    }
    let difference = host.xdpfw(["history", "--diff", "1", "4"]).json();
    assert_eq!(difference["schema"], "xdpfw.apply/1");
    assert_eq!(difference["differs"], true);
    assert_eq!(difference["changed"], json!(["default drop -> pass"]));
    for words in [
        &["--diff"][..],
        &["--diff", "1", "2", "3"],
        &["--diff", "r1"],
    ] {
        host.xdpfw([&["history"], words].concat()).fails(2);
    }
    Ok(())
}

#[test]
fn what_no_command_recorded_comes_first() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    // In force before there was a history.
    fs::write(host.policy(), POLICY)?;
    host.xdpfw(["up"]).ok();
    fs::remove_dir_all(host.history())?;
    host.xdpfw(["allow", "tcp", "443"]).ok();
    assert_eq!(entries(host).len(), 0, "nothing was changed");
    host.xdpfw(["allow", "tcp", "80"]).ok();
    assert_eq!(
        json!(all(host, "summary")),
        json!(["+ r6 allow tcp 80 (http)", "before the history began"])
    );
    let users = all(host, "user");
    assert!(users[0] != "-" && users[1] == "-", "{users:?}");
    assert_eq!(text_of(host, 1)?, POLICY);

    // What its command did not get to record, be the file still there or not.
    fs::remove_file(host.history().join("2.toml"))?;
    host.xdpfw(["default", "pass"]).ok();
    fs::remove_file(host.history().join("3.toml"))?;
    fs::remove_file(host.policy())?;
    host.xdpfw(["apply", "-"]).stdin(POLICY).ok();
    assert_eq!(
        json!(all(host, "summary")[..3]),
        json!([
            "- r6 allow tcp 80 (http) and ~ default pass -> drop",
            "not recorded when it was made",
            "not recorded when it was made",
        ])
    );
    host.xdpfw(["rollback"]).ok();
    host.xdpfw(["history", "--diff", "1"]).ok();
    assert_eq!(
        host.xdpfw(["history", "--diff", "1"]).ok(),
        "+ r6  allow tcp 80 (http)\n~ default drop -> pass\n"
    );
    Ok(())
}

#[test]
fn what_goes_wrong_with_the_history_is_not_in_the_way() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    fs::write(host.policy(), POLICY)?;
    host.xdpfw(["up"]).ok();
    let mut port = 2000;
    let mut warned = |prepare: &dyn Fn(Xdpfw) -> Xdpfw, why: &str| -> Result<()> {
        port += 1;
        let words = ["allow".to_owned(), "tcp".to_owned(), port.to_string()];
        let before = generation(host);
        let output = prepare(host.xdpfw(words)).output()?;
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(
            said.starts_with("warning: done, but not in the history: "),
            "{said}"
        );
        assert!(said.contains(why) && said.lines().count() == 1, "{said}");
        assert_eq!(generation(host), before + 1);
        assert!(policy_text(host)?.contains(&format!("tcp {port}")));
        Ok(())
    };
    let full = "directory=$HISTORY
        mount -t tmpfs -o size=4k,mode=700 full \"$directory\" || exit 90
        echo >\"$directory/filler\" || exit 91
        \"$@\"; exit $?";
    let read_only = "directory=$HISTORY
        mount --bind \"$directory\" \"$directory\" || exit 90
        mount -o remount,bind,ro \"$directory\" || exit 91
        \"$@\"; exit $?";
    let history = host.history();
    for (script, why) in [(full, "No space left"), (read_only, "Read-only")] {
        warned(
            &|call| call.env("HISTORY", &history).in_private_mounts(script),
            why,
        )?;
    }
    // Others may write it, or got there first.
    chown(&history, Some(OTHER), None)?;
    let owner = format!("belongs to user {OTHER}, not to root");
    warned(&|call| call, &owner)?;
    let said = host.xdpfw(["history"]).fails(1);
    assert_is_one_error(&said, &owner);
    chown(&history, Some(0), None)?;
    fs::set_permissions(&history, fs::Permissions::from_mode(0o777))?;
    warned(&|call| call, "others than root may write it")?;
    fs::set_permissions(&history, fs::Permissions::from_mode(0o700))?;
    // Once it is mended, what was missed is there.
    host.xdpfw(["default", "pass"]).ok();
    assert_eq!(
        json!(all(host, "command")),
        json!(["default pass", "-", "up"])
    );
    // What is no policy is named, and in nobody's way.
    fs::write(history.join("3.toml"), "version = 1\n")?;
    let output = host.xdpfw(["history"]).output()?;
    assert!(text(&output.stderr).contains("3.toml: no policy of the history"));
    assert_eq!(text(&output.stdout).lines().count(), 3, "{output:?}");
    host.xdpfw(["default", "drop"]).ok();
    assert_eq!(entries(host)[0]["number"], 5);
    Ok(())
}

#[test]
fn root_may_complete_the_numbers() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let offered = |words: &[&str]| {
        let line = [&["--", "xdpfw"][..], words, &[""]].concat();
        host.xdpfw(line).env("_XDPFW_COMPLETE", "fish").ok()
    };
    assert!(!offered(&["rollback"]).contains("allow"));
    host.xdpfw(["allow", "tcp", "443"]).ok();
    host.xdpfw(["default", "pass"]).ok();
    for words in [&["rollback"][..], &["history", "--diff"]] {
        let offered = offered(words);
        let numbers: Vec<&str> = offered.lines().take(2).collect();
        assert_eq!(
            numbers,
            ["2\tdefault pass", "1\tallow tcp 443"],
            "{offered}"
        );
    }
    Ok(())
}

#[test]
fn two_changes_at_once_have_two_numbers() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    thread::scope(|scope| {
        for port in ["80", "443"] {
            scope.spawn(move || host.xdpfw(["allow", "tcp", port]).ok());
        }
    });
    assert_eq!(json!(all(host, "number")), json!([3, 2, 1]));
    let commands = all(host, "command");
    for command in ["allow tcp 80", "allow tcp 443"] {
        assert!(commands.contains(&json!(command)), "{commands:?}");
    }
    assert_eq!(text_of(host, 3)?, policy_text(host)?);
    Ok(())
}
