//! Scans: found in the kernel, shown, and banned from opening anything where the policy says so; and
//! what a forged scan cannot do.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xdpfw_common::abi::{MAX_OPENER_BANS, OPENER_BANS, OPENER_BANS_PER_MINUTE, SCANNERS};
use xdpfw_tests::{
    Host, Lab, PATIENCE, Sender, is_dropped, is_traced,
    packets::{self, flags},
    servers::{self, TcpServer, UdpEcho},
    wait_until,
};

use crate::judge::Judge;

/// How long a client waits for what does not come.
const IN_VAIN: Duration = Duration::from_millis(300);
/// The peer's port where it does not matter.
const REMOTE: u16 = 40_000;
/// The first port of most scans here, and how many are enough.
const FIRST: u16 = 1_000;
const ENOUGH: u16 = 30;

/// A policy that lets in TCP 80 and UDP 53, and bans who scans.
const BANS: &str = "rule = [{ allow = 'tcp 80' }, { allow = 'udp 53' }]\n[scan]\nban = '10m'";

/// Who scans, as `scanners` shows it.
fn scanners(host: &Host) -> Result<Vec<Value>> {
    let said = host.xdpfw(["scanners"]).json();
    assert_eq!(said["schema"], "xdpfw.scanners/1");
    Ok(said["scanners"].as_array().context("no list")?.clone())
}

fn bans(host: &Host) -> Result<Vec<Value>> {
    let said = host.xdpfw(["bans"]).json();
    Ok(said["bans"].as_array().context("no list")?.clone())
}

/// SYNs from the peer, or from who is said to be it, to so many ports.
fn scan(lab: &Lab, source: SocketAddrV4, ports: u16) -> Result<()> {
    let (near, far) = (lab.link().near(), lab.link().far());
    let ports = FIRST..FIRST + ports;
    let syns = ports.map(|port| packets::syn(source, near.at(port)));
    Sender::new(&lab.peer, far)?.send_all(syns).map(drop)
}

#[test]
fn who_scans_is_shown_and_opens_nothing_more() -> Result<()> {
    let lab = Lab::new()?.filtered(BANS);
    let (near, far) = (lab.link().near(), lab.link().far());
    let server = TcpServer::start(&lab.host, 80, "hello")?;
    servers::fetch(&lab.peer, near.at(80), PATIENCE)?;
    // One less than a scan, in as many packets as one likes.
    for _ in 0..3 {
        scan(&lab, far.at(REMOTE), 15)?;
    }
    assert!(scanners(&lab.host)?.is_empty() && bans(&lab.host)?.is_empty());
    servers::fetch(&lab.peer, near.at(80), PATIENCE)?;
    scan(&lab, far.at(REMOTE), ENOUGH)?;
    assert!(servers::fetch(&lab.peer, near.at(80), IN_VAIN).is_err());
    assert_eq!(server.served(), 2);

    let list = scanners(&lab.host)?;
    assert_eq!(list.len(), 1, "{list:?}");
    assert_eq!(list[0]["source"], far.address.to_string());
    assert_eq!(
        (&list[0]["kind"], &list[0]["banned"]),
        (&"syn".into(), &true.into())
    );
    let ports = list[0]["ports"].as_u64().context("no number")?;
    assert!((16..45).contains(&ports), "{list:?}");
    let why = list[0]["why"].as_str().context("no reason")?;
    assert!(why.starts_with("banned until "), "{why}");

    let list = bans(&lab.host)?;
    assert_eq!(list[0]["prefix"], format!("{}/32", far.address));
    assert_eq!(list[0]["origin"], "scan");
    assert!(list[0]["packets"].as_u64() > Some(0), "{list:?}");
    let status = lab.host.status();
    let mut reasons = status["reasons"].as_array().context("none")?.iter();
    let ban = reasons.find(|one| one["reason"] == "ban").context("none")?;
    assert_eq!(ban["packets"], list[0]["packets"]);
    Ok(())
}

