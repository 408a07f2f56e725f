//! The state of a host, to be compared or waited for: its policy file, and what is in force.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use crate::{Host, PATIENCE, xdp};

/// What a command that fails must leave alone.
#[derive(Debug, PartialEq, Eq)]
pub struct State {
    /// The text of the policy file.
    pub policy: String,
    /// The generation in force.
    pub generation: u64,
    /// Mode and program of each interface.
    pub programs: Vec<Option<(String, u64)>>,
}

/// The state of a host and of these interfaces.
pub fn state(host: &Host, interfaces: &[&str]) -> Result<State> {
    Ok(State {
        policy: policy_text(host)?,
        generation: generation(host),
        programs: interfaces
            .iter()
            .map(|interface| xdp(host, interface))
            .collect::<Result<_>>()?,
    })
}

/// The text of the policy file.
pub fn policy_text(host: &Host) -> Result<String> {
    fs::read_to_string(host.policy()).context("cannot read the policy")
}

/// The permissions of the policy file.
pub fn policy_mode(host: &Host) -> Result<u32> {
    Ok(fs::metadata(host.policy())?.permissions().mode() & 0o7777)
}

/// The generation in force; 0 if there is none.
pub fn generation(host: &Host) -> u64 {
    host.status()["generation"].as_u64().unwrap_or(0)
}

/// The filtered interfaces, by name.
pub fn interfaces_up(host: &Host) -> Vec<String> {
    let status = host.status();
    let interfaces = status["interfaces"].as_array().cloned().unwrap_or_default();
    let mut names: Vec<String> = interfaces
        .iter()
        .filter_map(|interface| Some(interface["name"].as_str()?.to_owned()))
        .collect();
    names.sort();
    names
}

/// Whether anybody listens.
pub fn is_traced(host: &Host) -> bool {
    host.status()["traced"] == true
}

/// Waits until something is so.
pub fn wait_until(what: &str, is_so: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        ensure!(Instant::now() < deadline, "not {what}");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
