//! Proves that interfaces of every kind are filtered, each packet once: in the driver
//! where there is one that can, else in the network stack, which is said.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};

use anyhow::{Context as _, Result};
use etherparse::{EtherType, SlicedPacket, TransportSlice};
use xdpfw_tests::{
    End, Host, Lab, PATIENCE, Tally, Tun, assert_is_one_error, assert_nothing_is_left, packets,
    servers::{self, UdpEcho},
    state, text, xdp_mode,
};

/// An echo server is there, and a rule.
const OPEN: u16 = 53;
/// Neither is here.
const CLOSED: u16 = 54;
/// Headers of a UDP datagram over IPv4, in bytes.
const HEADERS: u64 = 14 + 20 + 8;

#[test]
fn packets_without_an_ethernet_header_are_filtered() -> Result<()> {
    let host = Host::new()?;
    let tun = Tun::layer3(&host, "tun0")?;
    give_addresses(&host, "tun0")?;
    let any = (Ipv6Addr::UNSPECIFIED, 443);
    let _listener = host.enter(|| Ok(TcpListener::bind(any)?))?;
    let said = host.xdpfw(["up", "tun0", "--mode", "native"]).fails(5);
    assert_is_one_error(&said, "tun0: its driver (tun) has no native XDP");
    assert_nothing_is_left(&host, &["tun0"])?;

    assert_up(&host, "tun0", &[], "generic XDP (tun)", true)?;
    host.xdpfw(["allow", "tcp", "443"]).ok();
    let rule = [
        "allow",
        "tcp",
        "80",
        "--mac",
        "02:00:0a:00:00:02",
        "--dry-run",
    ];
    let said = text(&host.xdpfw(rule).output()?.stderr);
    let warning = "tun0: its packets have no MAC address, so r2 never matches there";
    assert!(said.contains(warning), "{said}");
    for (ethertype, from, to) in FAMILIES {
        let before = Tally::of(&host)?;
        let syn = packets::syn((from, 40_000), (to, 443));
        tun.send(ethertype.0, &syn)?;
        let is_answer = |packet: &[u8]| packet[0] >> 4 == syn[0] >> 4 && is_syn_ack(packet);
        tun.receive(is_answer, PATIENCE)?;
        let moved = Tally::assert_moved(&host, &before, &[("pass rule", 1), ("r1", 1)])?;
        assert_eq!(moved.bytes("pass rule"), syn.len() as u64);

        let before = Tally::of(&host)?;
        tun.send(ethertype.0, &packets::syn((from, 40_000), (to, 80)))?;
        let closed = [("drop default", 1), ("tcp/80", 1)];
        let moved = Tally::assert_moved(&host, &before, &closed)?;
        assert_eq!(moved.bytes("drop default"), syn.len() as u64);

        // Neither IPv4 nor IPv6, whatever the sender says.
        let before = Tally::of(&host)?;
        for first in [0x05, 0x15, 0x55, 0x75, 0xf5] {
            let garbage = [&[first], &syn[1..]].concat();
            tun.send(ethertype.0, &garbage)?;
        }
        // Too short for any header.
        tun.send(ethertype.0, &syn[..1])?;
        Tally::assert_moved(&host, &before, &[("drop malformed", 6)])?;
    }
    // What would be a header before others: addresses that look like IP's beginning.
    let before = Tally::of(&host)?;
    let (_, from, to) = FAMILIES[0];
    let hidden = packets::syn((from, 40_000), (to, 443));
    let disguised = [&[0x45; 12][..], &EtherType::IPV4.0.to_be_bytes(), &hidden].concat();
    tun.send(EtherType::IPV4.0, &disguised)?;
    Tally::assert_moved(&host, &before, &[("drop malformed", 1)])?;
    host.xdpfw(["down"]).ok();
    assert_nothing_is_left(&host, &["tun0"])
}

