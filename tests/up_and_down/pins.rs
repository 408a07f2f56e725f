//! Proves that xdpfw keeps its pins where they last and only root can reach them, that it
//! neither obeys nor follows what others put in their place, and that pins elsewhere are
//! not taken for none.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
};

use anyhow::{Context as _, Result};
use aya::{
    maps::{MapInfo, loaded_maps},
    programs::{links::PinnedLink, loaded_links, loaded_programs},
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, set_capabilities, set_keep_capabilities,
    set_thread_res_gid, set_thread_res_uid,
};
use xdpfw_tests::{
    Host, Lab, assert_is_one_error, assert_nothing_is_left, ifindex, interfaces_up, is_dropped,
    state, text, xdp,
};

/// Begins a script in a system of its own: with its own `/run`, and as shared bpffs one that
/// everybody may write, as the kernel mounts it. `$ns` is the network namespace's directory,
/// `/mnt/victim` has files that no filter owns.
const SYSTEM: &str = "
    set -e
    mkdir -p /mnt
    mount -t tmpfs tmpfs /mnt
    export XDPFW_POLICY=/mnt/policy.toml
    mkdir /mnt/other /mnt/victim
    touch /mnt/victim/a /mnt/victim/b
    [ ! -d /run/xdpfw/bpf ] || mount --bind /run/xdpfw/bpf /mnt/other
    mount -t tmpfs -o mode=0755 tmpfs /run
    mount -t bpf bpf /sys/fs/bpf
    ns=$(stat --dereference --format %i /proc/self/ns/net)
    nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups -- \"$@\"; }
    # Makes what xdpfw would make itself in $1, with links to what is not its own.
    trap_in() {
        $as mkdir -p \"$1/$ns/abi-$ABI/generations\" \"$1/$ns/abi-$ABI/links\"
        $as mkdir -p \"$1/$ns/abi-$ABI/egress\" \"$1/$ns/abi-$ABI/clsact\"
        $as ln -s /mnt/victim \"$1/$ns/abi-$ABI/generations/1\"
        $as ln -s \"/mnt/other/$OTHER\" \"$1/$ns/abi-$ABI/links/1\"
        $as ln -s \"/mnt/other/$OTHER\" \"$1/$ns/abi-$ABI/egress/1\"
        $as ln -s \"/mnt/other/$OTHER\" \"$1/$ns/abi-$ABI/clsact/1\"
    }
";

