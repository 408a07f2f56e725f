//! Limits: so much from each source and no more, whoever else sends, and never at the cost of what is
//! open already.

use std::{
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xdpfw_common::abi::OPENER_BANS_PER_MINUTE;
use xdpfw_tests::{
    Host, Lab, PATIENCE, Sender, Tally, assert_is_one_error, is_dropped, is_traced,
    packets::{self, flags},
    policy_text,
    servers::{self, TcpServer, UdpEcho},
    wait_until,
};

use crate::cookies::SETTING;

/// What passed and what was over a limit.
fn counted(host: &Host) -> Result<[u64; 2]> {
    let tally = Tally::of(host)?;
    Ok(["pass rule", "drop limit"].map(|name| tally.packets(name)))
}

/// A source with this number.
fn source(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 1)) + number)
}

/// Sends packets to a port from sources by their numbers; what passed and what was over the limit.
fn send(
    lab: &Lab,
    udp: bool,
    port: u16,
    sources: impl IntoIterator<Item = u32>,
) -> Result<[u64; 2]> {
    let before = counted(&lab.host)?;
    let (near, far) = (lab.link().near(), lab.link().far());
    let mut sender = Sender::new(&lab.peer, far)?;
    sender.send_all(sources.into_iter().map(|number| {
        let from = SocketAddrV4::new(source(number), 40_000);
        match udp {
            true => packets::udp(from, near.at(port), b"x"),
            false => packets::syn(from, near.at(port)),
        }
    }))?;
    let after = counted(&lab.host)?;
    Ok([after[0] - before[0], after[1] - before[1]])
}

#[test]
fn each_source_has_its_share() -> Result<()> {
    let lab = Lab::new()?.filtered("");
    let limit = ["limit", "tcp", "22", "--rate", "1/h", "--burst", "3"];
    lab.host.xdpfw(limit).ok();
    assert_eq!(send(&lab, false, 22, [0; 10])?, [3, 7]);
    assert_eq!(send(&lab, false, 22, [0, 1, 1, 2, 1])?, [4, 1]);
    let list = lab.host.xdpfw(["list"]).json();
    let rule = &list["rules"][0];
    assert_eq!(rule["action"], "limit");
    assert_eq!(rule["rate"], "1/h");
    assert_eq!(rule["burst"], 3);
    assert_eq!(rule["per"], serde_json::json!([32, 64]));
    assert_eq!(rule["packets"], 15);
    let shown = lab.host.xdpfw(["list"]).ok();
    assert!(
        shown.contains("limit tcp 22 (ssh) --rate 1/h --burst 3"),
        "{shown}"
    );
    Ok(())
}

#[test]
fn sources_of_a_prefix_share_and_so_do_all() -> Result<()> {
    let lab = Lab::new()?.filtered("");
    let limit = ["limit", "tcp", "22", "--rate", "1/h", "--burst", "2"];
    let with = |words: &[&str]| lab.host.xdpfw([&limit, words].concat()).ok();
    with(&["--per", "24,56"]);
    // Of two networks, with 256 addresses each.
    assert_eq!(send(&lab, false, 22, [0, 1, 2, 3, 256, 257, 258])?, [4, 3]);
    assert!(with(&["--total"]).contains("changed"));
    assert_eq!(send(&lab, false, 22, 0..100)?, [2, 98]);
    Ok(())
}

