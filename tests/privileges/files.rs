//! Proves that a command that files are closed to changes nothing, and says what it would take.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
};

use anyhow::Result;
use xdpfw_tests::{CAPABILITIES, Lab, assert_is_one_error, assert_nothing_is_left, state, text};

/// A group that root is not in.
const GROUP: u32 = 65_534;

/// A file of another group can be read, but not replaced: its readers are the administrator's.
#[test]
fn a_policy_keeps_its_group_or_stays() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["allow", "tcp", "443"]).ok();
    chown(host.policy(), None, Some(GROUP))?;
    let limited = |words: &[&str]| host.xdpfw(words).with_capabilities(&CAPABILITIES);
    host.xdpfw(["up", "eth0"]).ok();
    let before = state(host, &["eth0"])?;
    let said = limited(&["allow", "tcp", "80"]).fails(4);
    assert_is_one_error(&said, &host.policy().display().to_string());
    assert_is_one_error(&said, "CAP_CHOWN");
    assert_eq!(state(host, &["eth0"])?, before);
    // What writes no file goes on.
    limited(&["apply"]).ok();
    limited(&["up"]).ok();
    chown(host.policy(), None, Some(0))?;
    limited(&["allow", "tcp", "80"]).ok();

    chown(host.policy(), None, Some(GROUP))?;
    host.xdpfw(["allow", "tcp", "81"]).ok();
    assert_eq!(fs::metadata(host.policy())?.gid(), GROUP);
    Ok(())
}

/// Root reads what has no reader by CAP_DAC_OVERRIDE alone.
#[test]
fn a_policy_without_readers_is_named() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["allow", "tcp", "443"]).ok();
    host.xdpfw(["up", "eth0"]).ok();
    let before = state(host, &["eth0"])?;
    fs::set_permissions(host.policy(), Permissions::from_mode(0o000))?;
    for words in [
        &["up"][..],
        &["allow", "tcp", "80"],
        &["apply"],
        &["apply", "--check"],
    ] {
        let said = host.xdpfw(words).with_capabilities(&CAPABILITIES).fails(4);
        assert_is_one_error(&said, &host.policy().display().to_string());
        assert_is_one_error(&said, "this needs CAP_DAC_OVERRIDE, which root lacks here");
    }
    fs::set_permissions(host.policy(), Permissions::from_mode(0o640))?;
    assert_eq!(state(host, &["eth0"])?, before);
    Ok(())
}

/// Nobody has mounted it, and this takes CAP_SYS_ADMIN.
#[test]
fn a_bpffs_that_is_not_mounted_is_named_with_the_command_that_mounts_it() -> Result<()> {
    let lab = Lab::new()?;
    let script = |begin: &str| {
        format!(
            "mount -t tmpfs -o mode=0755 tmpfs /run && mkdir -m 0700 /run/policy || exit 90
            export XDPFW_POLICY=/run/policy/policy.toml
            {begin}
            exec \"$@\""
        )
    };
    let limited = lab
        .host
        .xdpfw(["up", "eth0"])
        .with_capabilities(&CAPABILITIES);
    let output = limited.in_private_system(&script("")).output()?;
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    let said = text(&output.stderr);
    let remedy = "mount -t bpf -o mode=0700 bpf /run/xdpfw/bpf";
    assert_is_one_error(&said, "CAP_SYS_ADMIN");
    assert_is_one_error(&said, &format!("`{remedy}`"));
    assert_nothing_is_left(&lab.host, &["eth0"])?;

    // Its init mounts it, as a mount unit does.
    let mounted = format!("mkdir -p /run/xdpfw/bpf && {remedy} || exit 91");
    let limited = lab
        .host
        .xdpfw(["up", "eth0"])
        .with_capabilities(&CAPABILITIES);
    let output = limited.in_private_system(&script(&mounted)).output()?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    Ok(())
}
