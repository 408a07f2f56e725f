//! Proves that a new version takes the place of an older one without a gap, wherever it is killed.
//!
//! The older one is this version with its pins in an older version's place, or the binary that
//! `XDPFW_PREVIOUS_BIN` names.

use std::{env, fs, path::PathBuf, process::Stdio, thread, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::Value;
use xdpfw_common::abi::{ABI_VERSION, Holds, SHARED_MAPS};
use xdpfw_tests::{Host, Lab, assert_is_one_error, assert_nothing_is_left};

use super::{
    traffic::{OPEN, Traffic},
    world::policy,
};

/// Upgrades that are killed, each a bit later.
const KILLS: u32 = 8;
const INTERFACES: [&str; 2] = ["eth0", "eth1"];

/// Brings a filter up that an older version seems to have left.
fn older(host: &Host) -> Result<()> {
    let path = host.directory().join("policy.toml");
    fs::write(&path, policy(0))?;
    match env::var_os("XDPFW_PREVIOUS_BIN") {
        Some(binary) => {
            let mut up = host.command(PathBuf::from(binary));
            up.args(["up", "eth0", "eth1"]).env("XDPFW_POLICY", &path);
            anyhow::ensure!(up.output()?.status.success(), "the older version fails");
        }
        None => {
            host.xdpfw(["up", "eth0", "eth1"]).ok();
            let version = |number: u32| host.pins().join(format!("abi-{number}"));
            fs::rename(version(ABI_VERSION), version(ABI_VERSION - 1))?;
        }
    }
    Ok(())
}

/// Whether this version takes over what the one before it counts.
fn counters_go_on() -> bool {
    let mut counters = SHARED_MAPS
        .iter()
        .filter(|map| map.holds == Holds::Counters);
    counters.all(|map| map.since < ABI_VERSION)
}

fn packets(host: &Host) -> Option<u64> {
    let total = |status: &Value, way: &str| status["totals"][way]["packets"].as_u64();
    let status = host.status();
    Some(total(&status, "passed")? + total(&status, "dropped")?)
}

#[test]
fn an_upgrade_loses_and_misjudges_no_packet_wherever_it_is_killed() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    for part in 0..=KILLS {
        older(host)?;
        let traffic = Traffic::begin(&lab)?;
        thread::sleep(Duration::from_millis(100));
        if part < KILLS {
            let mut killed = host
                .xdpfw(["up"])
                .command()?
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?;
            thread::sleep(Duration::from_millis(60) * part);
            killed.kill()?;
            killed.wait()?;
            traffic.pause().with_context(|| format!("killed, {part}"))?;
            traffic.resume();
        }
        let output = host.xdpfw(["up"]).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{said}");
        let goes_on = counters_go_on();
        let warnings: Vec<&str> = said
            .lines()
            .filter(|line| line.contains("warning"))
            .collect();
        let lost = ["warning: its counters do not fit this one, and begin at zero"];
        match goes_on {
            true => assert!(warnings.is_empty(), "{said}"),
            // The one that was killed may have come as far as to have said it.
            false if part < KILLS => assert!(warnings.is_empty() || warnings == lost, "{said}"),
            false => assert_eq!(warnings, lost, "{said}"),
        }
        traffic
            .pause()
            .with_context(|| format!("upgraded, {part}"))?;
        // What the older version counted is not lost, if it means the same.
        assert!(
            !goes_on || packets(host) >= Some(2 * traffic.sent()),
            "{part}"
        );
        traffic.end()?;
        let versions: Vec<_> = fs::read_dir(host.pins())?
            .map(|entry| Ok(entry?.file_name()))
            .collect::<Result<_>>()?;
        assert_eq!(versions, [format!("abi-{ABI_VERSION}").as_str()]);
        // All of it works.
        host.xdpfw(["allow", "udp", "4000"]).ok();
        host.xdpfw(["down"]).ok();
        assert_nothing_is_left(host, &INTERFACES)?;
        assert!(fs::read_to_string(host.policy())?.contains(&OPEN.to_string()));
    }
    Ok(())
}

#[test]
fn beside_an_older_version_nothing_is_done_but_up_and_down() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    older(host)?;
    for command in [
        &["status"][..],
        &["list"],
        &["allow", "tcp", "22"],
        &["apply"],
        &["down", "eth0"],
    ] {
        let said = host.xdpfw(command).fails(5);
        assert_is_one_error(&said, "an older version of xdpfw filters this host");
        assert!(said.contains("say `xdpfw up`"), "{said}");
    }
    host.xdpfw(["down"]).ok();
    assert_nothing_is_left(host, &INTERFACES)
}
