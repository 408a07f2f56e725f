//! SYN cookies: a flood of new connections takes no memory, and who is real connects all the same.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    thread,
    time::Instant,
};

use anyhow::{Result, ensure};
use socket2::SockRef;
use xdpfw_tests::{
    Family, Host, Lab, PATIENCE, Sender, Tally, add_ipv6, assert_is_one_error, generation,
    json::{rows, word},
    link,
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

/// Bytes that a segment to a server can have.
fn segment_size(host: &Host, server: SocketAddr) -> Result<u32> {
    let client = servers::connect(host, 0, server, PATIENCE)?;
    Ok(SockRef::from(&client).tcp_mss()?)
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
    for _ in 0..FEW {
        assert_eq!(servers::fetch(&flooded.lab.peer, near, PATIENCE)?, "hello");
    }
    assert!(answered(&flooded.lab.host)? >= before + FEW);
    Ok(())
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
    let flooded = Flooded::new(&lab, 80)?;
    let before = answered(&lab.host)?;
    for family in Family::ALL {
        let to = SocketAddr::new(family.address(inner.far()), 80);
        assert_eq!(servers::fetch(&lab.peer, to, PATIENCE)?, "behind");
    }
    assert_eq!(answered(&lab.host)?, before);
    // Also on an interface that the packet does not come in by.
    for end in [lab.link().near(), inner.near()] {
        for family in Family::ALL {
            let to = SocketAddr::new(family.address(end), 80);
            assert_eq!(servers::fetch(&flooded.lab.peer, to, PATIENCE)?, "host");
        }
    }
    assert_eq!(answered(&lab.host)?, before + 4);
    Ok(())
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
    let _flooded = Flooded::new(&lab, 80)?;
    let before = answered(host)?;
    let to = SocketAddrV4::new(address, 80);
    assert_eq!(servers::fetch(&lab.peer, to, PATIENCE)?, "guest");
    assert_eq!(answered(host)?, before);
    assert_eq!(servers::fetch(&lab.peer, port.at(80), PATIENCE)?, "host");
    assert_eq!(answered(host)?, before + 1);
    Ok(())
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
        let _flooded = Flooded::new(&lab, 80)?;
        let count = answered(&lab.host)?;
        // Without timestamps, which are not in a cookie.
        assert_eq!(
            sizes()?,
            before.iter().map(|size| size + 12).collect::<Vec<_>>()
        );
        assert_eq!(sizes()?, [mtu - 40, mtu - 60]);
        assert_eq!(answered(&lab.host)?, count + 4);
    }
    Ok(())
}

/// The settings of TCP that the kernel reads timestamps by.
const TIMESTAMPS: &str = "net/ipv4/tcp_timestamps";
/// Bytes that are sent each way: more than a window is that is not scaled, many times.
const MUCH: usize = 1 << 20;

/// What the two ends of a connection have agreed on, of timestamps, selective acknowledgments and scales;
/// and the scales, the other end's first.
fn options(end: &TcpStream) -> Result<([bool; 3], [u8; 2])> {
    // The first bytes of `struct tcp_info` in linux/tcp.h.
    let mut info = [0_u8; 8];
    let mut len = info.len() as libc::socklen_t;
    // SAFETY: the kernel writes no more than `len` bytes, and both places live through the call.
    let result = unsafe {
        libc::getsockopt(
            end.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut len,
        )
    };
    ensure!(result == 0, io::Error::last_os_error());
    let [.., options, scales, _] = info;
    Ok((
        [1, 2, 4].map(|bit| options & bit != 0),
        [scales & 0xf, scales >> 4],
    ))
}

/// Sends much from one end to the other, which takes it at once.
fn send_much(mut from: &TcpStream, mut to: &TcpStream) -> Result<()> {
    thread::scope(|scope| {
        let sent = scope.spawn(move || from.write_all(&vec![7; MUCH]));
        let mut bytes = vec![0; MUCH];
        to.read_exact(&mut bytes)?;
        ensure!(sent.join().is_ok_and(|sent| sent.is_ok()));
        ensure!(bytes.iter().all(|byte| *byte == 7));
        Ok(())
    })
}

/// As the kernel's own answers, but only where it can read them back from any host's timestamp.
#[test]
fn timestamps_carry_what_cookies_cannot() -> Result<()> {
    // What the client's host has set, and what is agreed on.
    let without = |name| (name, "0");
    for (own, others, agreed) in [
        (&[][..], &[][..], [true; 3]),
        (&[without("sack")], &[], [true, false, true]),
        (&[], &[without("sack")], [true, false, true]),
        (&[without("window_scaling")], &[], [true, true, false]),
        (&[], &[without("window_scaling")], [true, true, false]),
        (&[], &[without("timestamps")], [false; 3]),
        (&[("timestamps", "1")], &[], [false; 3]),
        (
            &[
                ("rmem", "4096 131072 1048576"),
                ("wmem", "4096 16384 65536"),
            ],
            &[],
            [true; 3],
        ),
    ] {
        let lab = Lab::new()?;
        add_ipv6(lab.link(), &lab.host, &lab.peer)?;
        lab.host.sysctl(SETTING, "2")?;
        lab.host.sysctl(TIMESTAMPS, "2")?;
        for (host, settings) in [(&lab.host, own), (&lab.peer, others)] {
            for (name, value) in settings {
                host.sysctl(&format!("net/ipv4/tcp_{name}"), value)?;
            }
        }
        let allow = ["allow", "tcp", "80", "--syn-cookies"];
        lab.host.xdpfw(allow).ok();
        lab.host.xdpfw(["up", "eth0"]).ok();
        let all = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 80));
        let listener = lab.host.enter(|| Ok(TcpListener::bind(all)?))?;
        let open = |family: Family| -> Result<_> {
            let to = SocketAddr::new(family.address(lab.link().near()), 80);
            let client = servers::connect(&lab.peer, 0, to, PATIENCE)?;
            let (server, _) = listener.accept()?;
            let options = [options(&server)?, options(&client)?];
            Ok((client, server, options))
        };
        let by_the_kernel = Family::ALL.map(|family| anyhow::Ok(open(family)?.2));
        assert_eq!(answered(&lab.host)?, 0, "nobody floods");
        let mut flooded = Flooded::new(&lab, 80)?;
        for (family, by_the_kernel) in Family::ALL.into_iter().zip(by_the_kernel) {
            // What was sent before may have taken longer than cookies last.
            flooded.flood(80)?;
            let count = answered(&lab.host)?;
            let (client, server, options) = open(family)?;
            assert_eq!(answered(&lab.host)?, count + 1);
            for (found, _) in &options {
                assert_eq!(*found, agreed, "{own:?} {others:?} {family:?}");
            }
            if agreed[0] {
                assert_eq!(options, by_the_kernel?, "{own:?} {others:?} {family:?}");
            }
            for end in [&client, &server] {
                end.set_read_timeout(Some(PATIENCE))?;
            }
            send_much(&client, &server)?;
            send_much(&server, &client)?;
        }
    }
    Ok(())
}