/// Ends a script: the filter comes up, works and goes down, and the victim is whole.
const LIFE: &str = "
    \"$@\" up eth0 || exit 90
    \"$@\" --json status > /mnt/status || exit 91
    grep --quiet '\"name\":\"eth0\"' /mnt/status || exit 92
    \"$@\" allow tcp 443 || exit 93
    \"$@\" down || exit 94
    [ \"$(ls /mnt/victim)\" = \"$(printf 'a\\nb')\" ] || exit 95
    [ ! -s /mnt/victim/a ] || exit 96
";

/// By path, or by number.
#[test]
fn only_root_reaches_the_pins() -> Result<()> {
    let lab = Lab::new()?;
    let up = lab.host.xdpfw(["up", "eth0"]);
    let output = up.in_private_mounts("umask 0; exec \"$@\"").output()?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let all = below(&lab.host.pins())?;
    assert!(all.len() > 10, "{all:?}");
    let runtime = ["/run/xdpfw", "/run/xdpfw/bpf", "/run/xdpfw/lock"].map(PathBuf::from);
    for path in runtime.iter().chain(&all) {
        let metadata = fs::symlink_metadata(path)?;
        let mode = if metadata.is_dir() { 0o700 } else { 0o600 };
        let found = (metadata.uid(), metadata.mode() & 0o777);
        assert_eq!(found, (0, mode), "{path:?}");
    }

    let map = loaded_maps().next().context("no map")??.id();
    let reach = || -> Vec<anyhow::Result<()>> {
        vec![
            fs::metadata(&all[0]).map(drop).map_err(Into::into),
            MapInfo::from_id(map).map(drop).map_err(Into::into),
            PinnedLink::from_pin(&all[0]).map(drop).map_err(Into::into),
            loaded_maps().try_for_each(|map| map.map(drop).map_err(Into::into)),
            loaded_programs().try_for_each(|program| program.map(drop).map_err(Into::into)),
            loaded_links().try_for_each(|link| link.map(drop).map_err(Into::into)),
        ]
    };
    let results = reach();
    assert!(results[0].is_ok() && results[1].is_ok(), "{results:?}");
    // Not even with what a container's network tools are given.
    let tools = CapabilitySet::BPF | CapabilitySet::NET_ADMIN | CapabilitySet::PERFMON;
    for capabilities in [CapabilitySet::empty(), tools] {
        for (index, result) in as_nobody(capabilities, reach)?.into_iter().enumerate() {
            let error = result.err().with_context(|| format!("reached: {index}"))?;
            let is_refused = error.chain().any(|cause| {
                cause
                    .downcast_ref::<io::Error>()
                    .is_some_and(|io| io.kind() == io::ErrorKind::PermissionDenied)
            });
            assert!(is_refused, "{index}: {error:?}");
        }
    }
    Ok(())
}

/// Whoever may write `/run` could put another directory in place of ours.
#[test]
fn a_runtime_directory_that_others_could_move_is_not_used() -> Result<()> {
    let lab = Lab::new()?;
    for (make, remedy) in [
        ("chmod 0777 /run", "chmod go-w /run"),
        ("chmod 0775 /run", "chmod go-w /run"),
        ("chown 65534 /run", "chown root /run"),
    ] {
        let refused = in_system(&lab, &format!("{make}; exec \"$@\" up eth0"))?;
        assert_eq!(refused.status.code(), Some(1), "{make}: {refused:?}");
        assert_is_one_error(&text(&refused.stderr), &format!("say `{remedy}`"));
        let mended = in_system(&lab, &format!("{make}; {remedy}\n{LIFE}"))?;
        assert_eq!(mended.status.code(), Some(0), "{make}: {mended:?}");
    }
    // Nobody can in a sticky one.
    let sticky = in_system(&lab, &format!("chmod 1777 /run\n{LIFE}"))?;
    assert_eq!(sticky.status.code(), Some(0), "{sticky:?}");
    assert_nothing_is_left(&lab.host, &["eth0"])
}

/// Wherever it was killed.
#[test]
fn what_a_killed_command_made_goes_with_down() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    // Its pins keep the file system that the directories are made in.
    lab.peer.xdpfw(["up", "eth0"]).ok();
    let abi = format!("abi-{}", xdpfw_common::abi::ABI_VERSION);
    for made in [
        "",
        abi.as_str(),
        &format!("{abi}/links"),
        &format!("{abi}/generations"),
        &format!("{abi}/generations/1"),
        &format!("{abi}/egress"),
        &format!("{abi}/clsact"),
    ] {
        for arguments in [&["down"][..], &["down", "eth0"]] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(host.pins().join(made))?;
            if arguments.len() > 1 {
                host.xdpfw(["up", "eth0"]).ok();
            }
            host.xdpfw(arguments).ok();
            assert_nothing_is_left(host, &["eth0"])?;
        }
    }
    Ok(())
}

#[test]
fn the_last_down_leaves_nothing_in_the_runtime_directory() -> Result<()> {
    let lab = Lab::new()?;
    let output = in_system(
        &lab,
        "for begin in 'up eth0' status; do
            \"$@\" $begin || true
            \"$@\" down || exit 80
            [ ! -e /run/xdpfw ] || exit 81
        done
        # Commands that come and go beside it, each by a lock that may have been removed.
        for round in 1 2 3 4 5 6 7 8 9 10 11 12; do
            pids=
            for words in 'up eth0' down status list down; do
                \"$@\" $words > /mnt/said 2>&1 & pids=\"$pids $!\"
            done
            for pid in $pids; do
                code=0; wait $pid || code=$?
                [ $code = 0 ] || [ $code = 8 ] || { cat /mnt/said; exit 82; }
            done
        done
        \"$@\" up eth0 || exit 83
        \"$@\" allow tcp 443 || exit 84
        \"$@\" down || exit 85
        [ ! -e /run/xdpfw ] || exit 86",
    )?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    Ok(())
}

/// Its mounts end with it, but not the filter.
#[test]
fn a_private_mount_namespace_sees_the_same_filter() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let script = "while umount --lazy /sys/fs/bpf 2>/dev/null; do :; done; \"$@\" up eth0";
    let output = host.xdpfw([""; 0]).in_private_mounts(script).output()?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(interfaces_up(host), ["eth0"]);
    assert!(is_dropped(&lab, 80)?);

    for (arguments, said) in [
        (&["allow", "tcp", "443"][..], "live on eth0"),
        (&["list"], "tcp 443"),
        (&["status"], "generation 2"),
        (&["stats"], "dropped"),
        (&["stats", "--reset"], "dropped"),
        (&["down"], "eth0: detached"),
        (&["up", "eth0"], "eth0: native"),
    ] {
        let output = ip_netns_exec(host, arguments)?;
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        assert!(
            text(&output.stdout).contains(said),
            "{arguments:?}: {output:?}"
        );
    }
    assert!(is_dropped(&lab, 80)? && !is_dropped(&lab, 443)?);
    assert_eq!(interfaces_up(host), ["eth0"]);
    host.xdpfw(["down"]).ok();
    assert_nothing_is_left(host, &["eth0"])
}

