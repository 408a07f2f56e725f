//! Proves that a filter is found wherever its interface went: in another network namespace,
//! after the death of its own, or with its pins out of sight.

use std::{
    fs,
    os::unix::fs::DirBuilderExt as _,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Result, bail};
use xdpfw_tests::{
    Host, Lab, assert_is_one_error, assert_nothing_is_left, interfaces_up, is_dropped, state, text,
    xdp,
};

/// A host whose interface `eth0` runs the filter of a namespace, which is there, or is gone.
fn moved(is_gone: bool) -> Result<(Lab, Option<Host>)> {
    let lab = Lab::new()?;
    let home = Host::new()?;
    move_to(&lab.host, "eth0", &home)?;
    home.run("ip", ["link", "set", "eth0", "up"])?;
    home.xdpfw(["up", "eth0"]).ok();
    move_to(&home, "eth0", &lab.host)?;
    lab.host.run("ip", ["link", "set", "eth0", "up"])?;
    if !is_gone {
        return Ok((lab, Some(home)));
    }
    // As it dies by itself: the pins stay.
    let name = home.name().to_owned();
    std::mem::forget(home);
    lab.host.run("ip", ["netns", "delete", &name])?;
    Ok((lab, None))
}

fn move_to(from: &Host, interface: &str, to: &Host) -> Result<()> {
    from.run("ip", ["link", "set", interface, "netns", to.name()])?;
    Ok(())
}

#[test]
fn a_filter_that_came_with_its_interface_is_shown_and_taken_off() -> Result<()> {
    for is_gone in [true, false] {
        let (lab, home) = moved(is_gone)?;
        let host = &lab.host;
        assert!(xdp(host, "eth0")?.is_some());
        let warning = host.status()["warnings"][0].clone();
        assert_eq!(warning["kind"], "interface-elsewhere");
        assert_eq!(warning["remedy"], "xdpfw down eth0");
        let said = host.xdpfw(["up", "eth0"]).fails(5);
        assert_is_one_error(&said, "eth0: another XDP program");
        assert!(said.ends_with("; say `xdpfw down eth0` first\n"), "{said}");

        // What the operator of another namespace filters is taken off by name alone.
        let down = host.xdpfw(["down"]).output()?;
        assert_eq!(down.status.code(), Some(0), "{down:?}");
        assert_eq!(xdp(host, "eth0")?.is_none(), is_gone);
        if !is_gone {
            assert_eq!(host.xdpfw(["down", "eth0"]).ok(), "eth0: detached\n");
        }
        assert_eq!(xdp(host, "eth0")?, None);
        assert!(
            host.status()["warnings"]
                .as_array()
                .is_some_and(Vec::is_empty)
        );
        host.xdpfw(["up", "eth0"]).ok();
        assert_eq!(interfaces_up(host), ["eth0"]);
        host.xdpfw(["down"]).ok();
        assert_nothing_is_left(host, &["eth0"])?;
        drop(home);
    }
    Ok(())
}

#[test]
fn what_dead_namespaces_left_is_swept() -> Result<()> {
    let lab = Lab::new()?;
    let dead = Lab::new()?;
    dead.host.xdpfw(["up", "eth0"]).ok();
    let pins = dead.host.pins();
    let name = dead.host.name().to_owned();
    // As a namespace dies by itself: its interfaces go with it, the pins stay. This process
    // still has it open, so the interface goes first.
    dead.host.run("ip", ["link", "delete", "eth0"])?;
    std::mem::forget(dead);
    lab.host.xdpfw(["down"]).ok();
    assert!(pins.exists(), "it has a name");
    lab.host.run("ip", ["netns", "delete", &name])?;
    lab.host.xdpfw(["down"]).ok();
    assert!(!pins.exists());
    Ok(())
}

#[test]
fn namespaces_that_come_and_go_are_not_in_the_way() -> Result<()> {
    let lab = Lab::new()?;
    lab.host.xdpfw(["up", "eth0"]).ok();
    let other = Lab::new()?;
    other.host.xdpfw(["up", "eth0"]).ok();
    // No namespace has this number: none is numbered so low.
    let coming = other.host.pins().with_file_name("1");
    let versions: Vec<_> = fs::read_dir(other.host.pins())?.collect::<Result<_, _>>()?;
    let [version] = versions.as_slice() else {
        bail!("{versions:?}");
    };
    let (from, to) = (version.path(), coming.join(version.file_name()));
    let is_over = AtomicBool::new(false);
    let (times, outputs) = thread::scope(|scope| {
        // As commands of another namespace make and remove them, only more often.
        let busy = scope.spawn(|| {
            let mut times = 0_u64;
            while !is_over.load(Ordering::Relaxed) {
                // Others may sweep it meanwhile.
                let _ = fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(&to);
                for _ in 0..50 {
                    for pin in ["dispatcher", "dispatcher_l3"] {
                        times += u64::from(fs::hard_link(from.join(pin), to.join(pin)).is_ok());
                        let _ = fs::remove_file(to.join(pin));
                    }
                }
                let _ = fs::remove_dir_all(&coming);
            }
            times
        });
        let commands = ["status"; 100].iter().chain(&["down", "up"]);
        let outputs = commands.map(|command| lab.host.xdpfw([command]).output());
        let outputs: Result<Vec<_>> = outputs.collect();
        is_over.store(true, Ordering::Relaxed);
        (busy.join(), outputs)
    });
    for output in outputs? {
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    assert!(
        times.is_ok_and(|times| times > 100),
        "the pins did not come and go"
    );
    Ok(())
}

/// Whatever hides the pins, no command takes the filter for none.
#[test]
fn a_filter_whose_pins_are_hidden_is_not_taken_for_none() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    host.xdpfw(["allow", "tcp", "443"]).ok();
    host.xdpfw(["up", "eth0"]).ok();
    let before = state(host, &["eth0", "eth1"])?;
    for words in ["up eth1", "down", "allow tcp 80", "status", "list", "stats"] {
        for kind in ["bpf -o mode=0700 bpf", "tmpfs -o mode=0700 tmpfs"] {
            let script = format!("mount -t {kind} /run/xdpfw/bpf && exec \"$@\" {words}");
            let output = host.xdpfw([""; 0]).in_private_system(&script).output()?;
            assert_eq!(output.status.code(), Some(5), "{words}: {output:?}");
            assert_is_one_error(
                &text(&output.stderr),
                "eth0 is filtered, but another file system",
            );
            assert!(text(&output.stderr).contains("say `umount /run/xdpfw/bpf`"));
            assert_eq!(state(host, &["eth0", "eth1"])?, before, "{words}");
        }
    }
    assert!(Path::new("/run/xdpfw/bpf").exists() && is_dropped(&lab, 80)?);
    Ok(())
}
