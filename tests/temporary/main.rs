//! Tests of what is in force for a while only: changes that are to be confirmed, the bypass,
//! the panic.

mod bypass;
mod confirm;
mod dead_man;
mod interfaces;
mod interrupted;
mod panic;
mod wait;

use std::{
    fs,
    net::SocketAddrV4,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xdpfw_tests::{Lab, PATIENCE, servers};

/// Open under the policy that all tests begin with.
const OPEN: u16 = 1000;
/// Open under the policy that is put to the test.
const NEXT: u16 = 2000;
/// No port.
const NONE: [u16; 0] = [];
/// How long an answer may take that comes.
const SOON: Duration = Duration::from_millis(300);

/// A host that answers on both ports, filtered by a policy that opens the first.
struct Ground {
    lab: Lab,
    _servers: [servers::UdpEcho; 2],
}

impl Ground {
    fn new() -> Result<Self> {
        Self::over(Lab::new()?)
    }

    fn over(lab: Lab) -> Result<Self> {
        let servers = [
            servers::UdpEcho::start(&lab.host, OPEN)?,
            servers::UdpEcho::start(&lab.host, NEXT)?,
        ];
        let lab = lab.filtered(&rule(OPEN));
        Ok(Self {
            lab,
            _servers: servers,
        })
    }

    /// A port of the host, by the first link.
    fn at(&self, port: u16) -> SocketAddrV4 {
        self.lab.link().near().at(port)
    }

    /// Which of the two ports answer.
    fn open(&self) -> Vec<u16> {
        let peer = &self.lab.peer;
        let answers = |port: &u16| servers::exchange(peer, 0, self.at(*port), "x", SOON).is_ok();
        [OPEN, NEXT].into_iter().filter(answers).collect()
    }

    /// Puts a policy in force that opens [`NEXT`] alone, and is to be confirmed.
    #[track_caller]
    fn apply(&self, lasts: &str) {
        let arguments = ["apply", "-", "--confirm", lasts];
        let said = self.lab.host.xdpfw(arguments).stdin(self.next()).ok();
        assert!(said.contains(" until "), "{said}");
    }

    /// The text of that policy.
    fn next(&self) -> String {
        text(&rule(NEXT))
    }

    /// The text of the policy file.
    fn saved(&self) -> Result<String> {
        Ok(fs::read_to_string(self.lab.host.policy())?)
    }

    /// Waits until the ports are open that are to be.
    fn wait_until_open(&self, ports: &[u16]) -> Result<()> {
        let patience = Instant::now() + PATIENCE;
        loop {
            let open = self.open();
            if open == ports {
                return Ok(());
            }
            ensure!(
                Instant::now() < patience,
                "{open:?} are open, not {ports:?}"
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The kind of the warning that `status` begins with.
    fn warning(&self) -> Option<String> {
        let status = self.status();
        status["warnings"][0]["kind"].as_str().map(str::to_owned)
    }

    fn status(&self) -> Value {
        let code = |status: &Value| match status["warnings"].as_array() {
            Some(warnings) if warnings.is_empty() => 0,
            _ => 8,
        };
        self.lab.host.xdpfw(["status"]).json_with(code)
    }

    /// The packets counted under a reason.
    fn packets(&self, reason: &str) -> Result<u64> {
        let status = self.status();
        let reasons = status["reasons"].as_array().context("no reasons")?;
        let counted = reasons.iter().filter(|row| row["reason"] == reason);
        Ok(counted.filter_map(|row| row["packets"].as_u64()).sum())
    }
}

/// A rule that opens a port, as the policy file has it.
fn rule(port: u16) -> String {
    format!("[[rule]]\nid = \"r1\"\nallow = \"udp {port}\"\n")
}

/// A policy file for one interface.
fn text(rules: &str) -> String {
    format!("version = 1\ninterfaces = [\"eth0\"]\n{rules}")
}
