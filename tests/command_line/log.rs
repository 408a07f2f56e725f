//! Proves that `log` and `trace` show what was asked for, tell what they cannot show, and leave
//! nothing on in the kernel however they end.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::SocketAddr,
    process::Stdio,
};

use anyhow::{Context as _, Result};
use etherparse::EtherType;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use xdpfw_tests::{
    Lab, PATIENCE, Sender, is_dropped, is_traced,
    packets::{self, flags},
    wait_until,
};

use crate::running::{ended, is_stalled, objects, read_line_while, start};

/// The peer's port where it does not matter.
const REMOTE: u16 = 40_000;
/// Packets of a flood: several times what waits to be shown.
const FLOOD: u64 = 20_000;

#[test]
fn trace_tells_of_each_packet() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let (near, far) = (lab.link().near(), lab.link().far());
    host.xdpfw(["allow", "tcp", "443"]).ok();
    host.xdpfw(["up", "eth0"]).ok();
    let mut trace = start(host.xdpfw(["trace", "-n", "3"]))?;
    wait_until("tracing", || is_traced(host))?;
    let from = far.at(REMOTE);
    Sender::new(&lab.peer, far)?.send_all([
        packets::syn(from, near.at(443)),
        packets::syn(from, near.at(80)),
        packets::udp(from, near.at(53), b"query"),
        packets::syn(from, near.at(22)),
    ])?;
    let status = ended(&mut trace, PATIENCE)?.context("trace does not end")?;
    assert_eq!(status.code(), Some(0));
    let mut said = String::new();
    let mut stdout = trace.stdout.take().context("no stdout")?;
    stdout.read_to_string(&mut said)?;
    // Behind the time, which is the clock's.
    let lines: Vec<&str> = said
        .lines()
        .filter_map(|line| Some(line.split_once("  ")?.1))
        .collect();
    let zone = |line: &str| {
        line.get(12..)
            .is_some_and(|zone| zone.starts_with(['+', '-']))
    };
    assert!(said.lines().all(zone), "{said}");
    let (from, to) = (from.to_string(), near.address);
    assert_eq!(
        lines,
        [
            format!("eth0      pass  rule       tcp    {from} -> {to}:443  [S]  r1"),
            format!("eth0      drop  default    tcp    {from} -> {to}:80   [S]"),
            format!("eth0      drop  default    udp    {from} -> {to}:53"),
        ]
    );
    assert!(!is_traced(host));
    // Counted as ever, before, during and after.
    assert_eq!(host.xdpfw(["list"]).json()["rules"][0]["packets"], 1);
    let dropped = host
        .xdpfw(["stats", "--port", "tcp/80,udp/53,tcp/22"])
        .json();
    for port in dropped["ports"].as_array().context("no ports")? {
        assert_eq!(port["dropped_packets"], 1, "{port}");
    }
    assert!(is_dropped(&lab, 80)? && !is_dropped(&lab, 443)?);
    Ok(())
}

#[test]
fn each_filter_shows_its_packet_and_not_the_nearest_other() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let (near, far) = (lab.link().near(), lab.link().far());
    host.xdpfw(["allow", "tcp", "443"]).ok();
    host.xdpfw(["deny", "tcp", "25"]).ok();
    host.xdpfw(["allow", "tcp", "8443"]).ok();
    host.xdpfw(["up", "eth0"]).ok();
    let from = far.at(REMOTE);
    let peer = far.address.to_string();
    let to = |port| packets::syn(from, near.at(port));
    for (filter, other, shown) in [
        (&["--reason", "rule"][..], to(80), to(443)),
        (&["--reason", "default"], to(443), to(80)),
        (&["--reason", "rule", "--verdict", "drop"], to(443), to(25)),
        (&["--rule", "r3"], to(443), to(8443)),
        (&["--rule", "r2"], to(80), to(25)),
        (&["--verdict", "pass"], to(80), to(443)),
        (&["--verdict", "drop"], to(443), to(80)),
        (&["--port", "80"], to(81), to(80)),
        (&["--port", "80", "--from", &peer], to(443), to(80)),
        (
            &["--port", "80", "--from", "192.0.2.0/24,10.0.0.0/8"],
            packets::udp("198.51.100.1:7".parse::<SocketAddr>()?, near.at(80), b""),
            to(80),
        ),
        (
            &["--from", "192.0.2.7"],
            to(80),
            packets::syn("192.0.2.7:7".parse::<SocketAddr>()?, near.at(80)),
        ),
    ] {
        let words = ["--json", "trace", "-n", "1"];
        let mut trace = start(host.xdpfw(words.iter().chain(filter)))?;
        wait_until("tracing", || is_traced(host))?;
        Sender::new(&lab.peer, far)?.send_all([&other, &shown, &other])?;
        let lines = objects(&mut trace)?;
        let [event] = lines.as_slice() else {
            anyhow::bail!("{filter:?}: {lines:?}");
        };
        let expected = etherparse::SlicedPacket::from_ip(&shown)?;
        let Some(etherparse::TransportSlice::Tcp(tcp)) = expected.transport else {
            anyhow::bail!("no TCP");
        };
        assert_eq!(
            event["destination"]["port"],
            tcp.destination_port(),
            "{filter:?}: {event}"
        );
        assert_eq!(
            event["source"]["port"],
            tcp.source_port(),
            "{filter:?}: {event}"
        );
    }
    for (filter, code, error) in [
        (&["--rule", "r9"][..], 1, "r9: no such rule is in force"),
        (&["--rule", "9"], 2, "is not a rule id"),
        (
            &["--reason", "malformed", "--verdict", "pass"],
            2,
            "never have this verdict",
        ),
        (
            &["--reason", "nonsense"],
            2,
            "possible values: arp, bad-cookie, bad-flags, ban, bypass, default",
        ),
    ] {
        let words = ["trace", "-n", "1"];
        let said = host.xdpfw(words.iter().chain(filter)).fails(code);
        assert!(said.contains(error), "{filter:?}: {said}");
        assert!(!is_traced(host), "{filter:?}");
    }
    Ok(())
}

