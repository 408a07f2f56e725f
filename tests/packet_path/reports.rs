//! Proves that this kernel's program reports packets, and their first bytes, to who listens.

use std::{fs, thread};

use anyhow::{Context as _, Result};
use serde_json::Value;
use xdpfw_tests::{Lab, Sender, Xdpfw, packets};

/// Makes a call to its end, while a packet comes in again and again.
fn while_it_comes(lab: &Lab, packet: &[u8], call: Xdpfw) -> Result<String> {
    let far = lab.link().far();
    thread::scope(|scope| {
        let call = scope.spawn(|| call.ok());
        let mut sender = Sender::new(&lab.peer, far)?;
        while !call.is_finished() {
            sender.send_all([packet])?;
        }
        let said = call.join();
        Ok(said.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

#[test]
fn packets_are_reported_with_their_first_bytes() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let (near, far) = (lab.link().near(), lab.link().far());
    host.xdpfw(["deny", "udp", "53"]).ok();
    host.xdpfw(["up", "eth0"]).ok();
    // Of an odd length, whose last byte is copied by itself.
    let query = packets::udp(far.at(40_000), near.at(53), b"odds and ends");
    let words = ["--json", "log", "-n", "1", "--rule", "r1"];
    let said = while_it_comes(&lab, &query, host.xdpfw(words))?;
    // On a slow machine, some are lost.
    let objects = said.lines().map(serde_json::from_str::<Value>);
    let mut events = objects.filter(|one| !one.as_ref().is_ok_and(|one| one["event"] == "lost"));
    let event = events.next().context("no event")??;
    assert_eq!(event["verdict"], "drop");
    assert_eq!(event["rule"], "r1");
    assert_eq!(event["source"]["port"], 40_000);
    assert_eq!(event["length"], packets::frame(far, near, &query).len());

    let file = host.directory().join("drops.pcapng");
    let path = file.to_string_lossy().into_owned();
    let words = ["log", "-n", "1", "--rule", "r1", "--write", &path];
    while_it_comes(&lab, &query, host.xdpfw(words))?;
    let written = fs::read(&file)?;
    let frame = packets::frame(far, near, &query);
    assert!(
        written.windows(frame.len()).any(|bytes| bytes == frame),
        "{written:02x?}"
    );
    Ok(())
}
