//! Reads from this host what the meaning of a policy depends on.

use anyhow::Result;

use crate::{compiler::Environment, netlink::interfaces, policy::Policy, system};

/// What this policy depends on: the host's ephemeral ports, and the interfaces it names.
///
/// # Errors
///
/// Netlink does not answer.
pub(super) fn environment(policy: &Policy) -> Result<Environment> {
    let mut environment = Environment {
        ephemeral: system::ephemeral_ports(),
        interfaces: Vec::new(),
    };
    let mut named: Vec<&String> = policy
        .rules
        .iter()
        .flat_map(|rule| &rule.matches.on)
        .collect();
    if !named.is_empty() {
        named.sort_unstable();
        named.dedup();
        let known = interfaces()?;
        let existing = known
            .into_iter()
            .filter(|known| named.binary_search(&&known.name).is_ok());
        environment.interfaces = existing.map(|known| (known.name, known.index)).collect();
    }
    Ok(environment)
}
