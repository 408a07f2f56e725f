//! Proves that `doctor` names each fault that is planted, that its remedy then works, and that a
//! host without faults has none.

mod firewalls;
mod host;
mod interfaces;

use anyhow::{Context as _, Result};
use serde_json::Value;
use xdpfw_tests::{Host, Xdpfw};

/// What a shell does before it runs doctor: a shared bpffs as systemd mounts it, whatever this
/// machine's is like.
const MOUNTED: &str = "mount -t bpf -o mode=0700 bpf /sys/fs/bpf || exit 90\n";

/// `doctor` where the shared bpffs is as it should be.
fn call(host: &Host, arguments: &[&str]) -> Xdpfw {
    let script = format!("{MOUNTED}exec \"$@\"");
    host.xdpfw([&["doctor"], arguments].concat())
        .in_private_mounts(&script)
}

/// What it says, with the exit code that belongs to it.
#[track_caller]
fn doctor(host: &Host) -> Value {
    call(host, &[]).json_with(code)
}

/// The exit code that findings call for: of a fault, not of a note.
fn code(said: &Value) -> i32 {
    let findings = said["findings"].as_array();
    let mut findings = findings.into_iter().flatten();
    match findings.any(|finding| finding["severity"] == "fault") {
        true => 8,
        false => 0,
    }
}

/// The finding of a kind about an object.
fn find<'a>(said: &'a Value, kind: &str, object: &str) -> Option<&'a Value> {
    let mut findings = said["findings"].as_array().into_iter().flatten();
    findings.find(|finding| finding["kind"] == kind && finding["object"] == object)
}

/// Asserts that there is a fault, with this remedy; runs it, and asserts that the fault is gone.
#[track_caller]
fn assert_is_mended(host: &Host, kind: &str, object: &str, remedy: &str) -> Result<()> {
    let said = doctor(host);
    let Some(finding) = find(&said, kind, object) else {
        panic!("no {kind} of {object}: {said:#}");
    };
    assert_eq!(finding["severity"], "fault", "{finding}");
    assert_eq!(finding["remedy"], remedy, "{finding}");
    obey(host, finding)?;
    let said = doctor(host);
    assert_eq!(
        find(&said, kind, object),
        None,
        "after `{remedy}`: {said:#}"
    );
    Ok(())
}

/// Runs the remedy of a finding.
fn obey(host: &Host, finding: &Value) -> Result<()> {
    let remedy = finding["remedy"].as_str().context("no remedy")?;
    for command in remedy.split(" && ") {
        match command.strip_prefix("xdpfw ") {
            Some(arguments) => drop(host.xdpfw(arguments.split(' ')).ok()),
            None => drop(host.run("sh", ["-c", command])?),
        }
    }
    Ok(())
}

/// Asserts that there is no fault.
#[track_caller]
fn assert_has_no_fault(host: &Host) {
    let said = doctor(host);
    assert_eq!(code(&said), 0, "{said:#}");
}
