//! A candidate that is rehearsed: it judges each packet behind the generation in force, which
//! decides, and its differences are counted.

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result};
use aya::maps::{Map, MapData, PerCpuArray};
use xdpfw_common::abi::{
    CROWDED_OUT, DIFFERENCES, Difference, Holds, NOTES, Otherwise, REHEARSAL_MAPS, SENT, SENTENCE,
    SHARED_MAPS, SharedMap, names,
};

use super::{
    Bridges, Generation, Record, Unsaved,
    gate::Entry,
    object::{self, Object, Rings},
    pins::{PROGRAM, PinDirectory, RECORD, RECORDER, SHADOW},
    syscall,
};
use crate::compiler::Tables;

/// Pins of the program arrays that lead to it. The kernel empties an array that nobody has pinned
/// or open.
const CANDIDATE: &str = "candidate";
const CANDIDATE_EGRESS: &str = "candidate_egress";

/// What is to be rehearsed behind a generation.
pub struct Rehearsal<'a> {
    /// What the candidate is made from. It counts nothing, so the slot of a rule is its place.
    pub record: Record,
    /// The tables of its policy.
    pub tables: Tables,
    /// What becomes of the policy file if it is accepted.
    pub unsaved: Unsaved,
    /// The candidate before, whose flows go on.
    pub before: Option<&'a Generation>,
    /// Whether its differences go on, too.
    pub goes_on: bool,
}

/// What a candidate judges otherwise.
#[derive(Clone, Debug, Default)]
pub struct Differences {
    /// How many packets, and the first of them, by what they are and who decides.
    pub of: Vec<(Otherwise, Difference)>,
    /// Packets for which there was no room.
    pub crowded_out: u64,
}

impl Rehearsal<'_> {
    /// Builds the candidate and pins it in the directory of the generation in front of it, whose
    /// object this is. Returns its programs.
    pub(super) fn build(&self, front: &mut Object, directory: &PinDirectory) -> Result<Entry> {
        front.pin_map(SENTENCE.name, &directory.pin(SENTENCE.pin))?;
        for (map, pin) in [
            (names::CANDIDATE, CANDIDATE),
            (names::CANDIDATE_EGRESS, CANDIDATE_EGRESS),
        ] {
            front.pin_map(map, &directory.pin(pin))?;
        }
        let own = directory.make_directory(SHADOW)?;
        let record = &self.record;
        let taken_over = |map: SharedMap| {
            let before = |is_shared: bool| {
                let before = self.before.filter(|_| is_shared);
                before.map(|before| before.directory.pin(map.pin))
            };
            match map.holds {
                // It counts nothing, and bans are those of all.
                Holds::Counters | Holds::Bans => Some(directory.pin(map.pin)),
                Holds::Rehearsal if map == SENTENCE => Some(directory.pin(map.pin)),
                Holds::Rehearsal => before(self.goes_on),
                // Nobody listens to it, and what it would let in is no share of those in force.
                Holds::Next | Holds::Events | Holds::Limits => None,
                Holds::Trust => None,
                Holds::Flows => before(self.shares_flows() || map == NOTES || map == SENT),
            }
        };
        let bridges = match record.policy.records_flows() {
            true => Bridges::of_host()?,
            false => Bridges::default(),
        };
        let mut object = Object::load(&self.tables, record, &bridges, Rings::Smallest, taken_over)?;
        for map in SHARED_MAPS.iter().chain(REHEARSAL_MAPS) {
            object.pin_map(map.name, &own.pin(map.pin))?;
        }
        let recorder = match record.policy.records_flows() {
            true => Some(object.pin_classifier(names::RECORDER, &own.pin(RECORDER))?),
            false => None,
        };
        record.pin(&own.pin(RECORD))?;
        self.unsaved.pin(&own)?;
        let name = object::flavour(names::SHADOW, record.frags);
        object.pin_program(&name, &own.pin(PROGRAM))?;
        let program = object.program_fd(&name)?;
        object::store_program(&directory.pin(CANDIDATE), 0, Some(&program))?;
        object::store_program(&directory.pin(CANDIDATE_EGRESS), 0, recorder.as_ref())?;
        Ok(Entry { program, recorder })
    }

    /// Whether the flows of the candidate before are its own, too.
    pub fn shares_flows(&self) -> bool {
        let sizes = self.record.flow_sizes();
        let before = self.before.map(|before| before.record().flow_sizes());
        before.is_some_and(|before| before == sizes)
    }
}

impl Differences {
    /// Those of the candidate in this directory.
    pub(super) fn read(directory: &PinDirectory) -> Result<Self> {
        let open = |map: SharedMap| MapData::from_pin(directory.pin(map.pin));
        let map = open(DIFFERENCES)?;
        let of = syscall::entries(map.fd().as_fd(), map.info()?.max_entries())
            .context("cannot read the differences")?;
        let crowded_out = PerCpuArray::<_, u64>::try_from(Map::PerCpuArray(open(CROWDED_OUT)?))?;
        Ok(Self {
            of,
            crowded_out: crowded_out.get(&0, 0)?.iter().sum(),
        })
    }

    /// How many packets are judged otherwise.
    pub fn packets(&self) -> u64 {
        let counted: u64 = self.of.iter().map(|(_, one)| one.packets).sum();
        counted + self.crowded_out
    }
}
