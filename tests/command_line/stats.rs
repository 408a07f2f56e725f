//! Proves that what `stats` counts together adds up to what was sent.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::Value;
use xdpfw_tests::{Host, Lab, Sender, packets};

/// Drops and passed packets of each interface, in the order of their names.
fn interfaces(host: &Host) -> Result<Vec<(String, u64, u64)>> {
    let stats = host.xdpfw(["stats"]).json();
    let rows = stats["interfaces"].as_array().context("no interfaces")?;
    let packets = |row: &Value, what: &str| row[what]["packets"].as_u64().unwrap_or(u64::MAX);
    let row = |row: &Value| {
        let name = row["interface"].as_str().unwrap_or("others").to_owned();
        (name, packets(row, "dropped"), packets(row, "passed"))
    };
    Ok(rows.iter().map(row).collect())
}

/// Sends so many packets by a link, a tenth of them to an open port.
fn send(lab: &Lab, link: usize, count: u16) -> Result<()> {
    let (near, far) = (lab.links[link].near(), lab.links[link].far());
    let from = far.at(40_000);
    let port = |number: u16| {
        if number.is_multiple_of(10) {
            443
        } else {
            1000 + number
        }
    };
    let packets = (0..count).map(|number| packets::syn(from, near.at(port(number))));
    Sender::new(&lab.peer, far)?.send_all(packets)?;
    Ok(())
}

#[test]
fn each_interface_is_counted_apart() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    // Of the kernel's own packets, nothing is judged twice.
    host.set_ipv6(false)?;
    lab.peer.set_ipv6(false)?;
    host.xdpfw(["allow", "tcp", "443"]).ok();
    host.xdpfw(["up", "eth0", "eth1"]).ok();
    send(&lab, 0, 100)?;
    send(&lab, 1, 500)?;
    let [eth0, eth1] = interfaces(host)?.try_into().ok().context("not two")?;
    // Address resolution passes, too.
    assert_eq!((eth0.0.as_str(), eth0.1), ("eth0", 90));
    assert_eq!((eth1.0.as_str(), eth1.1), ("eth1", 450));
    assert!((10..20).contains(&eth0.2) && (50..60).contains(&eth1.2));

    // `status` says the same, and a change of the policy forgets nothing.
    host.xdpfw(["allow", "udp", "53"]).ok();
    let status = host.status();
    assert_eq!(status["interfaces"][1]["dropped"]["packets"], 450);
    let stats = host.xdpfw(["stats", "--json"]).json();
    let sum = |what: &str| -> u64 {
        let rows = stats["interfaces"].as_array().into_iter().flatten();
        rows.filter_map(|row| row[what]["packets"].as_u64()).sum()
    };
    for what in ["passed", "dropped"] {
        assert_eq!(stats["totals"][what]["packets"], sum(what), "{what}");
    }

    let rows = host.xdpfw(["stats", "--by", "interface"]).ok();
    assert!(rows.contains(" 450  ") && rows.contains("eth1"), "{rows}");
    let rows = host.xdpfw(["stats", "--by", "reason"]).ok();
    assert!(rows.contains("540  "), "{rows}");
    let rows = host.xdpfw(["stats", "--by", "class"]).ok();
    assert!(rows.contains("registered  1024-49151"), "{rows}");

    // A candidate that is rehearsed counts nothing, and forgets nothing either.
    let other = host.directory().join("other.toml");
    fs::write(&other, "version = 1\n")?;
    let other = other.to_str().context("an odd path")?;
    host.xdpfw(["apply", "--shadow", other]).ok();
    send(&lab, 1, 10)?;
    assert_eq!(interfaces(host)?[1].1, 459);
    host.xdpfw(["shadow", "--drop"]).ok();

    // At zero, every interface has its place again.
    host.xdpfw(["stats", "--reset"]).ok();
    send(&lab, 1, 10)?;
    let counted = interfaces(host)?;
    assert_eq!((counted[0].1, counted[1].1), (0, 9), "{counted:?}");
    assert_eq!(counted.len(), 2, "{counted:?}");
    Ok(())
}

#[test]
fn a_name_counts_on_though_its_interface_comes_back() -> Result<()> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0", "eth1"]).ok();
    send(&lab, 1, 10)?;
    host.xdpfw(["down", "eth1"]).ok();
    host.xdpfw(["up", "eth1"]).ok();
    send(&lab, 1, 10)?;
    let counted = interfaces(host)?;
    assert_eq!(counted[1].0, "eth1");
    assert_eq!(counted[1].1, 20, "{counted:?}");
    Ok(())
}
