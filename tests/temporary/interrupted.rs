//! Proves that file and kernel agree after the next command, wherever one was killed.

use std::{process::Stdio, thread, time::Duration};

use anyhow::{Result, ensure};
use xdpfw_tests::Xdpfw;

use super::{Ground, NEXT, OPEN, rule, text};

/// What begins a command.
type Command<'a> = &'a dyn Fn() -> Xdpfw;

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

/// Kills a command right before the policy file comes into its place.
fn kill_before_the_file(command: Xdpfw) -> Result<()> {
    let strace = [
        "strace",
        "-f",
        "-qqq",
        "-o",
        "/dev/null",
        "-e",
        "trace=/^rename",
    ];
    let inject = ["-e", "inject=/^rename:signal=SIGKILL:when=1"];
    let output = command.under(strace.iter().chain(&inject)).output()?;
    ensure!(!output.status.success(), "not killed: {output:?}");
    Ok(())
}

#[test]
fn the_next_command_saves_what_one_could_not_that_was_killed() -> Result<()> {
    let ground = Ground::new()?;
    let host = &ground.lab.host;
    let next = NEXT.to_string();
    let confirm = || {
        ground.apply("1m");
        host.xdpfw(["confirm"])
    };
    let commands: [(&str, Command<'_>, &[u16]); 4] = [
        (
            "allow",
            &|| host.xdpfw(["allow", "udp", &next]),
            &[OPEN, NEXT],
        ),
        (
            "default",
            &|| host.xdpfw(["default", "pass"]),
            &[OPEN, NEXT],
        ),
        ("rollback", &|| host.xdpfw(["rollback"]), &[OPEN, NEXT]),
        ("confirm", &confirm, &[NEXT]),
    ];
    for (name, command, open) in commands {
        let before = ground.saved()?;
        kill_before_the_file(command())?;
        // The new rules are in force, and nothing is said of them in the file.
        assert_eq!(ground.open(), open, "{name}");
        assert_eq!(ground.saved()?, before, "{name}");
        let said = host.xdpfw(["list"]).ok();
        let saved = ground.saved()?;
        assert_ne!(saved, before, "{name}");
        for port in [OPEN, NEXT] {
            let rule = format!("udp {port}");
            assert_eq!(
                saved.contains(&rule),
                said.contains(&rule),
                "{name}: {saved}"
            );
        }
        assert_eq!(ground.warning(), None, "{name}");
        assert_eq!(ground.open(), open, "{name}");
    }
    // Whoever edits the file first means what it says then.
    let before = ground.saved()?;
    kill_before_the_file(host.xdpfw(["default", "pass"]))?;
    let edited = format!("{before}# by hand\n");
    std::fs::write(host.policy(), &edited)?;
    host.xdpfw(["list"]).ok();
    assert_eq!(ground.saved()?, edited);
    Ok(())
}

#[test]
fn a_first_up_that_is_killed_is_saved_by_the_next_command() -> Result<()> {
    let ground = Ground::new()?;
    let host = &ground.lab.host;
    host.xdpfw(["down"]).ok();
    std::fs::write(host.policy(), format!("version = 1\n{}", rule(OPEN)))?;
    kill_before_the_file(host.xdpfw(["up", "eth0"]))?;
    assert_eq!(ground.open(), [OPEN]);
    assert!(!ground.saved()?.contains("eth0"));
    host.xdpfw(["list"]).ok();
    assert!(ground.saved()?.contains("eth0"));
    Ok(())
}