#[test]
fn without_ban_a_scan_is_only_shown_and_without_scan_nobody_looks() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp 80' }]\n[scan]\nports = 64");
    let far = lab.link().far();
    scan(&lab, far.at(REMOTE), 50)?;
    assert!(scanners(&lab.host)?.is_empty());
    scan(&lab, far.at(REMOTE), 120)?;
    let list = scanners(&lab.host)?;
    assert_eq!(list[0]["why"], "no `ban` in [scan]");
    assert!(!is_dropped(&lab, 80)? && bans(&lab.host)?.is_empty());
    assert_eq!(Judge::of(&lab)?.room(OPENER_BANS)?, 1);

    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp 80' }]");
    scan(&lab, lab.link().far().at(REMOTE), 200)?;
    assert!(scanners(&lab.host)?.is_empty());
    assert_eq!(Judge::of(&lab)?.room(SCANNERS)?, 1);
    let list = lab.host.xdpfw(["list"]).json();
    assert_eq!(list["scan"], Value::Null);
    Ok(())
}

#[test]
fn other_kinds_are_shown_each_apart_and_ban_nobody() -> Result<()> {
    let lab = Lab::new()?.filtered(BANS);
    let (near, far) = (lab.link().near(), lab.link().far());
    let mut sender = Sender::new(&lab.peer, far)?;
    let kinds = [
        ("null", 0),
        ("xmas", flags::FIN | flags::PSH | flags::URG),
        ("fin", flags::FIN),
        ("ack", flags::ACK),
        ("other", flags::SYN | flags::ACK),
    ];
    let ports = FIRST..FIRST + ENOUGH;
    for (_, bits) in kinds {
        let probes = ports.clone();
        let probes = probes.map(|port| packets::tcp(far.at(REMOTE), near.at(port), bits));
        sender.send_all(probes)?;
    }
    sender.send_all(ports.map(|port| packets::udp(far.at(REMOTE), near.at(port), b"")))?;
    let list = scanners(&lab.host)?;
    let mut found: Vec<&str> = list.iter().filter_map(|one| one["kind"].as_str()).collect();
    found.sort_unstable();
    assert_eq!(found, ["ack", "fin", "null", "other", "udp", "xmas"]);
    for one in &list {
        assert_eq!(one["why"], "only SYNs to closed ports ban");
        assert_eq!(one["banned"], false);
    }
    assert!(!is_dropped(&lab, 80)? && bans(&lab.host)?.is_empty());
    Ok(())
}

/// An IPv6 host picks its addresses from a /64.
#[test]
fn the_addresses_of_a_64_are_one_source() -> Result<()> {
    let lab = Lab::with_ipv6(1)?.filtered(BANS);
    let near = lab.link().near();
    let judge = Judge::of(&lab)?;
    let from = |subnet: u16, host: u16| {
        let address = Ipv6Addr::new(0x2001, 0xdb8, 0, subnet, 0, 0, 0, host);
        SocketAddrV6::new(address, REMOTE, 0, 0)
    };
    let to = |port| SocketAddrV6::new(near.address6, port, 0, 0);
    let of_one = (0..ENOUGH).map(|number| packets::syn(from(7, number), to(FIRST + number)));
    judge.dropped(of_one)?;
    // As many ports, each from another /64.
    let of_many = (0..ENOUGH).map(|number| packets::syn(from(100 + number, 1), to(FIRST + number)));
    judge.dropped(of_many)?;
    let list = bans(&lab.host)?;
    assert_eq!(list.len(), 1, "{list:?}");
    assert_eq!(list[0]["prefix"], "2001:db8:0:7::/64");
    assert_eq!(judge.dropped([packets::syn(from(7, 9_999), to(80))])?, 1);
    assert_eq!(judge.dropped([packets::syn(from(8, 1), to(80))])?, 0);
    lab.host.xdpfw(["unban", "2001:db8:0:7::9"]).ok();
    assert_eq!(judge.dropped([packets::syn(from(7, 9_999), to(80))])?, 0);
    Ok(())
}

