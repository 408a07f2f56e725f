//! SYN cookies: a flood of new connections takes no memory, and who is real connects all the same.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    time::Instant,
};

use anyhow::{Result, ensure};
use xdpfw_tests::{
    Host, Lab, PATIENCE, Sender, Tally, assert_is_one_error,
    packets::{self, flags},
    policy_text,
    servers::{self, TcpServer},
};

/// The kernel's setting.
const SETTING: &str = "net/ipv4/tcp_syncookies";

/// A host that answers on a port with cookies, and a flood that has made it do so.
struct Flooded<'a> {
    lab: &'a Lab,
    sender: Sender,
    sent: u32,
}

impl<'a> Flooded<'a> {
    fn new(lab: &'a Lab, port: u16) -> Result<Self> {
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
    fn flood(&mut self, port: u16) -> Result<()> {
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
}

fn answered(host: &Host) -> Result<u64> {
    Ok(Tally::of(host)?.packets("answered syn-cookie"))
}

fn with_cookies(words: &[&str]) -> Result<Lab> {
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
    let flooded = Flooded::new(&lab, 80)?;
    let before = answered(&flooded.lab.host)?;
    for _ in 0..10 {
        assert_eq!(servers::fetch(&flooded.lab.peer, near, PATIENCE)?, "hello");
    }
    assert!(answered(&flooded.lab.host)? >= before + 10);
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
    let flooded = Flooded::new(&lab, 80)?;
    let before = answered(&flooded.lab.host)?;
    for _ in 0..10 {
        servers::fetch(&flooded.lab.peer, near.at(80), PATIENCE)?;
    }
    assert!(answered(&flooded.lab.host)? >= before + 10);
    Ok(())
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
        .enter(|| Ok(std::net::TcpListener::bind(SocketAddr::from(near.at(80)))?))?;
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
    Ok(())
}
