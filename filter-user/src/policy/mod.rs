//! The policy: an ordered list of rules and a default, as the user states it.
//! Pure. What it means for packets is decided by the compiler.

mod document;
mod matching;
mod packet;
mod prefix;
mod protocol;
mod rule;
mod text;
mod words;

use std::{collections::HashSet, fmt};

pub use self::{
    document::{EditError, ParseError, PolicyDocument},
    matching::{Families, Match, MatchError, MatchSpec, Part},
    packet::{Carried, Packet},
    prefix::{PrefixText, is_interface_name},
    protocol::Protocol,
    rule::{Action, Rule, RuleId},
    text::{PolicyText, RuleText},
};

/// What happens to a packet that no rule matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DefaultAction {
    /// It is dropped, unless it answers a connection of this host's.
    #[default]
    Drop,
    /// It passes.
    Pass,
}

/// What happens to IP fragments that have no ports, the later ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fragments {
    /// They pass: the first fragment is what the filter judges, and the kernel
    /// discards fragments without one.
    #[default]
    Pass,
    /// They are dropped, and fragmented datagrams with them.
    Drop,
}

/// Which UDP sockets open their port for answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UdpReplies {
    /// Sockets connected to the sender.
    #[default]
    Connected,
    /// Every bound socket.
    Bound,
    /// None.
    Off,
}

macro_rules! words {
    ($type:ident: $($variant:ident = $word:literal),+) => {
        impl $type {
            /// Every value, in the order they are documented in.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The user's word for it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The value of a word.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == word)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words!(DefaultAction: Drop = "drop", Pass = "pass");
words!(Fragments: Pass = "pass", Drop = "drop");
words!(UdpReplies: Connected = "connected", Bound = "bound", Off = "off");

/// A policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Names of the interfaces it is for.
    pub interfaces: Vec<String>,
    /// What happens to what no rule matches.
    pub default: DefaultAction,
    /// What happens to later fragments.
    pub fragments: Fragments,
    /// Which UDP sockets open their port for answers.
    pub udp_replies: UdpReplies,
    /// Whether answers to this host's DHCP client pass.
    pub dhcp_client: bool,
    /// The rules; the first that matches decides.
    pub rules: Vec<Rule>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            default: DefaultAction::default(),
            fragments: Fragments::default(),
            udp_replies: UdpReplies::default(),
            dhcp_client: true,
            rules: Vec::new(),
        }
    }
}

impl Policy {
    /// The rule with this id.
    pub fn rule(&self, id: RuleId) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.id == id)
    }

    /// The rule that says the same, whatever its id and comment.
    pub fn same_rule(&self, action: Action, matching: &Match) -> Option<&Rule> {
        self.rules
            .iter()
            .find(|rule| rule.action == action && rule.matches == *matching)
    }

    /// Adds a rule, before another or at the end; returns its place.
    pub fn insert(&mut self, rule: Rule, before: Option<RuleId>) -> usize {
        let index = before
            .and_then(|id| self.rules.iter().position(|rule| rule.id == id))
            .unwrap_or(self.rules.len());
        self.rules.insert(index, rule);
        index
    }

    /// An id that no rule has: one above the highest.
    pub fn free_id(&self) -> RuleId {
        // There are more ids than rules fit in memory.
        self.free_ids().next().unwrap_or(RuleId(u32::MAX))
    }

    /// The ids that no rule has: those above the highest first.
    fn free_ids(&self) -> impl Iterator<Item = RuleId> + use<> {
        let used: HashSet<u32> = self.rules.iter().map(|rule| rule.id.0).collect();
        let highest = used.iter().copied().max().unwrap_or(0);
        (highest..=u32::MAX)
            .skip(1)
            .chain(1..highest)
            .filter(move |id| !used.contains(id))
            .map(RuleId)
    }

    /// Whether two policies treat every packet alike, rule for rule: all but
    /// the interfaces they name.
    pub fn same_verdicts(&self, other: &Self) -> bool {
        let Self {
            interfaces: _,
            default,
            fragments,
            udp_replies,
            dhcp_client,
            rules,
        } = self;
        *default == other.default
            && *fragments == other.fragments
            && *udp_replies == other.udp_replies
            && *dhcp_client == other.dhcp_client
            && *rules == other.rules
    }
}

#[cfg(test)]
mod tests;
