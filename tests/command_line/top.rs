//! Proves that `top` prints objects a line for programs, and refuses to draw where nobody looks.

use std::io::{BufRead as _, BufReader};

use anyhow::{Context as _, Result};
use rustix::{
    pipe::fcntl_setpipe_size,
    process::{Pid, Signal, kill_process},
};
use serde_json::{Value, json};
use xdpfw_tests::{Lab, PATIENCE, Sender, assert_is_one_error, is_dropped, packets, wait_until};

use crate::running::{ended, is_stalled, start};

const POLICY: &str = "rule = [{ allow = 'tcp 443' }]";
const WORDS: [&str; 4] = ["--json", "top", "--interval", "0.1"];

/// Reads objects until one is as it should be.
fn until(
    lines: &mut impl Iterator<Item = std::io::Result<String>>,
    is_so: impl Fn(&Value) -> bool,
) -> Result<Value> {
    loop {
        let line = lines.next().context("no more lines")??;
        let tick: Value = serde_json::from_str(&line)?;
        assert_eq!(tick["schema"], "xdpfw.top/1");
        if is_so(&tick) {
            return Ok(tick);
        }
    }
}

#[test]
fn an_object_a_line_says_what_is_dropped_until_interrupted() -> Result<()> {
    let lab = Lab::new()?.filtered(POLICY);
    let host = &lab.host;
    let mut top = start(host.xdpfw(WORDS))?;
    let mut lines = BufReader::new(top.stdout.take().context("no stdout")?).lines();
    let tick = until(&mut lines, |tick| tick["sampled"] == 1)?;
    assert_eq!(tick["up"], true);
    assert_eq!(tick["default"], "drop");
    assert_eq!(
        tick["interfaces"],
        json!([{"name": "eth0", "mode": "native"}])
    );
    assert_eq!(tick["ports"], json!([]));

    // Slow enough for every packet to be looked at.
    assert!(!is_dropped(&lab, 443)?);
    let (near, far) = (lab.link().near(), lab.link().far());
    let mut sender = Sender::new(&lab.peer, far)?;
    sender.send_all((0..20).map(|_| packets::syn(far.at(40_000), near.at(23))))?;
    let tick = until(&mut lines, |tick| {
        tick["ports"][0]["dropped_packets"] == 20 && tick["sources"] != json!([])
    })?;
    assert_eq!(tick["ports"][0]["port"], 23);
    assert_eq!(tick["ports"][0]["service"], "telnet");
    let source = &tick["sources"][0];
    assert_eq!(source["address"], json!(far.at(0).ip()));
    assert_eq!(source["dropped_packets"], 20);
    assert_eq!(tick["rules"][0]["id"], "r1");
    assert!(tick["rules"][0]["packets"].as_u64() > Some(0));
    assert!(tick["peak"].as_f64() > Some(0.0));

    host.xdpfw(["allow", "udp", "53", "--confirm", "60s"]).ok();
    let tick = until(&mut lines, |tick| tick["notices"] != json!([]))?;
    assert_eq!(tick["notices"][0]["kind"], "pending");
    host.xdpfw(["confirm"]).ok();

    // Through every change, and when it goes down and comes up again.
    host.xdpfw(["down"]).ok();
    until(&mut lines, |tick| tick["up"] == false)?;
    host.xdpfw(["up", "eth0"]).ok();
    until(&mut lines, |tick| {
        tick["up"] == true && tick["sampled"] == 1
    })?;

    kill_process(Pid::from_child(&top), Signal::INT)?;
    let status = ended(&mut top, PATIENCE)?.context("it does not end")?;
    assert_eq!(status.code(), Some(0));
    Ok(())
}

#[test]
fn it_ends_after_so_many_looks_or_with_its_reader() -> Result<()> {
    let lab = Lab::new()?.filtered(POLICY);
    let said = lab.host.xdpfw([&WORDS[..], &["-n", "3"]].concat()).ok();
    assert_eq!(said.lines().count(), 3, "{said}");
    let mut top = start(lab.host.xdpfw(WORDS))?;
    let mut stdout = BufReader::new(top.stdout.take().context("no stdout")?);
    stdout.read_line(&mut String::new())?;
    drop(stdout);
    let status = ended(&mut top, PATIENCE)?.context("it does not end")?;
    assert_eq!(status.code(), Some(0));
    Ok(())
}

#[test]
fn a_reader_that_stalls_holds_no_signal_up() -> Result<()> {
    let lab = Lab::new()?.filtered(POLICY);
    let mut top = start(lab.host.xdpfw(WORDS))?;
    fcntl_setpipe_size(top.stdout.as_ref().context("no stdout")?, 4096)?;
    wait_until("stalled", || is_stalled(&top))?;
    kill_process(Pid::from_child(&top), Signal::TERM)?;
    let status = ended(&mut top, PATIENCE)?.context("it does not end")?;
    assert_eq!(status.code(), Some(0));
    Ok(())
}

#[test]
fn what_cannot_be_shown_is_one_error_with_a_remedy() -> Result<()> {
    let lab = Lab::new()?.filtered(POLICY);
    let host = &lab.host;
    let said = host.xdpfw(["top"]).fails(1);
    assert_is_one_error(
        &said,
        "standard output is no terminal; say `xdpfw stats --watch`, or `xdpfw --json top`",
    );
    for interval in ["0", "-1", "1e9", "nan"] {
        let option = format!("--interval={interval}");
        let said = host.xdpfw(["--json", "top", &option]).fails(2);
        assert_is_one_error(&said, "cannot look every");
    }
    host.xdpfw(["down"]).ok();
    let said = host.xdpfw(["--json", "top"]).fails(1);
    assert_is_one_error(&said, "not up (say `xdpfw up IFACE`)");
    Ok(())
}
