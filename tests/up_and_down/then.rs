//! Proves that what passes goes on to another program, and only that, whatever changes.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use aya_obj::generated::bpf_attach_type;
use serde_json::{Value, json};
use xdpfw_common::abi::ABI_VERSION;
use xdpfw_tests::{
    CAPABILITIES, Host, Lab, assert_is_one_error, assert_nothing_is_left, is_dropped, is_traced,
    state, wait_until,
};

use crate::{
    egress::empty_slot,
    program::{DROP, Loaded, PASS, Pins, Program},
};

/// A program that passes everything.
const GUARD: Loaded = Loaded::plain("guard", PASS);

/// Brings the filter up under one rule, for tcp 443, with a program behind it.
fn up_then(host: &Host, pin: &Path) -> Result<()> {
    host.xdpfw(["allow", "tcp", "443"]).ok();
    let pin = pin.to_str().context("a path")?;
    host.xdpfw(["up", "eth0", "--then", pin]).ok();
    Ok(())
}

/// Where the first generation has this pin.
fn own_pin(host: &Host, name: &str) -> PathBuf {
    let directory = host.pins().join(format!("abi-{ABI_VERSION}"));
    directory.join("generations/1").join(name)
}

fn then(host: &Host) -> Value {
    host.status()["then"].clone()
}

/// That a packet to tcp 443 passes and comes to the program, and one to tcp 80 does neither.
#[track_caller]
fn assert_goes_on(lab: &Lab, program: &Program, case: &str) -> Result<()> {
    let before = program.packets()?;
    assert!(is_dropped(lab, 80)?, "{case}");
    assert_eq!(program.packets()?, before, "{case}: dropped, and handed on");
    assert!(!is_dropped(lab, 443)?, "{case}");
    assert_eq!(program.packets()?, before + 1, "{case}: not handed on");
    Ok(())
}

/// Every change puts it into an array of its own generation, by its pin: by its number, it takes
/// CAP_SYS_ADMIN to open.
#[test]
fn three_capabilities_hand_on_what_passes() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let pins = Pins::mount(host)?;
    let pin = pins.path("guard");
    let guard = Program::pinned(GUARD, &pin)?;
    lab.peer.xdpfw(["up", "eth0"]).ok();
    let limited = |words: &[&str]| host.xdpfw(words).with_capabilities(&CAPABILITIES);
    host.xdpfw(["allow", "tcp", "443"]).ok();
    limited(&["up", "eth0"]).ok();
    let path = pin.to_str().context("a path")?;
    limited(&["up", "--then", path]).ok();
    assert_goes_on(&lab, &guard, "up")?;
    limited(&["up", "--then", "none"]).ok();
    // What was behind it is behind it again.
    limited(&["up", "--then", path, "--confirm", "60s"]).ok();
    limited(&["rollback"]).ok();
    limited(&["up", "--then", path]).ok();
    limited(&["deny", "tcp", "25"]).ok();
    assert_goes_on(&lab, &guard, "deny")?;
    limited(&["down"]).ok();
    lab.peer.xdpfw(["down"]).ok();
    assert_nothing_is_left(host, &["eth0"])
}

