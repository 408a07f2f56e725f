//! Proves that xdpfw filters the devices that a host puts on top of its interfaces, and
//! beside them: VLANs, bonds, macvlans, ifb, and what netem does to packets.
//!
//! Not every kernel has these devices, so the tests run in the virtual machines of
//! `cargo xtask test --kernel 6.1`, and nowhere else unless asked for by
//! `-- --include-ignored`.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::Value;
use xdpfw_tests::{
    End, Host, Lab, PATIENCE, Sender, assert_is_one_error, assert_nothing_is_left,
    json::number,
    packets,
    servers::{TcpServer, UdpEcho, exchange, fetch},
    xdp, xdp_mode,
};

/// The peer's port where it does not matter.
const REMOTE: u16 = 40_000;
/// How long one waits for an answer that must not come.
const IN_VAIN: Duration = Duration::from_millis(300);
/// Length of the Ethernet, IPv4 and TCP headers of a SYN, in bytes.
const SYN: u64 = 14 + 20 + 20;
/// Length of a VLAN tag, in bytes.
const TAG: u64 = 4;

#[test]
#[ignore = "needs 8021q: cargo xtask test --kernel 6.1"]
fn vlan_traffic_is_judged_with_and_without_its_tag_in_sight() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let [near, far] = vlan(&lab, lab.link().near(), lab.link().far(), 100)?;
    host.xdpfw(["up", "eth0"]).ok();
    host.xdpfw(["allow", "tcp", "443"]).ok();
    let _open = TcpServer::start(host, 443, "hello")?;
    let closed = TcpServer::start(host, 80, "hello")?;
    for (offload, length) in [(true, SYN), (false, SYN + TAG)] {
        // What the peer's end does not write into the frame comes in beside it, as with
        // a NIC that takes tags off.
        lab.peer.set_feature("eth0", "txvlan", offload)?;
        let case = format!("tag written by the device: {offload}");
        let before = Totals::of(host)?;
        let syns = [443, 442, 80, 444].map(|port| packets::syn(far.at(REMOTE), near.at(port)));
        // Nothing that comes in for them may answer.
        host.run("ip", ["route", "add", "blackhole", "10.9.0.2/32"])?;
        Sender::new(&lab.peer, &far)?.send_all(syns)?;
        host.run("ip", ["route", "delete", "blackhole", "10.9.0.2/32"])?;
        let change = Totals::of(host)?.since(&before);
        assert_eq!(change.passed, (1, length), "{case}");
        assert_eq!(change.dropped, (3, 3 * length), "{case}");
        assert_eq!(change.reason("drop", "default"), 3, "{case}");

        assert_eq!(fetch(&lab.peer, near.at(443), PATIENCE)?, "hello", "{case}");
        assert!(fetch(&lab.peer, near.at(80), IN_VAIN).is_err(), "{case}");
    }
    assert_eq!(closed.served(), 0);
    Ok(())
}

#[test]
#[ignore = "needs 8021q: cargo xtask test --kernel 6.1"]
fn a_third_tag_in_sight_is_dropped() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let mut ends = [lab.link().near().clone(), lab.link().far().clone()];
    for id in [100, 101, 102] {
        ends = vlan(&lab, &ends[0], &ends[1], id)?;
    }
    let [near, far] = &ends;
    host.xdpfw(["up", "eth0"]).ok();
    host.xdpfw(["allow", "tcp", "443"]).ok();
    host.run("ip", ["route", "add", "blackhole", "10.9.2.2/32"])?;
    for (offload, verdict, reason) in [(true, "pass", "rule"), (false, "drop", "vlan-depth")] {
        lab.peer.set_feature("eth0", "txvlan", offload)?;
        let before = Totals::of(host)?;
        let syn = packets::syn(far.at(REMOTE), near.at(443));
        Sender::new(&lab.peer, far)?.send_all([syn])?;
        let change = Totals::of(host)?.since(&before);
        assert_eq!(change.reason(verdict, reason), 1, "{reason}: {change:?}");
        assert_eq!(change.passed.0 + change.dropped.0, 1, "{reason}");
    }
    Ok(())
}

