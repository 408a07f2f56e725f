//! Proves where packets are judged that come in others: at the interface of their tunnel, at the
//! one below it, or nowhere, which is said.
//!
//! As in [`devices`](super::devices), not every kernel has what this takes.

use std::net::{Ipv4Addr, UdpSocket};

use anyhow::{Context as _, Result};
use xdpfw_tests::{
    Host, Lab, PATIENCE, Tally, assert_is_one_error, assert_nothing_is_left,
    servers::{UdpEcho, exchange},
    text,
};

/// The ends of the tunnels: the host's, and its peer's.
const INNER: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 9, 7, 1), Ipv4Addr::new(10, 9, 7, 2)];
/// An echo server is there, and a rule.
const OPEN: u16 = 53;
/// A server alone.
const CLOSED: u16 = 54;
/// Keys of AES and HMAC-SHA1.
const KEYS: &str = "auth hmac(sha1) 0x0102030405060708090a0b0c0d0e0f1011121314 \
    enc cbc(aes) 0x000102030405060708090a0b0c0d0e0f";

#[test]
#[ignore = "needs wireguard: cargo xtask test --kernel 6.1"]
fn the_kernels_wireguard_is_filtered() -> Result<()> {
    let lab = Lab::new()?;
    let outer = [lab.link().near().address, lab.link().far().address];
    let mut public = Vec::new();
    for (number, host) in [&lab.host, &lab.peer].into_iter().enumerate() {
        ip(host, "link add wg0 type wireguard")?;
        let key = host.directory().join("key");
        std::fs::write(&key, host.run("wg", ["genkey"])?)?;
        let path = key.to_str().context("an odd path")?;
        let words = format!("set wg0 listen-port 51820 private-key {path}");
        host.run("wg", words.split(' '))?;
        public.push(
            host.run("wg", ["show", "wg0", "public-key"])?
                .trim()
                .to_owned(),
        );
        ip(host, &format!("address add {}/24 dev wg0", INNER[number]))?;
        ip(host, "link set wg0 up")?;
    }
    for (number, host) in [&lab.host, &lab.peer].into_iter().enumerate() {
        let (key, address) = (&public[1 - number], outer[1 - number]);
        let words = format!(
            "set wg0 peer {key} endpoint {address}:51820 allowed-ips {}/32",
            INNER[1 - number]
        );
        host.run("wg", words.split(' '))?;
    }
    assert_filtered(&lab, "wg0")
}

#[test]
#[ignore = "needs macsec: cargo xtask test --kernel 6.1"]
fn macsec_is_filtered_where_it_is_opened() -> Result<()> {
    let lab = Lab::new()?;
    let ends = [lab.link().near(), lab.link().far()];
    for (number, host) in [&lab.host, &lab.peer].into_iter().enumerate() {
        let (own, other) = (number + 1, 2 - number);
        let mac = ends[1 - number].mac_text();
        let key = |end: usize| format!("0{end}").repeat(16);
        for line in [
            "link add link eth0 macsec0 type macsec encrypt on".to_owned(),
            format!("macsec add macsec0 tx sa 0 pn 1 on key 0{own} {}", key(own)),
            format!("macsec add macsec0 rx port 1 address {mac}"),
            format!(
                "macsec add macsec0 rx port 1 address {mac} sa 0 pn 1 on key 0{other} {}",
                key(other)
            ),
            format!("address add {}/24 dev macsec0", INNER[number]),
            "link set macsec0 up".to_owned(),
            format!(
                "neigh replace {} lladdr {mac} nud permanent dev macsec0",
                INNER[1 - number]
            ),
        ] {
            ip(host, &line)?;
        }
    }
    assert_filtered(&lab, "macsec0")
}

#[test]
#[ignore = "needs esp4: cargo xtask test --kernel 6.1"]
fn what_ipsec_carries_is_judged_in_generic_mode_alone_which_is_said() -> Result<()> {
    for mode in ["native", "generic"] {
        let lab = Lab::new()?;
        ipsec(&lab)?;
        for (number, host) in [&lab.host, &lab.peer].into_iter().enumerate() {
            let own = format!("address add {}/32 dev lo", INNER[number]);
            ip(host, &own)?;
            let gateway = [lab.link().far(), lab.link().near()][number].address;
            let to = INNER[1 - number];
            ip(
                host,
                &format!("route add {to}/32 via {gateway} src {}", INNER[number]),
            )?;
        }
        let host = &lab.host;
        let _servers = (UdpEcho::start(host, OPEN)?, UdpEcho::start(host, CLOSED)?);
        host.xdpfw(["up", "eth0", "--mode", mode]).ok();
        let output = host.xdpfw(["allow", "proto", "esp"]).output()?;
        let said = text(&output.stderr);
        let is_warned = said.contains("what its tunnels carry is not judged in native mode");
        assert_eq!(is_warned, mode == "native", "{mode}: {said}");
        host.xdpfw(["allow", "udp", &OPEN.to_string()]).ok();
        let answer = |port| {
            let patience = if port == OPEN || mode == "native" {
                PATIENCE
            } else {
                std::time::Duration::from_millis(500)
            };
            exchange(&lab.peer, 0, (INNER[0], port), "question", patience)
        };
        assert_eq!(answer(OPEN).context(mode)?, "question");
        assert_eq!(answer(CLOSED).is_ok(), mode == "native", "{mode}");
    }
    Ok(())
}

