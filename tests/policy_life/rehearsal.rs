//! Proves that a rehearsal finds exactly what would be judged otherwise, and that what is in
//! force judges, counts and serves as it does without, whatever happens meanwhile.

use std::{fs, net::SocketAddrV4};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use xdpfw_tests::{
    Lab, PATIENCE, Sender, Tally, assert_nothing_is_left, is_dropped, is_traced, packets,
    policy_text,
    servers::{self, TcpServer},
    state, wait_until,
};

use super::swap::Killer;

/// A port that stays open.
const KEPT: u16 = 8001;
/// A port that the candidate closes.
const CLOSED: u16 = 8002;
/// A port that the candidate opens.
const OPENED: u16 = 8003;
/// The peer's port.
const REMOTE: u16 = 40_000;
/// Kills of each command.
const ROUNDS: u32 = 6;
/// An operator's way in, as sshd tells it.
const SSH: &str = "192.0.2.7 51000 10.0.0.1 8002";

const PASS: &str = "version = 1\ninterfaces = [\"eth0\"]\ndefault = \"pass\"\n";
const DROP: &str = "version = 1\ninterfaces = [\"eth0\"]\n";

/// A host with this policy in force.
fn under(lab: Lab, policy: &str) -> Lab {
    lab.host.xdpfw(["up", "eth0"]).ok();
    lab.host.xdpfw(["apply", "-"]).stdin(policy).ok();
    lab
}

/// A policy under which these ports are open.
fn policy(ports: &[u16]) -> String {
    let rules = ports
        .iter()
        .map(|port| format!("\n[[rule]]\nid = \"r{port}\"\nallow = \"tcp {port}\"\n"));
    let rules: String = rules.collect();
    format!("version = 1\ninterfaces = [\"eth0\"]\n{rules}")
}

/// A host on which one port would be closed, and another one opened.
fn rehearsed() -> Result<Lab> {
    let lab = under(Lab::new()?, &policy(&[KEPT, CLOSED]));
    begin(&lab);
    Ok(lab)
}

fn begin(lab: &Lab) -> String {
    let candidate = policy(&[KEPT, OPENED]);
    lab.host
        .xdpfw(["apply", "--shadow", "-"])
        .stdin(candidate)
        .ok()
}

fn shadow(lab: &Lab) -> Value {
    lab.host.xdpfw(["shadow"]).json()
}

fn differences(lab: &Lab) -> Value {
    shadow(lab)["differences"].clone()
}

/// Sends SYNs to this port, each from another one, the first from `REMOTE`.
fn knock(lab: &Lab, port: u16, times: u16) -> Result<()> {
    let (near, far) = (lab.link().near(), lab.link().far());
    let syns = (0..times).map(|more| packets::syn(far.at(REMOTE + more), near.at(port)));
    Sender::new(&lab.peer, far)?.send_all(syns).map(drop)
}

