//! Refuses a policy that would cut the SSH session that the command runs in.

use anyhow::Result;

use super::Error;
use crate::{
    analysis,
    netlink::interface_with,
    policy::Policy,
    system::{self, SshSession},
};

/// Refuses a policy that would not let the operator's SSH session be opened again, where
/// the one in force (none: everything passes) would.
///
/// # Errors
///
/// It would lock the operator out.
pub(super) fn check(next: &Policy, in_force: Option<&Policy>) -> Result<()> {
    let Some(session) = SshSession::current() else {
        return Ok(());
    };
    let interface = interface_of(&session, next);
    let ephemeral = system::ephemeral_ports();
    match analysis::lock_out(&session, interface.as_deref(), ephemeral, next, in_force) {
        None => Ok(()),
        Some(lock_out) => {
            let peer = session.peer;
            Err(Error::LockedOut { peer, lock_out }.into())
        }
    }
}

/// The interface the session's packets come in by, as far as it is known: the one with
/// the address they go to, if it is one that the filter is for. Behind a bridge or a bond,
/// the address is on another than the packets.
fn interface_of(session: &SshSession, policy: &Policy) -> Option<String> {
    if policy.rules.iter().all(|rule| rule.matches.on.is_empty()) {
        // No rule asks.
        return None;
    }
    session
        .zone
        .clone()
        .or_else(|| interface_with(session.server).ok().flatten())
        .filter(|name| policy.interfaces.contains(name))
}
