//! Proves that nothing is half done, and no host open, whatever fails below a command: any one of
//! its system calls, for want of memory, descriptors, threads or room on the disk; or the policy.
//!
//! strace lets the calls fail (`-e inject`).

use std::{ffi::OsStr, fs, os::unix::fs::DirBuilderExt as _, process::Output};

use anyhow::{Context as _, Result};
use xdpfw_tests::{
    Host, Lab, assert_is_one_error, assert_nothing_is_left, interfaces_up, is_dropped_on, state,
    text, xdp,
};

/// What fails: system calls as strace names them, the error, and how many of them are one step of
/// the walk through a command.
const FAILURES: [(&str, &str, usize); 6] = [
    ("bpf", "ENOMEM", 7),
    ("bpf", "EMFILE", 11),
    ("sendto", "ENOBUFS", 1),
    ("clone3", "EAGAIN", 2),
    ("fsync", "EIO", 1),
    ("/^rename", "ENOSPC", 1),
];
const INTERFACES: [&str; 2] = ["eth0", "eth1"];
/// A policy in force, before a change.
const POLICY: &str =
    "version = 1\ninterfaces = [\"eth0\"]\n\n[[rule]]\nid = \"r1\"\nallow = \"tcp 22\"\n";

#[test]
fn a_first_up_that_fails_leaves_nothing() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    walk(host, &["up", "eth0", "eth1"], |output, case| {
        if output.status.success() {
            assert_eq!(interfaces_up(host), INTERFACES, "{case}");
            host.xdpfw(["down"]).ok();
            return Ok(fs::remove_file(host.policy())?);
        }
        assert_nothing_is_left(host, &INTERFACES).with_context(|| case.to_owned())?;
        assert!(!host.policy().exists(), "{case}: a policy is left");
        Ok(())
    })
}

#[test]
fn a_change_that_fails_leaves_policy_and_kernel_as_they_were() -> Result<()> {
    walk_change(&["allow", "tcp", "443"], |_| {})
}

#[test]
fn a_further_up_that_fails_leaves_policy_and_kernel_as_they_were() -> Result<()> {
    walk_change(&["up", "eth1"], |host| {
        host.xdpfw(["down", "eth1"]).ok();
    })
}

/// Walks through a command that changes the policy, or what it is in force on; `undo` takes back of the
/// second what a command did that succeeded.
fn walk_change(command: &[&str], undo: impl Fn(&Host)) -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    fs::write(host.policy(), POLICY)?;
    host.xdpfw(["up"]).ok();
    let mut before = state(host, &INTERFACES)?;
    walk(host, command, |output, case| {
        let now = state(host, &INTERFACES)?;
        if !output.status.success() {
            assert_eq!(now, before, "{case}");
            return Ok(());
        }
        // All of it, and what is in force is what the file says.
        assert_ne!(now, before, "{case}");
        let differs = host.xdpfw(["apply", "--check"]).output()?;
        assert!(differs.status.success(), "{case}: {differs:?}");
        undo(host);
        host.xdpfw(["apply", "-"]).stdin(POLICY).ok();
        before = state(host, &INTERFACES)?;
        Ok(())
    })
}

#[test]
fn a_down_that_fails_leaves_no_interface_half_filtered() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    let up = || {
        host.xdpfw(["up", "eth0", "eth1"]).ok();
    };
    up();
    walk(host, &["down"], |output, case| {
        for (link, interface) in INTERFACES.into_iter().enumerate() {
            if xdp(host, interface)?.is_some() {
                assert!(
                    !output.status.success(),
                    "{case}: done, but for {interface}"
                );
                assert!(
                    is_dropped_on(&lab, link, 80)?,
                    "{case}: {interface} is open"
                );
            }
        }
        host.xdpfw(["down"]).ok();
        assert_nothing_is_left(host, &INTERFACES).with_context(|| case.to_owned())?;
        up();
        Ok(())
    })
}

#[test]
fn without_descriptors_a_first_up_leaves_nothing() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    let mut succeeded = false;
    for limit in (6..200).step_by(9) {
        let limited = ["prlimit".to_owned(), format!("--nofile={limit}")];
        let output = host.xdpfw(["up", "eth0", "eth1"]).under(limited).output()?;
        succeeded = output.status.success();
        if succeeded {
            break;
        }
        let case = format!("{limit} descriptors: {output:?}");
        assert_fails_in_words(&output, &case);
        assert_nothing_is_left(host, &INTERFACES).context(case)?;
    }
    assert!(succeeded, "no limit was wide enough");
    Ok(())
}