#[test]
fn what_would_be_judged_otherwise_is_counted_and_served_as_before() -> Result<()> {
    let lab = rehearsed()?;
    let host = &lab.host;
    let saved = policy_text(host)?;
    let before = Tally::of(host)?;
    knock(&lab, CLOSED, 3)?;
    knock(&lab, KEPT, 2)?;
    knock(&lab, OPENED, 1)?;
    knock(&lab, 9000, 1)?;
    let expected = [
        ("pass rule", 5),
        ("r8001", 2),
        ("r8002", 3),
        ("drop default", 2),
        ("tcp/8003", 1),
        ("tcp/9000", 1),
    ];
    Tally::assert_moved(host, &before, &expected)?;

    let end = |address: SocketAddrV4| json!({"address": address.ip(), "port": address.port()});
    let rule = |rule: &str| json!({"verdict": "pass", "reason": "rule", "rule": rule});
    let default = json!({"verdict": "drop", "reason": "default", "rule": null});
    let (near, far) = (lab.link().near(), lab.link().far());
    let sample = |old: &Value, new: &Value, port| {
        json!({
            "old": old, "new": new, "interface": "eth0", "protocol": "tcp",
            "source": end(far.at(REMOTE)), "destination": end(near.at(port)), "flags": "S",
            "length": 54,
        })
    };
    let row = |old: &Value, new: &Value, port: u16, packets: u64| {
        json!({
            "packets": packets, "old": old, "new": new, "protocol": "tcp", "port": port,
            "type": null,
        })
    };
    assert_eq!(
        shadow(&lab),
        json!({
            "schema": "xdpfw.shadow/1",
            "differences": 4,
            "by_rule": [
                row(&rule("r8002"), &default, CLOSED, 3),
                row(&default, &rule("r8003"), OPENED, 1),
            ],
            "samples": [
                sample(&rule("r8002"), &default, CLOSED),
                sample(&default, &rule("r8003"), OPENED),
            ],
            "unlisted": 0,
        })
    );
    let shown = host.xdpfw(["shadow"]).ok();
    for text in [
        "4 packets",
        "pass r8002",
        "drop default",
        "tcp 8002",
        "10.0.0.2:40000",
    ] {
        assert!(shown.contains(text), "no {text}: {shown}");
    }
    assert_eq!(host.status()["shadow"], json!({"differences": 4}));
    assert_eq!(policy_text(host)?, saved);

    // Who is served is, to the end.
    let _server = TcpServer::start(host, CLOSED, "served")?;
    let text = servers::fetch(&lab.peer, near.at(CLOSED), PATIENCE)?;
    assert_eq!(text, "served");

    host.xdpfw(["shadow", "--drop"]).ok();
    assert_eq!(host.status()["shadow"], Value::Null);
    let said = host.xdpfw(["shadow"]).fails(1);
    assert!(said.contains("`xdpfw apply --shadow FILE`"), "{said}");
    host.xdpfw(["shadow", "--drop"]).fails(1);
    host.xdpfw(["shadow", "--accept"]).fails(1);
    assert!(!is_dropped(&lab, CLOSED)?);
    Ok(())
}

#[test]
fn answers_are_none_of_the_differences_on_the_way_to_a_first_drop() -> Result<()> {
    let lab = under(Lab::new()?, PASS);
    let host = &lab.host;
    let far = lab.link().far();
    // Under way before anything is recorded.
    let listener = lab
        .peer
        .enter(|| Ok(std::net::TcpListener::bind(far.at(7000))?))?;
    let client = servers::connect(host, 0, far.at(7000), PATIENCE)?;
    let (server, _) = listener.accept()?;
    host.xdpfw(["apply", "--shadow", "-"]).stdin(DROP).ok();
    let _server = TcpServer::start(&lab.peer, 7001, "an answer")?;
    assert_eq!(servers::fetch(host, far.at(7001), PATIENCE)?, "an answer");
    let held = servers::connect(host, 0, far.at(7000), PATIENCE)?;
    let (held_server, _) = listener.accept()?;
    servers::assert_alive(client, server)?;
    assert_eq!(differences(&lab), 0, "{}", shadow(&lab));
    knock(&lab, 22, 1)?;
    assert_eq!(differences(&lab), 1);

    // What was recorded is known to the policy that is accepted.
    host.xdpfw(["shadow", "--accept"]).ok();
    assert!(is_dropped(&lab, 22)?);
    servers::assert_alive(held, held_server)?;
    Ok(())
}

