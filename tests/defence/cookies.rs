//! SYN cookies: a flood of new connections takes no memory, and who is real connects all the same.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener},
    time::Instant,
};

use anyhow::{Result, ensure};
use socket2::SockRef;
use xdpfw_tests::{
    Family, Host, Lab, PATIENCE, Sender, Tally, add_ipv6, assert_is_one_error, link,
    packets::{self, flags},
    policy_text,
    servers::{self, TcpServer},
    text,
};

/// The kernel's setting.
pub(crate) const SETTING: &str = "net/ipv4/tcp_syncookies";

/// Connections that are made before the cookies of a flood end, ten seconds after it, on a slow machine,
/// too.
const FEW: u64 = 3;

/// A host that answers on a port with cookies, and a flood that has made it do so.
pub(crate) struct Flooded<'a> {
    lab: &'a Lab,
    sender: Sender,
    sent: u32,
}

impl<'a> Flooded<'a> {
    /// The flood is over when this returns, and the cookies last on.
    pub(crate) fn new(lab: &'a Lab, port: u16) -> Result<Self> {
        let sender = Sender::new(&lab.peer, lab.link().far())?;
        let mut flooded = Self {
            lab,
            sender,
            sent: 0,
        };
        flooded.flood(port)?;
        Ok(flooded)
    }

    /// Sends SYNs from sources that do not exist, until they are answered with cookies.
    pub(crate) fn flood(&mut self, port: u16) -> Result<()> {
        let to = self.lab.link().near().at(port);
        let begin = Instant::now();
        let before = answered(&self.lab.host)?;
        while answered(&self.lab.host)? == before {
            ensure!(begin.elapsed() < PATIENCE * 10, "no cookies");
            let first = self.sent;
            self.sent += 4_000;
            self.sender.send_all((first..self.sent).map(|number| {
                let source = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 1)) + number);
                packets::syn(SocketAddrV4::new(source, 40_000), to)
            }))?;
        }
        Ok(())
    }

    /// Does what so many cookies are to answer, amid a flood of the port. Where they end before it is
    /// done, which a slow machine's commands have time for, it is done again.
    pub(crate) fn amid<T>(
        &mut self,
        port: u16,
        cookies: u64,
        mut act: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        let begin = Instant::now();
        loop {
            self.flood(port)?;
            let before = answered(&self.lab.host)?;
            let done = act()?;
            let found = answered(&self.lab.host)? - before;
            if found == cookies {
                return Ok(done);
            }
            let late = begin.elapsed() > PATIENCE * 10;
            ensure!(!late, "{found} cookies instead of {cookies}");
        }
    }
}

/// How many new connections were answered with cookies.
pub(crate) fn answered(host: &Host) -> Result<u64> {
    Ok(Tally::of(host)?.packets("answered syn-cookie"))
}

/// Bytes that a segment to a server can have.
fn segment_size(host: &Host, server: SocketAddr) -> Result<u32> {
    let client = servers::connect(host, 0, server, PATIENCE)?;
    Ok(SockRef::from(&client).tcp_mss()?)
}

/// A host whose port 80 answers with cookies.
pub(crate) fn with_cookies(words: &[&str]) -> Result<Lab> {
    let lab = Lab::new()?;
    lab.host.sysctl(SETTING, "2")?;
    lab.host.set_ipv6(true)?;
    let allow = ["allow", "tcp", "80", "--syn-cookies"];
    lab.host.xdpfw(allow).ok();
    lab.host.xdpfw([&["up", "eth0"], words].concat()).ok();
    Ok(lab)
}

#[test]
fn who_is_real_connects_a_hundred_times_of_a_hundred() -> Result<()> {
    let lab = with_cookies(&[])?;
    assert_eq!(lab.host.status()["interfaces"][0]["mode"], "generic");
    let near = lab.link().near();
    let _server = TcpServer::start(&lab.host, 80, "hello")?;
    servers::fetch(&lab.peer, near.at(80), PATIENCE)?;
    assert_eq!(answered(&lab.host)?, 0, "nobody floods");
    let mut flooded = Flooded::new(&lab, 80)?;
    for time in 0..100 {
        if time % 20 == 0 {
            flooded.flood(80)?;
        }
        let said = servers::fetch(&flooded.lab.peer, near.at(80), PATIENCE)?;
        assert_eq!(said, "hello");
    }
    let list = flooded.lab.host.xdpfw(["list"]).json();
    assert_eq!(list["rules"][0]["syn_cookies"], true);
    Ok(())
}

