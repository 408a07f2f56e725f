//! Faults of the host as a whole.

use std::fs;

use anyhow::Result;
use serde_json::{Value, json};
use xdpfw_tests::{Host, Lab, assert_is_one_error, text};

use super::{MOUNTED, assert_has_no_fault, code, find};

/// Each line of JSON.
fn lines(output: &[u8]) -> Result<Vec<Value>> {
    text(output)
        .lines()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect()
}

#[test]
fn a_bpffs_that_everybody_may_write_is_closed_by_its_remedy() -> Result<()> {
    let host = Host::new()?;
    let script = "mount -t bpf -o mode=1777 bpf /sys/fs/bpf || exit 90
        \"$@\"
        chmod 0700 /sys/fs/bpf
        \"$@\"";
    let output = host
        .xdpfw(["--json", "doctor"])
        .in_private_mounts(script)
        .output()?;
    let said = lines(&output.stdout)?;
    let [before, after] = said.as_slice() else {
        panic!("{said:#?}")
    };
    let finding = find(before, "bpffs-mode", "/sys/fs/bpf").unwrap();
    assert_eq!(finding["remedy"], "chmod 0700 /sys/fs/bpf");
    assert_eq!(finding["fixable"], true);
    assert_eq!((code(before), code(after)), (8, 0), "{after:#}");
    assert_eq!(output.status.code(), Some(0));
    Ok(())
}

#[test]
fn fix_mends_what_is_safe_alone_and_says_what_undoes_it() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.run("ip", ["link", "set", "dev", "eth0", "mtu", "9000"])?;
    let script = "mount -t bpf -o mode=1777 bpf /sys/fs/bpf || exit 90
        \"$@\"; code=$?
        stat -c '\"%a\"' /sys/fs/bpf
        exit $code";
    let output = host
        .xdpfw(["--json", "doctor", "--fix"])
        .in_private_mounts(script)
        .output()?;
    let said = lines(&output.stdout)?;
    let undo = "chmod 1777 /sys/fs/bpf";
    assert_eq!(
        said[0]["fixed"],
        json!([{"command": "chmod 0700 /sys/fs/bpf", "undo": undo}])
    );
    assert_eq!(find(&said[0], "bpffs-mode", "/sys/fs/bpf"), None);
    assert_eq!(said[1], "700");
    assert!(text(&output.stderr).contains(&format!("`{undo}` undoes it")));
    // The MTU is for its operator to change.
    assert!(find(&said[0], "mtu-large", "eth0").is_some());
    assert_eq!(output.status.code(), Some(8));
    assert!(
        host.run("ip", ["link", "show", "eth0"])?
            .contains("mtu 9000")
    );
    assert!(!host.policy().exists() && !host.pins().exists());
    Ok(())
}

#[test]
fn a_missing_capability_is_named() -> Result<()> {
    let lab = Lab::new()?.filtered("");
    for (word, name) in [
        ("bpf", "CAP_BPF"),
        ("net_admin", "CAP_NET_ADMIN"),
        ("perfmon", "CAP_PERFMON"),
    ] {
        // Who may do everything in the system may do this, too.
        let without = format!("--bounding-set=-{word},-sys_admin");
        let script = format!("{MOUNTED}exec \"$@\"");
        let said = lab
            .host
            .xdpfw(["doctor"])
            .under(["setpriv", &without])
            .in_private_mounts(&script)
            .json_with(code);
        let finding = find(&said, "capability-missing", name).unwrap_or_else(|| panic!("{said:#}"));
        assert_eq!(finding["severity"], "fault");
        assert_eq!(finding["remedy"], "sudo xdpfw doctor");
        let others = said["findings"].as_array().into_iter().flatten();
        let others = others.filter(|one| one["kind"] == "capability-missing");
        assert_eq!(others.count(), 1, "{said:#}");
    }
    // As root, outside of what took it away.
    assert_has_no_fault(&lab.host);
    Ok(())
}

#[test]
fn others_than_root_are_refused() -> Result<()> {
    let host = Host::new()?;
    let nobody = ["setpriv", "--reuid=65534", "--clear-groups"];
    let said = host.xdpfw(["doctor"]).under(nobody).fails(4);
    assert_is_one_error(&said, "sudo");
    Ok(())
}

#[test]
fn a_policy_that_is_not_valid_is_a_finding() -> Result<()> {
    let lab = Lab::new()?.filtered("");
    let host = &lab.host;
    let valid = fs::read_to_string(host.policy())?;
    fs::write(host.policy(), "version = 1\ndefault = \"perhaps\"\n")?;
    let said = super::doctor(host);
    let path = host.policy().display().to_string();
    let finding = find(&said, "policy-invalid", &path).unwrap();
    assert!(finding["text"].as_str().unwrap().contains("perhaps"));
    fs::write(host.policy(), valid)?;
    assert_has_no_fault(host);
    Ok(())
}

/// In a system of its own, where systemd is said to be the init.
#[test]
fn a_unit_that_is_not_enabled_is_enabled_by_its_remedy() -> Result<()> {
    let lab = Lab::new()?;
    fs::write(lab.host.policy(), "version = 1\ninterfaces = [\"eth0\"]\n")?;
    let script = format!(
        "{MOUNTED}
        mount -t tmpfs run /run/systemd && mount -t tmpfs etc /etc/systemd || exit 91
        mkdir -p /run/systemd/system /etc/systemd/system
        for place in /lib/systemd/system /usr/local/sbin; do
            mount -t tmpfs -o mode=0755 place $place || exit 94
        done
        # There is no systemd that could be asked.
        printf '#!/bin/sh\nSYSTEMD_OFFLINE=1 exec /usr/bin/systemctl \"$@\"\n' \
            >/usr/local/sbin/systemctl
        chmod 0755 /usr/local/sbin/systemctl
        \"$@\"
        printf '[Service]\\nExecStart=true\\n[Install]\\nWantedBy=sysinit.target\\n' \\
            >/lib/systemd/system/xdpfw.service
        \"$@\"
        /usr/local/sbin/systemctl enable xdpfw.service || exit 92
        \"$@\"
        /usr/local/sbin/systemctl disable xdpfw.service || exit 93
        \"$@\" --fix
        \"$@\""
    );
    let call = lab.host.xdpfw(["--json", "doctor"]);
    let output = call.in_private_system(&script).output()?;
    let said = lines(&output.stdout)?;
    let unit = "xdpfw.service";
    let [missing, disabled, enabled, fixed, after] = said.as_slice() else {
        panic!("{said:#?}: {}", text(&output.stderr))
    };
    assert_eq!(
        find(missing, "unit-missing", unit).unwrap()["severity"],
        "fault"
    );
    let finding = find(disabled, "unit-disabled", unit).unwrap();
    assert_eq!(finding["remedy"], "systemctl enable xdpfw.service");
    assert_eq!(finding["severity"], "fault");
    for said in [enabled, after] {
        assert_eq!(find(said, "unit-disabled", unit), None, "{said:#}");
    }
    assert_eq!(
        fixed["fixed"],
        json!([{"command": "systemctl enable xdpfw.service",
                "undo": "systemctl disable xdpfw.service"}])
    );
    Ok(())
}
