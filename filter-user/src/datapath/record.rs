//! The record of what a generation was made from. It is kept in a map beside the program, so
//! that the kernel's state explains itself without any file.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, Map, MapData};
use ipnet::IpNet;
use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use xdpfw_common::abi::MAX_BANS;

use super::{Clock, Then, clocks};
use crate::{
    compiler::{Clocks, CookieOptions, Environment},
    policy::{FlowSizes, Policy, PolicyText, Rule},
    ports::PortRange,
};

/// Bytes in one element of the map.
const CHUNK: usize = 4096;

/// What a generation was made from.
#[derive(Clone, Debug)]
pub struct Record {
    /// The program that built it, as [`maker`](super::maker) says; empty until it is built, or if the
    /// version that built it did not say.
    pub maker: String,
    /// Counts up from 1 with every change since the filter was brought up.
    pub generation: u64,
    /// When the counters were zero.
    pub counting_since: Timestamp,
    /// Whether the program takes packets in several buffers.
    pub frags: bool,
    /// The clock that flows are kept in.
    pub clock: Clock,
    /// The policy file it came from; `None` if the version that made it did not say.
    pub origin: Option<PathBuf>,
    /// The policy.
    pub policy: Policy,
    /// What the policy's meaning depended on.
    pub environment: Environment,
    /// Slots of the rules' counters, in the order of the rules.
    pub slots: Vec<u32>,
    /// What it is for.
    pub purpose: Purpose,
    /// The generation behind it, which judges after its deadline.
    pub behind: Option<u64>,
    /// Numbers of the interfaces that are filtered only until then.
    pub joined: Vec<u32>,
    /// The change that made it; `None` if it made no other policy.
    pub change: Option<Change>,
    /// The program that what passes goes on to.
    pub then: Option<Then>,
    /// Where the policy is not what the operator wants, what it is instead, and why, in a line.
    pub fallback: Option<String>,
    /// For how many bans of single sources, and of other prefixes, its tables have room at least.
    pub ban_room: [u32; 2],
}

/// What is known of a change of the policy. It is made before the change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// When the change began.
    pub at: Timestamp,
    /// Who made it: see [`Operator::user`](crate::system::Operator::user).
    pub user: String,
    /// From where: see [`Operator::from`](crate::system::Operator::from).
    pub from: String,
    /// The command, without the program's name, as a shell takes it.
    pub command: String,
    /// What it changed, in part of a line.
    pub summary: String,
    /// The port of this host that the operator's SSH session came to; `None` if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// What a generation is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Its policy is what the operator wants.
    #[default]
    Policy,
    /// Everything passes, since the operator wants no filter for a while.
    Bypass,
    /// Nothing passes but what the operator needs, and what is under way.
    Panic,
    /// Everything passes: behind it, nothing is filtered.
    Nothing,
    /// It is rehearsed behind another one, and decides nothing.
    Rehearsal,
}

impl Purpose {
    /// Whether its program lets everything pass.
    pub const fn passes_all(self) -> bool {
        matches!(self, Self::Bypass | Self::Nothing)
    }
}

#[derive(Serialize, Deserialize)]
struct Written {
    #[serde(default)]
    maker: String,
    generation: u64,
    counting_since: Timestamp,
    frags: bool,
    clock: Clock,
    #[serde(default)]
    origin: Option<PathBuf>,
    policy: PolicyText,
    ephemeral: (u16, u16),
    interfaces: Vec<(String, u32)>,
    /// Before rules had ends, no rule meant anything by them.
    #[serde(default = "now")]
    clocks: (Timestamp, Duration),
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    lists: BTreeMap<String, Vec<IpNet>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cookies: Option<CookieOptions>,
    slots: Vec<u32>,
    #[serde(default)]
    purpose: Purpose,
    #[serde(default)]
    behind: Option<u64>,
    #[serde(default)]
    joined: Vec<u32>,
    #[serde(default)]
    change: Option<Change>,
    #[serde(default)]
    then: Option<Then>,
    #[serde(default)]
    fallback: Option<String>,
    #[serde(default = "max_bans")]
    ban_room: [u32; 2],
}

impl Record {
    /// The rule that counts in this slot, if one does.
    pub fn rule_in(&self, slot: u32) -> Option<&Rule> {
        let index = self.slots.iter().position(|&other| other == slot)?;
        self.policy.rules.get(index)
    }

    /// One for tests: of a generation for good, whose rules allow `words` under these ids and count
    /// in these slots.
    #[cfg(test)]
    pub(crate) fn of_tests(rules: &[(u32, &str, u32)]) -> Self {
        use crate::policy::{Action, Match, MatchSpec, Rule, RuleId};

        let rule = |&(id, words, _): &(u32, &str, u32)| Rule {
            id: RuleId(id),
            action: Action::Allow,
            matches: Match::parse(&MatchSpec::of_words(words)).unwrap(),
            until: None,
            comment: None,
        };
        Self {
            maker: String::new(),
            generation: 1,
            counting_since: Timestamp::UNIX_EPOCH,
            frags: false,
            clock: Clock::of_tests(),
            origin: None,
            policy: Policy {
                rules: rules.iter().map(rule).collect(),
                ..Policy::default()
            },
            environment: Environment {
                ephemeral: PortRange {
                    first: 32768,
                    last: 60999,
                },
                interfaces: Vec::new(),
                clocks: Clocks::BEFORE_ALL,
                lists: BTreeMap::new(),
                cookies: None,
            },
            slots: rules.iter().map(|(_, _, slot)| *slot).collect(),
            purpose: Purpose::Policy,
            behind: None,
            joined: Vec::new(),
            change: None,
            then: None,
            fallback: None,
            ban_room: MAX_BANS,
        }
    }

