//! Proves that xdpfw pins where its pins last and only root can reach them, and
//! that pins out of sight are not taken for none.

use std::{
    fs,
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use xdpfw_tests::{Host, Lab, assert_is_one_error, assert_nothing_is_left, state, text};

#[test]
fn bpffs_is_mounted_where_it_is_not() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let script = "
        while umount --lazy /sys/fs/bpf 2>/dev/null; do :; done
        ! grep --quiet ' /sys/fs/bpf ' /proc/self/mounts || exit 90
        \"$@\" status || exit 91
        ! grep --quiet ' /sys/fs/bpf ' /proc/self/mounts || exit 92
        \"$@\" up eth0 || exit 93
        grep --quiet ' /sys/fs/bpf bpf ' /proc/self/mounts || exit 94
        \"$@\" allow tcp 443 || exit 95
        \"$@\" --json status > \"$XDPFW_POLICY.status\" || exit 96
        \"$@\" down || exit 97
        [ -z \"$(ls -A /sys/fs/bpf/xdpfw)\" ] || exit 98";
    let output = host.xdpfw([""; 0]).in_private_mounts(script).output()?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let status = fs::read(host.directory().join("policy.toml.status"))?;
    let status: Value = serde_json::from_slice(&status)?;
    assert_eq!(status["interfaces"][0]["name"], "eth0");
    assert_eq!(status["generation"], 2);
    assert_nothing_is_left(host, &["eth0"])
}

#[test]
fn up_refuses_a_mount_namespace_that_ends_with_it() -> Result<()> {
    let lab = Lab::new()?;
    let output = ip_netns_exec(&lab.host, &["up", "eth0"])?;
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert_is_one_error(&text(&output.stderr), "nsenter --net=");
    assert_nothing_is_left(&lab.host, &["eth0"])?;
    assert!(!lab.host.policy().exists());
    Ok(())
}

/// Where the pins are out of sight, no command may take that for "not up".
#[test]
fn a_filter_out_of_sight_is_not_taken_for_none() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    host.xdpfw(["allow", "tcp", "443"]).ok();
    host.xdpfw(["up", "eth0"]).ok();
    let before = state(host, &["eth0", "eth1"])?;
    for arguments in [
        &["up", "eth1"][..],
        &["down"],
        &["allow", "tcp", "80"],
        &["delete", "r1"],
        &["default", "pass"],
        &["status"],
        &["list"],
        &["stats"],
    ] {
        let output = ip_netns_exec(host, arguments)?;
        assert_eq!(output.status.code(), Some(5), "{arguments:?}: {output:?}");
        assert_is_one_error(&text(&output.stderr), "nsenter --net=");
        assert_eq!(state(host, &["eth0", "eth1"])?, before, "{arguments:?}");
    }
    Ok(())
}

#[test]
fn a_directory_open_to_others_is_refused() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let script = "
        while umount --lazy /sys/fs/bpf 2>/dev/null; do :; done
        mount -t bpf -o mode=1777 bpf /sys/fs/bpf || exit 90
        mkdir --mode=0777 /sys/fs/bpf/xdpfw || exit 91
        \"$@\" up eth0";
    let output = host.xdpfw([""; 0]).in_private_mounts(script).output()?;
    assert_eq!(output.status.code(), Some(5), "{output:?}");
    assert_is_one_error(&text(&output.stderr), "/sys/fs/bpf/xdpfw");
    assert_nothing_is_left(host, &["eth0"])
}

/// Runs xdpfw as `ip netns exec` does: in a mount namespace without bpffs, which
/// ends with it.
fn ip_netns_exec(host: &Host, arguments: &[&str]) -> Result<Output> {
    let xdpfw = host.xdpfw(arguments).command()?;
    let mut words = xdpfw.get_args();
    words.find(|word| *word == "--").context("no --")?;
    let output = Command::new("ip")
        .args(["netns", "exec", host.name()])
        .args(words)
        .env("XDPFW_POLICY", host.policy())
        .env_remove("SSH_CONNECTION")
        .stdin(Stdio::null())
        .output()?;
    Ok(output)
}