#[test]
fn frames_of_a_tap_are_filtered_in_both_modes() -> Result<()> {
    let host = Host::new()?;
    let tap = Tun::ethernet(&host, "tap0")?;
    give_addresses(&host, "tap0")?;
    let any = (Ipv6Addr::UNSPECIFIED, 443);
    let _listener = host.enter(|| Ok(TcpListener::bind(any)?))?;
    let end = |mac| End {
        interface: "tap0".into(),
        address: Ipv4Addr::UNSPECIFIED,
        address6: Ipv6Addr::UNSPECIFIED,
        link_local: Ipv6Addr::UNSPECIFIED,
        mac,
    };
    let (near, far) = (end(NEAR_MAC), end(FAR_MAC));
    let frame = |packet: &[u8]| packets::frame(&far, &near, packet);
    for mode in ["native", "generic"] {
        let begin = format!("{mode} XDP (tun)");
        assert_up(&host, "tap0", &["--mode", mode], &begin, false)?;
        let said = host.xdpfw(["allow", "tcp", "443"]).ok();
        assert!(said.starts_with("r1 "), "{said}");
        for (ethertype, from, to) in FAMILIES {
            let before = Tally::of(&host)?;
            let port = if mode == "native" { 40_000 } else { 40_001 };
            let open = frame(&packets::syn((from, port), (to, 443)));
            tap.send(ethertype.0, &open)?;
            let is_answer = |frame: &[u8]| {
                frame[12..14] == open[12..14] && is_syn_ack(frame.get(14..).unwrap_or_default())
            };
            tap.receive(is_answer, PATIENCE)
                .with_context(|| format!("{mode}, {from}"))?;
            let moved = Tally::assert_moved(&host, &before, &[("pass rule", 1), ("r1", 1)])?;
            assert_eq!(moved.bytes("pass rule"), open.len() as u64, "{mode}");

            let before = Tally::of(&host)?;
            let closed = frame(&packets::syn((from, port), (to, 80)));
            tap.send(ethertype.0, &closed)?;
            tap.send(
                ethertype.0,
                &[&closed[..12], &[8, 0, 0x15], &closed[15..]].concat(),
            )?;
            let expected = [("drop default", 1), ("tcp/80", 1), ("drop malformed", 1)];
            let moved = Tally::assert_moved(&host, &before, &expected)?;
            assert_eq!(moved.bytes("drop default"), closed.len() as u64, "{mode}");
        }
        host.xdpfw(["delete", "r1"]).ok();
        host.xdpfw(["down"]).ok();
        assert_nothing_is_left(&host, &["tap0"])?;
    }
    Ok(())
}

#[test]
fn veth_is_filtered_in_both_modes() -> Result<()> {
    let lab = Lab::new()?;
    for mode in ["native", "generic"] {
        let begin = format!("{mode} XDP (veth)");
        assert_up(&lab.host, "eth0", &["--mode", mode], &begin, false)?;
        assert_filters(&lab.host, &lab.peer, "eth0", lab.link().near().address)?;
        lab.host.xdpfw(["down"]).ok();
    }
    Ok(())
}

#[test]
fn a_bridge_is_filtered() -> Result<()> {
    let lab = Lab::new()?;
    let (host, near, far) = (&lab.host, lab.link().near(), lab.link().far());
    let mac = near.mac_text();
    host.run(
        "ip",
        ["link", "add", "br0", "address", &mac, "type", "bridge"],
    )?;
    host.run("ip", ["link", "set", "eth0", "master", "br0"])?;
    host.run("ip", ["address", "flush", "dev", "eth0"])?;
    give_address(host, "br0", near.address, far.address, &far.mac_text())?;
    assert_up(host, "br0", &[], "generic XDP (bridge)", true)?;
    assert_filters(host, &lab.peer, "br0", near.address)
}

#[test]
fn a_macvlan_is_filtered() -> Result<()> {
    const MAC: &str = "02:00:00:00:05:01";
    let lab = Lab::new()?;
    let (near, far) = (Ipv4Addr::new(10, 9, 5, 1), Ipv4Addr::new(10, 9, 5, 2));
    let words = ["link", "add", "mac0", "link", "eth0", "address", MAC];
    lab.host.run(
        "ip",
        words.iter().chain(&["type", "macvlan", "mode", "bridge"]),
    )?;
    give_address(&lab.host, "mac0", near, far, &lab.link().far().mac_text())?;
    give_address(&lab.peer, "eth0", far, near, MAC)?;
    assert_up(&lab.host, "mac0", &[], "generic XDP (macvlan)", true)?;
    // What is for its lower interface is not its own.
    send(&lab.peer, lab.link().near().address, CLOSED, DATAGRAMS)?;
    assert_filters(&lab.host, &lab.peer, "mac0", near)?;
    let dropped = Tally::of(&lab.host)?.packets("drop default");
    assert_eq!(dropped, DATAGRAMS);
    Ok(())
}

