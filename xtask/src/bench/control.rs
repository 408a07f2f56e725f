//! Owns the cost of commands, in a shell's view: from the start of the process to
//! its end, with a large policy in force and counters on every port.

use std::{fmt::Write as _, fs};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{series::Series, subject::Subject};
use crate::interrupt::Interrupted;

/// Rules in the policy.
const RULES: u16 = 1000;
/// The first port that the policy mentions, and the distance to the next one:
/// neighbours would be one range to the compiler.
const FIRST: u16 = 10_000;
const STEP: u16 = 7;
/// A port that it does not mention.
const ADDED: u16 = 9_999;

/// Calls of each command per round. The fastest counts: whatever else the machine
/// does can only slow a command down.
const TURNS: usize = 3;

/// How long a command takes, in ms.
#[derive(Debug, Serialize)]
pub(super) struct Command {
    pub(super) name: &'static str,
    pub(super) milliseconds: Series,
}

/// Measures the commands.
pub(super) fn measure(
    subject: &Subject,
    rounds: u16,
    interrupted: &Interrupted,
) -> Result<Vec<Command>> {
    let file = subject.file("rules.toml");
    fs::write(&file, policy(subject)?)
        .with_context(|| format!("cannot write {}", file.display()))?;
    subject.xdpfw(&["apply", &file.to_string_lossy()])?;

    let mut commands = ["status", "list", "stats --json", "allow tcp 9999"].map(|name| Command {
        name,
        milliseconds: Series::default(),
    });
    let added = ADDED.to_string();
    for _ in 0..rounds {
        interrupted.check()?;
        let mut fastest = [f64::INFINITY; 4];
        for _ in 0..TURNS {
            for (command, fastest) in commands.iter().zip(&mut fastest) {
                let arguments: Vec<&str> = command.name.split(' ').collect();
                let elapsed = subject.time(&arguments)?;
                *fastest = fastest.min(elapsed.as_secs_f64() * 1e3);
            }
            subject.xdpfw(&["delete", "allow", "tcp", &added])?;
        }
        for (command, fastest) in commands.iter_mut().zip(fastest) {
            command.milliseconds.push(fastest);
        }
    }
    Ok(commands.into())
}

/// A policy of so many rules, no two alike.
fn policy(subject: &Subject) -> Result<String> {
    let interface = &subject.lab.link().near().interface;
    let mut text = format!("version = 1\ninterfaces = [\"{interface}\"]\ndefault = \"drop\"\n");
    for index in 0..RULES {
        let (action, protocol) = match index % 4 {
            0 => ("deny", "udp"),
            1 => ("allow", "udp"),
            2 => ("deny", "tcp"),
            _ => ("allow", "tcp"),
        };
        let port = FIRST + index * STEP;
        writeln!(
            text,
            "\n[[rule]]\nid = \"r{}\"\n{action} = \"{protocol} {port}\"",
            index + 1
        )?;
    }
    Ok(text)
}
