//! Proves that no change fails because others come before it, as long as the queue moves.

use std::{collections::BTreeSet, fmt::Write as _, fs, thread};

use anyhow::{Context as _, Result};
use xdpfw_tests::{Lab, generation, policy_text};

/// Changes at once.
const CHANGES: u16 = 30;
/// Prefixes of the policy. Each change builds all of them anew, so that the last one waits
/// longer than a command would for one that does not end.
const PREFIXES: u32 = 100_000;

#[test]
fn thirty_changes_of_a_large_policy_take_turns() -> Result<()> {
    let lab = Lab::new()?;
    let host = &lab.host;
    let mut policy =
        String::from("version = 1\n\n[[rule]]\nid = \"r1\"\ndeny = \"any\"\nfrom = [\n");
    for number in 0..PREFIXES {
        let [_, a, b, c] = number.to_be_bytes();
        writeln!(policy, "  \"{}.{b}.{c}.0/24\",", 100 + a)?;
    }
    policy += "]\n";
    fs::write(host.policy(), policy)?;
    host.xdpfw(["up", "eth0"]).ok();
    let before = generation(host);

    let ports = 1000..1000 + CHANGES;
    thread::scope(|scope| {
        for port in ports.clone() {
            scope.spawn(move || host.xdpfw(["allow", "udp", &port.to_string()]).ok());
        }
    });
    assert_eq!(generation(host), before + u64::from(CHANGES));
    let list = host.xdpfw(["list"]).json();
    let rules = list["rules"].as_array().context("no rules")?;
    let ids: BTreeSet<_> = rules.iter().map(|rule| rule["id"].to_string()).collect();
    assert_eq!(ids.len(), 1 + usize::from(CHANGES));
    let text = policy_text(host)?;
    for port in ports {
        assert!(text.contains(&format!("\"udp {port}\"")), "udp {port}");
    }
    Ok(())
}
