//! The rehearsal: a candidate that judges each packet behind the generation in force, and
//! counts where it would do otherwise.

use bytemuck::{Pod, Zeroable};

use super::{
    Event, SharedMap,
    tables::{NO_RULE, ProtocolKind},
};
use crate::reason::Reason;

/// Names of the programs and maps.
pub mod names {
    /// The flavour of the filter that hands each packet on to the candidate.
    pub const FILTER_REHEARSED: &str = "filter_rehearsed";
    /// The same of the recorder.
    pub const RECORDER_REHEARSED: &str = "recorder_rehearsed";
    /// Program of a candidate: judges, compares, and leaves the packet its verdict.
    pub const SHADOW: &str = "shadow";
    /// Program array with one element: the candidate behind the generation in force.
    pub const CANDIDATE: &str = "CANDIDATE";
    /// The same for what leaves: the candidate's recorder, if it has one.
    pub const CANDIDATE_EGRESS: &str = "CANDIDATE_EGRESS";
}

/// Per-CPU array of one element, a [`Sentence`]: the verdict that holds.
pub const SENTENCE: SharedMap = SharedMap::of_rehearsal("SENTENCE", "sentence");
/// Hash map ([`Otherwise`] → [`Difference`]).
pub const DIFFERENCES: SharedMap = SharedMap::of_rehearsal("DIFFERENCES", "differences");
/// Per-CPU array of one element, a `u64`: packets that would be judged otherwise, and for which
/// there was no room in [`DIFFERENCES`].
pub const CROWDED_OUT: SharedMap = SharedMap::of_rehearsal("CROWDED_OUT", "crowded_out");

/// Every map that a candidate shares with the generation in front of it, or with the candidate
/// before.
pub const REHEARSAL_MAPS: &[SharedMap] = &[SENTENCE, DIFFERENCES, CROWDED_OUT];

/// Entries of the differences: every port of TCP and UDP, twice over. The kernel takes memory
/// for those that are there.
pub const MAX_DIFFERENCES: usize = 1 << 17;

/// The verdict that holds on a packet, for the candidate behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Sentence {
    /// What becomes of the packet: an `xdp_action`.
    pub action: u32,
    /// [`Reason::slot`] of the reason.
    pub reason: u32,
    /// Slot of the counters of the rule that decided, or [`NO_RULE`].
    pub slot: u32,
}

/// What a packet is that is judged otherwise, and by what on both sides.
///
/// The kernel program writes it, so no reader may rely on its values: the methods check
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct Otherwise {
    /// Slot of the counters of the rule that decides, or [`NO_RULE`].
    pub live_slot: u32,
    /// The same of the candidate.
    pub next_slot: u32,
    /// [`Reason::slot`] of the reason for the verdict that holds.
    pub live_reason: u8,
    /// The same of the candidate's.
    pub next_reason: u8,
    /// The [`ProtocolKind`], or [`NO_KIND`].
    pub kind: u8,
    /// Zero.
    pub padding: u8,
    /// This host's port, in network byte order; for a packet without ports the ICMP type,
    /// or the protocol number.
    pub local: [u8; 2],
    /// Zero.
    pub more_padding: [u8; 2],
}

/// [`Otherwise::kind`] of a packet whose transport is not known: a later fragment, or no IP.
pub const NO_KIND: u8 = u8::MAX;

/// How many packets are judged otherwise in one way, and the first of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Difference {
    /// How many.
    pub packets: u64,
    /// The first one, with the candidate's verdict.
    pub sample: Event,
    /// Zero.
    pub padding: [u8; 4],
}

impl Otherwise {
    /// Why the packet passes or is dropped.
    pub fn live_reason(&self) -> Option<Reason> {
        Reason::ALL.get(usize::from(self.live_reason)).copied()
    }

    /// Why the candidate would have it otherwise.
    pub fn next_reason(&self) -> Option<Reason> {
        Reason::ALL.get(usize::from(self.next_reason)).copied()
    }

    /// Slot of the counters of the rule that decides.
    pub fn live_rule(&self) -> Option<u32> {
        (self.live_slot != NO_RULE).then_some(self.live_slot)
    }

    /// The same of the candidate.
    pub fn next_rule(&self) -> Option<u32> {
        (self.next_slot != NO_RULE).then_some(self.next_slot)
    }

    /// The kind of the packet's protocol, if it is known.
    pub fn kind(&self) -> Option<ProtocolKind> {
        ProtocolKind::ALL.get(usize::from(self.kind)).copied()
    }

    /// This host's port, in host byte order, or what stands in its place.
    pub const fn local(&self) -> u16 {
        u16::from_be_bytes(self.local)
    }
}

const _: () = {
    assert!(size_of::<Sentence>() == 12);
    assert!(size_of::<Otherwise>() == 16);
    assert!(size_of::<Difference>() == 72);
};