    /// How many flows are remembered; `None` if none are.
    pub fn flow_sizes(&self) -> Option<FlowSizes> {
        self.policy.records_flows().then_some(self.policy.flows)
    }

    /// Writes the record into a new map and pins it.
    pub(super) fn pin(&self, path: &Path) -> Result<()> {
        let written = Written {
            maker: self.maker.clone(),
            generation: self.generation,
            counting_since: self.counting_since,
            frags: self.frags,
            clock: self.clock,
            origin: self.origin.clone(),
            policy: PolicyText::from(&self.policy),
            ephemeral: (
                self.environment.ephemeral.first,
                self.environment.ephemeral.last,
            ),
            interfaces: self.environment.interfaces.clone(),
            clocks: (self.environment.clocks.wall, self.environment.clocks.boot),
            lists: self.environment.lists.clone(),
            cookies: self.environment.cookies,
            slots: self.slots.clone(),
            purpose: self.purpose,
            behind: self.behind,
            joined: self.joined.clone(),
            change: self.change.clone(),
            then: self.then.clone(),
            fallback: self.fallback.clone(),
            ban_room: self.ban_room,
        };
        pin_json(&written, path)
    }

    /// Reads the record pinned at `path`.
    pub(super) fn from_pin(path: &Path) -> Result<Self> {
        json_from_pin(path)
            .and_then(Written::read)
            .context("the pinned record is damaged")
    }
}

impl Written {
    /// Understands it.
    fn read(self) -> Result<Record> {
        let written = self;
        let policy = written.policy.read();
        let policy = policy.map_err(|mistake| anyhow::anyhow!("{}", mistake.message))?;
        ensure!(
            policy.rules.len() == written.slots.len(),
            "rules without counters"
        );
        Ok(Record {
            maker: written.maker,
            generation: written.generation,
            counting_since: written.counting_since,
            frags: written.frags,
            clock: written.clock,
            origin: written.origin,
            policy,
            environment: Environment {
                ephemeral: PortRange {
                    first: written.ephemeral.0,
                    last: written.ephemeral.1,
                },
                interfaces: written.interfaces,
                clocks: Clocks {
                    wall: written.clocks.0,
                    boot: written.clocks.1,
                },
                lists: written.lists,
                cookies: written.cookies,
            },
            slots: written.slots,
            purpose: written.purpose,
            behind: written.behind,
            joined: written.joined,
            change: written.change,
            then: written.then,
            fallback: written.fallback,
            ban_room: written.ban_room,
        })
    }
}

/// Where no lists ban.
const fn max_bans() -> [u32; 2] {
    MAX_BANS
}

/// What the clocks show.
fn now() -> (Timestamp, Duration) {
    let Clocks { wall, boot } = clocks();
    (wall, boot)
}

/// Writes a value into a new map and pins it.
pub(super) fn pin_json<T: Serialize>(value: &T, path: &Path) -> Result<()> {
    let mut bytes = serde_json::to_vec(value)?;
    // JSON takes white space behind it.
    bytes.resize(bytes.len().next_multiple_of(CHUNK), b' ');
    let chunks = bytes.as_chunks::<CHUNK>().0;
    let mut map = Array::<MapData, [u8; CHUNK]>::create(chunks.len() as u32, 0)
        .context("cannot create a map for a record")?;
    for (index, chunk) in chunks.iter().enumerate() {
        map.set(index as u32, chunk, 0)?;
    }
    map.pin(path).context("cannot pin a record")?;
    Ok(())
}

/// Reads what [`pin_json`] wrote.
pub(super) fn json_from_pin<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let map = Array::<_, [u8; CHUNK]>::try_from(Map::Array(MapData::from_pin(path)?))?;
    let chunks: Vec<[u8; CHUNK]> = map.iter().collect::<Result<_, _>>()?;
    Ok(serde_json::from_slice(chunks.as_flattened())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a version wrote before there were rules with ends, and the rest that may be left out.
    const OLDEST: &str = r#"{
        "generation": 3, "counting_since": "2026-11-27T10:00:00Z", "traced": false,
        "frags": true,
        "clock": {"ticks_per_second": 250, "ticks": 4295000000, "nanoseconds": 8000000000},
        "policy": {"version": 1, "interfaces": ["eth0"], "rule": [{"id": "r1", "allow": "tcp 443"}]},
        "ephemeral": [32768, 60999], "interfaces": [["eth1", 7]], "slots": [0]
    }"#;

    #[test]
    fn a_record_of_the_oldest_version_is_read_that_is_taken_over() {
        let written: Written = serde_json::from_str(OLDEST).unwrap();
        let record = written.read().unwrap();
        assert_eq!(record.generation, 3);
        assert!(record.policy.interfaces.contains("eth0"));
        assert_eq!(record.environment.interfaces, [("eth1".to_owned(), 7)]);
        assert_eq!((record.purpose, record.behind), (Purpose::Policy, None));
        let jump = record.environment.clocks.jump_since(&clocks());
        assert_eq!(jump.as_secs(), 0);
    }
}