#[test]
#[ignore = "needs 8021q, macvlan: cargo xtask test --kernel 6.1"]
fn a_device_on_top_of_an_interface_is_filtered_by_itself() -> Result<()> {
    for kind in ["vlan", "macvlan"] {
        let lab = Lab::new()?;
        let host = &lab.host;
        let (under, from) = (lab.link().near(), lab.link().far());
        let [near, far] = match kind {
            "vlan" => vlan(&lab, under, from, 100)?,
            _ => macvlan(&lab)?,
        };
        let interface = near.interface.as_str();
        let output = host.xdpfw(["up", interface]).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        let warning = format!("warning: {interface}: no native XDP");
        assert!(
            output.status.success() && said.starts_with(&warning),
            "{said}"
        );
        assert_eq!(xdp_mode(host, interface)?, "generic", "{kind}");
        assert_eq!(xdp(host, "eth0")?, None, "{kind}");
        host.xdpfw(["allow", "tcp", "443"]).ok();
        let _open = TcpServer::start(host, 443, "hello")?;
        let _closed = TcpServer::start(host, 80, "hello")?;

        let before = Totals::of(host)?;
        let syns = (1..=100).map(|port| packets::syn(far.at(REMOTE), near.at(port)));
        Sender::new(&lab.peer, &far)?.send_all(syns)?;
        let change = Totals::of(host)?.since(&before);
        assert_eq!(change.dropped, (100, 100 * SYN), "{kind}");
        assert_eq!(change.passed, (0, 0), "{kind}");

        assert_eq!(fetch(&lab.peer, near.at(443), PATIENCE)?, "hello", "{kind}");
        assert!(fetch(&lab.peer, near.at(80), IN_VAIN).is_err(), "{kind}");
        // The interface below is not filtered.
        assert_eq!(fetch(&lab.peer, under.at(80), PATIENCE)?, "hello", "{kind}");
        let said = host.xdpfw(["up", "--mode", "native", interface]).fails(1);
        assert_is_one_error(&said, interface);
        host.xdpfw(["down"]).ok();
        assert_nothing_is_left(host, &["eth0", interface])?;
    }
    Ok(())
}

#[test]
#[ignore = "needs macvlan: cargo xtask test --kernel 6.1"]
fn the_interface_below_is_filtered_for_a_macvlan_too() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let [near, far] = macvlan(&lab)?;
    host.xdpfw(["up", "eth0"]).ok();
    host.xdpfw(["allow", "tcp", "443"]).ok();
    assert_eq!(xdp_mode(host, "eth0")?, "native");
    let _open = TcpServer::start(host, 443, "hello")?;
    let before = Totals::of(host)?;
    let syns = (1..=100).map(|port| packets::syn(far.at(REMOTE), near.at(port)));
    Sender::new(&lab.peer, &far)?.send_all(syns)?;
    assert_eq!(Totals::of(host)?.since(&before).dropped, (100, 100 * SYN));
    assert_eq!(fetch(&lab.peer, near.at(443), PATIENCE)?, "hello");
    Ok(())
}

#[test]
#[ignore = "needs bonding: cargo xtask test --kernel 6.1"]
fn a_bond_is_filtered_natively_whichever_member_carries_it() -> Result<()> {
    let (lab, near) = bond()?;
    let host = &lab.host;
    host.xdpfw(["allow", "tcp", "443"]).ok();
    let said = host.xdpfw(["up", "bond0"]).ok();
    assert!(said.starts_with("bond0: native XDP"), "{said}");
    assert_eq!(xdp_mode(host, "bond0")?, "native");
    let _open = TcpServer::start(host, 443, "hello")?;
    let _closed = TcpServer::start(host, 80, "hello")?;
    for (active, link) in ["eth0", "eth1"].into_iter().zip(&lab.links) {
        host.run(
            "ip",
            [
                "link",
                "set",
                "bond0",
                "type",
                "bond",
                "active_slave",
                active,
            ],
        )?;
        // The peer reaches the bond by this member.
        let far = link.far();
        route(&lab.peer, &near, &far.interface)?;
        route(host, far, "bond0")?;
        let before = Totals::of(host)?;
        let syns = (1..=100).map(|port| packets::syn(far.at(REMOTE), near.at(port)));
        Sender::new(&lab.peer, far)?.send_all(syns)?;
        let change = Totals::of(host)?.since(&before);
        assert_eq!(change.dropped, (100, 100 * SYN), "{active}");
        assert_eq!(change.passed, (0, 0), "{active}");
        assert_eq!(
            fetch(&lab.peer, near.at(443), PATIENCE)?,
            "hello",
            "{active}"
        );
        assert!(fetch(&lab.peer, near.at(80), IN_VAIN).is_err(), "{active}");
    }

    // The bond has its program on the members: they are busy, and nothing changes.
    let before = xdp_mode(host, "bond0")?;
    let said = host.xdpfw(["up", "eth0"]).fails(5);
    assert_is_one_error(&said, "eth0");
    assert_eq!(xdp_mode(host, "bond0")?, before);
    host.xdpfw(["allow", "tcp", "80"]).ok();
    assert_eq!(fetch(&lab.peer, near.at(80), PATIENCE)?, "hello");
    host.xdpfw(["down"]).ok();
    assert_nothing_is_left(host, &["bond0", "eth0", "eth1"])
}