#[test]
#[ignore = "needs ipip, ip_gre, sit, xfrm_interface: cargo xtask test --kernel 6.1"]
fn a_link_layer_that_cannot_be_read_is_refused_with_where_to_filter() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let (near, far) = (lab.link().near().address, lab.link().far().address);
    for (name, kind) in [
        ("t0", format!("ipip local {near} remote {far}")),
        ("t1", format!("gre local {near} remote {far}")),
        ("t2", format!("sit local {near} remote {far}")),
        // Says that there is no link layer, and hands on what was in front of ESP.
        ("t3", "xfrm dev eth0 if_id 7".to_owned()),
    ] {
        ip(host, &format!("link add {name} type {kind}"))?;
        ip(host, &format!("link set {name} up"))?;
        for mode in ["auto", "native", "generic"] {
            let said = host.xdpfw(["up", name, "--mode", mode]).fails(5);
            assert_is_one_error(&said, "filter the interface that they come in by");
        }
        assert_nothing_is_left(host, &[name])?;
    }
    Ok(())
}

#[test]
#[ignore = "needs ipvlan: cargo xtask test --kernel 6.1"]
fn an_ipvlan_is_filtered_unless_only_the_routing_knows_of_it() -> Result<()> {
    for mode in ["l2", "l3s"] {
        let lab = Lab::new()?;
        let (host, far) = (&lab.host, lab.link().far());
        ip(
            host,
            &format!("link add ipvl0 link eth0 type ipvlan mode {mode}"),
        )?;
        ip(host, &format!("address add {}/24 dev ipvl0", INNER[0]))?;
        ip(host, "link set ipvl0 up")?;
        let neighbour = [
            (host, INNER[1], far.mac_text(), "ipvl0"),
            (&lab.peer, INNER[0], lab.link().near().mac_text(), "eth0"),
        ];
        ip(&lab.peer, &format!("address add {}/24 dev eth0", INNER[1]))?;
        for (host, address, mac, interface) in neighbour {
            let line =
                format!("neigh replace {address} lladdr {mac} nud permanent dev {interface}");
            ip(host, &line)?;
        }
        if mode == "l3s" {
            let said = host.xdpfw(["up", "ipvl0"]).fails(5);
            let remedy = "ipvl0: no packet comes in by an ipvlan in mode l3s; say `xdpfw up eth0`";
            assert_is_one_error(&said, remedy);
            continue;
        }
        assert_filtered(&lab, "ipvl0").context(mode)?;
    }
    Ok(())
}

/// Claims that the filter on an interface judges what comes in by it, once, under its name.
#[track_caller]
fn assert_filtered(lab: &Lab, interface: &str) -> Result<()> {
    let host = &lab.host;
    let _servers = (UdpEcho::start(host, OPEN)?, UdpEcho::start(host, CLOSED)?);
    let open = (INNER[0], OPEN);
    exchange(&lab.peer, 0, open, "question", PATIENCE).context("without a filter")?;
    host.xdpfw(["up", interface]).ok();
    host.xdpfw(["allow", "udp", &OPEN.to_string(), "--on", interface])
        .ok();
    let before = Tally::of(host)?;
    let socket = lab
        .peer
        .enter(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?))?;
    for _ in 0..3 {
        socket.send_to(b"closed", (INNER[0], CLOSED))?;
    }
    let answer = exchange(&lab.peer, 0, open, "question", PATIENCE)?;
    assert_eq!(answer, "question");
    let expected = [
        ("pass rule", 1),
        ("r1", 1),
        ("drop default", 3),
        ("udp/54", 3),
    ];
    Tally::assert_moved(host, &before, &expected)?;
    Ok(())
}

/// Lays a tunnel of ESP between both hosts, for what goes between the inner addresses.
fn ipsec(lab: &Lab) -> Result<()> {
    let outer = [lab.link().near().address, lab.link().far().address];
    for (number, host) in [&lab.host, &lab.peer].into_iter().enumerate() {
        for (from, spi) in [(0, 1000), (1, 1001)] {
            let (source, target) = (outer[from], outer[1 - from]);
            let (inside, inside_target) = (INNER[from], INNER[1 - from]);
            ip(
                host,
                &format!(
                    "xfrm state add src {source} dst {target} proto esp spi {spi} reqid 1 \
                     mode tunnel {KEYS}"
                ),
            )?;
            let direction = if from == number { "out" } else { "in" };
            ip(
                host,
                &format!(
                    "xfrm policy add src {inside}/32 dst {inside_target}/32 dir {direction} \
                     tmpl src {source} dst {target} proto esp reqid 1 mode tunnel"
                ),
            )?;
        }
    }
    Ok(())
}

fn ip(host: &Host, line: &str) -> Result<()> {
    host.run("ip", line.split_whitespace()).map(drop)
}