#[test]
fn over_ipv6_too() -> Result<()> {
    let lab = with_cookies(&[])?;
    lab.peer.set_ipv6(true)?;
    let [near, far] = ["2001:db8:9::1", "2001:db8:9::2"];
    for (host, address) in [(&lab.host, near), (&lab.peer, far)] {
        let address = format!("{address}/64");
        host.run("ip", ["addr", "add", &address, "dev", "eth0", "nodad"])?;
    }
    let near = SocketAddr::from(SocketAddrV6::new(near.parse()?, 80, 0, 0));
    let _server = TcpServer::start_at(&lab.host, near, "hello")?;
    let _flooded_one = TcpServer::start_at(&lab.host, lab.link().near().at(80).into(), "hello")?;
    Flooded::new(&lab, 80)?.amid(80, FEW, || {
        for _ in 0..FEW {
            assert_eq!(servers::fetch(&lab.peer, near, PATIENCE)?, "hello");
        }
        Ok(())
    })
}

/// A host that forwards, and listens on all its addresses itself.
#[test]
fn what_is_forwarded_is_not_answered() -> Result<()> {
    let lab = with_cookies(&[])?;
    let behind = Host::new()?;
    let inner = link(&lab.host, &behind)?;
    add_ipv6(lab.link(), &lab.host, &lab.peer)?;
    add_ipv6(&inner, &lab.host, &behind)?;
    lab.host.sysctl("net/ipv4/ip_forward", "1")?;
    lab.host.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    for (host, via) in [(&lab.peer, lab.link().near()), (&behind, inner.near())] {
        for via in Family::ALL.map(|family| family.address(via).to_string()) {
            host.run("ip", ["route", "add", "default", "via", &via])?;
        }
    }
    let all = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 80));
    let _server = TcpServer::start_at(&lab.host, all, "host")?;
    let _other = TcpServer::start_at(&behind, all, "behind")?;
    let mut flooded = Flooded::new(&lab, 80)?;
    flooded.amid(80, 4, || {
        for family in Family::ALL {
            let to = SocketAddr::new(family.address(inner.far()), 80);
            assert_eq!(servers::fetch(&lab.peer, to, PATIENCE)?, "behind");
        }
        // Also on an interface that the packet does not come in by.
        for end in [lab.link().near(), inner.near()] {
            for family in Family::ALL {
                let to = SocketAddr::new(family.address(end), 80);
                assert_eq!(servers::fetch(&lab.peer, to, PATIENCE)?, "host");
            }
        }
        Ok(())
    })
}

/// A host whose interface is the port of a bridge, with a guest at another port.
#[test]
fn what_is_bridged_is_not_answered() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.sysctl(SETTING, "2")?;
    let guest = Host::new()?;
    let inner = link(host, &guest)?;
    let port = lab.link().near();
    let (mac, own) = (port.mac_text(), format!("{}/24", port.address));
    for words in [
        &["link", "add", "br0", "address", &mac, "type", "bridge"][..],
        &["address", "flush", "dev", "eth0"],
        &["address", "flush", "dev", "eth1"],
        &["link", "set", "eth0", "master", "br0"],
        &["link", "set", "eth1", "master", "br0"],
        &["address", "add", &own, "dev", "br0"],
        &["link", "set", "br0", "up"],
    ] {
        host.run("ip", words)?;
    }
    let address = Ipv4Addr::new(10, 0, 0, 3);
    let [subnet, default] = [format!("{address}/24"), port.address.to_string()];
    guest.run(
        "ip",
        ["address", "add", &subnet, "dev", &inner.far().interface],
    )?;
    guest.run("ip", ["route", "add", "default", "via", &default])?;
    host.xdpfw(["allow", "tcp", "80", "--syn-cookies"]).ok();
    host.xdpfw(["up", "eth0", "--mode", "generic"]).ok();
    let _server = TcpServer::start(host, 80, "host")?;
    let _other = TcpServer::start(&guest, 80, "guest")?;
    Flooded::new(&lab, 80)?.amid(80, 1, || {
        let to = SocketAddrV4::new(address, 80);
        assert_eq!(servers::fetch(&lab.peer, to, PATIENCE)?, "guest");
        assert_eq!(servers::fetch(&lab.peer, port.at(80), PATIENCE)?, "host");
        Ok(())
    })
}

/// Docker's proxy listens where its rules send on to a container.
#[test]
fn a_published_port_that_is_listened_to_is_warned_of() -> Result<()> {
    let lab = with_cookies(&[])?;
    let host = &lab.host;
    let nat = "add table nat; add chain nat in { type nat hook prerouting priority -100; }; \
               add rule nat in tcp dport 8080-8081 dnat to 172.17.0.2:80";
    host.run("nft", [nat])?;
    let _proxy = TcpServer::start(host, 8080, "the host")?;
    let said = |words: &[&str]| -> Result<String> {
        let output = host.xdpfw(["allow", "tcp"].iter().chain(words)).output()?;
        Ok(text(&output.stderr))
    };
    assert_eq!(said(&["8081", "--syn-cookies"])?, "");
    assert_eq!(said(&["8080"])?, "");
    let warning = said(&["8080", "--syn-cookies"])?;
    assert!(
        warning.contains("r3: tcp 8080 is published for what is behind NAT"),
        "{warning}"
    );
    Ok(())
}

