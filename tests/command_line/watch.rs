//! Proves that commands which take their time end as they should: what watches ends
//! with a signal or its reader and leaves no trace, what waits for the lock gets it.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use xdpfw_tests::{Host, Lab, PATIENCE, Sender, Xdpfw, is_dropped, packets, policy_text};

/// The lock that commands take turns with.
const LOCK: &str = "/run/xdpfw/lock";
/// The peer's port where it does not matter.
const REMOTE: u16 = 40_000;

#[test]
fn trace_tells_of_each_packet_and_puts_the_plain_generation_back() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let (near, far) = (lab.link().near(), lab.link().far());
    host.xdpfw(["allow", "tcp", "443"]).ok();
    host.xdpfw(["up", "eth0"]).ok();
    let mut trace = start(host.xdpfw(["trace", "-n", "3"]))?;
    wait_until("tracing", || is_traced(host))?;
    let from = far.at(REMOTE);
    Sender::new(&lab.peer, far)?.send_all([
        packets::syn(from, near.at(443)),
        packets::syn(from, near.at(80)),
        packets::udp(from, near.at(53), b"query"),
        packets::syn(from, near.at(22)),
    ])?;
    let status = ended(&mut trace, PATIENCE)?.context("trace does not end")?;
    assert_eq!(status.code(), Some(0));
    let mut said = String::new();
    let mut stdout = trace.stdout.take().context("no stdout")?;
    stdout.read_to_string(&mut said)?;
    // Behind the time, which is the clock's.
    let lines: Vec<&str> = said
        .lines()
        .filter_map(|line| Some(line.split_once("  ")?.1))
        .collect();
    let (from, to) = (from.to_string(), near.address);
    assert_eq!(
        lines,
        [
            format!("eth0      pass  rule       tcp    {from} -> {to}:443  r1"),
            format!("eth0      drop  default    tcp    {from} -> {to}:80"),
            format!("eth0      drop  default    udp    {from} -> {to}:53"),
        ]
    );
    assert!(!is_traced(host));
    // Counted as ever, before, during and after.
    assert_eq!(host.xdpfw(["list"]).json()["rules"][0]["packets"], 1);
    let dropped = host
        .xdpfw(["stats", "--port", "tcp/80,udp/53,tcp/22"])
        .json();
    for port in dropped["ports"].as_array().context("no ports")? {
        assert_eq!(port["dropped_packets"], 1, "{port}");
    }
    assert!(is_dropped(&lab, 80)? && !is_dropped(&lab, 443)?);
    Ok(())
}

#[test]
fn trace_shows_what_was_asked_for_as_an_object_a_line() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let (near, far) = (lab.link().near(), lab.link().far());
    host.xdpfw(["allow", "tcp", "443"]).ok();
    host.xdpfw(["up", "eth0"]).ok();
    let peer = far.address.to_string();
    let words = [
        "--json",
        "trace",
        "-n",
        "1",
        "--verdict",
        "drop",
        "--port",
        "80",
        "--from",
    ];
    let mut trace = start(host.xdpfw(words.into_iter().chain([peer.as_str()])))?;
    wait_until("tracing", || is_traced(host))?;
    let from = far.at(REMOTE);
    Sender::new(&lab.peer, far)?.send_all([
        packets::syn(from, near.at(443)),
        packets::syn(from, near.at(22)),
        packets::syn(from, near.at(80)),
    ])?;
    let status = ended(&mut trace, PATIENCE)?.context("trace does not end")?;
    assert_eq!(status.code(), Some(0));
    let mut said = String::new();
    let mut stdout = trace.stdout.take().context("no stdout")?;
    stdout.read_to_string(&mut said)?;
    assert_eq!(said.lines().count(), 1, "{said}");
    let event: Value = serde_json::from_str(&said)?;
    assert_eq!(event["schema"], "xdpfw.event/1");
    assert_eq!(event["interface"], "eth0");
    assert_eq!(event["verdict"], "drop");
    assert_eq!(event["reason"], "default");
    assert_eq!(event["rule"], Value::Null);
    assert_eq!(event["protocol"], "tcp");
    assert_eq!(event["source"], json!({"address": peer, "port": REMOTE}));
    assert_eq!(
        event["destination"],
        json!({"address": near.address.to_string(), "port": 80})
    );
    assert!(event["at"].is_string(), "{event}");
    Ok(())
}

