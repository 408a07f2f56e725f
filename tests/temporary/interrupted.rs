//! Proves that file and kernel agree after the next command, wherever one was killed.

use std::{process::Stdio, thread, time::Duration};

use anyhow::{Result, ensure};
use xdpfw_tests::Xdpfw;

use super::{Ground, NEXT, OPEN, rule, text};

/// Kills of each command.
const KILLS: u32 = 24;

/// Kills a command after a part of the time that it takes.
fn kill(command: Xdpfw, part: u32, whole: Duration) -> Result<()> {
    let mut child = command
        .command()?
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    thread::sleep(whole * part / KILLS);
    child.kill()?;
    child.wait()?;
    Ok(())
}

/// The policy that is in force, by the port that is open; the file must say the same.
fn agreed(ground: &Ground) -> Result<u16> {
    // The next command, whichever it is.
    ground.lab.host.xdpfw(["list"]).output()?;
    let open = ground.open();
    let saved = ground.saved()?;
    for port in [OPEN, NEXT] {
        if open == [port] {
            ensure!(
                saved.contains(&format!("udp {port}")),
                "{port} is open, and saved is {saved}"
            );
            return Ok(port);
        }
    }
    anyhow::bail!("{open:?} are open, and saved is {saved}")
}

#[test]
fn a_confirmation_that_is_killed_is_one_or_none() -> Result<()> {
    let ground = Ground::new()?;
    let host = &ground.lab.host;
    let begin = std::time::Instant::now();
    host.xdpfw(["list"]).ok();
    let whole = begin.elapsed();
    for part in 0..KILLS {
        ground.apply("1m");
        kill(host.xdpfw(["confirm"]), part, whole)?;
        if ground.warning().as_deref() == Some("pending") {
            assert_eq!(ground.open(), [NEXT]);
            host.xdpfw(["rollback"]).ok();
        }
        if agreed(&ground)? == NEXT {
            host.xdpfw(["apply", "-"]).stdin(text(&rule(OPEN))).ok();
        }
    }
    Ok(())
}

#[test]
fn a_change_that_is_killed_is_the_old_policy_or_the_new_one_in_kernel_and_file() -> Result<()> {
    let ground = Ground::new()?;
    let host = &ground.lab.host;
    let policies = [text(&rule(OPEN)), text(&rule(NEXT))];
    let files = [
        tempfile::NamedTempFile::new()?,
        tempfile::NamedTempFile::new()?,
    ];
    for (file, policy) in files.iter().zip(&policies) {
        std::fs::write(file.path(), policy)?;
    }
    let apply = |index: usize| {
        let path = files[index].path().to_string_lossy().into_owned();
        host.xdpfw(["apply", &path])
    };
    let begin = std::time::Instant::now();
    apply(1).ok();
    let whole = begin.elapsed();
    let mut now = NEXT;
    for part in 0..KILLS {
        kill(apply(usize::from(now == OPEN)), part, whole)?;
        now = agreed(&ground)?;
    }
    Ok(())
}
