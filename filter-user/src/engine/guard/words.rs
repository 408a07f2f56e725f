//! Says in words what would cut a session, and what to do first.

use std::{fmt, net::IpAddr};

use xdpfw_common::{Reason, abi::Judged};

use crate::{
    analysis::Purpose,
    datapath::Record,
    policy::{Rule, RuleId, Until},
};

/// How an SSH session would be cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockOut {
    /// What cuts it.
    pub why: String,
    /// What to do first.
    pub remedy: String,
}

/// A way in that ends by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Whose way in it is.
    pub peer: IpAddr,
    /// The rule by which it ends.
    pub rule: RuleId,
    /// When that ends.
    pub until: Until,
    /// What keeps the operator out then, and what to do before.
    pub lock_out: LockOut,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            peer,
            rule,
            until,
            lock_out: LockOut { why, remedy },
        } = self;
        let until = until.in_words();
        write!(
            f,
            "your way in from {peer} ends with {rule} at {until}: {why} then ({remedy})"
        )
    }
}

/// The rule that has decided.
pub(super) fn deciding<'a>(judged: &Judged, record: &'a Record) -> Option<&'a Rule> {
    let slot = judged.rule()?;
    let place = record.slots.iter().position(|of_rule| *of_rule == slot)?;
    record.policy.rules.get(place)
}

/// Says in words why a packet does not get in. `is_there` tells whether a rule can be named.
pub(super) fn explain(
    purpose: Purpose,
    judged: &Judged,
    record: &Record,
    is_there: impl Fn(RuleId) -> bool,
) -> LockOut {
    let rule = deciding(judged, record).map(|rule| rule.id);
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
        Some(id) if is_there(id) => format!("add `xdpfw {allow} --before {id}` first"),
        Some(id) => format!("put `{allow}` in front of {id} first"),
    };
    LockOut {
        why: why + purpose,
        remedy,
    }
}
