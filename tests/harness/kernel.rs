//! Reads the state of a host's kernel without xdpfw: which programs its interfaces run, and
//! what is pinned for it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::Host;

/// The number of an interface.
pub fn ifindex(host: &Host, interface: &str) -> Result<u64> {
    link_of(host, interface)?["ifindex"]
        .as_u64()
        .context("no ifindex")
}

/// The mode and the id of the XDP program on an interface.
pub fn xdp(host: &Host, interface: &str) -> Result<Option<(String, u64)>> {
    let xdp = &link_of(host, interface)?["xdp"];
    if xdp.is_null() {
        return Ok(None);
    }
    // `XDP_ATTACHED_DRV` and `XDP_ATTACHED_SKB` in linux/if_link.h.
    let mode = match xdp["mode"].as_u64() {
        Some(1) => "native",
        Some(2) => "generic",
        _ => bail!("an unknown mode: {xdp}"),
    };
    let program = xdp["prog"]["id"].as_u64().context("no program")?;
    Ok(Some((mode.to_owned(), program)))
}

/// The mode of the XDP program on an interface, on which there must be one.
pub fn xdp_mode(host: &Host, interface: &str) -> Result<String> {
    let (mode, _) = xdp(host, interface)?.context("nothing is attached")?;
    Ok(mode)
}

/// What a host's xdpfw has pinned.
pub fn pinned(host: &Host) -> Vec<PathBuf> {
    files_below(&host.pins())
}

/// Claims that these interfaces run no program and have no clsact qdisc, and that nothing is
/// pinned.
#[track_caller]
pub fn assert_nothing_is_left(host: &Host, interfaces: &[&str]) -> Result<()> {
    for interface in interfaces {
        assert_eq!(xdp(host, interface)?, None, "{interface}");
        let qdiscs = host.run("tc", ["qdisc", "show", "dev", interface])?;
        assert!(!qdiscs.contains("clsact"), "{interface}: {qdiscs}");
    }
    assert!(
        !host.pins().exists(),
        "{:?} is left with {:?}",
        host.pins(),
        pinned(host)
    );
    Ok(())
}

/// What the kernel says of an interface.
fn link_of(host: &Host, interface: &str) -> Result<Value> {
    let links = host.run("ip", ["-json", "link", "show", "dev", interface])?;
    let links: Value = serde_json::from_str(&links)?;
    Ok(links[0].clone())
}

/// The files in a directory, however deep; the path itself if it is none.
fn files_below(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return vec![directory.to_owned()];
    };
    entries
        .flatten()
        .flat_map(|entry| files_below(&entry.path()))
        .collect()
}
