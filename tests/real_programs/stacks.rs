//! Proves that ping, curl and iperf3 work through the filter as far as the policy lets
//! them, over IPv4 and IPv6, and that what IP itself needs gets through: neighbour
//! discovery, and the errors by which TCP learns a path's MTU.

use std::{
    fs,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    process::Output,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use xdpfw_tests::{
    Family, Host, Lab, PATIENCE, Process, Tally, add_ipv6, link, servers::TcpServer, text,
};

/// How many seconds to wait for what cannot come; counters tell why it did not.
const IN_VAIN: &str = "0.2";
/// The port of iperf3.
const IPERF: u16 = 5201;
/// Any address of both families.
const ANY: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

#[test]
fn ping_is_answered_where_a_rule_says_so() -> Result<()> {
    let lab = Lab::with_ipv6(1)?.filtered("");
    for (family, protocol, id) in [(Family::Ipv4, "icmp", "r1"), (Family::Ipv6, "icmp6", "r2")] {
        let (near, far) = addresses(&lab, family);
        let before = Tally::of(&lab.host)?;
        assert_eq!(ping(&lab.peer, near, IN_VAIN)?, 0);
        // The answers to this host's own get through.
        assert_eq!(ping(&lab.host, far, "10")?, 3);
        let moved = [("drop default", 3), ("pass reply", 3)];
        Tally::assert_moved(&lab.host, &before, &moved)?;

        lab.host.xdpfw(["allow", protocol, "echo-request"]).ok();
        let before = Tally::of(&lab.host)?;
        assert_eq!(ping(&lab.peer, near, "10")?, 3);
        Tally::assert_moved(&lab.host, &before, &[("pass rule", 3), (id, 3)])?;
        lab.host.xdpfw(["delete", id]).ok();

        let said = lab.host.xdpfw(["allow", protocol, "echo-reply"]).ok();
        let id = said.split(' ').next().context("no id")?;
        let before = Tally::of(&lab.host)?;
        assert_eq!(ping(&lab.host, far, "10")?, 3);
        Tally::assert_moved(&lab.host, &before, &[("pass rule", 3), (id, 3)])?;
        let before = Tally::of(&lab.host)?;
        assert_eq!(ping(&lab.peer, near, IN_VAIN)?, 0);
        Tally::assert_moved(&lab.host, &before, &[("drop default", 3)])?;
    }
    Ok(())
}

#[test]
fn neighbours_are_found_again_and_again() -> Result<()> {
    let lab = Lab::with_ipv6(1)?.filtered("rule = [{ allow = 'icmp6 echo-request' }]");
    let near = lab.link().near().address6.into();
    for host in [&lab.host, &lab.peer] {
        // A neighbour is taken at its word for but a moment, and asked at once then.
        for (knob, value) in [
            ("base_reachable_time_ms", "100"),
            ("delay_first_probe_time", "0"),
            ("retrans_time_ms", "200"),
        ] {
            host.sysctl(&format!("net/ipv6/neigh/eth0/{knob}"), value)?;
        }
    }
    let forget = || -> Result<()> {
        for host in [&lab.host, &lab.peer] {
            host.run("ip", ["-6", "neigh", "flush", "dev", "eth0", "nud", "all"])?;
        }
        Ok(())
    };
    for round in 0..2 {
        forget()?;
        let before = Tally::of(&lab.host)?;
        // Some reachable times, one after the other.
        let arguments = ["-6", "-c", "5", "-i", "0.3", "-W", "10", "2001:db8::1"];
        let said = lab.peer.run("ping", arguments)?;
        assert_eq!(answers(&said)?, 5, "round {round}: {said}");
        let moved = Tally::of(&lab.host)?.since(&before);
        assert_eq!((moved.packets("r1"), moved.packets("drop default")), (5, 0));
        // The question for this host's address, and the answer to its own at least.
        assert!(moved.packets("pass neighbour-discovery") >= 2, "{moved:?}");
        assert_eq!(
            moved.judged(),
            5 + moved.packets("pass neighbour-discovery") + moved.mld(),
            "{moved:?}"
        );
    }

    // Without it, nothing goes.
    lab.host
        .xdpfw(["deny", "icmp6", "neighbour-solicitation"])
        .ok();
    forget()?;
    let before = Tally::of(&lab.host)?;
    assert_eq!(ping(&lab.peer, near, IN_VAIN)?, 0);
    let moved = Tally::of(&lab.host)?.since(&before);
    assert!(moved.packets("r2") > 0, "{moved:?}");
    assert_eq!(moved.packets("r1"), 0);
    Ok(())
}

#[test]
fn tcp_learns_the_mtu_of_its_path() -> Result<()> {
    // Some packets' worth, which go out at once.
    const LEN: usize = 12_000;
    let (host, router, client) = (Host::new()?, Host::new()?, Host::new()?);
    let links = [link(&host, &router)?, link(&router, &client)?];
    add_ipv6(&links[0], &host, &router)?;
    add_ipv6(&links[1], &router, &client)?;
    for host in [&host, &router] {
        // Each error that is due is sent.
        host.sysctl("net/ipv4/icmp_ratelimit", "0")?;
        host.sysctl("net/ipv6/icmp/ratelimit", "0")?;
    }
    // The client does not know how narrow the way to it is.
    router.run("ip", ["link", "set", "eth1", "mtu", "1300"])?;
    router.sysctl("net/ipv4/ip_forward", "1")?;
    router.sysctl("net/ipv6/conf/all/forwarding", "1")?;
    for (end, via) in [(&host, links[0].far()), (&client, links[1].near())] {
        let (v4, v6) = (via.address.to_string(), via.address6.to_string());
        end.run("ip", ["route", "add", "default", "via", &v4])?;
        end.run("ip", ["-6", "route", "add", "default", "via", &v6])?;
    }
    let document = "x".repeat(LEN);
    let _server = TcpServer::http(&host, SocketAddr::new(ANY, 80), &document)?;
    host.xdpfw(["up", "eth0"]).ok();
    host.xdpfw(["allow", "tcp", "80"]).ok();

    let near = links[0].near();
    for address in [near.address.into(), near.address6.into()] {
        let before = Tally::of(&host)?;
        let output = curl(&client, address, "30")?;
        assert_eq!(text(&output.stdout).len(), LEN, "{address}: {output:?}");
        let moved = Tally::of(&host)?.since(&before);
        assert!(moved.packets("pass icmp-error") > 0, "{address}: {moved:?}");
        let errors = moved.packets("pass icmp-error");
        assert_eq!(
            moved.judged(),
            moved.packets("r1") + errors + moved.mld(),
            "{address}: {moved:?}"
        );
    }

    // Where a rule drops these errors, the host learns nothing.
    for rule in [
        ["deny", "icmp", "destination-unreachable"],
        ["deny", "icmp6", "packet-too-big"],
    ] {
        host.xdpfw(rule).ok();
    }
    for (family, address, id) in [
        ("-4", near.address.into(), "r2"),
        ("-6", near.address6.into(), "r3"),
    ] {
        // Nor does it remember anything.
        host.run("ip", [family, "route", "flush", "cache"])?;
        let before = Tally::of(&host)?;
        let output = curl(&client, address, "1")?;
        assert!(!output.status.success(), "{address}");
        let moved = Tally::of(&host)?.since(&before);
        assert!(moved.packets(id) > 0, "{address}: {moved:?}");
        assert_eq!(moved.packets("pass icmp-error"), 0, "{address}");
    }
    Ok(())
}

#[test]
fn curl_fetches_from_the_host_and_on_the_host() -> Result<()> {
    let lab = Lab::with_ipv6(1)?.filtered("rule = [{ allow = 'tcp 80' }]");
    for family in Family::ALL {
        let (near, far) = addresses(&lab, family);
        for (server, client, address, counter) in [
            (&lab.host, &lab.peer, near, "pass rule"),
            (&lab.peer, &lab.host, far, "pass reply"),
        ] {
            let document = format!("a document at {address}\n").repeat(1000);
            let server = TcpServer::http(server, SocketAddr::new(ANY, 80), &document)?;
            let before = Tally::of(&lab.host)?;
            let output = curl(client, address, "30")?;
            assert_eq!(text(&output.stdout), document, "{address}: {output:?}");
            assert_eq!(server.served(), 1);
            let moved = Tally::settled(&lab.host, "eth0")?.0.since(&before);
            assert!(moved.packets(counter) > 4, "{address}: {moved:?}");
            assert_eq!(moved.judged(), moved.packets(counter) + moved.mld());
        }
    }
    // The neighbour of an open port.
    let before = Tally::of(&lab.host)?;
    let url = format!("http://{}:81/", lab.link().near().address);
    let output = lab
        .peer
        .command("curl")
        .args(["-s", "--max-time", "0.5", &url])
        .output()?;
    assert!(!output.status.success());
    Tally::assert_moved(&lab.host, &before, &[("drop default", 1), ("tcp/81", 1)])?;
    Ok(())
}

#[test]
fn iperf3_runs_against_the_host() -> Result<()> {
    let lab = Lab::with_ipv6(1)?.filtered("rule = [{ allow = 'tcp+udp 5201' }]");
    measure(&lab, &lab.host, &lab.peer, "pass rule")
}

#[test]
fn iperf3_runs_from_the_host() -> Result<()> {
    let lab = Lab::with_ipv6(1)?.filtered("");
    measure(&lab, &lab.peer, &lab.host, "pass reply")
}

/// Sends by TCP and UDP, both ways, over both families; claims that all arrives, and is
/// counted at one reason.
fn measure(lab: &Lab, server: &Host, client: &Host, counter: &str) -> Result<()> {
    let _server = iperf_server(server)?;
    for family in Family::ALL {
        let (near, far) = addresses(lab, family);
        let address = if std::ptr::eq(server, &lab.host) {
            near
        } else {
            far
        };
        let address = address.to_string();
        for options in [
            &["-n", "20M"][..],
            &["-n", "20M", "-R"],
            // As much as a socket has room for: none is lost behind the filter, however
            // late the receiver reads.
            &["-u", "-n", "80K", "-l", "1000"],
            &["-u", "-n", "80K", "-l", "1000", "-R"],
        ] {
            let case = format!("iperf3 -c {address} {}", options.join(" "));
            let (before, received) = Tally::settled(&lab.host, "eth0")?;
            let mut arguments = vec!["-c", &address, "--json", "--connect-timeout", "9000"];
            arguments.extend(options);
            let report = client
                .run("iperf3", &arguments)
                .with_context(|| case.clone())?;
            let report: serde_json::Value = serde_json::from_str(&report)?;
            assert!(report["error"].is_null(), "{case}: {report}");
            if options.contains(&"-u") {
                let lost = &report["end"]["sum"]["lost_packets"];
                assert_eq!(lost, 0, "{case}: {report}");
            } else {
                // Its receiver does not wait for the last of it.
                let bytes = report["end"]["sum_sent"]["bytes"].as_u64();
                assert!(bytes >= Some(20 << 20), "{case}: {report}");
            }
            let (after, now) = Tally::settled(&lab.host, "eth0")?;
            let moved = after.since(&before);
            assert!(moved.packets(counter) > 0, "{case}");
            assert_eq!(
                moved.judged(),
                moved.packets(counter) + moved.mld(),
                "{case}: {moved:?}"
            );
            assert_eq!(
                now.rx_packets - received.rx_packets,
                moved.judged(),
                "{case}"
            );
        }
    }
    Ok(())
}

/// The host's address and the peer's.
fn addresses(lab: &Lab, family: Family) -> (IpAddr, IpAddr) {
    let link = lab.link();
    (family.address(link.near()), family.address(link.far()))
}

/// Sends three echo requests and waits so many seconds for the answers; how many came.
fn ping(host: &Host, address: IpAddr, patience: &str) -> Result<u64> {
    let address = address.to_string();
    let output = host
        .command("ping")
        .args(["-c", "3", "-i", "0.1", "-W", patience, &address])
        .output()
        .context("cannot start ping")?;
    answers(&text(&output.stdout))
}

/// How many answers ping has seen: `3 packets transmitted, 3 received, …`.
fn answers(said: &str) -> Result<u64> {
    let words: Vec<&str> = said.split([' ', ',', '\n']).collect();
    let received = words.iter().position(|word| *word == "received");
    let count = received.and_then(|index| words.get(index.checked_sub(1)?));
    count
        .and_then(|count| count.parse().ok())
        .with_context(|| format!("ping does not tell: {said}"))
}

fn curl(host: &Host, address: IpAddr, patience: &str) -> Result<Output> {
    let url = format!("http://{}/", SocketAddr::new(address, 80));
    host.command("curl")
        .args(["-sS", "--noproxy", "*", "--max-time", patience, &url])
        .output()
        .context("cannot start curl")
}

/// Starts iperf3's server, which is there when this returns.
fn iperf_server(host: &Host) -> Result<Process> {
    let port = IPERF.to_string();
    let log = host.directory().join("iperf3.log");
    let log = log.to_str().context("no UTF-8")?;
    let arguments = ["-s", "-p", &port, "--forceflush", "--logfile", log];
    let mut server = host.spawn("iperf3", arguments)?;
    let deadline = Instant::now() + PATIENCE;
    while !fs::read_to_string(log).is_ok_and(|log| log.contains("listening")) {
        ensure!(server.wait(Duration::ZERO)?.is_none(), "iperf3 has ended");
        ensure!(Instant::now() < deadline, "iperf3 does not listen");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(server)
}
