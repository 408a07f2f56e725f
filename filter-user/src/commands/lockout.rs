//! The guard against locking oneself out: no change may take from the operator
//! the way in that the command came by.

use anyhow::Result;

use crate::{
    exit::{Exit, Failure},
    host::{self, SshSession},
    policy::{Flow, Kind, Policy},
    view::Printer,
};

/// Refuses a policy that would not let the operator's SSH session be opened
/// again, where the one in force (none: everything passes) would.
///
/// # Errors
///
/// It would lock the operator out.
pub(super) fn guard(
    next: &Policy,
    in_force: Option<&Policy>,
    remedy: &str,
    printer: &mut Printer,
) -> Result<()> {
    let Some(session) = SshSession::current() else {
        return Ok(());
    };
    let ephemeral = host::ephemeral_ports();
    let flow = Flow {
        source: session.peer,
        destination: session.server,
        interface: None,
        kind: Kind::Tcp {
            local: session.local,
            remote: session.remote,
        },
    };
    let admits = |policy: &Policy| policy.admits(&flow, ephemeral);
    if admits(next) || in_force.is_some_and(|policy| !admits(policy)) {
        return Ok(());
    }
    let SshSession { peer, local, .. } = session;
    let why = match next.first_match(&flow, ephemeral) {
        Some(rule) => format!("{} denies tcp {local}", rule.id),
        None => format!("no rule allows tcp {local}"),
    };
    printer.warning(&format!(
        "this would cut your SSH session from {peer} ({why})"
    ));
    Err(Failure::new(Exit::Lockout, format!("refused; {remedy}, or say --force")).into())
}

/// What to say so that `up` and its like let the session in.
pub(super) fn remedy() -> String {
    let port = SshSession::current().map_or(22, |session| session.local);
    if port == 22 {
        "add `xdpfw allow ssh` first".to_owned()
    } else {
        format!("add `xdpfw allow tcp {port}` first")
    }
}