#[test]
fn a_full_disk_leaves_policy_and_kernel_as_they_were() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    fs::write(host.policy(), POLICY)?;
    host.xdpfw(["up"]).ok();
    let before = state(host, &INTERFACES)?;
    for words in [
        &["allow", "tcp", "443"][..],
        &["default", "pass"],
        &["up", "eth1"],
    ] {
        let output = host.xdpfw(words).with_full_disk().output()?;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = text(&output.stderr);
        assert!(said.contains("cannot save"), "{said}");
        assert!(said.contains("No space left"), "{said}");
        assert_eq!(state(host, &INTERFACES)?, before, "{words:?}");
    }
    Ok(())
}

#[test]
fn without_a_policy_that_can_be_read_a_boot_filters_nothing_and_fails() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let said = host.xdpfw(["up"]).fails(2);
    assert_is_one_error(&said, "the policy names no interface");
    fs::write(host.policy(), "version = 1\ninterfaces = [\"eth0\"\n")?;
    let said = host.xdpfw(["up"]).fails(3);
    assert_is_one_error(&said, "policy.toml:");
    fs::remove_file(host.policy())?;
    fs::create_dir(host.policy())?;
    let said = host.xdpfw(["up"]).fails(3);
    assert_is_one_error(&said, "not a regular file");
    fs::remove_dir(host.policy())?;
    assert_nothing_is_left(host, &["eth0"])
}

#[test]
fn a_policy_that_is_gone_takes_no_rule_out_of_force() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    fs::write(host.policy(), POLICY)?;
    host.xdpfw(["up"]).ok();
    fs::remove_file(host.policy())?;
    for words in [&["up", "eth1"][..], &["up", "eth0"]] {
        let said = host.xdpfw(words).fails(1);
        assert_is_one_error(&said, "is gone, so this would also change");
        assert!(!is_dropped_on(&lab, 0, 22)?, "{words:?}");
        assert_eq!(xdp(host, "eth1")?, None, "{words:?}");
        assert!(!host.policy().exists(), "{words:?}");
    }
    host.xdpfw(["up", "eth1", "--force"]).ok();
    assert!(is_dropped_on(&lab, 0, 22)? && is_dropped_on(&lab, 1, 80)?);
    Ok(())
}

#[test]
fn the_filter_of_a_newer_version_stays_in_force() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    fs::write(host.policy(), POLICY)?;
    host.xdpfw(["up"]).ok();
    let own = host.pins().join(abi(xdpfw_common::abi::ABI_VERSION));
    let other = host.pins().join(abi(9999));
    fs::rename(&own, &other)?;
    for words in [
        &["up", "eth0"][..],
        &["up", "eth1"],
        &["allow", "tcp", "80"],
        &["default", "pass"],
        &["down"],
        &["status"],
    ] {
        let said = host.xdpfw(words).fails(5);
        assert_is_one_error(&said, "a newer version of xdpfw filters this host");
        assert!(xdp(host, "eth0")?.is_some(), "{words:?}");
        assert_eq!(fs::read_to_string(host.policy())?, POLICY, "{words:?}");
    }
    fs::rename(&other, &own)?;
    assert!(is_dropped_on(&lab, 0, 80)? && !is_dropped_on(&lab, 0, 22)?);
    host.xdpfw(["down"]).ok();
    assert_nothing_is_left(host, &INTERFACES)
}

/// Of interfaces that are gone, or of a namespace that had the number of this one.
#[test]
fn what_another_version_left_on_no_interface_is_swept() -> Result<()> {
    for words in [&["down"][..], &["up", "eth1"]] {
        let lab = Lab::with_links(2)?;
        let host = &lab.host;
        host.xdpfw(["up", "eth0"]).ok();
        let own = host.pins().join(abi(xdpfw_common::abi::ABI_VERSION));
        let other = host.pins().join(abi(9999));
        fs::rename(&own, &other)?;
        host.run("ip", ["link", "delete", "eth0"])?;
        host.xdpfw(words).ok();
        assert!(!other.exists(), "{words:?}");
        if words[0] == "up" {
            assert_eq!(interfaces_up(host), ["eth1"]);
            assert!(is_dropped_on(&lab, 1, 80)?);
            host.xdpfw(["down"]).ok();
        }
        assert_nothing_is_left(host, &["eth1"])?;
    }
    Ok(())
}