#[test]
fn an_event_has_every_field_that_the_packet_has() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let (near, far) = (lab.link().near(), lab.link().far());
    host.xdpfw(["allow", "tcp", "443"]).ok();
    host.xdpfw(["up", "eth0"]).ok();
    let from = far.at(REMOTE);
    let packet = packets::tcp(from, near.at(443), flags::SYN | flags::ACK);
    let tagged = packets::tagged(
        &packets::frame(far, near, &packet),
        &[EtherType::PROVIDER_BRIDGING, EtherType::VLAN_TAGGED_FRAME],
    );
    let ping = packets::frame(far, near, &packets::icmp(far.address, near.address, 8));
    let words = [
        "--json",
        "trace",
        "-n",
        "2",
        "--from",
        &far.address.to_string(),
    ];
    let mut trace = start(host.xdpfw(words))?;
    wait_until("tracing", || is_traced(host))?;
    Sender::of_frames(&lab.peer, far)?.send_all([&tagged, &ping])?;
    let mut events = objects(&mut trace)?;
    for event in &mut events {
        let at = event["at"].as_str().context("no time")?.to_owned();
        assert!(at.ends_with('Z') && at.contains('T'), "{at}");
        event["at"] = Value::Null;
    }
    let [from, to] = [far, near].map(|end| end.address.to_string());
    assert_eq!(
        events,
        [
            json!({
                "schema": "xdpfw.event/1", "at": null, "interface": "eth0",
                "verdict": "pass", "reason": "rule", "malformation": null, "rule": "r1",
                "protocol": "tcp", "type": null,
                "source": {"address": from, "port": REMOTE},
                "destination": {"address": to, "port": 443},
                "flags": "SA", "length": tagged.len(), "vlan": [100, 100],
            }),
            json!({
                "schema": "xdpfw.event/1", "at": null, "interface": "eth0",
                "verdict": "drop", "reason": "default", "malformation": null, "rule": null,
                "protocol": "icmp", "type": "echo-request",
                "source": {"address": from, "port": null},
                "destination": {"address": to, "port": null},
                "flags": null, "length": ping.len(), "vlan": [],
            }),
        ]
    );
    Ok(())
}

#[test]
fn nobody_listens_any_more_however_it_ends() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    for signal in [Signal::INT, Signal::TERM] {
        let mut trace = start(host.xdpfw(["trace"]))?;
        wait_until("tracing", || is_traced(host))?;
        // Its own traffic tells that it listens.
        read_line_while(&mut trace, || is_dropped(&lab, 80))?;
        kill_process(Pid::from_child(&trace), signal)?;
        let status = ended(&mut trace, PATIENCE)?.context("trace does not end")?;
        assert_eq!(status.code(), Some(0), "{signal:?}");
        assert!(!is_traced(host), "{signal:?}");
    }
    // Whoever reads it has seen enough.
    let mut trace = start(host.xdpfw(["trace"]))?;
    wait_until("tracing", || is_traced(host))?;
    drop(trace.stdout.take());
    assert!(is_dropped(&lab, 80)?);
    let status = ended(&mut trace, PATIENCE)?.context("trace does not end")?;
    assert_eq!(status.code(), Some(0));
    assert!(!is_traced(host));
    Ok(())
}

#[test]
fn nobody_listens_once_the_terminal_is_gone() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    let mut trace = start(host.xdpfw(["trace"]))?;
    wait_until("tracing", || is_traced(host))?;
    read_line_while(&mut trace, || is_dropped(&lab, 80))?;
    kill_process(Pid::from_child(&trace), Signal::HUP)?;
    ended(&mut trace, PATIENCE)?.context("trace does not end")?;
    assert!(!is_traced(host));
    Ok(())
}

