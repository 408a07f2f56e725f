//! Proves how the egress half comes and goes with the filter: as a TCX link where the kernel
//! has TCX, else as a filter of a clsact qdisc, with nothing of it left behind and nothing of
//! others' touched.

mod classifier;
mod others;

use std::{
    fs,
    net::UdpSocket,
    path::PathBuf,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use aya::{
    programs::ProgramInfo,
    sys::{Stats, enable_stats},
};
use serde_json::{Value, json};
use xdpfw_common::abi::{ABI_VERSION, BARE_MARK};
use xdpfw_tests::{Host, Lab, Tun, assert_nothing_is_left, ifindex, interfaces_up};

pub(crate) use self::classifier::empty_slot;
use self::classifier::{Classifier, tcx_programs};

/// The dispatchers' pins.
const ETHERNET: &str = "dispatcher_egress";
const LAYER3: &str = "dispatcher_egress_l3";

#[test]
fn what_leaves_runs_the_dispatcher_and_leaves() -> Result<()> {
    let _counting = enable_stats(Stats::RunTime)?;
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    assert_eq!(egress(host, "eth0"), json!(kind()?));
    let before = runs(host, ETHERNET)?;
    assert!(leaves(&lab)?);
    assert_eq!(runs(host, ETHERNET)?, before + 1);
    assert_eq!(runs(host, LAYER3)?, 0);

    host.xdpfw(["down"]).ok();
    assert_nothing_is_attached(host, &["eth0"])?;
    assert!(leaves(&lab)?);
    Ok(())
}

#[test]
fn what_leaves_without_a_link_layer_runs_its_own_dispatcher() -> Result<()> {
    let _counting = enable_stats(Stats::RunTime)?;
    let host = Host::new()?;
    let tun = Tun::layer3(&host, "tun0")?;
    host.run("ip", ["address", "add", "10.9.0.1/24", "dev", "tun0"])?;
    host.run("ip", ["link", "set", "tun0", "up"])?;
    host.xdpfw(["up", "tun0"]).ok();
    assert_eq!(egress(&host, "tun0"), json!(kind()?));
    let socket = host.enter(|| Ok(UdpSocket::bind("10.9.0.1:0")?))?;
    socket.send_to(b"text", "10.9.0.2:9")?;
    tun.receive(|packet| packet.ends_with(b"text"), xdpfw_tests::PATIENCE)?;
    assert_eq!((runs(&host, LAYER3)?, runs(&host, ETHERNET)?), (1, 0));
    host.xdpfw(["down"]).ok();
    assert_nothing_is_attached(&host, &["tun0"])
}

/// What another program left in the control buffer is not taken for a mark.
#[test]
fn a_dispatcher_says_what_the_packet_begins_with() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    let reader = Classifier::that_returns_the_mark()?;
    for (pin, mark) in [(ETHERNET, 0), (LAYER3, BARE_MARK)] {
        let dispatcher = Classifier::from_pin(&pins(host).join(pin))?;
        for left in [0, BARE_MARK, u32::MAX] {
            // With nothing to go on in, it leaves the packet to the next program.
            classifier::empty_slot(&pins(host).join("current_egress"))?;
            assert_eq!(dispatcher.run(left)?, u32::MAX, "{pin}, {left:#x}");
            reader.put_into_slot(&pins(host).join("current_egress"))?;
            assert_eq!(dispatcher.run(left)?, mark, "{pin}, {left:#x}");
        }
    }
    Ok(())
}

