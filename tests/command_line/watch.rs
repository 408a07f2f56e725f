//! Proves that commands which take their time end as they should: what watches ends
//! with a signal or its reader, what waits for the lock gets it.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::{
    pipe::fcntl_setpipe_size,
    process::{Pid, Signal, kill_process},
};
use serde_json::{Value, json};
use xdpfw_tests::{Lab, PATIENCE, is_dropped, policy_text, wait_until};

use crate::running::{ended, is_stalled, start};

/// The lock that commands take turns with.
const LOCK: &str = "/run/xdpfw/lock";

#[test]
fn watched_stats_are_an_object_a_line_until_interrupted() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    let mut watch = start(host.xdpfw(["stats", "--watch", "0.1", "--json"]))?;
    let mut lines = BufReader::new(watch.stdout.take().context("no stdout")?).lines();
    let mut next = || -> Result<Value> {
        let line = lines.next().context("no more lines")??;
        Ok(serde_json::from_str(&line)?)
    };
    for _ in 0..2 {
        let stats = next()?;
        assert_eq!(stats["schema"], "xdpfw.stats/1");
        assert_eq!(stats["ports"], json!([]));
    }
    assert!(is_dropped(&lab, 23)?);
    let deadline = Instant::now() + PATIENCE;
    while next()?["ports"][0]["port"] != 23 {
        ensure!(Instant::now() < deadline, "the drop is not shown");
    }
    kill_process(Pid::from_child(&watch), Signal::INT)?;
    let status = ended(&mut watch, PATIENCE)?.context("it does not end")?;
    assert_eq!(status.code(), Some(0));
    for line in lines {
        serde_json::from_str::<Value>(&line?)?;
    }
    Ok(())
}

#[test]
fn rates_have_their_colour() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    assert!(is_dropped(&lab, 23)?);
    for (color, colourful) in [("always", true), ("auto", false), ("never", false)] {
        let said = host.xdpfw(["--color", color, "stats"]).ok();
        let row = said.lines().nth(1).context("no row")?;
        assert_eq!(row.contains("\x1b["), colourful, "{color}: {row:?}");
        assert!(row.contains("23/tcp"), "{row:?}");
    }
    Ok(())
}

#[test]
fn an_interrupt_is_never_missed() -> Result<()> {
    let lab = Lab::new()?;
    lab.host.xdpfw(["up", "eth0"]).ok();
    // Busy most of the time, so that some interrupts come at a bad one.
    for attempt in 0..10 {
        let mut watch = start(lab.host.xdpfw(["stats", "--watch", "0.01", "--json"]))?;
        let mut stdout = BufReader::new(watch.stdout.take().context("no stdout")?);
        for _ in 0..3 {
            ensure!(stdout.read_line(&mut String::new())? > 0, "no more lines");
        }
        kill_process(Pid::from_child(&watch), Signal::INT)?;
        let reader = thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
        let status = ended(&mut watch, Duration::from_secs(2))?;
        if status.is_none() {
            watch.kill()?;
            watch.wait()?;
        }
        assert!(reader.join().is_ok());
        assert_eq!(
            status.and_then(|status| status.code()),
            Some(0),
            "attempt {attempt}"
        );
    }
    Ok(())
}

/// What nobody reads holds no signal up.
#[test]
fn watching_ends_with_a_signal_where_its_reader_stalls() -> Result<()> {
    let lab = Lab::new()?;
    lab.host.xdpfw(["up", "eth0"]).ok();
    for (signal, json) in [
        (Signal::INT, true),
        (Signal::TERM, true),
        (Signal::HUP, true),
        (Signal::INT, false),
    ] {
        let words = ["stats", "--watch", "0.01"];
        let json = json.then_some("--json");
        let mut watch = start(lab.host.xdpfw(words.into_iter().chain(json)))?;
        let stdout = watch.stdout.as_ref().context("no stdout")?;
        fcntl_setpipe_size(stdout, 4096)?;
        wait_until("stalled", || is_stalled(&watch))?;
        kill_process(Pid::from_child(&watch), signal)?;
        let status = ended(&mut watch, PATIENCE)?;
        if status.is_none() {
            watch.kill()?;
            watch.wait()?;
        }
        let status = status.with_context(|| format!("{signal:?}: it does not end"))?;
        assert_eq!(status.code(), Some(0), "{signal:?}");
    }
    Ok(())
}