#[test]
fn trace_puts_the_plain_generation_back_however_it_ends() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    for signal in [Signal::INT, Signal::TERM] {
        let mut trace = start(host.xdpfw(["trace"]))?;
        wait_until("tracing", || is_traced(host))?;
        // Its own traffic tells that it listens.
        read_line_while(&mut trace, || is_dropped(&lab, 80))?;
        kill_process(Pid::from_child(&trace), signal)?;
        let status = ended(&mut trace, PATIENCE)?.context("trace does not end")?;
        assert_eq!(status.code(), Some(0), "{signal:?}");
        assert!(!is_traced(host), "{signal:?}");
    }
    // Whoever reads it has seen enough.
    let mut trace = start(host.xdpfw(["trace"]))?;
    wait_until("tracing", || is_traced(host))?;
    drop(trace.stdout.take());
    assert!(is_dropped(&lab, 80)?);
    let status = ended(&mut trace, PATIENCE)?.context("trace does not end")?;
    assert_eq!(status.code(), Some(0));
    assert!(!is_traced(host));
    Ok(())
}

#[test]
fn a_trace_whose_terminal_is_gone_puts_the_plain_generation_back() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    let mut trace = start(host.xdpfw(["trace"]))?;
    wait_until("tracing", || is_traced(host))?;
    read_line_while(&mut trace, || is_dropped(&lab, 80))?;
    kill_process(Pid::from_child(&trace), Signal::HUP)?;
    ended(&mut trace, PATIENCE)?.context("trace does not end")?;
    assert!(!is_traced(host));
    Ok(())
}

#[test]
fn a_change_of_the_policy_ends_the_trace() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    let mut trace = start(host.xdpfw(["trace"]))?;
    wait_until("tracing", || is_traced(host))?;
    host.xdpfw(["allow", "tcp", "443"]).ok();
    let status = ended(&mut trace, PATIENCE)?.context("trace does not end")?;
    assert_eq!(status.code(), Some(0));
    assert!(!is_traced(host) && !is_dropped(&lab, 443)?);
    Ok(())
}

#[test]
fn a_killed_trace_is_tidied_up_by_the_next_change() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    let mut trace = start(host.xdpfw(["trace"]))?;
    wait_until("tracing", || is_traced(host))?;
    trace.kill()?;
    trace.wait()?;
    assert!(is_traced(host) && is_dropped(&lab, 80)?);
    host.xdpfw(["apply"]).ok();
    assert!(!is_traced(host) && is_dropped(&lab, 80)?);
    Ok(())
}

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

fn is_traced(host: &Host) -> bool {
    host.status()["traced"] == true
}

/// Starts a command, its stdout to be read.
fn start(xdpfw: Xdpfw) -> Result<Child> {
    let mut command = xdpfw.command()?;
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().context("cannot start nsenter")
}

/// How a process ended, if it does so in time.
fn ended(child: &mut Child, timeout: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + timeout;
    loop {
        let status = child.try_wait()?;
        if status.is_some() || Instant::now() > deadline {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        ensure!(Instant::now() < deadline, "not {what}");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Waits for a line of output, which `cause` brings about.
fn read_line_while(child: &mut Child, cause: impl Fn() -> Result<bool>) -> Result<()> {
    cause()?;
    let stdout = child.stdout.as_mut().context("no stdout")?;
    ensure!(stdout.read(&mut [0; 1])? > 0, "no output");
    Ok(())
}
