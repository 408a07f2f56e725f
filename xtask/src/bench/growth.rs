//! Owns the cost of large policies: per packet, which must not grow with them, and to
//! apply them. Each policy stands on a host of its own, so that all can take turns.

use std::{fmt::Write as _, fs, net::SocketAddrV4};

use anyhow::{Context as _, Result};
use serde::Serialize;
use xdpfw_tests::packets::{self, flags};

use super::{
    programs,
    series::Series,
    subject::{OPEN, Subject},
    test_run::{DROP, PASS, TURNS, nanoseconds},
};
use crate::{build::Build, interrupt::Interrupted};

/// A port that no policy opens.
const CLOSED: u16 = 23;
/// Rules in the policy of many rules.
const RULES: u32 = 10_000;
/// Prefixes in the policy of many prefixes.
const PREFIXES: u32 = 100_000;

/// A policy, and what it costs.
#[derive(Debug, Serialize)]
pub(super) struct Policy {
    pub(super) name: &'static str,
    #[serde(skip)]
    text: String,
    /// A SYN to a closed port, ns.
    pub(super) drop: Series,
    /// A SYN that a rule allows, ns.
    pub(super) pass: Series,
    /// `xdpfw apply` of it in place of one rule, ms.
    pub(super) apply: Series,
    /// What its maps take, in bytes, as the kernel accounts for them, without counters.
    pub(super) maps: u64,
    /// The most memory that `xdpfw apply` had in use, in bytes.
    pub(super) process: u64,
}

/// Where the packets come from: within the last prefix of each policy.
const SOURCE: [u8; 4] = [10, 0, 0, 2];

/// The policies that are compared; the first has one rule.
fn policies() -> Vec<Policy> {
    let policy = |name, text: String| Policy {
        name,
        text,
        drop: Series::default(),
        pass: Series::default(),
        apply: Series::default(),
        maps: 0,
        process: 0,
    };
    let one = rule("allow", &format!("tcp {OPEN}"), "");
    let all_but_closed = format!("tcp 1-{},{}-65535", CLOSED - 1, CLOSED + 1);
    let from_prefixes = rule("allow", &format!("tcp {OPEN}"), &prefixes(true));
    let denied = rule("deny", "any", &prefixes(false));
    vec![
        policy("1 rule", one.clone()),
        policy("10,000 rules with prefixes", rules()),
        policy("65,534 ports", rule("allow", &all_but_closed, "")),
        policy("100,000 prefixes", from_prefixes),
        // Every packet may match it, so every packet pays for it.
        policy("100,000 prefixes denied any", denied + &one),
    ]
}

fn rule(action: &str, what: &str, from: &str) -> String {
    let from = match from {
        "" => String::new(),
        from => format!("from = [{from}]\n"),
    };
    format!("\n[[rule]]\n{action} = \"{what}\"\n{from}")
}

/// Rules for few ports from a prefix each, the last of which is the peer's.
fn rules() -> String {
    let mut text = String::new();
    for index in 1..=RULES {
        let port = OPEN + (index % 10) as u16;
        let (b, c) = (index / 256 % 256, index % 256);
        let from = if index == RULES {
            "10.0.0.0/24".to_owned()
        } else {
            format!("11.{b}.{c}.0/24")
        };
        text += &rule("allow", &format!("tcp {port}"), &format!("\"{from}\""));
    }
    text
}

/// Prefixes all over the addresses, with the peer's among them or not.
fn prefixes(with_peer: bool) -> String {
    let mut text = String::from(if with_peer { "\"10.0.0.0/24\"" } else { "" });
    let others = if with_peer { PREFIXES - 1 } else { PREFIXES };
    for index in 1..=others {
        // An odd factor goes through all numbers before any comes twice.
        let [a, b, c, _] = (index.wrapping_mul(2_654_435_761) << 8).to_be_bytes();
        let comma = if text.is_empty() { "" } else { ", " };
        let a = if a == 10 { 11 } else { a };
        let _ = write!(text, "{comma}\"{a}.{b}.{c}.0/24\"");
    }
    text
}

/// All policies, each in force on a host.
pub(super) struct Growth {
    pub(super) policies: Vec<Policy>,
    hosts: Vec<Subject>,
}

impl Growth {
    /// Sets the hosts up.
    pub(super) fn new(build: &Build) -> Result<Self> {
        let mut policies = policies();
        let mut hosts = Vec::new();
        for policy in &mut policies {
            let subject = Subject::new(build)?;
            let file = subject.file("large.toml");
            fs::write(&file, format!("{}{}", header(&subject), policy.text))
                .with_context(|| format!("cannot write {}", file.display()))?;
            subject.apply(&file)?;
            policy.maps = subject.map_memory()?;
            hosts.push(subject);
        }
        Ok(Self { policies, hosts })
    }

    /// Measures packets and commands under all policies, in turns.
    pub(super) fn measure(&mut self, rounds: u16, interrupted: &Interrupted) -> Result<()> {
        for _ in 0..rounds {
            interrupted.check()?;
            self.apply()?;
            self.packets()?;
        }
        Ok(())
    }

    /// Applies each policy in place of one rule, which builds all anew.
    fn apply(&mut self) -> Result<()> {
        for (policy, subject) in self.policies.iter_mut().zip(&self.hosts) {
            let small = subject.file("small.toml");
            let one = rule("allow", "tcp 9", "");
            fs::write(&small, format!("{}{one}", header(subject)))?;
            subject.apply(&small)?;
            let (elapsed, memory) = subject.apply(&subject.file("large.toml"))?;
            policy.apply.push(elapsed.as_secs_f64() * 1e3);
            policy.process = policy.process.max(memory);
        }
        Ok(())
    }

    fn packets(&mut self) -> Result<()> {
        let mut fastest = vec![[f64::INFINITY; 2]; self.hosts.len()];
        for _ in 0..TURNS {
            for (subject, fastest) in self.hosts.iter().zip(&mut fastest) {
                let program = programs::pinned(&subject.dispatcher())?;
                let link = subject.lab.link();
                let interface = programs::index(&subject.lab.host, &link.near().interface)?;
                let from = SocketAddrV4::new(SOURCE.into(), 50_000);
                for ((port, verdict), fastest) in
                    [(CLOSED, DROP), (OPEN, PASS)].into_iter().zip(fastest)
                {
                    let syn = packets::tcp(from, link.near().at(port), flags::SYN);
                    let frame = packets::frame(link.far(), link.near(), &syn);
                    let time = subject
                        .lab
                        .host
                        .enter(|| nanoseconds(&program, &frame, interface, verdict))?;
                    *fastest = fastest.min(time);
                }
            }
        }
        for (policy, [drop, pass]) in self.policies.iter_mut().zip(fastest) {
            policy.drop.push(drop);
            policy.pass.push(pass);
        }
        Ok(())
    }
}

fn header(subject: &Subject) -> String {
    let interface = &subject.lab.link().near().interface;
    format!("version = 1\ninterfaces = [\"{interface}\"]\ndefault = \"drop\"\n")
}
