//! The reasons why a change is refused, typed.

use std::net::IpAddr;

use jiff::Timestamp;

use super::guard::LockOut;
use crate::{
    datapath::{EgressRefusal, Purpose, Refusal},
    netlink::{Mode, Unseen},
    policy::RuleId,
    text::{clock_time, sentence_list},
};

/// Why a change is not made, or only in part. Its `Display` is one line that ends with the
/// remedy.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing is filtered.
    #[error("not up (say `xdpfw up IFACE`)")]
    NotUp,
    /// No interface is to be filtered.
    #[error("the policy names no interface; say `xdpfw up IFACE`")]
    NoInterface,
    /// An interface does not exist.
    #[error("no interface `{}` (there are {})", name.escape_debug(), known.join(", "))]
    UnknownInterface {
        /// Its name.
        name: String,
        /// Those that exist.
        known: Vec<String>,
    },
    /// Packets between programs of this host go over loopback, in both directions.
    #[error("lo: not to be filtered; programs of this host talk to each other over it")]
    Loopback,
    /// A filter would see no packet.
    #[error("{interface}: no packet comes in by {}; {}", unseen.as_str(), elsewhere(instead))]
    Unseen {
        /// Its name.
        interface: String,
        /// What kind of interface it is.
        unseen: Unseen,
        /// The interfaces by which its packets come in, as far as is known.
        instead: Vec<String>,
    },
    /// An interface has one mode; changing it would leave it open for a moment.
    #[error("{interface}: is up in {mode} mode (say `xdpfw down {interface}` first)")]
    OtherMode {
        /// Its name.
        interface: String,
        /// The mode it is in.
        mode: Mode,
    },
    /// The kernel does not attach the filter to an interface.
    #[error(transparent)]
    Refused(Refusal),
    /// The kernel does not attach what records packets that leave.
    #[error("{0}; or say `replies = \"sockets\"` in the policy")]
    EgressRefused(EgressRefusal),
    /// Interfaces of the policy are not filtered as was asked.
    #[error("{}: {}", which(filtered), failures.join("; "))]
    Unfiltered {
        /// Those that are filtered.
        filtered: Vec<String>,
        /// Why the others are not.
        failures: Vec<String>,
    },
    /// A rule could follow an interface that was renamed, or be for the one that has its name.
    #[error(
        "rules for {} are in force for the interface that is called {} now, and another one has \
         the name; name them in the policy as they are meant, or say --force: then it is the \
         other one",
        name.escape_debug(),
        now.escape_debug()
    )]
    Swapped {
        /// The name in the rule.
        name: String,
        /// What the interface is called now that the rule is in force for.
        now: String,
    },
    /// The policy would let the operator's session not be opened again.
    #[error("refused; {}, or say --confirm 60s, or --force", lock_out.remedy)]
    LockedOut {
        /// Where the operator sits.
        peer: IpAddr,
        /// What would cut the session.
        lock_out: LockOut,
    },
    /// Whether the policy would cut the operator's session cannot be told.
    #[error(
        "refused; whether this cuts your SSH session cannot be told ({why}); say --confirm 60s, or \
         --force if it does not"
    )]
    PerhapsLockedOut {
        /// What is not known.
        why: String,
    },
    /// What is in force ends by itself, and no other change can be made before.
    #[error("{}", temporary(*purpose, *until))]
    Temporary {
        /// What it is for.
        purpose: Purpose,
        /// When it ends.
        until: Option<Timestamp>,
    },
    /// No change waits to be confirmed.
    #[error("no change is pending (see `xdpfw status`)")]
    NothingPending,
    /// The change that was to be confirmed is not in force any more.
    #[error("too late: the change was not confirmed by {}, and went back", clock_time(*at))]
    WentBack {
        /// When it went back.
        at: Timestamp,
    },
    /// A change of the file alone cannot go back.
    #[error("nothing is filtered, so there is nothing to confirm (leave out --confirm)")]
    NothingToConfirm,
    /// No candidate is rehearsed.
    #[error("nothing is rehearsed (say `xdpfw apply --shadow FILE`)")]
    NothingRehearsed,
    /// A rule would deny nobody.
    #[error(
        "{rule} denies what comes from the list {list}, of which nothing was read yet (say `xdpfw \
         lists refresh {list}` first)"
    )]
    UnreadList {
        /// The rule.
        rule: RuleId,
        /// The list.
        list: String,
    },
    /// The policy is beyond a fixed bound.
    #[error("{0}")]
    TooComplex(String),
}

/// What has to be done first.
fn temporary(purpose: Purpose, until: Option<Timestamp>) -> String {
    let until = until.map_or_else(String::new, |until| format!(" until {}", clock_time(until)));
    match purpose {
        Purpose::Bypass => format!("everything passes{until}; say `xdpfw bypass --off` first"),
        Purpose::Panic => {
            format!("the panic goes on{until}; say `xdpfw panic --off` first")
        }
        Purpose::Policy | Purpose::Nothing | Purpose::Rehearsal => {
            format!("a change is pending{until}; say `xdpfw confirm` or `xdpfw rollback` first")
        }
    }
}

/// `only eth0 is filtered`, `nothing is filtered`.
fn which(filtered: &[String]) -> String {
    match filtered {
        [] => "nothing is filtered".to_owned(),
        [one] => format!("only {one} is filtered"),
        several => format!("only {} are filtered", sentence_list(several, usize::MAX)),
    }
}

/// `say `xdpfw up eth0``.
fn elsewhere(instead: &[String]) -> String {
    match instead {
        [] => "filter the interface by which its packets come in".to_owned(),
        names => format!("say `xdpfw up {}`", names.join(" ")),
    }
}