#[test]
fn what_becomes_of_the_shared_bpffs_does_not_matter() -> Result<()> {
    let lab = Lab::new()?;
    let output = in_system(
        &lab,
        "\"$@\" up eth0 || exit 80
        mount -t bpf bpf /sys/fs/bpf
        \"$@\" allow tcp 80 || exit 81
        umount --lazy /sys/fs/bpf
        umount --lazy /sys/fs/bpf
        \"$@\" --json status | grep --quiet '\"generation\":2' || exit 82
        ip -json link show eth0 | grep --quiet '\"xdp\"' || exit 83
        \"$@\" down || exit 84
        [ ! -e /run/xdpfw/bpf/$ns ] || exit 85",
    )?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(text(&output.stderr), "", "no reason to warn");
    Ok(())
}

#[test]
fn what_others_put_in_the_shared_bpffs_is_never_looked_at() -> Result<()> {
    let lab = Lab::new()?;
    let other = another_firewall(&lab)?;
    for script in [
        "as=nobody; trap_in /sys/fs/bpf/xdpfw",
        "as=nobody; nobody mkdir --mode=0777 /sys/fs/bpf/xdpfw",
        "as=nobody; nobody ln -s /mnt/victim /sys/fs/bpf/xdpfw",
    ] {
        let output = in_system(&lab, &format!("{script}\n{LIFE}"))?;
        assert_eq!(output.status.code(), Some(0), "{script}: {output:?}");
        assert_eq!(text(&output.stderr), "", "{script}");
        assert_eq!(xdp(&lab.peer, "eth0")?, other, "{script}");
    }
    Ok(())
}

/// Neither obeyed nor a reason to stay down.
#[test]
fn what_is_not_our_own_is_moved_aside() -> Result<()> {
    const RUNTIME: &str = "as=; mkdir --mode=0700 /run/xdpfw";
    const PINS: &str = "as=; mkdir --mode=0700 --parents /run/xdpfw /run/xdpfw/bpf
        mount -t bpf -o mode=0700 bpf /run/xdpfw/bpf";
    let lab = Lab::new()?;
    let other = another_firewall(&lab)?;
    for (script, warned) in [
        // The runtime directory.
        ("ln -s /mnt/victim /run/xdpfw", "/run/xdpfw: "),
        ("touch /run/xdpfw", "/run/xdpfw: "),
        (
            &format!(
                "{RUNTIME}; ln -s /mnt/victim /run/xdpfw/bpf
                ln -s /mnt/victim/a /run/xdpfw/lock; chown -h 65534 /run/xdpfw"
            ),
            "/run/xdpfw: ",
        ),
        (&format!("{RUNTIME}; chmod 0777 /run/xdpfw"), "/run/xdpfw: "),
        (&format!("{RUNTIME}; chmod 0730 /run/xdpfw"), "/run/xdpfw: "),
        // Where bpffs is to be mounted.
        (
            &format!("{RUNTIME}; ln -s /mnt/victim /run/xdpfw/bpf"),
            "/run/xdpfw/bpf: ",
        ),
        (
            &format!(
                "{RUNTIME}; mkdir /run/xdpfw/bpf; mount -t bpf bpf /run/xdpfw/bpf
                as=nobody; chmod 0755 /run/xdpfw; trap_in /run/xdpfw/bpf"
            ),
            "/run/xdpfw/bpf: ",
        ),
        // In our own bpffs.
        (
            &format!("{PINS}; trap_in /run/xdpfw/bpf; chown -R -h 65534 /run/xdpfw/bpf/$ns"),
            "/run/xdpfw/bpf/",
        ),
        (
            &format!("{PINS}; trap_in /run/xdpfw/bpf; chmod 0777 /run/xdpfw/bpf/$ns/abi-$ABI"),
            "/run/xdpfw/bpf/",
        ),
        (
            &format!(
                "{PINS}; mkdir -p /run/xdpfw/bpf/$ns/abi-$ABI
                ln -s /mnt/victim /run/xdpfw/bpf/$ns/abi-$ABI/generations
                ln -s \"$(dirname /mnt/other/$OTHER)\" /run/xdpfw/bpf/$ns/abi-$ABI/links"
            ),
            "",
        ),
        (
            &format!("{PINS}; trap_in /run/xdpfw/bpf; touch /mnt/victim/a"),
            "",
        ),
    ] {
        let output = in_system(&lab, &format!("{script}\n{LIFE}"))?;
        assert_eq!(output.status.code(), Some(0), "{script}: {output:?}");
        let said = text(&output.stderr);
        let warning = format!("warning: {warned}");
        if warned.is_empty() {
            assert_eq!(said, "", "{script}");
        } else {
            assert!(said.starts_with(&warning), "{script}: {said}");
            assert_eq!(said.lines().count(), 1, "{script}: {said}");
        }
        assert_eq!(xdp(&lab.peer, "eth0")?, other, "{script}");
        assert_nothing_is_left(&lab.host, &["eth0"])?;
    }
    Ok(())
}