/// What nobody reads holds no signal up, whichever way out is stuck.
#[test]
fn a_trace_whose_reader_stalls_ends_with_a_signal() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    for (signal, both) in [
        (Signal::INT, false),
        (Signal::TERM, false),
        (Signal::HUP, false),
        (Signal::TERM, true),
    ] {
        let mut xdpfw = host.xdpfw(["--json", "trace"]);
        if both {
            xdpfw = xdpfw.in_private_mounts("exec \"$@\" 2>&1");
        }
        let mut trace = start(xdpfw)?;
        wait_until("tracing", || is_traced(host))?;
        flood(&lab, 80)?;
        wait_until("stalled", || is_stalled(&trace))?;
        kill_process(Pid::from_child(&trace), signal)?;
        let status = ended(&mut trace, PATIENCE)?;
        if status.is_none() {
            trace.kill()?;
            trace.wait()?;
        }
        let status = status.with_context(|| format!("{signal:?}: trace does not end"))?;
        assert_eq!(status.code(), Some(0), "{signal:?}");
        assert!(!is_traced(host), "{signal:?}");
    }
    Ok(())
}

#[test]
fn what_a_slow_reader_misses_is_counted() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    let mut command = host.xdpfw(["--json", "trace", "--port", "80"]).command()?;
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut trace = command.stderr(Stdio::piped()).spawn()?;
    wait_until("tracing", || is_traced(host))?;
    flood(&lab, 80)?;
    wait_until("stalled", || is_stalled(&trace))?;
    // Now it reads on.
    let stdout = BufReader::new(trace.stdout.take().context("no stdout")?);
    let (mut shown, mut lost) = (0, 0);
    for line in stdout.lines() {
        let event: Value = serde_json::from_str(&line?)?;
        match event["event"].as_str() {
            None => shown += 1,
            Some("lost") => lost += event["count"].as_u64().context("no count")?,
            Some(other) => anyhow::bail!("{other}"),
        }
        if shown + lost == FLOOD {
            break;
        }
    }
    assert!(shown > 0 && lost > 0, "{shown} shown, {lost} lost");
    assert_eq!(shown + lost, FLOOD);
    kill_process(Pid::from_child(&trace), Signal::INT)?;
    ended(&mut trace, PATIENCE)?.context("trace does not end")?;
    let mut said = String::new();
    let mut stderr = trace.stderr.take().context("no stderr")?;
    stderr.read_to_string(&mut said)?;
    assert!(said.contains(" events not shown"), "{said}");
    Ok(())
}

/// A flood of what is not asked for takes no room from what is.
#[test]
fn what_is_not_asked_for_is_not_missed() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let (near, far) = (lab.link().near(), lab.link().far());
    host.xdpfw(["up", "eth0"]).ok();
    let words = ["--json", "trace", "-n", "2", "--port", "443"];
    let mut trace = start(host.xdpfw(words))?;
    wait_until("tracing", || is_traced(host))?;
    let from = far.at(REMOTE);
    for _ in 0..2 {
        flood(&lab, 80)?;
        Sender::new(&lab.peer, far)?.send_all([packets::syn(from, near.at(443))])?;
    }
    let events = objects(&mut trace)?;
    assert_eq!(events.len(), 2, "{events:?}");
    for event in events {
        assert_eq!(event["destination"]["port"], 443, "{event}");
    }
    Ok(())
}

#[test]
fn a_sample_is_about_one_of_so_many() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    let words = ["--json", "trace", "--port", "80", "--sample", "1000"];
    let mut trace = start(host.xdpfw(words))?;
    wait_until("tracing", || is_traced(host))?;
    flood(&lab, 80)?;
    read_line_while(&mut trace, || Ok(true))?;
    kill_process(Pid::from_child(&trace), Signal::INT)?;
    let stdout = BufReader::new(trace.stdout.take().context("no stdout")?);
    // 20 are expected; by chance, there are hundreds in no age of the world.
    let shown = stdout.lines().count();
    assert!((1..200).contains(&shown), "{shown} of {FLOOD}");
    let status = ended(&mut trace, PATIENCE)?.context("trace does not end")?;
    assert_eq!(status.code(), Some(0));
    host.xdpfw(["trace", "--sample", "0"]).fails(2);
    Ok(())
}

/// Even if there is nothing to be written to it.
#[test]
fn a_trace_ends_once_its_reader_is_gone() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    let mut trace = start(host.xdpfw(["trace", "--port", "1"]))?;
    wait_until("tracing", || is_traced(host))?;
    drop(trace.stdout.take());
    let status = ended(&mut trace, PATIENCE)?.context("trace does not end")?;
    assert_eq!(status.code(), Some(0));
    assert!(!is_traced(host));
    Ok(())
}

/// Sends more packets to a port than wait to be shown.
fn flood(lab: &Lab, port: u16) -> Result<()> {
    let (near, far) = (lab.link().near(), lab.link().far());
    let packet = packets::syn(far.at(REMOTE), near.at(port));
    let packets = (0..FLOOD).map(|_| &packet);
    let sent = Sender::new(&lab.peer, far)?.send_all(packets)?;
    assert_eq!(sent, FLOOD);
    Ok(())
}