#[test]
fn a_vxlan_is_filtered() -> Result<()> {
    let lab = Lab::new()?;
    let (near, far) = (lab.link().near(), lab.link().far());
    let inner = [Ipv4Addr::new(10, 9, 6, 1), Ipv4Addr::new(10, 9, 6, 2)];
    let macs = ["02:00:00:00:06:01", "02:00:00:00:06:02"];
    for (host, own, other, outer) in [
        (&lab.host, 0, 1, far.address),
        (&lab.peer, 1, 0, near.address),
    ] {
        let outer = outer.to_string();
        let words = ["link", "add", "vx0", "address", macs[own], "type", "vxlan"];
        let rest = ["id", "7", "dstport", "4789", "remote", &outer];
        host.run("ip", words.iter().chain(&rest))?;
        give_address(host, "vx0", inner[own], inner[other], macs[other])?;
    }
    assert_up(&lab.host, "vx0", &[], "generic XDP (vxlan)", true)?;
    assert_filters(&lab.host, &lab.peer, "vx0", inner[0])
}

#[test]
fn loopback_is_refused() -> Result<()> {
    let host = Host::new()?;
    for mode in ["auto", "native", "generic"] {
        let said = host.xdpfw(["up", "lo", "--mode", mode]).fails(2);
        assert_is_one_error(&said, "lo: not to be filtered");
    }
    Ok(())
}

#[test]
fn what_went_through_an_ifb_is_judged_where_it_came_in() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.run("ip", ["link", "add", "ifb0", "type", "ifb"])?;
    host.run("ip", ["link", "set", "ifb0", "up"])?;
    host.run("tc", ["qdisc", "add", "dev", "eth0", "clsact"])?;
    let to_ifb = "filter add dev eth0 ingress protocol ip u32 match u32 0 0 \
        action mirred egress redirect dev ifb0";
    host.run("tc", to_ifb.split_whitespace())?;
    let said = host.xdpfw(["up", "ifb0"]).fails(5);
    assert_is_one_error(
        &said,
        "ifb0: no packet comes in by an ifb; filter the interface",
    );
    host.xdpfw(["up", "eth0"]).ok();
    assert_filters(host, &lab.peer, "eth0", lab.link().near().address)?;
    let through = host.counters("ifb0")?;
    assert_eq!(through.rx_packets, 1, "{through:?}");
    Ok(())
}

#[test]
fn a_rule_for_an_interface_whose_packets_are_judged_elsewhere_is_refused() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    for line in [
        "link add br0 type bridge",
        "link set eth0 master br0",
        "link set br0 up",
        "link add mac0 link br0 type macvlan mode bridge",
        "link set mac0 up",
    ] {
        host.run("ip", line.split(' '))?;
    }
    for (filtered, named, remedy) in [
        ("eth0", "br0", "say `--on eth0`, or `xdpfw up br0` first"),
        ("eth0", "mac0", "say `--on eth0`, or `xdpfw up mac0` first"),
        ("br0", "eth0", "say `--on br0`"),
        ("mac0", "eth0", "say `--on mac0`"),
    ] {
        host.xdpfw(["up", filtered]).ok();
        let before = state(host, &["eth0", "br0", "mac0"])?;
        for option in [&[][..], &["--dry-run"], &["--force"]] {
            for action in ["allow", "deny"] {
                let words = [&[action, "tcp", "22", "--on", named][..], option].concat();
                let said = host.xdpfw(words).fails(1);
                assert_is_one_error(&said, remedy);
            }
        }
        assert_eq!(state(host, &["eth0", "br0", "mac0"])?, before, "{named}");
        // In a policy that is there, it must not keep the filter from coming up.
        let rule = format!("[[rule]]\nallow = \"tcp 22\"\non = \"{named}\"\n");
        let policy = format!("version = 1\ninterfaces = [\"{filtered}\"]\n{rule}");
        let output = host.xdpfw(["apply", "-"]).stdin(policy).output()?;
        assert!(output.status.success(), "{output:?}");
        let said = text(&output.stderr);
        let warning = format!(
            "warning: {named}: its packets are judged at {filtered}, so r1 never matches (say \
             `--on {filtered}`)"
        );
        assert!(said.contains(&warning), "{said}");
        host.xdpfw(["down"]).ok();
        std::fs::remove_file(host.policy())?;
    }
    Ok(())
}

/// Datagrams that are sent to a closed port.
const DATAGRAMS: u64 = 5;
/// What they carry.
const PAYLOAD: &[u8] = b"a datagram";
const NEAR_MAC: [u8; 6] = [2, 0, 0, 0, 9, 1];
const FAR_MAC: [u8; 6] = [2, 0, 0, 0, 9, 2];
/// The families: the ethertype, the other end's address, and the host's.
const FAMILIES: [(EtherType, IpAddr, IpAddr); 2] = [
    (
        EtherType::IPV4,
        IpAddr::V4(Ipv4Addr::new(10, 9, 0, 2)),
        IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1)),
    ),
    (
        EtherType::IPV6,
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 2)),
        IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 1)),
    ),
];