#[test]
#[ignore = "needs bonding: cargo xtask test --kernel 6.1"]
fn a_bond_whose_member_is_filtered_is_filtered_generically() -> Result<()> {
    let (lab, near) = bond()?;
    let host = &lab.host;
    let far = lab.link().far();
    host.xdpfw(["up", "eth0", "--mode", "generic"]).ok();
    route(&lab.peer, &near, &far.interface)?;
    let before = Totals::of(host)?;
    let syns = (1..=100).map(|port| packets::syn(far.at(REMOTE), near.at(port)));
    Sender::new(&lab.peer, far)?.send_all(syns)?;
    assert_eq!(Totals::of(host)?.since(&before).dropped, (100, 100 * SYN));
    host.xdpfw(["down"]).ok();

    host.xdpfw(["up", "bond0", "--mode", "generic"]).ok();
    assert_eq!(xdp_mode(host, "bond0")?, "generic");
    let before = Totals::of(host)?;
    let syns = (1..=100).map(|port| packets::syn(far.at(REMOTE), near.at(port)));
    Sender::new(&lab.peer, far)?.send_all(syns)?;
    assert_eq!(Totals::of(host)?.since(&before).dropped, (100, 100 * SYN));
    host.xdpfw(["down"]).ok();
    assert_nothing_is_left(host, &["bond0", "eth0", "eth1"])
}

#[test]
#[ignore = "needs ifb: cargo xtask test --kernel 6.1"]
fn what_an_ifb_shapes_is_judged_once_or_twice() -> Result<()> {
    // An ifb hands a packet back to the interface it came in by, where the kernel runs
    // generic XDP once more, on what has passed.
    for (mode, times) in [("native", 1), ("generic", 2)] {
        let lab = Lab::new()?;
        let host = &lab.host;
        let (near, far) = (lab.link().near(), lab.link().far());
        host.run("ip", ["link", "add", "ifb0", "type", "ifb"])?;
        host.run("ip", ["link", "set", "ifb0", "up"])?;
        tc(host, "qdisc add dev eth0 clsact")?;
        tc(
            host,
            "filter add dev eth0 ingress matchall action mirred egress redirect dev ifb0",
        )?;
        host.xdpfw(["up", "eth0", "--mode", mode]).ok();
        host.xdpfw(["allow", "tcp", "443"]).ok();
        let _open = TcpServer::start(host, 443, "hello")?;
        let before = Totals::of(host)?;
        host.run("ip", ["route", "add", "blackhole", "10.0.0.2/32"])?;
        let syns = (401..=500).map(|port| packets::syn(far.at(REMOTE), near.at(port)));
        Sender::new(&lab.peer, far)?.send_all(syns)?;
        host.run("ip", ["route", "delete", "blackhole", "10.0.0.2/32"])?;
        let change = Totals::of(host)?.since(&before);
        assert_eq!(change.dropped, (99, 99 * SYN), "{mode}");
        assert_eq!(change.passed, (times, times * SYN), "{mode}");
        assert_eq!(fetch(&lab.peer, near.at(443), PATIENCE)?, "hello", "{mode}");
        host.xdpfw(["down"]).ok();
        // It is not ours, and so it stays.
        tc(host, "qdisc delete dev eth0 clsact")?;
        assert_nothing_is_left(host, &["eth0", "ifb0"])?;
    }
    Ok(())
}

