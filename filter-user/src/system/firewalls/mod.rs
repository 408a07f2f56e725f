//! What other packet filters of this network namespace do to packets that come in: their chains
//! as far as they bear on who gets in, from what their own programs list.
//!
//! Whatever is not understood is [`Condition::Unknown`]: it may hold, and may not.

mod iptables;
mod nft;

use std::{fs, ops::RangeInclusive};

use xdpfw_common::Transport;

use super::listing::{Listing, PATIENCE};

/// The program that lists and changes a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// nft(8).
    Nft,
    /// iptables(8), whose rules the kernel keeps as nft's.
    Iptables,
    /// The same for IPv6.
    Ip6tables,
    /// iptables on the old interface of the kernel.
    IptablesLegacy,
    /// The same for IPv6.
    Ip6tablesLegacy,
}

impl Program {
    /// What it is called.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nft => "nft",
            Self::Iptables => "iptables-nft",
            Self::Ip6tables => "ip6tables-nft",
            Self::IptablesLegacy => "iptables-legacy",
            Self::Ip6tablesLegacy => "ip6tables-legacy",
        }
    }

    /// Has it list what it knows.
    fn save(self) -> Option<Listing> {
        Listing::start(&format!("{}-save", self.as_str()), &[])
    }
}

/// A chain of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Whose it is.
    pub program: Program,
    /// `ip`, `ip6`, `inet` or `netdev`.
    pub family: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Where packets enter it, if it is a base chain of what comes in.
    pub hook: Option<String>,
    /// The interface whose packets enter it; all, if there is none.
    pub device: Option<String>,
    /// Whether a base chain drops what no rule decides.
    pub drops: bool,
    /// Its rules, in order.
    pub rules: Vec<TheirRule>,
}

/// A rule in a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TheirRule {
    /// What must hold.
    pub conditions: Vec<Condition>,
    /// What then becomes of the packet.
    pub verdict: Verdict,
}

/// What a rule asks of a packet that begins a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It is of one of these protocols.
    Transport(Vec<Transport>),
    /// It is for one of these ports.
    Port(Vec<RangeInclusive<u16>>),
    /// It comes in by one of these interfaces; `*` at the end is anything.
    Interface(Vec<String>),
    /// Another one does not hold.
    Not(Box<Condition>),
    /// It is no such packet: it belongs to a conversation that goes on.
    Never,
    /// It cannot be told.
    Unknown,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on, behind the hook.
    Accept,
    /// It is gone.
    Drop,
    /// The chain ends, and the one that called it goes on.
    Return,
    /// Another chain decides, and this one goes on if that does not.
    Jump(String),
    /// Another chain decides in place of this one.
    Goto(String),
}

impl Chain {
    /// Which chain this is, and which others are in the same table.
    pub fn is_beside(&self, other: &Self) -> bool {
        self.program == other.program && self.family == other.family && self.table == other.table
    }
}

/// The chains of all packet filters that are found. What cannot be asked has none.
pub fn firewalls() -> Vec<Chain> {
    let nft = Listing::start("nft", &["--json", "--terse", "list", "ruleset"]);
    // Asked without need, it would make the kernel load what it lists.
    let legacy = [
        ("ip", Program::IptablesLegacy),
        ("ip6", Program::Ip6tablesLegacy),
    ]
    .map(|(family, program)| {
        let names = format!("/proc/net/{family}_tables_names");
        let has_tables = fs::read_to_string(names).is_ok_and(|names| !names.is_empty());
        Some((family, program, has_tables.then(|| program.save())??))
    });
    let nft = nft.and_then(|listing| listing.read(PATIENCE));
    let mut chains = nft.as_deref().map(nft::chains).unwrap_or_default();
    let translated =
        [("ip", Program::Iptables), ("ip6", Program::Ip6tables)].map(|(family, program)| {
            // Of what iptables asks, nft shows some by its name only.
            let is_used = nft.is_none() || chains.iter().any(|chain| is_iptables(chain, family));
            Some((family, program, is_used.then(|| program.save())??))
        });
    for (family, program, listing) in translated.into_iter().chain(legacy).flatten() {
        let saved = listing.read(PATIENCE).unwrap_or_default();
        let saved = iptables::chains(&saved, family, program);
        let is_saved = |chain: &Chain| {
            let mut saved = saved.iter();
            program != Program::IptablesLegacy
                && program != Program::Ip6tablesLegacy
                && chain.program == Program::Nft
                && chain.family == family
                && saved.any(|one| one.table == chain.table && one.name == chain.name)
        };
        chains.retain(|chain| !is_saved(chain));
        chains.extend(saved);
    }
    chains
}

/// Whether a chain has the names that iptables has for its own.
fn is_iptables(chain: &Chain, family: &str) -> bool {
    chain.family == family
        && ["filter", "raw", "mangle", "security"].contains(&chain.table.as_str())
        && ["INPUT", "PREROUTING"].contains(&chain.name.as_str())
}
