//! Proves that what a command changes does not depend on whether anybody takes its output.

use std::{fs::File, io, process::Stdio};

use anyhow::Result;
use serde_json::json;
use xdpfw_tests::{Host, Lab, assert_nothing_is_left, interfaces_up, policy_text, text};

const INTERFACES: [&str; 3] = ["eth0", "eth1", "eth2"];

/// Where nobody takes the output.
#[derive(Clone, Copy, Debug)]
enum Sink {
    /// A pipe whose reader is gone, as `grep -q` leaves it.
    ClosedPipe,
    /// A full disk.
    Full,
}

impl Sink {
    /// Stdout or stderr.
    fn open(self) -> Result<Stdio> {
        Ok(match self {
            Self::ClosedPipe => io::pipe()?.1.into(),
            Self::Full => File::options().write(true).open("/dev/full")?.into(),
        })
    }

    /// How a command ends that could not print what it was asked for: nobody wants more, or an
    /// error.
    const fn code(self) -> i32 {
        match self {
            Self::ClosedPipe => 0,
            Self::Full => 1,
        }
    }
}

/// Makes a change with nobody to take what is printed of it: it is made, and said to be.
#[track_caller]
fn into_the_void(host: &Host, arguments: &[&str], sink: Sink) -> Result<()> {
    let said = run_into(host, arguments, sink, 0)?;
    if matches!(sink, Sink::Full) {
        assert!(said.contains("warning: done, but"), "{arguments:?}: {said}");
    }
    Ok(())
}

/// Runs xdpfw with nobody to take what it prints, claims that it ends with this code, and
/// returns its stderr.
#[track_caller]
fn run_into(host: &Host, arguments: &[&str], sink: Sink, code: i32) -> Result<String> {
    let output = host
        .xdpfw(arguments)
        .command()?
        .stdin(Stdio::null())
        .stdout(sink.open()?)
        .stderr(Stdio::piped())
        .spawn()?
        .wait_with_output()?;
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    Ok(said)
}

#[test]
fn every_change_is_whole() -> Result<()> {
    for sink in [Sink::ClosedPipe, Sink::Full] {
        let lab = Lab::with_links(3)?;
        let host = &lab.host;
        let up: Vec<&str> = ["up"].into_iter().chain(INTERFACES).collect();

        into_the_void(host, &up, sink)?;
        assert_eq!(interfaces_up(host), INTERFACES, "{sink:?}");
        for words in [
            &["allow", "tcp", "443"][..],
            &["deny", "udp", "53"],
            &["allow", "ssh"],
        ] {
            into_the_void(host, words, sink)?;
        }
        let ids = |host: &Host| {
            let list = host.xdpfw(["list"]).json();
            let rows = list["rules"].as_array().cloned().unwrap_or_default();
            rows.iter().map(|row| row["id"].clone()).collect::<Vec<_>>()
        };
        assert_eq!(
            ids(host),
            [json!("r1"), json!("r2"), json!("r3")],
            "{sink:?}"
        );
        into_the_void(host, &["delete", "r1", "r2"], sink)?;
        assert_eq!(ids(host), [json!("r3")], "{sink:?}");
        into_the_void(host, &["default", "pass"], sink)?;
        assert_eq!(host.status()["default"], "pass", "{sink:?}");
        into_the_void(host, &["apply"], sink)?;
        let generation = host.status()["generation"].as_u64();
        // The last counts are what this one is asked for.
        run_into(host, &["stats", "--reset"], sink, sink.code())?;
        assert!(
            host.status()["generation"].as_u64() > generation,
            "{sink:?}"
        );

        // Some, then all.
        into_the_void(host, &["down", "eth0", "eth2"], sink)?;
        assert_eq!(interfaces_up(host), ["eth1"], "{sink:?}");
        into_the_void(host, &up, sink)?;
        into_the_void(host, &["down"], sink)?;
        assert_nothing_is_left(host, &INTERFACES)?;
        assert!(policy_text(host)?.contains("r3"), "{sink:?}");
    }
    Ok(())
}

/// Warnings and notes go nowhere, and no change waits for them.
#[test]
fn nor_does_a_change_depend_on_messages() -> Result<()> {
    for sink in [Sink::ClosedPipe, Sink::Full] {
        let lab = Lab::with_links(2)?;
        let host = &lab.host;
        host.run("ip", ["link", "add", "br0", "type", "bridge"])?;
        for (words, expected) in [
            (&["-v", "up", "eth0", "br0", "eth1"][..], Some(0)),
            (&["-v", "deny", "any"], Some(0)),
            (&["-v", "down"], Some(0)),
            (&["down"], Some(0)),
        ] {
            let status = host
                .xdpfw(words)
                .command()?
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(sink.open()?)
                .status()?;
            assert_eq!(status.code(), expected, "{sink:?}: {words:?}");
            if words.contains(&"up") {
                assert_eq!(interfaces_up(host), ["br0", "eth0", "eth1"], "{sink:?}");
            }
        }
        assert_nothing_is_left(host, &["br0", "eth0", "eth1"])?;
    }
    Ok(())
}