/// Whoever unmounts our bpffs takes the filter off, as soon as no command has it open. A
/// trace ends with an error then, and `up` starts anew.
#[test]
fn a_filter_whose_pins_are_gone_comes_up_again() -> Result<()> {
    let lab = Lab::new()?;
    let output = in_system(
        &lab,
        "\"$@\" up eth0 || exit 80
        \"$@\" trace > /mnt/trace 2>&1 & trace=$!
        until \"$@\" status | grep --quiet '1 listener'; do sleep 0.1; done
        umount --lazy /run/xdpfw/bpf
        code=0; wait $trace || code=$?
        [ $code = 5 ] || exit 81
        tail -n 1 /mnt/trace | grep --quiet '^error: eth0 is filtered by' || exit 82
        until ! ip -json link show eth0 | grep --quiet '\"xdp\"'; do sleep 0.1; done
        \"$@\" status > /mnt/status && exit 83
        grep --quiet 'warning: eth0: in the policy, but not filtered' /mnt/status || exit 84
        \"$@\" up || exit 85
        \"$@\" status > /mnt/status || exit 86
        \"$@\" down || exit 87",
    )?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    Ok(())
}

/// Where the pins are elsewhere, no command may take that for "not up".
#[test]
fn a_filter_of_another_system_is_not_taken_for_none() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    host.xdpfw(["allow", "tcp", "443"]).ok();
    host.xdpfw(["up", "eth0"]).ok();
    let before = state(host, &["eth0", "eth1"])?;
    for arguments in [
        "up eth1",
        "down",
        "allow tcp 80",
        "delete r1",
        "default pass",
        "status",
        "list",
        "stats",
    ] {
        let output = in_system(&lab, &format!("exec \"$@\" {arguments}"))?;
        assert_eq!(output.status.code(), Some(5), "{arguments}: {output:?}");
        assert_is_one_error(
            &text(&output.stderr),
            "eth0 is filtered by an xdpfw of another",
        );
        assert_eq!(state(host, &["eth0", "eth1"])?, before, "{arguments}");
    }
    Ok(())
}

/// All that is below a directory, and itself.
fn below(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![directory.to_owned()];
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => found.extend(below(&entry.path())?),
            false => found.push(entry.path()),
        }
    }
    found.reverse();
    Ok(found)
}

/// Does work in a thread of a user who is not root, with these capabilities.
fn as_nobody<T: Send>(capabilities: CapabilitySet, work: impl FnOnce() -> T + Send) -> Result<T> {
    let in_thread = || {
        let (user, group) = (Uid::from_raw(65_534), Gid::from_raw(65_534));
        set_thread_res_gid(group, group, group)?;
        set_keep_capabilities(true)?;
        set_thread_res_uid(user, user, user)?;
        let sets = CapabilitySets {
            effective: capabilities,
            permitted: capabilities,
            inheritable: CapabilitySet::empty(),
        };
        set_capabilities(None, sets)?;
        Ok(work())
    };
    thread::scope(|scope| scope.spawn(in_thread).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A firewall of the peer's, whose link the traps lead to.
fn another_firewall(lab: &Lab) -> Result<Option<(String, u64)>> {
    lab.peer.xdpfw(["up", "eth0"]).ok();
    let program = xdp(&lab.peer, "eth0")?;
    assert!(program.is_some());
    Ok(program)
}

/// Runs a script as the init of a system of its own: xdpfw is `"$@"` in it.
fn in_system(lab: &Lab, script: &str) -> Result<Output> {
    let inode = |host: &Host| {
        let pins = host.pins();
        pins.file_name()
            .and_then(|name| Some(name.to_str()?.to_owned()))
            .context("no inode")
    };
    let abi = xdpfw_common::abi::ABI_VERSION;
    let link = ifindex(&lab.peer, "eth0")?;
    lab.host
        .xdpfw([""; 0])
        .env("ABI", abi.to_string())
        .env(
            "OTHER",
            format!("{}/abi-{abi}/links/{link}", inode(&lab.peer)?),
        )
        .in_private_system(&format!("{SYSTEM}\n{script}"))
        .output()
}

/// Runs xdpfw as `ip netns exec` does: in a mount namespace without the shared bpffs, which
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