/// As the kernel's own answer would.
#[test]
fn they_say_how_long_segments_may_be() -> Result<()> {
    for mtu in [1_280, 1_500, 9_000] {
        let lab = with_cookies(&[])?;
        add_ipv6(lab.link(), &lab.host, &lab.peer)?;
        for host in [&lab.host, &lab.peer] {
            host.run("ip", ["link", "set", "eth0", "mtu", &mtu.to_string()])?;
        }
        let all = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 80));
        let _server = TcpServer::start_at(&lab.host, all, "hello")?;
        let sizes = || -> Result<Vec<u32>> {
            let to = Family::ALL.map(|family| family.address(lab.link().near()));
            to.map(|to| segment_size(&lab.peer, (to, 80).into()))
                .into_iter()
                .collect()
        };
        let before = sizes()?;
        let found = Flooded::new(&lab, 80)?.amid(80, 2, sizes)?;
        // Without timestamps, which are not in a cookie.
        assert_eq!(
            found,
            before.iter().map(|size| size + 12).collect::<Vec<_>>()
        );
        assert_eq!(found, [mtu - 40, mtu - 60]);
    }
    Ok(())
}

/// Where the driver hands answers back.
#[test]
fn in_native_mode_if_the_other_end_takes_them() -> Result<()> {
    let lab = Lab::new()?;
    lab.host.sysctl(SETTING, "2")?;
    lab.host.xdpfw(["allow", "tcp", "80", "--syn-cookies"]).ok();
    let said = lab.host.xdpfw(["up", "eth0", "--mode", "native"]).fails(5);
    assert_is_one_error(&said, "eth0: a veth in native mode hands no answers back");
    lab.peer.xdpfw(["default", "pass"]).ok();
    lab.peer.xdpfw(["up", "eth0", "--mode", "native"]).ok();
    lab.host.xdpfw(["up", "eth0"]).ok();
    assert_eq!(lab.host.status()["interfaces"][0]["mode"], "native");
    let near = lab.link().near();
    let _server = TcpServer::start(&lab.host, 80, "hello")?;
    Flooded::new(&lab, 80)?.amid(80, FEW, || {
        for _ in 0..FEW {
            servers::fetch(&lab.peer, near.at(80), PATIENCE)?;
        }
        Ok(())
    })
}

#[test]
fn what_brings_back_another_number_is_dropped() -> Result<()> {
    let lab = with_cookies(&[])?;
    let near = lab.link().near();
    let _server = TcpServer::start(&lab.host, 80, "hello")?;
    let mut flooded = Flooded::new(&lab, 80)?;
    let from = SocketAddrV4::new(Ipv4Addr::new(198, 18, 7, 7), 40_000);
    let packet = packets::tcp(from, near.at(80), flags::ACK);
    flooded.sender.send_all([packet.as_slice(); 5])?;
    let tally = Tally::of(&flooded.lab.host)?;
    assert_eq!(tally.packets("drop bad-cookie"), 5);
    Ok(())
}

/// A connection from before the flood goes on, whose segments bring no cookie.
#[test]
fn what_was_open_before_goes_on() -> Result<()> {
    let lab = with_cookies(&[])?;
    let near = lab.link().near();
    let listener = lab
        .host
        .enter(|| Ok(TcpListener::bind(SocketAddr::from(near.at(80)))?))?;
    let client = servers::connect(&lab.peer, 0, near.at(80), PATIENCE)?;
    let (server, _) = listener.accept()?;
    let _flooded = Flooded::new(&lab, 80)?;
    servers::assert_alive(client, server)
}

#[test]
fn where_they_cannot_be_they_are_refused() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp 80' }]");
    let host = &lab.host;
    let before = policy_text(host)?;
    let allow = ["allow", "tcp", "80", "--syn-cookies"];
    host.sysctl(SETTING, "1")?;
    let said = host.xdpfw(allow).fails(5);
    assert_is_one_error(
        &said,
        "SYN cookies need net.ipv4.tcp_syncookies = 2, and it is 1",
    );
    host.sysctl(SETTING, "2")?;
    let said = host.xdpfw(allow).fails(5);
    assert_is_one_error(&said, "eth0: a veth in native mode hands no answers back");
    for words in [&["udp", "53"][..], &["ping"], &["any"]] {
        let words = [&["allow"], words, &["--syn-cookies"]].concat();
        host.xdpfw(words).fails(2);
    }
    assert_eq!(policy_text(host)?, before);
    host.xdpfw(["down"]).ok();
    assert!(host.xdpfw(allow).ok().contains("changed"));
    host.xdpfw(["up", "eth0"]).ok();
    host.sysctl(SETTING, "0")?;
    let status = host.xdpfw(["status"]).json_with(|_| 8);
    let warning = &status["warnings"][0];
    assert_eq!(warning["kind"], "syn-cookies");
    // What is there already keeps nobody from other changes, up or down.
    host.xdpfw(["allow", "tcp", "81"]).ok();
    host.xdpfw(["down"]).ok();
    host.xdpfw(["allow", "tcp", "82"]).ok();
    Ok(())
}
