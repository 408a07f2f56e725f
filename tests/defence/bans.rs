//! Bans: at once, for those who are connected too, never for the answers to what this host asked,
//! and through every change.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xdpfw_tests::{
    Host, Lab, PATIENCE, is_dropped, servers,
    servers::{TcpServer, UdpEcho},
};

/// How long a client waits for what does not come.
const IN_VAIN: Duration = Duration::from_millis(300);

/// The bans, as `bans` shows them.
pub(crate) fn bans(host: &Host) -> Result<Vec<Value>> {
    let said = host.xdpfw(["bans"]).json();
    assert_eq!(said["schema"], "xdpfw.bans/1");
    Ok(said["bans"].as_array().context("no list")?.clone())
}

/// Asks an HTTP server over a connection that stays open; whether it answers within this time.
fn ask(client: &mut TcpStream, patience: Duration) -> Result<bool> {
    client.set_read_timeout(Some(patience))?;
    client.write_all(b"GET / HTTP/1.1\r\nHost: it\r\n\r\n")?;
    Ok(client.read(&mut [0; 512]).is_ok_and(|bytes| bytes > 0))
}

#[test]
fn a_client_that_is_connected_gets_no_answer_to_its_next_request() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp 80' }]");
    let (near, far) = (lab.link().near(), lab.link().far());
    let _server = TcpServer::http(&lab.host, near.at(80).into(), "hello")?;
    let connect = || {
        lab.peer
            .enter(|| Ok(TcpStream::connect_timeout(&near.at(80).into(), PATIENCE)?))
    };
    let mut client = connect()?;
    assert!(ask(&mut client, PATIENCE)?);
    let source = far.address.to_string();
    lab.host.xdpfw(["ban", &source, "--why", "guesses"]).ok();
    assert!(!ask(&mut client, IN_VAIN)?);
    assert!(connect().is_err());
    let list = bans(&lab.host)?;
    assert_eq!(list[0]["prefix"], format!("{source}/32"));
    assert_eq!(list[0]["origin"], "manual");
    assert_eq!(list[0]["why"], "guesses");
    assert_eq!(list[0]["until"], Value::Null);
    let dropped = list[0]["packets"].as_u64();
    let status = lab.host.status();
    let mut by_reason = status["reasons"].as_array().context("no reasons")?.iter();
    let ban = by_reason.find(|one| one["reason"] == "ban");
    assert!(dropped > Some(1), "{list:?}");
    // The client goes on trying.
    assert!(ban.context("no ban")?["packets"].as_u64() >= dropped);
    lab.host.xdpfw(["unban", &source]).ok();
    assert!(bans(&lab.host)?.is_empty());
    let mut client = connect()?;
    assert!(ask(&mut client, PATIENCE)?);
    Ok(())
}

#[test]
fn what_this_host_asks_a_banned_source_is_answered_unless_the_ban_is_hard() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp 80' }]");
    let far = lab.link().far();
    let server = TcpServer::start(&lab.peer, 8000, "answer")?;
    let echo = UdpEcho::start(&lab.peer, 5353)?;
    let is_answered = |patience| {
        let tcp = servers::fetch(&lab.host, far.at(8000), patience).is_ok();
        let udp = servers::exchange(&lab.host, 0, far.at(5353), "x", patience).is_ok();
        assert_eq!(tcp, udp);
        tcp
    };
    assert!(is_answered(PATIENCE));
    let source = far.address.to_string();
    lab.host.xdpfw(["ban", &source]).ok();
    assert!(is_dropped(&lab, 80)? && is_answered(PATIENCE));
    lab.host.xdpfw(["ban", &source, "--hard"]).ok();
    assert!(is_dropped(&lab, 80)? && !is_answered(IN_VAIN));
    lab.host.xdpfw(["ban", &source]).ok();
    assert!(
        is_dropped(&lab, 80)? && is_answered(PATIENCE),
        "softer again"
    );
    assert!(server.served() > 0 && echo.served() > 0);
    Ok(())
}

/// Whoever is banned already, and not hard, is the first whom a hard ban of his network is meant for.
#[test]
fn a_hard_ban_holds_for_those_in_it_who_are_banned_otherwise() -> Result<()> {
    let lab = Lab::new()?.filtered("");
    let far = lab.link().far();
    let source = far.address.to_string();
    let [a, b, c, d] = far.address.octets();
    let around = format!("{a}.{b}.{c}.{}/28", d & 0xf0);
    let net = format!("{a}.{b}.{c}.0/24");
    let _server = TcpServer::start(&lab.peer, 8000, "answer")?;
    let is_answered = |patience| servers::fetch(&lab.host, far.at(8000), patience).is_ok();
    lab.host.xdpfw(["ban", &source, &around]).ok();
    assert!(is_answered(PATIENCE));
    lab.host.xdpfw(["ban", &net, "--hard"]).ok();
    assert!(!is_answered(IN_VAIN));
    lab.host.xdpfw(["unban", &source]).ok();
    assert!(!is_answered(IN_VAIN));
    lab.host.xdpfw(["unban", &net]).ok();
    assert!(is_answered(PATIENCE));
    Ok(())
}

