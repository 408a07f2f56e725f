//! Bans are told of while they happen, and by who asks why a packet is dropped.

use std::{
    io::{BufRead as _, BufReader, Lines},
    process::{ChildStdout, Stdio},
};

use anyhow::{Context as _, Result};
use serde_json::Value;
use xdpfw_tests::{Lab, is_dropped, is_traced, wait_until};

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

#[test]
fn explain_says_which_list_bans_and_unban_that_it_goes_on_to() -> Result<()> {
    let lab = Lab::new()?;
    let source = lab.link().far().address;
    let [a, b, c, _] = source.octets();
    let net = format!("{a}.{b}.{c}.0/24");
    let lab = lab.filtered(&format!(
        "rule = [{{ allow = 'tcp 80' }}]\n[list.drop]\nprefixes = ['{net}']\nban = true"
    ));
    let host = &lab.host;
    let explain = || {
        host.xdpfw(["explain", "tcp", &source.to_string(), "80"])
            .json_with(|_| 8)
    };
    let said = explain();
    let path = said["path"].to_string();
    assert!(
        path.contains(&format!("{net} is banned (list drop")),
        "{path}"
    );
    assert!(path.contains("`trusted`"), "{path}");
    assert_eq!(
        (&said["reason"], &said["remedy"]),
        (&"ban".into(), &Value::Null)
    );
    let unban = || host.xdpfw(["unban", &source.to_string()]);
    let note = format!("the list drop bans {net} (name {source}/32 in `trusted`");
    let said = unban().fails(1);
    assert!(
        said.contains(&note) && said.contains("not banned"),
        "{said}"
    );

    // What a command has ended, a list may not have.
    host.xdpfw(["ban", &source.to_string()]).ok();
    assert_eq!(explain()["remedy"], format!("xdpfw unban {source}/32"));
    let said = unban().output()?;
    assert!(said.status.success());
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains(&note), "{said}");
    Ok(())
}

#[test]
fn explain_says_whom_the_program_has_banned() -> Result<()> {
    let lab = Lab::new()?.filtered("rule = [{ limit = 'tcp 80', rate = '1/h', ban = '10m' }]");
    let (host, source) = (&lab.host, lab.link().far().address);
    assert!(!is_dropped(&lab, 80)? && is_dropped(&lab, 80)?);
    let said = host
        .xdpfw(["explain", "tcp", &source.to_string(), "80"])
        .json_with(|_| 8);
    let path = said["path"].to_string();
    assert!(
        path.contains(&format!("{source}/32 is banned (limit) until ")),
        "{path}"
    );
    assert_eq!(said["remedy"], format!("xdpfw unban {source}/32"));
    Ok(())
}
