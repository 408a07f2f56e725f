//! Proves that rules for a bond, a team or a VRF hold for what comes in by its members, whose
//! numbers packets carry where the program runs there; and that what is no way in is refused.
//!
//! As in [`devices`](super::devices), not every kernel has what this takes.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use anyhow::{Context as _, Result};
use socket2::{Domain, Socket, Type};
use xdpfw_tests::{
    End, Lab, PATIENCE, Sender, Tally, assert_is_one_error, assert_nothing_is_left, ifindex,
    packets,
    servers::{UdpEcho, received},
    text, xdp_mode,
};

use super::devices::{bond, route};

/// The peer's port where it does not matter.
const REMOTE: u16 = 40_000;

#[test]
#[ignore = "needs bonding: cargo xtask test --kernel 6.1"]
fn rules_for_a_bond_hold_whichever_member_carries_the_packet() -> Result<()> {
    for mode in ["native", "generic"] {
        let (lab, near) = bond()?;
        let host = &lab.host;
        host.xdpfw(["up", "bond0", "--mode", mode]).ok();
        assert_eq!(xdp_mode(host, "bond0")?, mode);
        host.xdpfw(["allow", "tcp", "443", "--on", "bond0"]).ok();
        host.xdpfw(["deny", "tcp", "8080", "--on", "bond0"]).ok();
        host.xdpfw(["default", "pass"]).ok();
        for (active, link) in ["eth0", "eth1"].into_iter().zip(&lab.links) {
            let line = format!("link set bond0 type bond active_slave {active}");
            host.run("ip", line.split(' '))?;
            let far = link.far();
            route(&lab.peer, &near, &far.interface)?;
            let expected = [
                ("pass rule", 1),
                ("r1", 1),
                ("drop rule", 1),
                ("r2", 1),
                ("tcp/8080", 1),
                ("pass default", 1),
            ];
            assert_counted(&lab, far, &near, &[443, 8080, 80], &expected)
                .with_context(|| format!("{mode}, {active}"))?;
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs bonding: cargo xtask test --kernel 6.1"]
fn a_member_that_joins_a_bond_later_is_told_of_and_taken_in() -> Result<()> {
    let (lab, near) = bond()?;
    let host = &lab.host;
    host.run("ip", ["link", "set", "eth1", "nomaster"])?;
    host.xdpfw(["up", "bond0"]).ok();
    host.xdpfw(["allow", "tcp", "443", "--on", "bond0"]).ok();
    assert_eq!(host.status()["warnings"], serde_json::json!([]));
    for line in [
        "link set eth1 down",
        "link set eth1 master bond0",
        "link set eth1 up",
        "link set bond0 type bond active_slave eth1",
    ] {
        host.run("ip", line.split(' '))?;
    }
    let status = host.status();
    assert_eq!(status["warnings"][0]["kind"], "members-changed", "{status}");
    assert_eq!(status["warnings"][0]["remedy"], "xdpfw apply");
    let far = lab.links[1].far();
    route(&lab.peer, &near, &far.interface)?;
    assert_counted(
        &lab,
        far,
        &near,
        &[443],
        &[("drop default", 1), ("tcp/443", 1)],
    )?;
    let said = text(&host.xdpfw(["apply"]).output()?.stderr);
    assert!(
        said.contains("bond0, which rules name, has other members"),
        "{said}"
    );
    assert_eq!(host.status()["warnings"], serde_json::json!([]));
    assert_counted(&lab, far, &near, &[443], &[("pass rule", 1), ("r1", 1)])
}

#[test]
#[ignore = "needs bonding: cargo xtask test --kernel 6.1"]
fn no_command_cuts_a_session_that_comes_in_by_a_bond() -> Result<()> {
    let (lab, near) = bond()?;
    let host = &lab.host;
    let session = format!("{} 50000 {} 22", lab.link().far().address, near.address);
    let xdpfw = |words: &[&str]| host.xdpfw(words).env("SSH_CONNECTION", &session);
    // By the other member, it would be cut.
    host.xdpfw(["allow", "ssh", "--on", "eth0"]).ok();
    let said = xdpfw(&["up", "bond0"]).fails(6);
    assert!(said.contains("would cut your SSH session"), "{said}");
    assert_nothing_is_left(host, &["bond0", "eth0", "eth1"])?;
    host.xdpfw(["allow", "ssh", "--on", "bond0"]).ok();
    xdpfw(&["up", "bond0"]).ok();
    let said = xdpfw(&["delete", "r2"]).fails(6);
    assert!(said.contains("would cut your SSH session"), "{said}");
    Ok(())
}

#[test]
#[ignore = "needs bonding: cargo xtask test --kernel 6.1"]
fn link_local_answers_come_in_by_a_bond() -> Result<()> {
    for mode in ["native", "generic"] {
        let (lab, near) = bond()?;
        let (host, far) = (&lab.host, lab.link().far());
        for (host, end, other) in [(host, &near, far), (&lab.peer, far, &near)] {
            let interface = &end.interface;
            host.sysctl("net/ipv6/conf/lo/disable_ipv6", "0")?;
            host.sysctl(&format!("net/ipv6/conf/{interface}/disable_ipv6"), "0")?;
            for line in [
                format!(
                    "address replace {}/64 dev {interface} nodad",
                    end.link_local
                ),
                format!(
                    "neigh replace {} lladdr {} nud permanent dev {interface}",
                    other.link_local,
                    other.mac_text()
                ),
            ] {
                host.run("ip", line.split(' '))?;
            }
        }
        let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let _echo = UdpEcho::start_at(&lab.peer, SocketAddr::new(any, 53))?;
        host.xdpfw(["up", "bond0", "--mode", mode]).ok();
        let scope = ifindex(host, "bond0")?.try_into()?;
        let server = SocketAddrV6::new(far.link_local, 53, 0, scope);
        let socket = host.enter(|| {
            let socket = Socket::new(Domain::IPV6, Type::DGRAM, None)?;
            socket.set_read_timeout(Some(PATIENCE))?;
            Ok(UdpSocket::from(socket))
        })?;
        socket.send_to(b"question", server)?;
        assert_eq!(received(&socket).context(mode)?, "question");
    }
    Ok(())
}

#[test]
#[ignore = "needs team: cargo xtask test --kernel 6.1"]
fn rules_for_a_team_hold_where_its_port_is_filtered_and_where_it_is_itself() -> Result<()> {
    for filtered in ["team0", "eth0"] {
        let lab = Lab::new()?;
        let (host, near, far) = (&lab.host, lab.link().near(), lab.link().far());
        let mac = near.mac_text();
        for line in [
            &format!("link add team0 address {mac} type team"),
            "link set eth0 down",
            "link set eth0 master team0",
            "link set eth0 up",
            "link set team0 up",
        ] {
            host.run("ip", line.split(' '))?;
        }
        route(host, far, "team0")?;
        host.xdpfw(["up", filtered]).ok();
        host.xdpfw(["allow", "tcp", "443", "--on", "team0"]).ok();
        let mut expected = vec![("drop default", 1), ("tcp/80", 1)];
        expected.extend([("pass rule", 1), ("r1", 1)]);
        assert_counted(&lab, far, near, &[443, 80], &expected).context(filtered)?;
    }
    Ok(())
}

#[test]
#[ignore = "needs vrf: cargo xtask test --kernel 6.1"]
fn a_vrf_is_refused_and_rules_for_it_hold_on_its_ports() -> Result<()> {
    let lab = Lab::new()?;
    let (host, near, far) = (&lab.host, lab.link().near(), lab.link().far());
    for line in [
        "link add vrf0 type vrf table 100",
        "link set vrf0 up",
        "link set eth0 master vrf0",
    ] {
        host.run("ip", line.split(' '))?;
    }
    // Forgotten on the way.
    let line = format!(
        "neigh replace {} lladdr {} nud permanent dev eth0",
        far.address,
        far.mac_text()
    );
    host.run("ip", line.split(' '))?;
    let said = host.xdpfw(["up", "vrf0"]).fails(5);
    assert_is_one_error(
        &said,
        "vrf0: no packet comes in by a VRF; say `xdpfw up eth0`",
    );
    assert_nothing_is_left(host, &["vrf0", "eth0"])?;
    host.xdpfw(["up", "eth0"]).ok();
    host.xdpfw(["allow", "tcp", "443", "--on", "vrf0"]).ok();
    let expected = [
        ("pass rule", 1),
        ("r1", 1),
        ("drop default", 1),
        ("tcp/80", 1),
    ];
    assert_counted(&lab, far, near, &[443, 80], &expected)
}

#[test]
#[ignore = "needs dummy: cargo xtask test --kernel 6.1"]
fn a_dummy_is_refused() -> Result<()> {
    let lab = Lab::new()?;
    lab.host
        .run("ip", ["link", "add", "dummy0", "type", "dummy"])?;
    let said = lab.host.xdpfw(["up", "dummy0"]).fails(5);
    assert_is_one_error(
        &said,
        "dummy0: no packet comes in by a dummy interface; filter",
    );
    // What the policy names beside it is filtered all the same.
    std::fs::write(
        lab.host.policy(),
        "version = 1\ninterfaces = [\"dummy0\", \"eth0\"]\n",
    )?;
    let said = lab.host.xdpfw(["up"]).fails(5);
    assert!(said.contains("only eth0 is filtered"), "{said}");
    Ok(())
}

/// Claims that a SYN to each of these ports moves these counters, and no others.
#[track_caller]
fn assert_counted(
    lab: &Lab,
    far: &End,
    near: &End,
    ports: &[u16],
    expected: &[(&str, u64)],
) -> Result<()> {
    let before = Tally::of(&lab.host)?;
    let syns = ports
        .iter()
        .map(|&port| packets::syn(far.at(REMOTE), near.at(port)));
    Sender::new(&lab.peer, far)?.send_all(syns)?;
    Tally::assert_moved(&lab.host, &before, expected)?;
    Ok(())
}