#[test]
fn an_accepted_policy_is_saved_and_in_force() -> Result<()> {
    let lab = rehearsed()?;
    let host = &lab.host;
    let said = host
        .xdpfw(["shadow", "--accept"])
        .env("SSH_CONNECTION", SSH)
        .fails(6);
    assert!(said.contains("--force"), "{said}");
    assert_eq!(differences(&lab), 0);
    // Said beforehand, too.
    let begin = host
        .xdpfw(["apply", "--shadow", "-"])
        .stdin(policy(&[KEPT, OPENED]));
    let output = begin.env("SSH_CONNECTION", SSH).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("192.0.2.7"), "{said}");

    // To be confirmed, it goes back, and the rehearsal goes on.
    host.xdpfw(["shadow", "--accept", "--confirm", "60s"]).ok();
    assert!(is_dropped(&lab, CLOSED)?);
    host.xdpfw(["rollback"]).ok();
    assert!(!is_dropped(&lab, CLOSED)?);
    assert_eq!(differences(&lab), 1);

    let hits = Tally::of(host)?.packets("r8001");
    host.xdpfw(["shadow", "--accept"]).ok();
    assert!(is_dropped(&lab, CLOSED)? && !is_dropped(&lab, OPENED)?);
    assert_eq!(policy_text(host)?, policy(&[KEPT, OPENED]));
    host.xdpfw(["shadow"]).fails(1);
    assert_eq!(Tally::of(host)?.packets("r8001"), hits);
    Ok(())
}

#[test]
fn a_rehearsal_goes_on_behind_whatever_comes_into_force() -> Result<()> {
    let lab = rehearsed()?;
    let host = &lab.host;
    knock(&lab, CLOSED, 2)?;
    assert_eq!(differences(&lab), 2);
    // The same policy in force: nothing is lost.
    let mut trace = host.xdpfw(["--quiet", "trace", "-n", "1"]).spawn()?;
    wait_until("listening", || is_traced(&lab.host))?;
    knock(&lab, CLOSED, 1)?;
    assert!(trace.wait(PATIENCE)?.is_some_and(|status| status.success()));
    wait_until("silent", || !is_traced(&lab.host))?;
    assert_eq!(differences(&lab), 3);

    // Another one: what was found is nothing any more.
    let output = host.xdpfw(["allow", "tcp", "8003"]).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("counts anew"), "{said}");
    assert_eq!(differences(&lab), 0);
    knock(&lab, OPENED, 1)?;
    knock(&lab, CLOSED, 1)?;
    assert_eq!(differences(&lab), 1);

    // Nothing is compared with what lasts a while.
    host.xdpfw(["bypass", "--for", "60s"]).ok();
    knock(&lab, CLOSED, 1)?;
    for command in [&["shadow", "--drop"][..], &["shadow", "--accept"]] {
        host.xdpfw(command).fails(1);
    }
    host.xdpfw(["apply", "--shadow"]).fails(1);
    assert_eq!(differences(&lab), 1);
    host.xdpfw(["bypass", "--off"]).ok();
    knock(&lab, CLOSED, 1)?;
    assert_eq!(differences(&lab), 2);
    host.xdpfw(["down"]).ok();
    assert_nothing_is_left(host, &["eth0"])
}

#[test]
fn a_candidate_that_is_no_policy_changes_nothing() -> Result<()> {
    let lab = rehearsed()?;
    let host = &lab.host;
    knock(&lab, CLOSED, 1)?;
    let before = state(host, &["eth0"])?;
    host.xdpfw(["apply", "--shadow", "-"])
        .stdin("version = 9")
        .fails(3);
    host.xdpfw(["apply", "--shadow", "/nowhere"]).fails(1);
    host.xdpfw(["shadow", "--confirm", "60s"]).fails(2);
    assert_eq!(state(host, &["eth0"])?, before);
    assert_eq!(differences(&lab), 1);
    host.xdpfw(["down"]).ok();
    let said = host.xdpfw(["apply", "--shadow"]).fails(1);
    assert!(said.contains("not up"), "{said}");
    Ok(())
}

