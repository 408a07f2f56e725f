//! Proves that who listens hears all that was asked for, through every change, beside others, and
//! that nothing is left in the kernel of one that was killed.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use xdpfw_common::abi::LISTENERS;
use xdpfw_tests::{Lab, PATIENCE, Sender, is_dropped, is_traced, packets, wait_until};

use crate::running::{ended, objects, start};

/// The peer's port where it does not matter.
const REMOTE: u16 = 40_000;

/// What is in force changes behind it, and rules keep their names.
#[test]
fn it_goes_on_through_every_change() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["allow", "tcp", "443"]).ok();
    host.xdpfw(["up", "eth0"]).ok();
    let other = host.directory().join("other.toml");
    fs::write(&other, "version = 1\ndefault = \"drop\"\n")?;
    let other = other.to_str().context("an odd path")?;
    let mut trace = start(host.xdpfw(["--json", "trace", "--port", "443"]))?;
    wait_until("tracing", || is_traced(host))?;
    let mut lines = BufReader::new(trace.stdout.take().context("no stdout")?).lines();
    let mut seen = || -> Result<Value> {
        is_dropped(&lab, 443)?;
        let line = lines.next().context("it has ended")??;
        Ok(serde_json::from_str(&line)?)
    };
    for (change, verdict, rule) in [
        (&["status"][..], "pass", json!("r1")),
        (&["deny", "tcp", "443", "--first"], "drop", json!("r2")),
        (&["stats", "--reset"], "drop", json!("r2")),
        (&["delete", "--all"], "drop", Value::Null),
        (&["default", "pass", "--force"], "pass", Value::Null),
        (&["up"], "pass", Value::Null),
        (&["apply", "--shadow", other], "pass", Value::Null),
        // What was rehearsed had nobody who listened.
        (&["shadow", "--accept"], "drop", Value::Null),
    ] {
        host.xdpfw(change).ok();
        // It looks for a change once a second.
        thread::sleep(Duration::from_millis(1_500));
        let event = seen()?;
        assert_eq!(
            (&event["verdict"], &event["rule"]),
            (&json!(verdict), &rule),
            "{change:?}: {event}"
        );
    }
    assert!(is_traced(host));
    host.xdpfw(["down"]).ok();
    let status = ended(&mut trace, PATIENCE)?.context("trace does not end")?;
    assert_eq!(status.code(), Some(0));
    Ok(())
}

/// Nobody can end what was killed: the kernel finds out by itself.
#[test]
fn a_killed_listener_leaves_nothing_behind() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    host.xdpfw(["up", "eth0"]).ok();
    for _ in 0..2 * LISTENERS {
        let mut log = start(host.xdpfw(["log"]))?;
        wait_until("listening", || is_traced(host))?;
        log.kill()?;
        log.wait()?;
        host.xdpfw(["status"]).ok();
    }
    wait_until("over", || !is_traced(host))?;
    assert!(is_dropped(&lab, 80)?);
    // Its place is free, and who takes it hears nothing of what was meant for another.
    let mut log = start(host.xdpfw(["--json", "log", "-n", "1"]))?;
    wait_until("listening", || is_traced(host))?;
    assert!(is_dropped(&lab, 81)?);
    let events = objects(&mut log)?;
    assert_eq!(events[0]["destination"]["port"], 81, "{events:?}");
    Ok(())
}

#[test]
fn each_of_four_listeners_hears_all_and_a_fifth_is_refused() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let (near, far) = (lab.link().near(), lab.link().far());
    host.xdpfw(["allow", "tcp", "443"]).ok();
    host.xdpfw(["up", "eth0"]).ok();
    let from = far.at(REMOTE);
    let all = [80, 443, 22].map(|port| packets::syn(from, near.at(port)));
    let filters: [(&[&str], &[u16]); LISTENERS] = [
        (&["trace"], &[80, 443, 22]),
        (&["log"], &[80, 22]),
        (&["log", "--verdict", "pass"], &[443]),
        (&["trace", "--port", "22"], &[22]),
    ];
    let mut listeners = Vec::new();
    for (words, ports) in filters {
        let count = ports.len().to_string();
        let from = ["--from", &far.address.to_string()].map(str::to_owned);
        let words = ["--json"].iter().chain(words).map(|&word| word.to_owned());
        let words = words.chain(["-n".to_owned(), count]).chain(from);
        listeners.push(start(host.xdpfw(words))?);
        let count = listeners.len();
        wait_until("listening", || host.status()["listeners"] == count)?;
    }
    let said = host.xdpfw(["log"]).fails(1);
    assert!(said.contains("4 commands listen already"), "{said}");
    Sender::new(&lab.peer, far)?.send_all(&all)?;
    for (log, (words, ports)) in listeners.iter_mut().zip(filters) {
        let events = objects(log)?;
        let heard: Vec<&Value> = events
            .iter()
            .map(|one| &one["destination"]["port"])
            .collect();
        assert_eq!(heard, ports.iter().collect::<Vec<_>>(), "{words:?}");
    }
    assert!(!is_traced(host));
    Ok(())
}

/// A rule goes by its name, whatever the number by which the kernel knows it.
#[test]
fn a_rule_is_followed_where_it_is_counted_anew() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    for rule in [["allow", "443"], ["deny", "22"], ["deny", "23"]] {
        host.xdpfw([rule[0], "tcp", rule[1]]).ok();
    }
    host.xdpfw(["up", "eth0"]).ok();
    let mut log = start(host.xdpfw(["--json", "log", "--rule", "r3"]))?;
    wait_until("listening", || is_traced(host))?;
    let mut lines = BufReader::new(log.stdout.take().context("no stdout")?).lines();
    host.xdpfw(["delete", "r1"]).ok();
    host.xdpfw(["stats", "--reset"]).ok();
    // Until it has found out, it misses some, and takes none for another.
    thread::scope(|scope| -> Result<()> {
        let shown = scope.spawn(|| lines.next().context("it has ended"));
        let deadline = Instant::now() + PATIENCE;
        while !shown.is_finished() {
            if Instant::now() > deadline {
                kill_process(Pid::from_child(&log), Signal::KILL)?;
            }
            assert!(is_dropped(&lab, 22)? && is_dropped(&lab, 23)?);
        }
        let line = shown.join();
        let line = line.unwrap_or_else(|panic| std::panic::resume_unwind(panic))??;
        let event: Value = serde_json::from_str(&line)?;
        assert_eq!(
            (&event["rule"], &event["destination"]["port"]),
            (&json!("r3"), &json!(23))
        );
        Ok(())
    })?;
    kill_process(Pid::from_child(&log), Signal::TERM)?;
    ended(&mut log, PATIENCE)?.context("it does not end")?;
    Ok(())
}