#[test]
fn what_passes_goes_on_whatever_changes() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let pins = Pins::mount(host)?;
    let pin = pins.path("guard");
    let guard = Program::pinned(GUARD, &pin)?;
    up_then(host, &pin)?;
    let shown = json!({"id": guard.id()?, "name": "guard", "pin": pin});
    assert_eq!(then(host), shown);
    let status = host.xdpfw(["status"]).ok();
    let line = format!("then: guard (id {}, {})", guard.id()?, pin.display());
    assert!(status.lines().any(|shown| shown == line), "{status}");
    assert_goes_on(&lab, &guard, "up")?;

    fs::remove_file(&pin)?;
    assert_goes_on(&lab, &guard, "its pin is gone")?;
    let file = host.policy();
    let file = file.to_str().context("a path")?;
    for change in [
        &["allow", "udp", "53"][..],
        &["delete", "allow", "udp", "53"],
        &["apply", file],
        &["stats", "--reset"],
        &["up"],
        &["up", "eth0"],
        &["allow", "udp", "53", "--confirm", "60s"],
        &["rollback"],
        &["allow", "udp", "53", "--confirm", "60s"],
        &["confirm"],
        &["panic", "--for", "60s", "--force"],
        &["panic", "--off"],
    ] {
        host.xdpfw(change).ok();
        assert_eq!(then(host), shown, "{change:?}");
        if change[0] != "panic" || change[1] == "--off" {
            assert_goes_on(&lab, &guard, &format!("{change:?}"))?;
        }
    }

    host.xdpfw(["bypass", "--for", "60s"]).ok();
    let before = guard.packets()?;
    assert!(!is_dropped(&lab, 80)?);
    assert_eq!(guard.packets()?, before + 1, "bypassed");
    host.xdpfw(["bypass", "--off"]).ok();
    assert_goes_on(&lab, &guard, "after the bypass")?;

    let trace = host.xdpfw(["trace", "-n", "1"]).spawn()?;
    wait_until("listening", || is_traced(host))?;
    assert_goes_on(&lab, &guard, "traced")?;
    drop(trace);
    host.xdpfw(["down"]).ok();
    assert_nothing_is_left(host, &["eth0"])?;
    // It is not remembered.
    host.xdpfw(["up"]).ok();
    assert_eq!(then(host), Value::Null);
    let before = guard.packets()?;
    assert!(!is_dropped(&lab, 443)?);
    assert_eq!(guard.packets()?, before);
    Ok(())
}

/// The verdict is that of the program behind, and the count that of the filter.
#[test]
fn the_other_program_decides() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let pins = Pins::mount(host)?;
    let pin = pins.path("wall");
    let wall = Program::pinned(Loaded::plain("wall", DROP), &pin)?;
    host.xdpfw(["up", "eth0"]).ok();
    host.xdpfw(["default", "pass"]).ok();
    let pings = |host: &Host| {
        let far = lab.link().near().address.to_string();
        host.run("ping", ["-c", "1", "-W", "1", &far]).is_ok()
    };
    assert!(pings(&lab.peer));
    let pin = pin.to_str().context("a path")?;
    host.xdpfw(["up", "eth0", "--then", pin]).ok();
    let (before, passed) = (
        wall.packets()?,
        host.status()["totals"]["passed"]["packets"].clone(),
    );
    assert!(!pings(&lab.peer));
    assert!(wall.packets()? > before);
    assert!(host.status()["totals"]["passed"]["packets"].as_u64() > passed.as_u64());
    host.xdpfw(["up", "--then", "none"]).ok();
    assert_eq!(then(host), Value::Null);
    assert!(pings(&lab.peer));
    Ok(())
}

#[test]
fn another_program_takes_its_place_and_goes_back_with_the_change() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let pins = Pins::mount(host)?;
    let [first, second] = ["first", "second"].map(|name| pins.path(name));
    let one = Program::pinned(Loaded::plain("first", PASS), &first)?;
    let other = Program::pinned(Loaded::plain("second", PASS), &second)?;
    up_then(host, &first)?;
    let [first, second] = [&first, &second].map(|pin| pin.to_str().unwrap_or_default());

    host.xdpfw(["up", "--then", second, "--confirm", "60s"])
        .ok();
    assert_eq!(then(host)["name"], "second");
    assert_goes_on(&lab, &other, "until it is confirmed")?;
    host.xdpfw(["rollback"]).ok();
    assert_eq!(then(host)["name"], "first");
    assert_goes_on(&lab, &one, "went back")?;

    host.xdpfw(["up", "--then", second]).ok();
    let packets = one.packets()?;
    assert_goes_on(&lab, &other, "replaced")?;
    assert_eq!(one.packets()?, packets);
    let before = state(host, &["eth0"])?;
    host.xdpfw(["up", "--then", second]).ok();
    assert_eq!(state(host, &["eth0"])?, before, "the same once more");
    host.xdpfw(["up", "--then", first]).ok();
    assert_goes_on(&lab, &one, "back again")?;
    host.xdpfw(["up", "eth0", "--then", "none"]).ok();
    let packets = one.packets()?;
    assert!(!is_dropped(&lab, 443)?);
    assert_eq!(one.packets()?, packets);
    Ok(())
}