#[test]
fn an_egress_half_that_was_lost_is_missed_and_attached_again_by_up() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0", "eth1"]).ok();
    for arguments in [&["up", "eth0"][..], &["up"]] {
        lose(host, "eth0")?;
        let status = host.status();
        let missing = json!([{
            "kind": "egress-missing",
            "text": "eth0: what leaves is not recorded, so not all answers pass",
            "remedy": "xdpfw up eth0",
        }]);
        assert_eq!(status["warnings"], missing);
        assert_eq!(interfaces_up(host), ["eth0", "eth1"]);
        assert_eq!(egress(host, "eth0"), Value::Null);
        assert_eq!(egress(host, "eth1"), json!(kind()?));
        let generation = status["generation"].clone();

        host.xdpfw(arguments).ok();
        let status = host.status();
        assert_eq!(status["warnings"], json!([]), "{arguments:?}");
        assert_eq!(status["generation"], generation, "{arguments:?}");
        assert_eq!(egress(host, "eth0"), json!(kind()?));
    }
    // Nor is it in the way of `down`.
    lose(host, "eth1")?;
    host.xdpfw(["down"]).ok();
    assert_nothing_is_attached(host, &["eth0", "eth1"])
}

#[test]
fn interfaces_come_and_go_alone() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0", "eth1"]).ok();
    host.xdpfw(["down", "eth0"]).ok();
    assert_eq!(programs_on(host, "eth0")?, 0);
    assert_eq!(programs_on(host, "eth1")?, 1);
    host.xdpfw(["up", "eth0"]).ok();
    assert_eq!(egress(host, "eth0"), json!(kind()?));
    host.run("ip", ["link", "delete", "eth1"])?;
    host.xdpfw(["down"]).ok();
    assert_nothing_is_attached(host, &["eth0"])
}

/// What XDP refuses has no egress half either.
#[test]
fn up_that_is_refused_attaches_nothing() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.run("ip", ["link", "add", "br0", "type", "bridge"])?;
    for interface in ["br0", "eth0"] {
        host.xdpfw(["up", "eth0", "br0", "--mode", "native"])
            .fails(5);
        assert_nothing_is_attached(host, &[interface])?;
    }
    // Nor where the filter is up already.
    host.xdpfw(["up", "eth0"]).ok();
    host.xdpfw(["up", "br0", "--mode", "native"]).fails(5);
    assert_eq!(programs_on(host, "br0")?, 0);
    assert_eq!(programs_on(host, "eth0")?, 1);
    let output = host
        .xdpfw(["up", "br0", "--mode", "generic"])
        .with_read_only_policy()
        .output()?;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(programs_on(host, "br0")?, 0);
    Ok(())
}

#[test]
fn what_a_killed_command_leaves_is_completed_or_undone() -> Result<()> {
    /// Kills of each command, spread over the time that it takes.
    const KILLS: u32 = 12;
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    let interfaces = ["eth0", "eth1"];
    let up = ["up", "eth0", "eth1"];
    let started = Instant::now();
    host.xdpfw(up).ok();
    let span = started.elapsed();
    for kill in 0..KILLS {
        let delay = span * kill / KILLS;
        // With both up, one up, and none up.
        for (name, before, command) in [
            ("down", &["up", "eth0", "eth1"][..], &["down"][..]),
            ("first up", &["down"], &up),
            ("up", &["up", "eth0"], &up),
        ] {
            let case = format!("{name} killed after {delay:?}");
            host.xdpfw(["down"]).ok();
            host.xdpfw(before).ok();
            kill_after(host, command, delay)?;
            if kill % 2 == 0 {
                let said = host.xdpfw(up).output()?;
                assert_eq!(said.status.code(), Some(0), "{case}: {said:?}");
                assert!(said.stderr.is_empty(), "{case}: {said:?}");
                for interface in interfaces {
                    assert_eq!(egress(host, interface), json!(kind()?), "{case}");
                    assert_settles(1, || programs_on(host, interface), &case)?;
                }
            } else {
                host.xdpfw(["down"]).ok();
                for interface in interfaces {
                    assert_settles(0, || programs_on(host, interface), &case)?;
                }
                assert_nothing_is_left(host, &interfaces)?;
            }
        }
    }
    Ok(())
}

/// How the egress half is attached on this kernel.
fn kind() -> Result<&'static str> {
    Ok(if has_tcx()? { "tcx" } else { "clsact" })
}

