//! Every command, in an order in which each has something to do.

use std::{collections::BTreeSet, fs, process::Output};

use anyhow::{Context as _, Result};
use tempfile::TempDir;
use xdpfw_tests::{Host, Lab, Sender, Xdpfw, packets};

/// The words of a call. `POLICY` stands for the path of a policy.
pub(crate) type Step = &'static [&'static str];

/// What stands for the path of a policy in [`STEPS`].
const POLICY: &str = "POLICY";

/// Every command, and what it does in several ways in each of them.
pub(crate) const STEPS: &[Step] = &[
    &["man"],
    &["completions", "bash"],
    &["allow", "tcp", "22", "--dry-run"],
    &["up", "eth0", "--confirm", "60s"],
    &["confirm"],
    &["up"],
    &["up", "--boot"],
    &["status"],
    &["doctor"],
    &["explain", "tcp", "203.0.113.7", "22", "--to", "192.0.2.1"],
    &["review"],
    &["review", "--save"],
    &["allow", "tcp", "80"],
    &["review", "--since", "last"],
    &["deny", "tcp", "25", "--first"],
    &["limit", "tcp", "8022", "--rate", "10/m", "--burst", "20"],
    &["allow", "udp", "53", "--for", "1h"],
    &["allow", "tcp", "443", "--confirm", "60s"],
    &["status"],
    &["rollback"],
    &["delete", "r1"],
    &["default", "pass", "--dry-run"],
    &["default", "pass"],
    &["default", "drop"],
    &["list"],
    &["flows"],
    &["stats"],
    &["stats", "--reset"],
    &["top", "--json", "-n", "1", "--interval", "0.1"],
    &["log", "-n", "1"],
    &["trace", "-n", "1"],
    &["apply", "--check"],
    &["apply"],
    &["apply", POLICY, "--shadow"],
    &["shadow"],
    &["shadow", "--drop"],
    &["apply", POLICY, "--shadow"],
    &["shadow", "--accept", "--confirm", "60s"],
    &["rollback"],
    &["history"],
    &["history", "--diff", "1"],
    &["rollback", "2"],
    &["ban", "192.0.2.7", "2001:db8:7::/64", "--for", "1h"],
    &["bans"],
    &["lists"],
    &["lists", "refresh"],
    &["scanners"],
    &["bans", "--trusted"],
    &["explain", "tcp", "192.0.2.7", "22", "--to", "192.0.2.1"],
    &["unban", "192.0.2.7"],
    &["unban", "--all"],
    &["bypass", "--for", "60s"],
    &["bypass", "--off"],
    &["panic", "--for", "60s"],
    &["panic", "--off"],
    &["down", "eth0"],
    &["up", "eth0", "--mode", "generic"],
    &["down"],
];

/// Steps that ask for no state and change none.
pub(crate) const PRINTS: &[Step] = &[STEPS[0], STEPS[1]];

/// The call of a step on a host.
pub(crate) fn call(host: &Host, step: Step) -> Result<Xdpfw> {
    let policy = host.directory().join("other.toml");
    fs::write(&policy, "version = 1\n[[rule]]\nallow = \"tcp 8080\"\n")?;
    let policy = policy.to_str().context("an odd path")?;
    Ok(host.xdpfw(step.iter().map(|word| match *word {
        POLICY => policy,
        word => word,
    })))
}

/// Makes a call to its end, while packets come in for it to show.
pub(crate) fn made(lab: &Lab, step: Step, call: Xdpfw) -> Result<Output> {
    if !["log", "trace"].contains(&step[0]) {
        return call.output();
    }
    let (near, far) = (lab.link().near(), lab.link().far());
    std::thread::scope(|scope| {
        let call = scope.spawn(|| call.output());
        let mut sender = Sender::new(&lab.peer, far)?;
        while !call.is_finished() {
            sender.send_all([packets::syn(far.at(40_000), near.at(99))])?;
        }
        call.join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A command that goes on until it is interrupted; to the filter it does what `ban` does.
const ENDLESS: &str = "bouncer";

/// A new command is tried here, too.
#[test]
fn every_command_is_a_step() -> Result<()> {
    let host = Host::new()?;
    let directory = TempDir::new()?;
    let path = directory.path().to_str().context("no UTF-8")?;
    host.xdpfw(["man", "--dir", path]).ok();
    let mut commands = BTreeSet::new();
    for page in fs::read_dir(directory.path())? {
        let name = page?.file_name().into_string().unwrap_or_default();
        let command = name.strip_prefix("xdpfw-");
        commands.extend(command.and_then(|name| Some(name.strip_suffix(".8")?.to_owned())));
    }
    commands.remove(ENDLESS);
    let steps: BTreeSet<String> = STEPS.iter().map(|step| step[0].to_owned()).collect();
    assert_eq!(steps, commands);
    Ok(())
}