/// What a `down` of an older version left that was killed, or what a newer one did.
#[test]
fn what_another_version_left_without_links_is_swept() -> Result<()> {
    let lab = Lab::with_links(1)?;
    let host = &lab.host;
    for (version, words) in [(1, "up"), (9999, "up"), (1, "down"), (9999, "down")] {
        host.xdpfw(["up", "eth0"]).ok();
        let left = host.pins().join(abi(version)).join("generations/1");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&left)?;
        host.xdpfw(["status"]).ok();
        host.xdpfw([words]).ok();
        host.xdpfw(["down"]).ok();
        assert_nothing_is_left(host, &["eth0"]).with_context(|| format!("{version}, {words}"))?;
    }
    Ok(())
}

/// Another version may keep its links where this one does not look.
#[test]
fn what_another_version_keeps_elsewhere_stays() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    let own = host.pins().join(abi(xdpfw_common::abi::ABI_VERSION));
    fs::rename(own.join("links"), own.join("attached"))?;
    for (version, said) in [
        (9999, "a newer version of xdpfw filters this host"),
        (1, "keeps its links where this one does not look"),
    ] {
        let other = host.pins().join(abi(version));
        fs::rename(&own, &other)?;
        for words in [&["up", "eth0"][..], &["down"]] {
            assert_is_one_error(&host.xdpfw(words).fails(5), said);
            assert!(xdp(host, "eth0")?.is_some(), "{words:?}");
        }
        fs::rename(&other, &own)?;
    }
    fs::rename(own.join("attached"), own.join("links"))?;
    host.xdpfw(["down"]).ok();
    assert_nothing_is_left(host, &["eth0"])
}

fn abi(version: u32) -> String {
    format!("abi-{version}")
}

/// Services that may not set the set-user-ID bit have no `openat2`: ours at boot, and udev, which
/// asks for interfaces that appear.
#[test]
fn a_kernel_without_openat2_is_enough() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    for command in [
        &["up", "eth0"][..],
        &["allow", "tcp", "443"],
        &["up"],
        &["down"],
    ] {
        let strace = ["strace", "-f", "-qq", "-o", "/dev/null"];
        let inject = ["-e", "trace=openat2", "-e", "inject=openat2:error=ENOSYS"];
        let strace = strace.into_iter().chain(inject);
        host.xdpfw(command).under(strace).ok();
        let is_up = command[0] != "down";
        assert_eq!(!interfaces_up(host).is_empty(), is_up, "{command:?}");
    }
    Ok(())
}

/// Runs a command again and again, each time with another of its system calls failing, and has
/// `check` look at what that leaves.
fn walk(
    host: &Host,
    command: &[&str],
    mut check: impl FnMut(&Output, &str) -> Result<()>,
) -> Result<()> {
    let log = host.directory().join("strace");
    for (call, error, step) in FAILURES {
        let trace = format!("trace={call}");
        let mut nth = 1;
        loop {
            let inject = format!("inject={call}:error={error}:when={nth}");
            let strace = [
                "strace".as_ref(),
                "-f".as_ref(),
                "-o".as_ref(),
                log.as_os_str(),
                "-e".as_ref(),
                OsStr::new(&trace),
                "-e".as_ref(),
                OsStr::new(&inject),
            ];
            let output = host.xdpfw(command).under(strace).output()?;
            let failed = fs::read_to_string(&log)?.contains("(INJECTED)");
            let case = format!("{command:?}, {inject}: {output:?}");
            if !output.status.success() {
                assert_fails_in_words(&output, &case);
            }
            check(&output, &case)?;
            if !failed {
                break;
            }
            nth += step;
        }
    }
    Ok(())
}

/// Claims that a command ended with one line of an error, not with a panic or a signal.
#[track_caller]
fn assert_fails_in_words(output: &Output, case: &str) {
    let is_known = matches!(output.status.code(), Some(1 | 4 | 5));
    let said = text(&output.stderr);
    assert!(is_known && said.contains("error: "), "{case}");
    assert!(!said.contains("not everything was taken back"), "{case}");
}
