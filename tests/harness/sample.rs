//! The policy that tests of editing begin with, and the three ports that show whether it is
//! in force.

use anyhow::Result;

use crate::{Lab, generation, is_dropped, policy_text};

/// A policy as a careful operator writes it.
pub const POLICY: &str = r#"# The web server in the corner.
version = 1
default = "drop"   # nobody needs more
interfaces = ["eth0"]  # the only cable

# The web itself.
[[rule]]
id = "r1"
allow = "tcp 443"  # and nothing else
comment = "web"

# Names.
[[rule]]
id = "r2"
allow = "udp 53"
remote_ports = [ 53, "1024-65535" ]

# Old machines.
[[rule]]
id = "r5"
deny = "tcp 8000-8100"

# That is all.
"#;

/// What a command that fails must leave alone.
#[derive(Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The text of the policy file.
    pub policy: String,
    /// The generation in force.
    pub generation: u64,
    /// What becomes of the three ports.
    pub verdicts: String,
}

/// What is in force on a lab's host.
pub fn snapshot(lab: &Lab) -> Result<Snapshot> {
    Ok(Snapshot {
        policy: policy_text(&lab.host)?,
        generation: generation(&lab.host),
        verdicts: verdicts(lab)?,
    })
}

/// What becomes of three ports that the tests are about.
pub fn verdicts(lab: &Lab) -> Result<String> {
    let verdicts: Vec<String> = [443, 80, 8080]
        .into_iter()
        .map(|port| {
            let verdict = if is_dropped(lab, port)? {
                "is dropped"
            } else {
                "passes"
            };
            Ok(format!("{port} {verdict}"))
        })
        .collect::<Result<_>>()?;
    Ok(verdicts.join(", "))
}