#[test]
fn watching_ends_with_its_reader() -> Result<()> {
    let lab = Lab::new()?;
    lab.host.xdpfw(["up", "eth0"]).ok();
    for arguments in [
        &["stats", "--watch", "0.05", "--json"][..],
        &["stats", "--watch", "0.05"],
    ] {
        let mut watch = start(lab.host.xdpfw(arguments))?;
        let mut stdout = BufReader::new(watch.stdout.take().context("no stdout")?);
        ensure!(
            stdout.read_line(&mut String::new())? > 0,
            "{arguments:?}: no line"
        );
        drop(stdout);
        let status = ended(&mut watch, PATIENCE)?.context("it does not end")?;
        assert_eq!(status.code(), Some(0), "{arguments:?}");
    }
    Ok(())
}

#[test]
fn reset_shows_what_was_and_counts_from_zero() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["allow", "tcp", "443"]).ok();
    host.xdpfw(["up", "eth0"]).ok();
    let policy = policy_text(host)?;
    assert!(is_dropped(&lab, 23)? && !is_dropped(&lab, 443)?);

    let last = host.xdpfw(["stats", "--reset"]).json();
    assert_eq!(last["ports"][0]["port"], 23);
    assert_eq!(last["totals"]["dropped"]["packets"], 1);
    let first = host.xdpfw(["stats"]).json();
    assert_eq!(first["ports"], json!([]));
    assert_eq!(
        first["totals"]["dropped"],
        json!({"packets": 0, "bytes": 0})
    );
    assert_eq!(first["totals"]["passed"], json!({"packets": 0, "bytes": 0}));
    assert_eq!(host.xdpfw(["list"]).json()["rules"][0]["packets"], 0);
    assert_eq!(policy_text(host)?, policy);

    assert!(is_dropped(&lab, 23)? && !is_dropped(&lab, 443)?);
    assert_eq!(
        host.xdpfw(["stats"]).json()["ports"][0]["dropped_packets"],
        1
    );
    assert_eq!(host.xdpfw(["list"]).json()["rules"][0]["packets"], 1);
    Ok(())
}

#[test]
fn a_second_command_waits_for_the_first() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    let before = policy_text(host)?;
    let lock = File::options().create(true).append(true).open(LOCK)?;
    lock.lock()?;
    let mut writer = start(host.xdpfw(["allow", "tcp", "443"]))?;
    let mut reader = start(host.xdpfw(["--json", "list"]))?;
    // However long they are given, they do not get on.
    assert_eq!(ended(&mut writer, Duration::from_millis(300))?, None);
    assert_eq!(ended(&mut reader, Duration::from_millis(100))?, None);
    assert_eq!(policy_text(host)?, before);

    lock.unlock()?;
    for child in [&mut writer, &mut reader] {
        let status = ended(child, PATIENCE)?.context("it waits for nobody")?;
        assert_eq!(status.code(), Some(0));
    }
    assert!(!is_dropped(&lab, 443)?);
    Ok(())
}

/// A pager, or a terminal that was stopped, keeps nobody from changing anything.
#[test]
fn output_that_nobody_reads_holds_nothing_up() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    // More than a pipe takes in.
    let rules: String = (1..=2000)
        .map(|port| format!("[[rule]]\nallow = \"tcp {port}\"\ncomment = \"of many\"\n"))
        .collect();
    let policy = format!("version = 1\ninterfaces = [\"eth0\"]\n{rules}");
    host.xdpfw(["apply", "-"]).stdin(policy).ok();
    for arguments in [&["list"][..], &["--json", "list"]] {
        let mut reader = start(host.xdpfw(arguments))?;
        assert_eq!(ended(&mut reader, Duration::from_millis(500))?, None);
        let mut writer = start(host.xdpfw(["allow", "udp", "53"]))?;
        let status = ended(&mut writer, PATIENCE)?;
        reader.kill()?;
        reader.wait()?;
        let status = status.context("it waits for the reader")?;
        assert_eq!(status.code(), Some(0), "{arguments:?}");
    }
    Ok(())
}

/// `apply -` waits for its text, and nobody for that.
#[test]
fn a_policy_that_is_not_there_yet_holds_nothing_up() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    let mut command = host.xdpfw(["apply", "-"]).command()?;
    command.stdin(Stdio::piped());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut slow = command.spawn()?;
    assert_eq!(ended(&mut slow, Duration::from_millis(300))?, None);
    let mut other = start(host.xdpfw(["allow", "tcp", "443"]))?;
    let status = ended(&mut other, PATIENCE)?;
    slow.kill()?;
    slow.wait()?;
    let status = status.context("it waits for the text")?;
    assert_eq!(status.code(), Some(0));
    Ok(())
}