/// Brings an interface up, and claims what is said of it.
#[track_caller]
fn assert_up(
    host: &Host,
    interface: &str,
    options: &[&str],
    begin: &str,
    warned: bool,
) -> Result<()> {
    let arguments = [&["up", interface], options].concat();
    let output = host.xdpfw(arguments).output()?;
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    assert!(
        stdout.starts_with(&format!("{interface}: {begin}")),
        "{stdout}"
    );
    let warning = format!("warning: {interface}: no native XDP here (its driver");
    assert_eq!(stderr.starts_with(&warning), warned, "{stderr}");
    let mode = xdp_mode(host, interface)?;
    assert!(begin.starts_with(&mode), "{mode}");
    Ok(())
}

/// Claims that of datagrams through an interface, one to a port that is open there is answered,
/// and those to a closed one are dropped, each counted once.
#[track_caller]
fn assert_filters(host: &Host, peer: &Host, interface: &str, address: Ipv4Addr) -> Result<()> {
    let open = SocketAddr::new(address.into(), OPEN);
    let _echo = UdpEcho::start(host, OPEN)?;
    let open_here = ["allow", "udp", &OPEN.to_string(), "--on", interface];
    host.xdpfw(open_here).ok();
    let before = Tally::of(host)?;
    let answer = servers::exchange(peer, 0, open, "query", PATIENCE)?;
    assert_eq!(answer, "query");
    send(peer, address, CLOSED, DATAGRAMS)?;
    let expected = [
        ("pass rule", 1),
        ("r1", 1),
        ("drop default", DATAGRAMS),
        ("udp/54", DATAGRAMS),
    ];
    let moved = Tally::assert_moved(host, &before, &expected)?;
    let dropped = DATAGRAMS * (HEADERS + PAYLOAD.len() as u64);
    assert_eq!(moved.bytes("drop default"), dropped);
    assert_eq!(moved.bytes("pass rule"), HEADERS + 5);
    Ok(())
}

fn send(from: &Host, address: Ipv4Addr, port: u16, times: u64) -> Result<()> {
    let socket = from.enter(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?))?;
    for _ in 0..times {
        socket.send_to(PAYLOAD, (address, port))?;
    }
    Ok(())
}

/// Gives an interface an address, and another's for good; up it is, too.
fn give_address(
    host: &Host,
    interface: &str,
    own: Ipv4Addr,
    other: Ipv4Addr,
    mac: &str,
) -> Result<()> {
    let (own, other) = (format!("{own}/24"), other.to_string());
    host.run("ip", ["link", "set", interface, "up"])?;
    host.run("ip", ["address", "add", &own, "dev", interface])?;
    let neighbour = ["neigh", "replace", &other, "lladdr", mac, "dev", interface];
    host.run("ip", neighbour.iter().chain(&["nud", "permanent"]))?;
    Ok(())
}

/// Gives an interface the host's addresses of both families.
fn give_addresses(host: &Host, interface: &str) -> Result<()> {
    let mac = |bytes: [u8; 6]| bytes.map(|byte| format!("{byte:02x}")).join(":");
    for (knob, value) in [
        ("addr_gen_mode", "1"),
        ("accept_ra", "0"),
        ("disable_ipv6", "0"),
    ] {
        host.sysctl(&format!("net/ipv6/conf/{interface}/{knob}"), value)?;
    }
    let is_ethernet = interface.starts_with("tap");
    if is_ethernet {
        host.run("ip", ["link", "set", interface, "address", &mac(NEAR_MAC)])?;
    }
    host.run("ip", ["link", "set", interface, "up"])?;
    for (_, other, own) in FAMILIES {
        let prefix = if own.is_ipv4() { 24 } else { 64 };
        let own = format!("{own}/{prefix}");
        let mut words = vec!["address", "add", &own, "dev", interface];
        if prefix == 64 {
            words.push("nodad");
        }
        host.run("ip", &words)?;
        if is_ethernet {
            let (other, mac) = (other.to_string(), mac(FAR_MAC));
            let neighbour = ["neigh", "replace", &other, "lladdr", &mac, "dev", interface];
            host.run("ip", neighbour.iter().chain(&["nud", "permanent"]))?;
        }
    }
    Ok(())
}

/// Whether a packet accepts a connection to port 443.
fn is_syn_ack(packet: &[u8]) -> bool {
    matches!(
        SlicedPacket::from_ip(packet).map(|packet| packet.transport),
        Ok(Some(TransportSlice::Tcp(tcp))) if tcp.source_port() == 443 && tcp.syn() && tcp.ack()
    )
}