#[test]
#[ignore = "needs geneve, vxlan: cargo xtask test --kernel 6.1"]
fn devices_without_native_xdp_are_attached_generically() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    for (interface, kind) in [
        ("geneve0", "geneve id 7 remote 10.0.0.2"),
        ("vxlan0", "vxlan id 7 dstport 4789 dev eth0"),
    ] {
        let words = format!("link add {interface} type {kind}");
        host.run("ip", words.split(' '))?;
        host.run("ip", ["link", "set", interface, "up"])?;
        let said = host.xdpfw(["up", interface, "--mode", "native"]).fails(5);
        assert_is_one_error(&said, "--mode generic");
        assert_nothing_is_left(host, &[interface])?;
        let said = host.xdpfw(["up", interface]).ok();
        let begins = format!("{interface}: generic XDP");
        assert!(said.starts_with(&begins), "{said}");
        assert_eq!(xdp_mode(host, interface)?, "generic");
        host.xdpfw(["down", interface]).ok();
        assert_nothing_is_left(host, &[interface])?;
    }
    Ok(())
}

#[test]
#[ignore = "needs sch_netem: cargo xtask test --kernel 6.1"]
fn packets_that_are_doubled_and_reordered_are_each_judged() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let (near, far) = (lab.link().near(), lab.link().far());
    host.xdpfw(["up", "eth0"]).ok();
    host.xdpfw(["allow", "tcp+udp", "443"]).ok();
    let long = "hello ".repeat(20_000);
    let _open = TcpServer::start(host, 443, &long)?;
    let _echo = UdpEcho::start(host, 443)?;

    tc(&lab.peer, "qdisc add dev eth0 root netem duplicate 100%")?;
    let before = Totals::of(host)?;
    let syns = (1001..=1100).map(|port| packets::syn(far.at(REMOTE), near.at(port)));
    Sender::new(&lab.peer, far)?.send_all(syns)?;
    // The sender waits for one of each.
    settle(host, |now| now.since(&before).dropped.0 >= 200)?;
    let change = Totals::of(host)?.since(&before);
    assert_eq!(change.dropped, (200, 200 * SYN));
    assert_eq!(change.passed, (0, 0));

    tc(
        &lab.peer,
        "qdisc change dev eth0 root netem duplicate 20% delay 5ms 4ms reorder 30% 50%",
    )?;
    let before = (Totals::of(host)?, host.counters("eth0")?);
    assert_eq!(fetch(&lab.peer, near.at(443), PATIENCE)?, long);
    for index in 0..20 {
        let text = format!("datagram {index}");
        assert_eq!(exchange(&lab.peer, 0, near.at(443), &text, PATIENCE)?, text);
    }
    // What is on the way must have come in.
    tc(&lab.peer, "qdisc delete dev eth0 root")?;
    std::thread::sleep(IN_VAIN);
    let received = host.counters("eth0")?.rx_packets - before.1.rx_packets;
    let change = Totals::of(host)?.since(&before.0);
    assert_eq!(change.passed.0 + change.dropped.0, received, "{change:?}");
    Ok(())
}

/// What a host's xdpfw has counted.
#[derive(Debug)]
struct Totals {
    /// Packets and bytes.
    passed: (u64, u64),
    dropped: (u64, u64),
    /// Packets by verdict and reason.
    reasons: Vec<(String, String, u64)>,
}

impl Totals {
    fn of(host: &Host) -> Result<Self> {
        let status = host.status();
        let tally = |value: &Value| -> Result<(u64, u64)> {
            Ok((number(&value["packets"])?, number(&value["bytes"])?))
        };
        let reason = |value: &Value| -> Result<_> {
            let word = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
            Ok((word("verdict"), word("reason"), number(&value["packets"])?))
        };
        let reasons = status["reasons"].as_array().context("no reasons")?;
        Ok(Self {
            passed: tally(&status["totals"]["passed"])?,
            dropped: tally(&status["totals"]["dropped"])?,
            reasons: reasons.iter().map(reason).collect::<Result<_>>()?,
        })
    }

    /// How much was counted after `before`.
    fn since(mut self, before: &Self) -> Self {
        self.passed.0 -= before.passed.0;
        self.passed.1 -= before.passed.1;
        self.dropped.0 -= before.dropped.0;
        self.dropped.1 -= before.dropped.1;
        for ((.., now), (.., before)) in self.reasons.iter_mut().zip(&before.reasons) {
            *now -= before;
        }
        self
    }

