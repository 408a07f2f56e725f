//! What connections have that are opened by SYN cookies: timestamps, selective acknowledgments, scales.

use std::{
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use etherparse::{EtherType, NetSlice, SlicedPacket, TransportSlice};
use socket2::SockRef;
use xdpfw_tests::{
    Family, Host, Lab, PATIENCE, Tun, add_ipv6, generation,
    json::{rows, word},
    packets, servers,
};

use crate::cookies::{Flooded, SETTING, answered, with_cookies};

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
            let (client, server, options) = flooded.amid(80, 1, || open(family))?;
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
    let (client, server) = Flooded::new(&lab, 80)?.amid(80, 1, || {
        let client = servers::connect(&lab.peer, 0, near, PATIENCE)?;
        Ok((client, listener.accept()?.0))
    })?;
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

/// The options of the answer to a SYN with these, and what its acknowledgment would bring back.
fn asked(tun: &Tun, port: u16, options: &[u8]) -> Result<Vec<u8>> {
    let from = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), port);
    let to = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 80);
    let syn = packets::syn_with(from, to, options);
    tun.send(EtherType::IPV4.0, &syn)?;
    let asks = port.to_be_bytes();
    let answer = tun.receive(|packet| packet.get(22..24) == Some(&asks), PATIENCE)?;
    let answer = SlicedPacket::from_ip(&answer)?;
    let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) = (answer.net, answer.transport)
    else {
        anyhow::bail!("no answer: {options:?}");
    };
    ensure!(ip.header().to_header().calc_header_checksum() == ip.header().header_checksum());
    let sum = tcp.calc_checksum_ipv4(ip.header().source(), ip.header().destination())?;
    ensure!(tcp.checksum() == sum, "{options:?}: {sum:x}");
    ensure!(tcp.syn() && tcp.ack());
    Ok(tcp.options().to_vec())
}

/// Whatever is in the place of options: forged, cut off, said twice.
#[test]
fn no_options_lead_the_answer_astray() -> Result<()> {
    const MSS: [u8; 4] = [2, 4, 5, 0xb4];
    const SACK: [u8; 2] = [4, 2];
    const TIMESTAMPS: [u8; 10] = [8, 10, 0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 0];
    const SCALE: [u8; 3] = [3, 3, 9];
    /// In the timestamp of the answer: windows are not scaled.
    const UNSCALED: u8 = 0xf;
    let host = Host::new()?;
    host.sysctl(SETTING, "2")?;
    host.sysctl(self::TIMESTAMPS, "2")?;
    let tun = Tun::layer3(&host, "tun0")?;
    for words in [
        &["address", "add", "10.0.0.1/24", "dev", "tun0"][..],
        &["link", "set", "tun0", "up"],
    ] {
        host.run("ip", words)?;
    }
    let any = (Ipv4Addr::UNSPECIFIED, 80);
    let _listener = host.enter(|| Ok(TcpListener::bind(any)?))?;
    host.xdpfw(["allow", "tcp", "80", "--syn-cookies"]).ok();
    host.xdpfw(["up", "tun0"]).ok();
    let flood = || -> Result<()> {
        let (begin, before) = (Instant::now(), answered(&host)?);
        while answered(&host)? == before {
            ensure!(begin.elapsed() < PATIENCE * 10, "no cookies");
            for number in 0..2_000 {
                let from = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 3), 1_024 + number);
                let syn = packets::syn(from, SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 1), 80));
                tun.send(EtherType::IPV4.0, &syn)?;
            }
        }
        // The answers would fill the queue of what the host sends.
        while tun.receive(|_| true, Duration::ZERO).is_ok() {}
        Ok(())
    };
    flood()?;
    let all = [&MSS[..], &SACK, &TIMESTAMPS, &[1], &SCALE].concat();
    // What is asked for; what the timestamp of the answer carries, if it has one.
    let mut ports = 20_000..;
    for (options, carried) in [
        (all, Some(16 | 9)),
        (MSS.to_vec(), None),
        (TIMESTAMPS.to_vec(), Some(UNSCALED)),
        // The others are lost without a timestamp.
        ([&SACK[..], &SCALE].concat(), None),
        // More bits than a window may be shifted by.
        ([&TIMESTAMPS[..], &[3, 3, 15]].concat(), Some(14)),
        ([&TIMESTAMPS[..], &[3, 3, 255]].concat(), Some(14)),
        // Said twice: the last counts.
        ([&TIMESTAMPS[..], &SCALE, &[3, 3, 2]].concat(), Some(2)),
        // Of another size than it has.
        ([&[8, 9][..], &[0; 7]].concat(), None),
        ([&TIMESTAMPS[..], &[3, 4, 9, 9]].concat(), Some(UNSCALED)),
        ([&TIMESTAMPS[..], &[4, 3, 9]].concat(), Some(UNSCALED)),
        // Behind the end, or behind what has no size.
        ([&[0][..], &TIMESTAMPS].concat(), None),
        ([&[99, 0][..], &TIMESTAMPS].concat(), None),
        ([&[99, 1][..], &TIMESTAMPS].concat(), None),
        // Beyond the header, which ends at once.
        (vec![1, 1, 8, 10], None),
        (vec![1, 1, 1, 8], None),
        (vec![1, 1, 99, 255], None),
        // As far behind as can be.
        (
            [&[99, 30][..], &[8; 28], &TIMESTAMPS].concat(),
            Some(UNSCALED),
        ),
        // Behind more than is looked at.
        ([&[1; 30][..], &TIMESTAMPS].concat(), None),
        (vec![1; 40], None),
        (vec![8; 40], None),
        (vec![255; 40], None),
    ] {
        let begin = Instant::now();
        let found = loop {
            let before = answered(&host)?;
            let port = ports.next().context("no port is left")?;
            let found = asked(&tun, port, &options)?;
            if answered(&host)? == before + 1 {
                break found;
            }
            // The kernel answers, if the flood is over by now.
            ensure!(begin.elapsed() < PATIENCE * 10, "no cookie: {options:?}");
            flood()?;
        };
        let (mss, rest) = found.split_at(4);
        assert_eq!(mss, MSS, "{options:?}");
        let Some(carried) = carried else {
            assert_eq!(rest, [0; 0], "{options:?}");
            continue;
        };
        let timestamp: [u8; 10] = rest.get(2..12).context("no timestamp")?.try_into()?;
        let [8, 10, _, _, _, low, echo @ ..] = timestamp else {
            panic!("{options:?}: {timestamp:?}");
        };
        assert_eq!(low & 0x3f, carried, "{options:?}");
        assert_eq!(echo, [0xde, 0xad, 0xbe, 0xef]);
        let sack = if carried & 16 == 0 { [1, 1] } else { SACK };
        assert_eq!(rest[..2], sack, "{options:?}");
        match carried & 0xf {
            UNSCALED => assert_eq!(rest[12..], [1; 4], "{options:?}"),
            _ => assert!(matches!(rest[12..], [3, 3, 0..=14, 1]), "{rest:?}"),
        }
    }
    Ok(())
}