#[test]
fn large_packets_are_compared_whole() -> Result<()> {
    let lab = Lab::new()?;
    for (host, end) in [
        (&lab.host, lab.link().near()),
        (&lab.peer, lab.link().far()),
    ] {
        host.run("ip", ["link", "set", &end.interface, "mtu", "9000"])?;
    }
    let lab = under(lab, PASS);
    lab.host.xdpfw(["apply", "--shadow", "-"]).stdin(DROP).ok();
    let (near, far) = (lab.link().near(), lab.link().far());
    let large = packets::udp(far.at(REMOTE), near.at(53), &[0; 8000]);
    let len = large.len() as u64 + 14;
    Sender::new(&lab.peer, far)?.send_all([large])?;
    let shadow = shadow(&lab);
    assert_eq!(shadow["differences"], 1, "{shadow}");
    assert_eq!(shadow["samples"][0]["length"], len, "{shadow}");
    assert_eq!(shadow["by_rule"][0]["port"], 53, "{shadow}");
    Ok(())
}

#[test]
fn more_kinds_than_there_is_room_for_are_counted() -> Result<()> {
    const PINGS: u64 = 5;
    let lab = under(Lab::new()?, PASS);
    lab.host.xdpfw(["apply", "--shadow", "-"]).stdin(DROP).ok();
    let (near, far) = (lab.link().near(), lab.link().far());
    let mut sender = Sender::new(&lab.peer, far)?;
    let syn = |port| packets::syn(far.at(REMOTE), near.at(port));
    let udp = |port| packets::udp(far.at(REMOTE), near.at(port), b"");
    let sent = sender.send_all((0..=u16::MAX).map(syn))?
        + sender.send_all((0..=u16::MAX).map(udp))?
        + sender.send_all((0..PINGS).map(|_| packets::icmp(far.address, near.address, 8)))?;
    let shadow = shadow(&lab);
    assert_eq!(shadow["differences"], sent);
    let unlisted = shadow["unlisted"].as_u64().context("no number")?;
    let rows = shadow["by_rule"].as_array().context("no rows")?.len() as u64;
    assert!(unlisted >= PINGS, "{unlisted}");
    assert_eq!(rows + unlisted, sent);
    let shown = lab.host.xdpfw(["shadow"]).ok();
    assert!(shown.lines().count() < 60, "{shown}");
    for said in ["more rows", "are not listed"] {
        assert!(shown.contains(said), "no {said}: {shown}");
    }
    Ok(())
}

#[test]
fn a_killed_command_leaves_no_half_of_a_rehearsal() -> Result<()> {
    let lab = under(Lab::new()?, &policy(&[KEPT, CLOSED]));
    let host = &lab.host;
    let candidate = tempfile::NamedTempFile::new()?;
    fs::write(&candidate, policy(&[KEPT, OPENED]))?;
    let candidate = candidate.path().to_str().context("an odd path")?;
    let [begin, drop, accept] = [
        &["apply", "--shadow", candidate][..],
        &["shadow", "--drop"],
        &["shadow", "--accept"],
    ];
    let mut killer = Killer::new();
    for (command, is_rehearsed) in [(begin, false), (drop, true), (accept, true)] {
        for _ in 0..ROUNDS {
            host.xdpfw(["apply", "-"])
                .stdin(policy(&[KEPT, CLOSED]))
                .ok();
            host.xdpfw(["shadow", "--drop"]).output()?;
            if is_rehearsed {
                host.xdpfw(begin).ok();
            }
            let delay = killer.kill(host.xdpfw(command))?;
            let is_accepted = is_dropped(&lab, CLOSED)?;
            ensure!(
                !is_accepted || command == accept,
                "{command:?} killed after {delay:?} changed what is in force"
            );
            let output = host.xdpfw(["shadow"]).output()?;
            match output.status.code() {
                Some(0) => {
                    let before = differences(&lab).as_u64().context("no number")?;
                    knock(&lab, CLOSED, 1)?;
                    assert_eq!(differences(&lab), before + 1, "{command:?} {delay:?}");
                    assert!(!is_accepted, "{command:?} {delay:?}");
                }
                Some(1) => {}
                code => panic!("{command:?} killed after {delay:?}: {code:?}"),
            }
        }
    }
    host.xdpfw(["down"]).ok();
    assert_nothing_is_left(host, &["eth0"])
}
