//! Proves what a command that waits for a confirmation says in the end.

use std::{io::Write as _, process::Stdio};

use anyhow::{Context as _, Result};
use xdpfw_tests::{PATIENCE, Process};

use super::{Ground, NEXT, OPEN};

fn waits(ground: &Ground, lasts: &str) -> Result<(Process, tempfile::NamedTempFile)> {
    let policy = tempfile::NamedTempFile::new()?;
    std::fs::write(policy.path(), ground.next())?;
    let path = policy.path().to_str().context("an odd path")?;
    let arguments = ["apply", path, "--confirm", lasts, "--wait"];
    let process = ground.lab.host.xdpfw(arguments).spawn()?;
    ground.wait_until_open(&[NEXT])?;
    Ok((process, policy))
}

#[test]
fn it_ends_well_when_somebody_else_confirms() -> Result<()> {
    let ground = Ground::new()?;
    let (mut process, _policy) = waits(&ground, "1m")?;
    ground.lab.host.xdpfw(["confirm"]).ok();
    let status = process.wait(PATIENCE)?.context("it waits")?;
    assert_eq!(status.code(), Some(0));
    assert_eq!(ground.open(), [NEXT]);
    Ok(())
}

#[test]
fn it_tells_that_the_change_went_back() -> Result<()> {
    let ground = Ground::new()?;
    let (mut process, _policy) = waits(&ground, "2s")?;
    let status = process.wait(PATIENCE)?.context("it waits")?;
    assert_eq!(status.code(), Some(7));
    assert_eq!(ground.open(), [OPEN]);
    // It tidied up, too.
    assert_eq!(ground.warning(), None);

    let (mut process, _policy) = waits(&ground, "1m")?;
    ground.lab.host.xdpfw(["rollback"]).ok();
    let status = process.wait(PATIENCE)?.context("it waits")?;
    assert_eq!(status.code(), Some(7));
    Ok(())
}

#[test]
fn it_needs_something_to_wait_for() -> Result<()> {
    let ground = Ground::new()?;
    let said = ground.lab.host.xdpfw(["apply", "--wait"]).fails(2);
    assert!(said.contains("--confirm"), "{said}");
    // Nothing is changed, so nothing is waited for.
    let apply = ["apply", "--confirm", "1m", "--wait"];
    ground.lab.host.xdpfw(apply).ok();
    Ok(())
}

/// Runs the command at a terminal, and types a line there when it asks.
fn typed(ground: &Ground, line: &str) -> Result<std::process::Output> {
    let policy = tempfile::NamedTempFile::new()?;
    std::fs::write(policy.path(), ground.next())?;
    let path = policy.path().to_str().context("an odd path")?;
    let host = &ground.lab.host;
    let apply = host.xdpfw(["apply", path, "--confirm", "30s", "--wait"]);
    let apply = apply.command()?;
    let words = std::iter::once(apply.get_program()).chain(apply.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    let mut terminal = host.command("script");
    terminal.args(["-qec", &words.join(" "), "/dev/null"]);
    terminal.env("XDPFW_POLICY", host.policy());
    terminal.env_remove("SSH_CONNECTION");
    let mut child = terminal
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    ground.wait_until_open(&[NEXT])?;
    let stdin = child.stdin.as_mut().context("no input")?;
    writeln!(stdin, "{line}")?;
    Ok(child.wait_with_output()?)
}

#[test]
fn whoever_sits_at_the_terminal_is_asked() -> Result<()> {
    let ground = Ground::new()?;
    let output = typed(&ground, "n")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("keep this change? [y/n] "), "{said}");
    assert_eq!(output.status.code(), Some(7), "{said}");
    assert_eq!(ground.open(), [OPEN]);

    let output = typed(&ground, "yes")?;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(ground.open(), [NEXT]);
    assert_eq!(ground.saved()?, ground.next());
    let newest = ground.lab.host.xdpfw(["history"]).json()["history"][0].clone();
    assert!(
        newest["command"]
            .as_str()
            .is_some_and(|words| words.contains("--wait")),
        "{newest}"
    );
    assert_eq!(newest["in_force"], true);
    Ok(())
}