/// Anybody can send SYNs with the address of somebody else.
#[test]
fn a_forged_scan_cuts_nothing_that_is_open_and_no_answer() -> Result<()> {
    let lab = Lab::new()?.filtered(BANS);
    let (near, far) = (lab.link().near(), lab.link().far());
    // Its connection to us, and ours to it.
    let from_peer = servers::connection(&lab.peer, &lab.host, near.at(80).into())?;
    let to_peer = servers::connection(&lab.host, &lab.peer, far.at(8_000).into())?;
    // A conversation over UDP that it has begun, such as QUIC is.
    let service = servers::bind(&lab.host, near.at(53))?;
    let talker = servers::bind(&lab.peer, far.at(50_000))?;
    talker.send_to(b"hello", near.at(53))?;
    servers::received(&service)?;
    service.send_to(b"welcome", far.at(50_000))?;
    servers::received(&talker)?;
    // And a resolver there, which we ask.
    let _resolver = UdpEcho::start(&lab.peer, 5_353)?;

    scan(&lab, far.at(REMOTE), 200)?;
    assert_eq!(scanners(&lab.host)?[0]["banned"], true);

    for (client, server) in [from_peer, to_peer] {
        servers::assert_alive(client, server)?;
    }
    talker.send_to(b"more", near.at(53))?;
    assert_eq!(servers::received(&service)?, "more");
    for _ in 0..3 {
        servers::exchange(&lab.host, 0, far.at(5_353), "who?", PATIENCE)?;
    }
    let later = TcpServer::start(&lab.peer, 8_001, "answer")?;
    servers::fetch(&lab.host, far.at(8_001), PATIENCE)?;
    assert_eq!(later.served(), 1);

    // But nothing new comes from there.
    assert!(servers::fetch(&lab.peer, near.at(80), IN_VAIN).is_err());
    let stranger = servers::bind(&lab.peer, far.at(50_001))?;
    stranger.send_to(b"hello", near.at(53))?;
    assert!(servers::is_silent(&service, IN_VAIN)?);
    Ok(())
}

#[test]
fn who_is_trusted_scans_as_he_likes() -> Result<()> {
    let lab = Lab::new()?.filtered(BANS);
    let far = lab.link().far();
    Judge::of(&lab)?.trust(far.address)?;
    scan(&lab, far.at(REMOTE), ENOUGH)?;
    let list = scanners(&lab.host)?;
    assert_eq!(
        (&list[0]["why"], &list[0]["banned"]),
        (&"trusted".into(), &false.into())
    );
    assert!(!is_dropped(&lab, 80)? && bans(&lab.host)?.is_empty());
    Ok(())
}

/// 100,000 sources that all scan: no more are banned than a minute may see, in no more memory than
/// before, and with an alarm.
#[test]
fn a_flood_of_forged_scans_bans_no_more_than_a_minute_may() -> Result<()> {
    const SOURCES: u32 = 100_000;
    let lab = Lab::new()?.filtered(BANS);
    let near = lab.link().near();
    let judge = Judge::of(&lab)?;
    let rooms = [judge.room(SCANNERS)?, judge.room(OPENER_BANS)?];
    let from = |source: u32| {
        let address = Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + source);
        SocketAddrV4::new(address, REMOTE)
    };
    let begin = Instant::now();
    let flood = (0..SOURCES).flat_map(|source| {
        let ports = FIRST..FIRST + 20;
        ports.map(move |port| packets::syn(from(source), near.at(port)))
    });
    judge.dropped(flood)?;
    let minutes = begin.elapsed().as_secs() / 60 + 1;
    let most = minutes * OPENER_BANS_PER_MINUTE;
    let banned = bans(&lab.host)?.len() as u64;
    assert!(
        (OPENER_BANS_PER_MINUTE..=most).contains(&banned),
        "{banned}"
    );
    assert_eq!(rooms, [judge.room(SCANNERS)?, judge.room(OPENER_BANS)?]);
    assert_eq!(rooms[1], MAX_OPENER_BANS);

    let list = scanners(&lab.host)?;
    let whys = list.iter().filter_map(|one| one["why"].as_str());
    let mut by_why: HashMap<&str, usize> = HashMap::new();
    for why in whys {
        let why = why.split(" until").next().unwrap_or(why);
        *by_why.entry(why).or_default() += 1;
    }
    assert!(by_why["cap"] > 0 && by_why["banned"] > 0, "{by_why:?}");
    let status = lab.host.status();
    let warnings = status["warnings"].as_array().context("no list")?;
    assert!(
        warnings.iter().any(|one| one["kind"] == "ban-cap"),
        "{warnings:?}"
    );

    // In the next minute, others are.
    judge.pass(Duration::from_secs(61))?;
    // Ports enough to win a place of a table that is full.
    let ports = FIRST..FIRST + 1_000;
    judge.dropped(ports.map(|port| packets::syn(from(SOURCES), near.at(port))))?;
    assert_eq!(bans(&lab.host)?.len() as u64, banned + 1);
    Ok(())
}

