//! Proves what a command that waits for a confirmation says in the end.

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
