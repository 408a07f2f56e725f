//! Bans are told of while they happen, and by who asks why a packet is dropped.

use std::{
    io::{BufRead as _, BufReader, Lines},
    process::{ChildStdout, Stdio},
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use xdpfw_tests::{Lab, is_traced, wait_until};

/// The next line.
fn next(lines: &mut Lines<BufReader<ChildStdout>>) -> Result<String> {
    Ok(lines.next().context("it ended")??)
}

#[test]
fn log_shows_bans_by_command_as_they_begin_and_end() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp 80' }]");
    let host = &lab.host;
    host.xdpfw(["ban", "192.0.2.200"]).ok();
    let mut json = host.xdpfw(["--json", "log", "-f"]).command()?;
    let mut json = json.stdout(Stdio::piped()).spawn()?;
    let mut plain = host.xdpfw(["log", "--from", "203.0.113.0/24"]).command()?;
    let mut plain = plain.stdout(Stdio::piped()).spawn()?;
    let lines = |child: &mut std::process::Child| -> Result<_> {
        Ok(BufReader::new(child.stdout.take().context("no stdout")?).lines())
    };
    let (mut objects, mut shown) = (lines(&mut json)?, lines(&mut plain)?);
    wait_until("listening", || {
        is_traced(host) && host.status()["listeners"] == 2
    })?;
    host.xdpfw([
        "ban",
        "192.0.2.201",
        "203.0.113.7",
        "--for",
        "1h",
        "--why",
        "guesses",
    ])
    .ok();
    host.xdpfw(["unban", "203.0.113.7"]).ok();
    for (event, prefix) in [
        ("ban", "192.0.2.201/32"),
        ("ban", "203.0.113.7/32"),
        ("unban", "203.0.113.7/32"),
    ] {
        let object: Value = serde_json::from_str(&next(&mut objects)?)?;
        assert_eq!(object["schema"], "xdpfw.event/1");
        assert_eq!(
            (&object["event"], &object["prefix"]),
            (&event.into(), &prefix.into())
        );
        assert_eq!(object["origin"], "manual");
        assert!(object["at"].is_string());
        assert_eq!(object["until"].is_string(), event == "ban");
        assert_eq!(object["why"] == "guesses", event == "ban");
    }
    // Of those that are asked for.
    for part in [
        "  ban  203.0.113.7/32  manual  until ",
        "  unban  203.0.113.7/32  manual",
    ] {
        let line = next(&mut shown)?;
        assert!(line.contains(part), "{line}");
    }
    for child in [&mut json, &mut plain] {
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}

#[test]
fn explain_says_who_is_banned_why_and_what_ends_it() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ allow = 'tcp 80' }]");
    let host = &lab.host;
    let source = lab.link().far().address;
    let [a, b, c, _] = source.octets();
    let ask = || {
        host.xdpfw(["explain", "tcp", &source.to_string(), "80"])
            .json_with(|said| if said["verdict"] == "drop" { 8 } else { 0 })
    };
    assert_eq!(ask()["verdict"], "pass");
    let net = format!("{a}.{b}.{c}.0/24");
    host.xdpfw([
        "ban",
        &source.to_string(),
        "--for",
        "1h",
        "--why",
        "guesses",
    ])
    .ok();
    host.xdpfw(["ban", &net]).ok();
    let said = ask();
    assert_eq!(
        (&said["verdict"], &said["reason"]),
        (&"drop".into(), &"ban".into())
    );
    let path = said["path"].to_string();
    assert!(
        path.contains("is banned (manual) until ") && path.contains(": guesses"),
        "{path}"
    );
    assert_eq!(said["remedy"], format!("xdpfw unban {net} {source}/32"));
    // It counted nothing.
    assert_eq!(host.xdpfw(["bans"]).json()["bans"][0]["packets"], 0);
    host.xdpfw(["unban", &net, &source.to_string()]).ok();
    assert_eq!(ask()["verdict"], "pass");
    Ok(())
}