/// An empty array is as no array, and `status` says so.
#[test]
fn packets_pass_where_the_program_was_taken_away() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let pins = Pins::mount(host)?;
    let pin = pins.path("guard");
    let guard = Program::pinned(GUARD, &pin)?;
    up_then(host, &pin)?;
    empty_slot(&own_pin(host, "next"))?;
    assert!(!is_dropped(&lab, 443)?);
    assert!(is_dropped(&lab, 80)?);
    assert_eq!(guard.packets()?, 0);
    let warnings = host.status()["warnings"].clone();
    assert_eq!(warnings[0]["kind"], "then-missing");
    // As it says.
    let remedy = format!("xdpfw up --then {}", pin.display());
    assert_eq!(warnings[0]["remedy"], json!(remedy));
    host.xdpfw(["up", "--then", pin.to_str().context("a path")?])
        .ok();
    assert_eq!(host.status()["warnings"], json!([]));
    assert_goes_on(&lab, &guard, "mended")
}

#[test]
fn what_the_kernel_does_not_call_is_refused_with_the_reason() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let pins = Pins::mount(host)?;
    let guard = Program::pinned(GUARD, &pins.path("guard"))?;
    guard.pin_map(&pins.path("map"))?;
    let frags = Loaded {
        frags: true,
        ..GUARD
    };
    let _frags = Program::pinned(frags, &pins.path("frags"))?;
    let cpumap = Loaded {
        attach_type: bpf_attach_type::BPF_XDP_CPUMAP,
        ..GUARD
    };
    let cpumap = Program::pinned(cpumap, &pins.path("cpumap"))?;
    fs::write(host.directory().join("file"), "")?;
    let pin = |name: &str| pins.path(name).display().to_string();
    let file = host.directory().join("file").display().to_string();
    for up in [false, true] {
        if up {
            host.xdpfw(["up", "eth0"]).ok();
        }
        for (pin, code, why) in [
            (pin("missing"), 5, "there is no such pin"),
            (
                pin("map"),
                5,
                "a map or link is pinned here, and no program",
            ),
            (
                pins.path("").display().to_string(),
                5,
                "no program is pinned here",
            ),
            (file.clone(), 5, "a file, and no pin (a pin is in a bpffs)"),
            (pin("frags"), 5, "build it without xdp.frags"),
        ] {
            let before = host.status();
            let said = host.xdpfw(["up", "eth0", "--then", &pin]).fails(code);
            assert_is_one_error(&said, why);
            assert_eq!(host.status(), before, "{pin}");
            if !up {
                assert_nothing_is_left(host, &["eth0"])?;
            }
        }
    }
    let own = own_pin(host, "program").display().to_string();
    let said = host.xdpfw(["up", "--then", &own]).fails(5);
    assert_is_one_error(&said, "this is the filter itself");
    // Older kernels call it.
    let output = host.xdpfw(["up", "--then", &pin("cpumap")]).output()?;
    match output.status.success() {
        true => assert_eq!(then(host)["id"], cpumap.id()?),
        false => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_is_one_error(&said, "is for a cpumap or devmap");
        }
    }
    Ok(())
}

/// Root obeys no pin that another user may put in place of his own.
#[test]
fn a_pin_that_others_may_change_is_refused() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let pins = Pins::mount(host)?;
    let directory = pins.path("shared");
    fs::create_dir(&directory)?;
    let pin = directory.join("guard");
    let guard = Program::pinned(GUARD, &pin)?;
    let mode = |mode: &str| host.run("chmod", [Path::new(mode), &directory]).map(drop);
    let up = || host.xdpfw(["up", "eth0", "--then", &pin.display().to_string()]);

    mode("0777")?;
    assert_is_one_error(&up().fails(1), "others than root may write it");
    assert_nothing_is_left(host, &["eth0"])?;
    // As the shared bpffs is by the kernel's default: who is not root replaces nothing of root's.
    mode("1777")?;
    up().ok();
    assert_eq!(then(host)["id"], guard.id()?);
    host.xdpfw(["down"]).ok();
    std::os::unix::fs::chown(&pin, Some(1000), None)?;
    assert_is_one_error(&up().fails(1), "belongs to user 1000");
    std::os::unix::fs::chown(&pin, Some(0), None)?;
    // A link of another user.
    let link = directory.join("link");
    symlink(&pin, &link)?;
    std::os::unix::fs::lchown(&link, Some(1000), None)?;
    let link = link.display().to_string();
    let said = host.xdpfw(["up", "eth0", "--then", &link]).fails(1);
    assert_is_one_error(&said, "belongs to user 1000");
    assert_nothing_is_left(host, &["eth0"])
}
