//! Shared by the commands that replace a whole policy: what they say of it.

use anyhow::Result;
use jiff::Timestamp;

use super::{Exit, edit::describe, warn, warn_of_cookies, warn_of_interfaces};
use crate::{
    analysis,
    engine::{Applied, Unfiltered, unfiltered},
    output::Printer,
    policy::Policy,
    system::ephemeral_ports,
};

/// Says what became of a policy that has replaced another one, behind `what` it is; and what its
/// author may not have meant.
pub(super) fn report(
    what: &str,
    applied: &Applied,
    policy: &Policy,
    printer: &mut Printer,
) -> Result<Exit> {
    let rules = policy.rules.len();
    printer.line(&format!(
        "{what}default {}, {rules} rule{}   {}{}",
        policy.default,
        if rules == 1 { "" } else { "s" },
        if applied.changed { "" } else { "already so, " },
        describe(applied)
    ))?;
    if !applied.interfaces.is_empty() {
        compare_interfaces(policy, &applied.interfaces, printer)?;
    }
    let policy = &policy.without_ended(Timestamp::now());
    warn(&analysis::of_policy(policy, ephemeral_ports()), printer);
    warn_of_interfaces(policy, &policy.rules, printer);
    warn_of_cookies(&policy.rules, printer);
    Ok(Exit::Done)
}

/// Attaching is `up`'s business, but no surprise.
fn compare_interfaces(policy: &Policy, live: &[String], printer: &mut Printer) -> Result<()> {
    for Unfiltered { name, .. } in unfiltered(policy, live)? {
        printer.warning(&format!(
            "{name}: in the policy, but not filtered (say `xdpfw up {name}`)"
        ));
    }
    for name in live {
        if !policy.interfaces.contains(name) {
            printer.warning(&format!(
                "{name}: filtered, but not in the policy (say `xdpfw up {name}` or `xdpfw down {name}`)"
            ));
        }
    }
    Ok(())
}