#[test]
fn over_ipv6_a_network_of_64_bits_is_a_source() -> Result<()> {
    let lab = Lab::new()?.filtered("");
    lab.host.set_ipv6(true)?;
    lab.host
        .xdpfw(["limit", "udp", "53", "--rate", "1/h", "--burst", "2"])
        .ok();
    let before = counted(&lab.host)?;
    let (near, far) = (lab.link().near(), lab.link().far());
    let mut sender = Sender::of_frames(&lab.peer, far)?;
    let to: SocketAddr = "[2001:db8::1]:53".parse()?;
    let frames = (0..10).map(|number| {
        let from: SocketAddr = format!("[2001:db8:0:{}::{number:x}]:40000", number % 2)
            .parse()
            .unwrap();
        packets::frame(far, near, &packets::udp(from, to, b"x"))
    });
    sender.send_all(frames)?;
    sender.settle()?;
    let deadline = Instant::now() + PATIENCE;
    // Those of the kernel's own count as arrived.
    loop {
        let after = counted(&lab.host)?;
        if [after[0] - before[0], after[1] - before[1]] == [4, 6] {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{before:?} {after:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_waits_gets_in_again() -> Result<()> {
    let lab = Lab::new()?.filtered("");
    lab.host
        .xdpfw(["limit", "tcp", "22", "--rate", "1/s", "--burst", "1"])
        .ok();
    let _server = TcpServer::start(&lab.host, 22, "hello")?;
    let begin = Instant::now();
    let mut passed = 0;
    while passed < 3 {
        passed += u64::from(!is_dropped(&lab, 22)?);
        ensure!(begin.elapsed() < PATIENCE * 6, "{passed} passed");
    }
    assert!(
        begin.elapsed() > Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
    Ok(())
}

/// Whoever floods a port, as one or as more sources than there is room for.
#[test]
fn a_connection_that_is_open_never_suffers() -> Result<()> {
    let lab = Lab::new()?.filtered("");
    lab.host.xdpfw(["limit", "tcp", "22", "--rate", "1/h"]).ok();
    let (near, far) = (lab.link().near(), lab.link().far());
    let listener = lab
        .host
        .enter(|| Ok(TcpListener::bind(SocketAddr::from(near.at(22)))?))?;
    let client = servers::connect(&lab.peer, 0, near.at(22), PATIENCE)?;
    let (server, _) = listener.accept()?;
    // The share of its own address is used up.
    assert!(is_dropped(&lab, 22)?);
    let mut sender = Sender::new(&lab.peer, far)?;
    let mut again = || sender.send_all((0..100).map(|_| packets::syn(far.at(1), near.at(22))));
    again()?;
    let sources = 70_000;
    let [passed, over] = send(&lab, false, 22, 0..sources)?;
    // Who is new gets in, though others are forgotten for it.
    assert_eq!((passed, over), (u64::from(sources), 0));
    servers::assert_alive(client, server)
}

#[test]
fn what_this_host_asked_for_passes_beyond_the_limit() -> Result<()> {
    let lab = Lab::new()?.filtered("");
    lab.host
        .xdpfw(["limit", "udp", "1-65535", "--rate", "1/h", "--burst", "2"])
        .ok();
    lab.host
        .xdpfw(["limit", "tcp", "1-65535", "--rate", "1/h", "--burst", "2"])
        .ok();
    let far = lab.link().far();
    let _echo = UdpEcho::start(&lab.peer, 5353)?;
    let _server = TcpServer::start(&lab.peer, 8000, "answer")?;
    for _ in 0..6 {
        servers::exchange(&lab.host, 40_000, far.at(5353), "x", PATIENCE)?;
        servers::fetch(&lab.host, far.at(8000), PATIENCE)?;
    }
    assert_eq!(send(&lab, true, 53, [0; 5])?, [2, 3]);
    Ok(())
}

#[test]
fn shares_are_kept_over_changes_unless_the_limit_is_another() -> Result<()> {
    let lab = Lab::new()?.filtered("");
    let limit = |rate| {
        lab.host
            .xdpfw(["limit", "tcp", "22", "--rate", rate, "--burst", "2"])
            .ok()
    };
    limit("1/h");
    assert_eq!(send(&lab, false, 22, [0; 3])?, [2, 1]);
    lab.host.xdpfw(["allow", "tcp", "80", "--first"]).ok();
    assert_eq!(send(&lab, false, 22, [0; 3])?, [0, 3]);
    assert!(limit("1/h").contains("already there"));
    assert_eq!(send(&lab, false, 22, [0; 3])?, [0, 3]);
    assert!(limit("2/h").contains("changed"));
    assert_eq!(send(&lab, false, 22, [0; 3])?, [2, 1]);
    let text = policy_text(&lab.host)?;
    assert!(
        text.contains("limit = \"tcp 22\"") && text.contains("rate = \"2/h\""),
        "{text}"
    );
    lab.host.xdpfw(["delete", "limit", "tcp", "22"]).ok();
    assert!(is_dropped(&lab, 22)?);
    assert_eq!(send(&lab, false, 22, [0])?, [0, 0]);
    Ok(())
}

/// Nobody's share is used up by being looked at.
#[test]
fn what_explains_or_rehearses_takes_nothing() -> Result<()> {
    let lab = Lab::new()?.filtered("");
    lab.host
        .xdpfw(["limit", "tcp", "22", "--rate", "1/h", "--burst", "2"])
        .ok();
    let address = source(0).to_string();
    for _ in 0..5 {
        let words = ["explain", "tcp", &address, "22", "--flags", "S"];
        let said = lab.host.xdpfw(words).json();
        assert_eq!(said["verdict"], "pass", "{said}");
        assert!(
            said["path"].to_string().contains("r1 limits tcp 22"),
            "{said}"
        );
    }
    let policy = policy_text(&lab.host)?;
    let apply = lab.host.xdpfw(["apply", "-", "--shadow"]);
    apply.stdin(policy.replace("1/h", "2/h")).ok();
    assert_eq!(send(&lab, false, 22, [0; 3])?, [2, 1]);
    Ok(())
}

/// The bans there are.
fn bans(host: &Host) -> Result<Vec<Value>> {
    let bans = host.xdpfw(["bans"]).json();
    Ok(bans["bans"].as_array().context("no bans")?.clone())
}

const BANNING: [&str; 9] = [
    "limit", "tcp", "22", "--rate", "1/h", "--burst", "2", "--ban", "10m",
];

#[test]
fn who_is_over_a_limit_may_be_banned_from_opening() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp 80' }]");
    let (near, far) = (lab.link().near(), lab.link().far());
    lab.host.xdpfw(BANNING).ok();
    let open = servers::connection(&lab.peer, &lab.host, near.at(80).into())?;

    // Within the limit, nothing happens; the first packet beyond it is the one that bans.
    let syns = |count| {
        let syns = (0..count).map(|_| packets::syn(far.at(40_000), near.at(22)));
        Sender::new(&lab.peer, far)?.send_all(syns)
    };
    syns(2)?;
    assert!(bans(&lab.host)?.is_empty());
    syns(3)?;
    let list = bans(&lab.host)?;
    assert_eq!(list.len(), 1);
    assert_eq!(lab.host.status()["bans_by_program"], 1);
    assert_eq!(
        (&list[0]["prefix"], &list[0]["origin"], &list[0]["packets"]),
        (
            &format!("{}/32", far.address).into(),
            &"limit".into(),
            &2.into()
        )
    );
    assert_eq!(counted(&lab.host)?[1], 1);

    // Nothing new comes from there, to no port; what is open goes on, and our own questions.
    assert!(is_dropped(&lab, 80)?);
    servers::assert_alive(open.0, open.1)?;
    let _later = TcpServer::start(&lab.peer, 8_001, "answer")?;
    servers::fetch(&lab.host, far.at(8_001), PATIENCE)?;

    // It holds through changes, and ends by hand.
    lab.host.xdpfw(["allow", "tcp", "81"]).ok();
    assert!(is_dropped(&lab, 81)?);
    lab.host.xdpfw(["unban", &far.address.to_string()]).ok();
    assert!(!is_dropped(&lab, 81)?);
    Ok(())
}

/// One that goes on and on, since a ban leaves it alone what is no opening, takes no place from others.
#[test]
fn who_is_banned_already_is_not_banned_over_and_over() -> Result<()> {
    let lab = Lab::new()?.filtered("");
    lab.host.xdpfw(BANNING).ok();
    lab.host
        .xdpfw([
            "limit", "ping", "--rate", "1/h", "--burst", "1", "--ban", "10m",
        ])
        .ok();
    let (near, far) = (lab.link().near(), lab.link().far());
    let mut sender = Sender::new(&lab.peer, far)?;
    let most = OPENER_BANS_PER_MINUTE as u16;
    sender.send_all((0..most + 9).map(|id| packets::echo(source(0), near.address, 8, id)))?;
    assert_eq!(send(&lab, false, 22, [1; 4])?, [2, 1]);
    let list = bans(&lab.host)?;
    let who: Vec<_> = list.iter().map(|ban| &ban["prefix"]).collect();
    assert_eq!(who, ["198.18.0.1/32", "198.18.0.2/32"]);
    assert!(
        lab.host.status()["warnings"]
            .as_array()
            .is_some_and(Vec::is_empty)
    );
    Ok(())
}

/// Else his next attempt would ban him again.
#[test]
fn whose_ban_is_ended_has_a_full_share() -> Result<()> {
    let lab = Lab::new()?.filtered("");
    lab.host.xdpfw(BANNING).ok();
    assert_eq!(send(&lab, false, 22, [0; 4])?, [2, 1]);
    lab.host.xdpfw(["unban", &source(0).to_string()]).ok();
    assert_eq!(send(&lab, false, 22, [0; 4])?, [2, 1]);
    lab.host.xdpfw(["unban", "--all"]).ok();
    assert_eq!(send(&lab, false, 22, [0; 4])?, [2, 1]);
    Ok(())
}

/// Rules that come and go beside it are other rules.
#[test]
fn a_rule_with_cookies_leaves_shares_alone() -> Result<()> {
    let lab = Lab::new()?.filtered("");
    lab.host.sysctl(SETTING, "2")?;
    // Where a veth can answer.
    lab.host.xdpfw(["down"]).ok();
    lab.host.xdpfw(["up", "eth0", "--mode", "generic"]).ok();
    lab.host.xdpfw(BANNING).ok();
    assert_eq!(send(&lab, false, 22, [0; 2])?, [2, 0]);
    lab.host
        .xdpfw(["allow", "tcp", "443", "--syn-cookies"])
        .ok();
    assert_eq!(send(&lab, false, 22, [0; 1])?, [0, 1]);
    Ok(())
}

#[test]
fn who_is_trusted_is_not_banned_by_a_limit() -> Result<()> {
    let lab = Lab::new()?.filtered("trusted = ['198.18.0.1']");
    lab.host.xdpfw(BANNING).ok();
    assert_eq!(send(&lab, false, 22, [0; 9])?, [9, 0]);
    assert!(bans(&lab.host)?.is_empty());
    assert_eq!(send(&lab, false, 22, [1; 9])?, [2, 1]);
    assert_eq!(bans(&lab.host)?.len(), 1);
    Ok(())
}

#[test]
fn the_log_tells_once_of_who_is_over_a_limit() -> Result<()> {
    let lab = Lab::new()?.filtered("");
    lab.host.xdpfw(BANNING).ok();
    lab.host
        .xdpfw(["limit", "udp", "53", "--rate", "1/h", "--burst", "1"])
        .ok();
    let mut log = lab.host.xdpfw(["--json", "log"]).command()?;
    let mut log = log.stdout(Stdio::piped()).spawn()?;
    wait_until("listening", || is_traced(&lab.host))?;
    send(&lab, true, 53, [0; 5])?;
    send(&lab, true, 53, [1; 5])?;
    send(&lab, false, 22, [2; 5])?;
    let mut news = Vec::new();
    for line in BufReader::new(log.stdout.take().context("no stdout")?).lines() {
        let event: Value = serde_json::from_str(&line?)?;
        let Some(kind) = event["event"].as_str() else {
            continue;
        };
        let of = [&event["rule"], &event["origin"]].map(|word| word.as_str().unwrap_or("-"));
        let from = event["source"]["address"].as_str().context("no source")?;
        news.push(format!("{kind} {from} {}", of.concat()));
        if kind == "ban" {
            break;
        }
    }
    // It ends with its reader, or with its host.
    drop(log.kill());
    log.wait()?;
    assert_eq!(
        news,
        [
            "limit 198.18.0.1 r2-",
            "limit 198.18.0.2 r2-",
            "limit 198.18.0.3 r1-",
            "ban 198.18.0.3 -limit",
        ]
    );
    Ok(())
}

/// Bans that the program makes by itself leave alone what is open, so it has to be known.
#[test]
fn where_nothing_is_recorded_a_limit_cannot_ban() -> Result<()> {
    let lab = Lab::new()?.filtered("replies = 'sockets'");
    let said = lab.host.xdpfw(BANNING).fails(3);
    assert!(said.contains("say `replies = \"flows\"`"), "{said}");
    Ok(())
}

#[test]
fn what_makes_no_sense_changes_nothing() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp 80' }]");
    let before = policy_text(&lab.host)?;
    for words in [
        &["--rate", "10"][..],
        &["--rate", "0/s"],
        &["--rate", "10/d"],
        &["--rate", "1/s", "--burst", "0"],
        &["--rate", "1/s", "--per", "24"],
        &["--rate", "1/s", "--per", "0,64"],
        &["--rate", "1/s", "--per", "24,64", "--total"],
        &["--rate", "1/s", "--total", "--ban", "1m"],
    ] {
        let said = lab
            .host
            .xdpfw([&["limit", "tcp", "22"], words].concat())
            .fails(2);
        assert_is_one_error(&said, "");
    }
    for (rule, wrong) in [
        ("limit = 'tcp 22'", "needs a rate"),
        ("limit = 'tcp 22'\nrate = '1/d'", "is not a rate"),
        ("allow = 'tcp 22'\nrate = '1/s'", "has no limit"),
        ("allow = 'tcp 22'\nlimit = 'tcp 22'", "not both"),
        (
            "limit = 'tcp 22'\nrate = '1/s'\nper = [24]",
            "is not two lengths",
        ),
    ] {
        let policy = format!("version = 1\n[[rule]]\n{rule}\n");
        let said = lab.host.xdpfw(["apply", "-"]).stdin(policy).fails(3);
        assert!(said.contains(wrong), "{said}");
    }
    assert_eq!(policy_text(&lab.host)?, before);
    Ok(())
}

/// As ufw's users know it.
#[test]
fn ufws_limit_is_known() -> Result<()> {
    let lab = Lab::new()?.filtered("");
    let said = lab.host.xdpfw(["limit", "ssh"]).ok();
    assert!(
        said.contains("limit tcp 22 (ssh) --rate 12/m --burst 6"),
        "{said}"
    );
    assert_eq!(send(&lab, false, 22, [0; 10])?, [6, 4]);
    Ok(())
}

/// A later segment of a connection is none that opens one.
#[test]
fn segments_without_syn_are_not_counted() -> Result<()> {
    let lab = Lab::new()?.filtered("");
    lab.host
        .xdpfw(["limit", "tcp", "22", "--rate", "1/h", "--burst", "1"])
        .ok();
    let before = counted(&lab.host)?;
    let (near, far) = (lab.link().near(), lab.link().far());
    let from = SocketAddrV4::new(source(0), 40_000);
    let mut sender = Sender::new(&lab.peer, far)?;
    sender.send_all((0..10).map(|_| packets::tcp(from, near.at(22), flags::ACK)))?;
    let after = counted(&lab.host)?;
    assert_eq!([after[0] - before[0], after[1] - before[1]], [10, 0]);
    assert_eq!(send(&lab, false, 22, [0; 3])?, [1, 2]);
    Ok(())
}