/// What has no ports is answered no more than what has.
#[test]
fn a_hard_ban_drops_answers_to_ping() -> Result<()> {
    let lab = Lab::new()?.filtered("");
    let source = lab.link().far().address.to_string();
    let is_answered = || -> Result<bool> {
        let ping = lab
            .host
            .command("ping")
            .args(["-c1", "-W1", &source])
            .output()?;
        Ok(ping.status.success())
    };
    lab.host.xdpfw(["ban", &source]).ok();
    assert!(is_answered()?);
    lab.host.xdpfw(["ban", &source, "--hard"]).ok();
    assert!(!is_answered()?);
    Ok(())
}

/// As a command leaves it that was killed between the journal and the kernel.
#[test]
fn a_ban_that_is_said_again_is_in_force_whatever_became_of_the_first() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp 80' }]");
    let source = lab.link().far().address.to_string();
    lab.host.xdpfw(["ban", "192.0.2.1"]).ok();
    let journal = lab.host.history().join("bans.jsonl");
    let text = fs::read_to_string(&journal)?;
    let line = text.lines().last().context("an empty journal")?;
    let line = line.replace("192.0.2.1", &source);
    fs::write(&journal, format!("{text}{line}\n"))?;
    assert!(!is_dropped(&lab, 80)?);
    lab.host.xdpfw(["ban", &source]).ok();
    assert!(is_dropped(&lab, 80)?);
    Ok(())
}

/// Where a rule lets in whoever sends to the port that it asks from, too.
#[test]
fn what_this_host_asks_from_an_open_port_is_answered() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp 1-65535' }]");
    let far = lab.link().far();
    let _server = TcpServer::start(&lab.peer, 8000, "answer")?;
    lab.host.xdpfw(["ban", &far.address.to_string()]).ok();
    assert!(is_dropped(&lab, 80)?);
    for _ in 0..3 {
        servers::fetch(&lab.host, far.at(8000), PATIENCE)?;
    }
    Ok(())
}

#[test]
fn a_ban_ends_with_no_command_running() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp 80' }]");
    let source = lab.link().far().address.to_string();
    let begin = Instant::now();
    lab.host.xdpfw(["ban", &source, "--for", "3s"]).ok();
    ensure!(is_dropped(&lab, 80)? || begin.elapsed() > Duration::from_secs(3));
    while is_dropped(&lab, 80)? {
        ensure!(begin.elapsed() < Duration::from_secs(30), "it does not end");
        thread::sleep(Duration::from_millis(50));
    }
    assert!(begin.elapsed() >= Duration::from_secs(3));
    assert!(bans(&lab.host)?.is_empty());
    Ok(())
}

/// Behind a narrow ban that is over, a wider one holds.
#[test]
fn of_prefixes_in_prefixes_each_holds_while_it_lasts() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp 80' }]");
    let source = lab.link().far().address;
    let [a, b, c, _] = source.octets();
    let around = |len: u8| match len {
        24.. => format!("{a}.{b}.{c}.0/{len}"),
        _ => format!("{a}.{b}.0.0/{len}"),
    };
    lab.host.xdpfw(["ban", &around(16)]).ok();
    lab.host.xdpfw(["ban", &around(24), "--for", "1s"]).ok();
    thread::sleep(Duration::from_millis(1_500));
    assert!(is_dropped(&lab, 80)?);
    lab.host.xdpfw(["unban", &around(16)]).ok();
    assert!(!is_dropped(&lab, 80)?);
    lab.host.xdpfw(["ban", &around(24), &around(16)]).ok();
    lab.host.xdpfw(["unban", &around(24)]).ok();
    assert!(is_dropped(&lab, 80)?);
    Ok(())
}

#[test]
fn bans_outlast_changes_and_down_and_up() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp 80' }]");
    let host = &lab.host;
    let source = lab.link().far().address.to_string();
    host.xdpfw(["ban", &source, "2001:db8:7::/64", "--for", "1h"])
        .ok();
    let before = bans(host)?;
    assert_eq!(before.len(), 2);
    for words in [&["allow", "udp", "53"][..], &["default", "pass"], &["up"]] {
        host.xdpfw(words).ok();
        assert!(is_dropped(&lab, 80)?, "{words:?}");
    }
    host.xdpfw(["default", "drop"]).ok();
    host.xdpfw(["down"]).ok();
    host.xdpfw(["up", "eth0"]).ok();
    assert!(is_dropped(&lab, 80)?);
    let after = bans(host)?;
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        for field in ["prefix", "since", "until", "why"] {
            assert_eq!(before[field], after[field]);
        }
    }
    host.xdpfw(["unban", "--all"]).ok();
    assert!(!is_dropped(&lab, 80)?);
    Ok(())
}

#[test]
fn what_makes_no_sense_changes_nothing() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp 80' }]");
    let long = "x".repeat(65);
    for (words, code) in [
        (&["ban", "nobody"][..], 2),
        (&["ban", "any"], 2),
        (&["ban", "0.0.0.0/0"], 2),
        (&["ban", "::/0", "192.0.2.1"], 2),
        (&["ban", "192.0.2.1/33"], 2),
        (&["ban", "192.0.2.1", "--for", "soon"], 2),
        (&["ban", "192.0.2.1", "--why", &long], 2),
        (&["ban", "192.0.2.1", "--why", "a\nb"], 2),
        (&["unban", "192.0.2.1"], 1),
    ] {
        let said = lab.host.xdpfw(words).fails(code);
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(bans(&lab.host)?.is_empty());
    }
    Ok(())
}
