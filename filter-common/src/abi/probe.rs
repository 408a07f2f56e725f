//! The probe: a program that judges a packet as its generation would, and counts nothing.

use bytemuck::{Pod, Zeroable};

use super::NO_RULE;
use crate::{reason::Reason, wire::Malformation};

/// Names of the program, and of the map in which it leaves its verdict.
pub mod names {
    /// Program that the loader runs on packets of its own; never attached.
    pub const PROBE: &str = "probe";
    /// Array with one element: a [`Judged`](super::Judged).
    pub const JUDGED: &str = "JUDGED";
}

/// The verdict on the packet that the probe ran on, and why.
///
/// The kernel program writes it, so no reader may rely on its values: the methods check
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Judged {
    /// [`Reason::slot`] of the reason.
    pub reason: u32,
    /// Slot of the counters of the rule that decided, or [`NO_RULE`].
    pub slot: u32,
    /// What is wrong with the packet: [`Malformation::code`], or 0 for nothing.
    pub malformation: u32,
}

impl Judged {
    /// Why the packet would pass or be dropped.
    pub fn reason(&self) -> Option<Reason> {
        Reason::ALL.get(self.reason as usize).copied()
    }

    /// Slot of the counters of the rule that decided.
    pub const fn rule(&self) -> Option<u32> {
        match self.slot {
            NO_RULE => None,
            slot => Some(slot),
        }
    }

    /// What is wrong with the packet.
    pub fn malformation(&self) -> Option<Malformation> {
        Malformation::from_code(u8::try_from(self.malformation).ok()?)
    }
}

const _: () = assert!(size_of::<Judged>() == 12);