/// The kernel shifts its windows by fewer bits, which no program sees.
#[test]
fn windows_are_not_scaled_where_a_program_sets_its_buffer() -> Result<()> {
    let lab = with_cookies(&[])?;
    lab.host.sysctl(TIMESTAMPS, "2")?;
    let near = lab.link().near().at(80);
    let listener = lab.host.enter(|| Ok(TcpListener::bind(near)?))?;
    SockRef::from(&listener).set_recv_buffer_size(1 << 15)?;
    lab.host.xdpfw(["apply"]).ok();
    let _flooded = Flooded::new(&lab, 80)?;
    let client = servers::connect(&lab.peer, 0, near, PATIENCE)?;
    let (server, _) = listener.accept()?;
    for end in [&client, &server] {
        assert_eq!(options(end)?.0, [true, true, false]);
    }
    server.set_read_timeout(Some(PATIENCE))?;
    send_much(&client, &server)
}

/// As the service does at boot, and when it is reloaded.
#[test]
fn who_may_not_ask_programs_leaves_windows_as_they_were() -> Result<()> {
    let lab = with_cookies(&[])?;
    let host = &lab.host;
    host.sysctl(TIMESTAMPS, "2")?;
    let _listener = host.enter(|| Ok(TcpListener::bind(lab.link().near().at(80))?))?;
    let apply = || -> Result<()> {
        let without = ["--bounding-set", "-sys_ptrace", "--inh-caps", "-sys_ptrace"];
        let mut command = host.command("setpriv");
        command.args(without).arg(host.binary()).arg("apply");
        let output = command.env("XDPFW_POLICY", host.policy()).output()?;
        ensure!(output.status.success(), "{output:?}");
        Ok(())
    };
    apply()?;
    let warning = &host.status()["warnings"][0];
    assert_eq!(warning["kind"], "syn-cookie-options");
    host.xdpfw(["apply"]).ok();
    let before = generation(host);
    apply()?;
    assert_eq!(generation(host), before);
    assert!(
        host.status()["warnings"]
            .as_array()
            .is_some_and(Vec::is_empty)
    );
    Ok(())
}

/// What is not read back as it was written is worse than nothing.
#[test]
fn a_change_of_tcps_settings_is_told_and_followed() -> Result<()> {
    let lab = with_cookies(&[])?;
    let warnings = || -> Result<Vec<String>> {
        let status = lab.host.status();
        let warnings = rows(&status["warnings"])?.iter();
        warnings
            .map(|one| Ok(word(&one["kind"])?.to_owned()))
            .collect()
    };
    assert_eq!(warnings()?, [""; 0]);
    for (name, value) in [
        ("timestamps", "2"),
        ("rmem", "4096 131072 1048576"),
        ("timestamps", "1"),
    ] {
        lab.host.sysctl(&format!("net/ipv4/tcp_{name}"), value)?;
        assert_eq!(warnings()?, ["syn-cookie-options"]);
        lab.host.xdpfw(["apply"]).ok();
        assert_eq!(warnings()?, [""; 0]);
    }
    lab.host.sysctl(TIMESTAMPS, "2")?;
    lab.host.xdpfw(["apply"]).ok();
    let listener = lab
        .host
        .enter(|| Ok(TcpListener::bind(lab.link().near().at(80))?))?;
    let elsewhere = lab
        .host
        .enter(|| Ok(TcpListener::bind(lab.link().near().at(81))?))?;
    SockRef::from(&elsewhere).set_recv_buffer_size(1 << 16)?;
    assert_eq!(warnings()?, [""; 0]);
    SockRef::from(&listener).set_recv_buffer_size(1 << 16)?;
    assert_eq!(warnings()?, ["syn-cookie-options"]);
    lab.host.sysctl(TIMESTAMPS, "1")?;
    lab.host.xdpfw(["apply"]).ok();
    // Without timestamps, buffers do not matter; without cookies, nothing of it does.
    lab.host
        .sysctl("net/ipv4/tcp_rmem", "4096 131072 6291456")?;
    assert_eq!(warnings()?, [""; 0]);
    lab.host.xdpfw(["delete", "r1"]).ok();
    lab.host.sysctl(TIMESTAMPS, "2")?;
    assert_eq!(warnings()?, [""; 0]);
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
    for _ in 0..FEW {
        servers::fetch(&flooded.lab.peer, near.at(80), PATIENCE)?;
    }
    assert!(answered(&flooded.lab.host)? >= before + FEW);
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
