//! Says in words what would cut a session, and what to do first.

use xdpfw_common::{Reason, abi::Judged};

use super::Before;
use crate::{analysis::Purpose, datapath::Record};

/// How an SSH session would be cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockOut {
    /// What cuts it.
    pub why: String,
    /// What to do first.
    pub remedy: String,
}

/// Says in words why a packet does not get in. `before` tells whether a rule is there already.
pub(super) fn explain(
    purpose: Purpose,
    judged: &Judged,
    record: &Record,
    before: &Before<'_>,
) -> LockOut {
    let rule = judged
        .rule()
        .and_then(|slot| record.slots.iter().position(|of_rule| *of_rule == slot))
        .and_then(|place| record.policy.rules.get(place))
        .map(|rule| rule.id);
    let (what, allow) = match purpose {
        Purpose::Connection(22) => ("tcp 22".to_owned(), "allow ssh".to_owned()),
        Purpose::Connection(port) => (format!("tcp {port}"), format!("allow tcp {port}")),
        Purpose::Tunnel(port) => (format!("udp {port}"), format!("allow udp {port}")),
        Purpose::Discovery(number) => (format!("icmp6 {number}"), "allow icmp6 133-137".to_owned()),
    };
    let why = match (rule, judged.reason()) {
        (Some(id), _) => format!("{id} denies {what}"),
        (None, Some(Reason::DefaultDrop | Reason::Reply) | None) => {
            format!("no rule allows {what}")
        }
        (None, Some(reason)) => format!("{what} is dropped: {reason}"),
    };
    let purpose = match purpose {
        Purpose::Connection(_) => "",
        Purpose::Tunnel(_) => ", which carries the tunnel that it comes by",
        Purpose::Discovery(_) => ", by which the peer and this host find each other",
    };
    let remedy = match rule {
        None => format!("add `xdpfw {allow}` first"),
        Some(id) if before.has(id) => format!("add `xdpfw {allow} --before {id}` first"),
        Some(id) => format!("put `{allow}` in front of {id} first"),
    };
    LockOut {
        why: why + purpose,
        remedy,
    }
}
