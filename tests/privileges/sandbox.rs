//! Proves that every command does with the sandbox that a service is given: a file system that is
//! read-only but for three directories, and no system calls but those of any service and bpf(2).

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result};
use xdpfw_tests::{CAPABILITIES, Lab, Xdpfw};

use crate::steps::{STEPS, call, made};

/// The service, with the system calls that it may make (systemd.exec(5)).
const UNIT: &str = include_str!("../../filter-user/package/systemd/xdpfw.service");
/// What `systemd-analyze syscall-filter` of systemd 252 lists, without comments and `@known`.
const GROUPS: &str = include_str!("system-calls.txt");
/// Families of sockets (`RestrictAddressFamilies=`); xdpfw has its own of the first alone.
const FAMILIES: [&str; 4] = ["AF_NETLINK", "AF_UNIX", "AF_INET", "AF_INET6"];

/// Makes the mounts of a service with `ProtectSystem=strict`, `ProtectKernelTunables=yes` and
/// `PrivateTmp=yes`, where the directories of the lock, the history and the policy are writable.
const MOUNTS: &str = "
    set -e
    mkdir -p -m 0700 /var/lib/xdpfw
    for place in /run/xdpfw /var/lib/xdpfw \"$(dirname \"$XDPFW_POLICY\")\"; do
        mount --rbind \"$place\" \"$place\"
    done
    mount --bind /proc/sys /proc/sys
    for place in / /run /sys /proc/sys; do
        ! mountpoint --quiet $place || mount -o remount,bind,ro $place
    done
    (echo > /run/not-writable) 2>/dev/null && exit 90
    (echo > /etc/not-writable) 2>/dev/null && exit 91
    exec \"$@\"
";

/// A call as a service makes it.
pub(crate) fn service(call: Xdpfw) -> Xdpfw {
    call.with_capabilities(&CAPABILITIES)
        .in_private_mounts(MOUNTS)
}

#[test]
fn no_system_call_is_outside_of_the_filter() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    lab.peer.xdpfw(["up", "eth0"]).ok();
    let allowed = allowed_by(UNIT);
    let mut made_by_all = BTreeSet::new();
    // No unit asks `doctor`, to whom a filter only refuses what the clock is kept right by.
    for &step in STEPS.iter().filter(|step| step[0] != "doctor") {
        let log = host.directory().join("strace");
        let path = log.to_str().context("an odd path")?;
        let call = call(host, step)?
            .with_capabilities(&CAPABILITIES)
            .under(["strace", "-f", "-qq", "-o", path]);
        let output = made(&lab, step, call)?;
        let text = fs::read_to_string(&log)?;
        assert!(text.contains("execve("), "{step:?}: {output:?}");
        let mut is_setpriv = true;
        for line in text.lines() {
            let Some(name) = call_of(line) else { continue };
            is_setpriv &= !is_exec_of_xdpfw(line);
            assert!(is_setpriv || allowed.contains(name), "{step:?}: {line}");
            made_by_all.insert(name.to_owned());
            // `MemoryDenyWriteExecute=yes`
            let executable = line.contains("PROT_EXEC");
            let writes = name == "mprotect" || line.contains("PROT_WRITE");
            assert!(!(executable && writes), "{step:?}: {line}");
            // `RestrictNamespaces=yes`
            assert!(!line.contains("CLONE_NEW"), "{step:?}: {line}");
            if name == "socket" {
                let is_allowed = FAMILIES.iter().any(|family| line.contains(family));
                assert!(is_allowed, "{step:?}: {line}");
            }
        }
        assert!(!is_setpriv, "{step:?}: xdpfw is not seen");
    }
    assert!(made_by_all.contains("bpf") && !made_by_all.contains("perf_event_open"));
    lab.peer.xdpfw(["down"]).ok();
    Ok(())
}

/// The calls that a unit allows: each setting adds to those before or, with `~`, takes away.
fn allowed_by(unit: &str) -> BTreeSet<&str> {
    let mut allowed = group("@default");
    let settings = unit
        .lines()
        .filter_map(|line| line.strip_prefix("SystemCallFilter="));
    for setting in settings {
        let (takes, names) = match setting.strip_prefix('~') {
            Some(names) => (true, names),
            None => (false, setting),
        };
        for name in names.split_whitespace().flat_map(group) {
            match takes {
                true => allowed.remove(name),
                false => allowed.insert(name),
            };
        }
    }
    allowed
}

/// The calls of a group of systemd's; of a call, itself.
fn group(name: &str) -> BTreeSet<&str> {
    if !name.starts_with('@') {
        return BTreeSet::from([name]);
    }
    let mut lines = GROUPS.lines().skip_while(|line| *line != name);
    lines.next();
    let members = lines.take_while(|line| line.starts_with(' '));
    members.flat_map(|line| group(line.trim())).collect()
}

#[test]
fn a_unit_allows_what_its_last_word_says() {
    let unit = "SystemCallFilter=@system-service bpf\nSystemCallFilter=~@privileged\n";
    let allowed = allowed_by(unit);
    assert!(allowed.contains("openat") && !allowed.contains("bpf"));
    assert!(!allowed.contains("mount"));
    assert!(allowed_by(&format!("{unit}SystemCallFilter=bpf")).contains("bpf"));
}

/// Whether a line begins what xdpfw itself does, behind setpriv(1).
fn is_exec_of_xdpfw(line: &str) -> bool {
    line.contains("execve(\"") && line.contains("/xdpfw\", [") && line.ends_with("= 0")
}

/// The name of the call in a line of strace(1): `1234 openat(AT_FDCWD, …`; `None` for signals,
/// ends, and the second half of a call.
fn call_of(line: &str) -> Option<&str> {
    let (_process, call) = line.split_once(' ')?;
    let (name, _) = call.trim_start().split_once('(')?;
    let is_name = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
    name.bytes().all(is_name).then_some(name)
}
