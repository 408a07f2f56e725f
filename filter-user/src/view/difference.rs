//! How one policy differs from another.

use std::fmt;

use serde::Serialize;

use crate::policy::{Policy, Rule};

/// How one policy differs from another.
#[derive(Debug, Serialize)]
pub struct Difference {
    schema: &'static str,
    differs: bool,
    added: Vec<String>,
    removed: Vec<String>,
    changed: Vec<String>,
}

impl Difference {
    /// What `next` changes in `base`; the interfaces they name do not count.
    pub fn between(base: &Policy, next: &Policy) -> Self {
        let line = |rule: &Rule| format!("{}  {rule}", rule.id);
        let not_in = |rules: &[Rule], others: &[Rule]| -> Vec<String> {
            rules
                .iter()
                .filter(|rule| !others.contains(rule))
                .map(line)
                .collect()
        };
        let mut changed = Vec::new();
        let mut compare = |key: &str, old: &str, new: &str| {
            if old != new {
                changed.push(format!("{key} {old} -> {new}"));
            }
        };
        compare("default", base.default.as_str(), next.default.as_str());
        compare(
            "fragments",
            base.fragments.as_str(),
            next.fragments.as_str(),
        );
        compare(
            "udp_replies",
            base.udp_replies.as_str(),
            next.udp_replies.as_str(),
        );
        compare(
            "dhcp_client",
            &base.dhcp_client.to_string(),
            &next.dhcp_client.to_string(),
        );
        let added = not_in(&next.rules, &base.rules);
        let removed = not_in(&base.rules, &next.rules);
        if added.is_empty() && removed.is_empty() && base.rules != next.rules {
            changed.push("the order of the rules".to_owned());
        }
        Self {
            schema: "xdpfw.apply/1",
            differs: !base.same_verdicts(next),
            added,
            removed,
            changed,
        }
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        !self.differs
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.removed {
            writeln!(f, "- {line}")?;
        }
        for line in &self.added {
            writeln!(f, "+ {line}")?;
        }
        for line in &self.changed {
            writeln!(f, "~ {line}")?;
        }
        Ok(())
    }
}