#[test]
fn a_ban_outlasts_changes_and_ends_by_itself_and_by_hand() -> Result<()> {
    let lab = Lab::new()?.filtered(&BANS.replace("10m", "5s"));
    let far = lab.link().far();
    let begin = Instant::now();
    scan(&lab, far.at(REMOTE), ENOUGH)?;
    for words in [
        &["allow", "tcp", "443"][..],
        &["delete", "r1"],
        &["allow", "tcp", "80"],
        &["up"],
    ] {
        lab.host.xdpfw(words).ok();
    }
    ensure!(is_dropped(&lab, 80)? || begin.elapsed() > Duration::from_secs(5));
    while is_dropped(&lab, 80)? {
        ensure!(begin.elapsed() < Duration::from_secs(30), "it does not end");
        thread::sleep(Duration::from_millis(100));
    }
    assert!(begin.elapsed() >= Duration::from_secs(5));
    assert!(bans(&lab.host)?.is_empty());
    assert_eq!(scanners(&lab.host)?[0]["why"], "the ban is over");

    let lab = Lab::new()?.filtered(BANS);
    let far = lab.link().far();
    scan(&lab, far.at(REMOTE), 100)?;
    assert!(is_dropped(&lab, 80)?);
    lab.host.xdpfw(["unban", "--all"]).ok();
    // What he did is forgotten, so that one more port is no scan.
    scan(&lab, far.at(REMOTE), 1)?;
    assert!(!is_dropped(&lab, 80)? && scanners(&lab.host)?.is_empty());
    scan(&lab, far.at(REMOTE), 100)?;
    assert!(is_dropped(&lab, 80)?);
    lab.host.xdpfw(["unban", &far.address.to_string()]).ok();
    assert!(!is_dropped(&lab, 80)?);
    Ok(())
}

#[test]
fn the_log_tells_of_scans_and_bans_among_packets() -> Result<()> {
    let lab = Lab::new()?.filtered(BANS);
    let far = lab.link().far();
    let mut log = lab.host.xdpfw(["--json", "log"]).command()?;
    let mut log = log.stdout(Stdio::piped()).spawn()?;
    wait_until("listening", || is_traced(&lab.host))?;
    scan(&lab, far.at(REMOTE), ENOUGH)?;
    let lines = BufReader::new(log.stdout.take().context("no stdout")?).lines();
    let mut kinds = Vec::new();
    for line in lines {
        let event: Value = serde_json::from_str(&line?)?;
        assert_eq!(event["schema"], "xdpfw.event/1");
        let Some(kind) = event["event"].as_str() else {
            continue;
        };
        assert_eq!(event["source"]["address"], far.address.to_string());
        match kind {
            "scan" => {
                let ports = event["ports"].as_u64().context("no number")?;
                assert!(
                    event["kind"] == "syn" && (16..30).contains(&ports),
                    "{event}"
                );
            }
            _ => assert!(
                event["origin"] == "scan" && event["until"].is_string(),
                "{event}"
            ),
        }
        kinds.push(kind.to_owned());
        if kind == "ban" {
            break;
        }
    }
    // It ends with its reader, or with its host.
    drop(log.kill());
    log.wait()?;
    assert_eq!(kinds, ["scan", "ban"]);
    Ok(())
}