    fn reason(&self, verdict: &str, reason: &str) -> u64 {
        let is_it = |row: &&(String, String, u64)| row.0 == verdict && row.1 == reason;
        self.reasons.iter().find(is_it).map_or(0, |row| row.2)
    }
}

/// Waits until a host has counted what is expected.
fn settle(host: &Host, is_there: impl Fn(Totals) -> bool) -> Result<()> {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !is_there(Totals::of(host)?) {
        anyhow::ensure!(std::time::Instant::now() < deadline, "packets are missing");
    }
    Ok(())
}

fn tc(host: &Host, arguments: &str) -> Result<String> {
    host.run("tc", arguments.split(' '))
}

/// VLANs on top of both ends of a pair, in 10.9.N.0/24 where N counts up from 0 with
/// the identifier from 100.
pub(crate) fn vlan(lab: &Lab, near: &End, far: &End, id: u8) -> Result<[End; 2]> {
    let end = |below: &End, number: u8| End {
        // A name of them all would be too long.
        interface: format!("vlan.{id}"),
        address: Ipv4Addr::new(10, 9, id - 100, number),
        ..below.clone()
    };
    let ends = [end(near, 1), end(far, 2)];
    for (host, below, own, other) in [
        (&lab.host, near, &ends[0], &ends[1]),
        (&lab.peer, far, &ends[1], &ends[0]),
    ] {
        let words = format!(
            "link add link {} name {} type vlan id {id}",
            below.interface, own.interface
        );
        host.run("ip", words.split(' '))?;
        bring_up(host, own, other)?;
    }
    Ok(ends)
}

/// A macvlan on top of the host's interface, and the peer's address to talk to it.
fn macvlan(lab: &Lab) -> Result<[End; 2]> {
    let near = End {
        interface: "mac0".into(),
        address: Ipv4Addr::new(10, 9, 0, 1),
        mac: [2, 0, 10, 9, 0, 1],
        ..lab.link().near().clone()
    };
    let far = End {
        address: Ipv4Addr::new(10, 9, 0, 2),
        ..lab.link().far().clone()
    };
    let words = format!(
        "link add link eth0 name mac0 address {} type macvlan mode bridge",
        near.mac_text()
    );
    lab.host.run("ip", words.split(' '))?;
    bring_up(&lab.host, &near, &far)?;
    bring_up(&lab.peer, &far, &near)?;
    Ok([near, far])
}

/// Gives an end its address and the other end's, for good.
fn bring_up(host: &Host, own: &End, other: &End) -> Result<()> {
    let End {
        interface, address, ..
    } = own;
    let address = format!("{address}/24");
    host.run("ip", ["address", "add", &address, "dev", interface])?;
    host.run("ip", ["link", "set", interface, "up"])?;
    neighbour(host, other, interface)
}

fn neighbour(host: &Host, other: &End, interface: &str) -> Result<()> {
    let words = format!(
        "neigh replace {} lladdr {} nud permanent dev {interface}",
        other.address,
        other.mac_text()
    );
    host.run("ip", words.split(' ')).map(drop)
}

/// Lets a host reach the other end by this interface.
pub(crate) fn route(host: &Host, to: &End, interface: &str) -> Result<()> {
    let words = format!("route replace {}/32 dev {interface}", to.address);
    host.run("ip", words.split(' '))?;
    neighbour(host, to, interface)
}

/// A host with two interfaces in a bond, of which one is active at a time, and the
/// bond's own end.
pub(crate) fn bond() -> Result<(Lab, End)> {
    let lab = Lab::with_links(2)?;
    let host = &lab.host;
    let near = End {
        interface: "bond0".into(),
        ..lab.link().near().clone()
    };
    let words = format!(
        "link add bond0 address {} type bond mode active-backup miimon 100",
        near.mac_text()
    );
    host.run("ip", words.split(' '))?;
    for member in ["eth0", "eth1"] {
        host.run("ip", ["address", "flush", "dev", member])?;
        host.run("ip", ["link", "set", member, "down"])?;
        host.run("ip", ["link", "set", member, "master", "bond0"])?;
        host.run("ip", ["link", "set", member, "up"])?;
    }
    bring_up(host, &near, lab.link().far())?;
    Ok((lab, near))
}