/// TCX came with Linux 6.6.
fn has_tcx() -> Result<bool> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split(['.', '-']).map(str::parse::<u32>);
    let mut next = || numbers.next().context("no release").and_then(|n| Ok(n?));
    Ok((next()?, next()?) >= (6, 6))
}

/// How `status` says that the egress half is attached to an interface.
fn egress(host: &Host, interface: &str) -> Value {
    let status = host.status();
    let interfaces = status["interfaces"].as_array().cloned().unwrap_or_default();
    let mut interfaces = interfaces.iter();
    let found = interfaces.find(|found| found["name"] == interface);
    found.map_or_else(|| json!("not filtered"), |found| found["egress"].clone())
}

/// How many programs an interface runs for what leaves, as the kernel has it.
fn programs_on(host: &Host, interface: &str) -> Result<usize> {
    let filters = filters(host, interface)?;
    if !has_tcx()? {
        return Ok(filters.len());
    }
    Ok(filters.len() + tcx_programs(host, interface)?.len())
}

/// The filters that `tc` shows of what leaves.
fn filters(host: &Host, interface: &str) -> Result<Vec<Value>> {
    let text = host.run(
        "tc",
        ["-json", "filter", "show", "dev", interface, "egress"],
    )?;
    let filters: Vec<Value> = match text.trim() {
        "" => Vec::new(),
        text => serde_json::from_str(text)?,
    };
    // All filters of a priority are announced by one without options.
    let has_options = |filter: &Value| filter["options"].get("handle").is_some();
    Ok(filters.into_iter().filter(has_options).collect())
}

/// Claims that nothing of the filter is left, and that nothing sees what leaves.
#[track_caller]
fn assert_nothing_is_attached(host: &Host, interfaces: &[&str]) -> Result<()> {
    assert_nothing_is_left(host, interfaces)?;
    for interface in interfaces {
        assert_eq!(programs_on(host, interface)?, 0, "{interface}");
    }
    Ok(())
}

/// Claims a number that the kernel comes to some time later: it frees what a killed command
/// had open after the command is gone.
#[track_caller]
fn assert_settles(expected: usize, number: impl Fn() -> Result<usize>, case: &str) -> Result<()> {
    let deadline = Instant::now() + xdpfw_tests::PATIENCE;
    loop {
        let found = number()?;
        if found == expected {
            return Ok(());
        }
        assert!(Instant::now() < deadline, "{case}: {found} programs");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a packet that the host sends leaves by its first interface.
fn leaves(lab: &Lab) -> Result<bool> {
    let (near, far) = (lab.link().near(), lab.link().far());
    let sent = || Ok::<_, anyhow::Error>(lab.host.counters(&near.interface)?.tx_packets);
    let before = sent()?;
    let socket = lab.host.enter(|| Ok(UdpSocket::bind(near.at(0))?))?;
    // What is dropped on its way out may be an error, or not.
    let _ = socket.send_to(b"text", far.at(9));
    Ok(sent()? > before)
}

/// How often a program has run.
fn runs(host: &Host, pin: &str) -> Result<u64> {
    Ok(ProgramInfo::from_pin(pins(host).join(pin))?.run_count())
}

fn pins(host: &Host) -> PathBuf {
    host.pins().join(format!("abi-{ABI_VERSION}"))
}

/// Takes the egress half off an interface, as somebody might who tidies up.
fn lose(host: &Host, interface: &str) -> Result<()> {
    if !has_tcx()? {
        host.run("tc", ["qdisc", "delete", "dev", interface, "clsact"])?;
        return Ok(());
    }
    let link = ifindex(host, interface)?.to_string();
    classifier::detach(&pins(host).join("egress").join(link))
}

/// Starts a command and kills it after a while, unless it ends before.
fn kill_after(host: &Host, command: &[&str], delay: Duration) -> Result<()> {
    let mut child = host
        .xdpfw(command)
        .command()?
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    thread::sleep(delay);
    child.kill()?;
    child.wait()?;
    Ok(())
}
