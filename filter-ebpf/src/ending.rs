//! What becomes of a packet, handed from the many places where its way may end to the one where it does.

use aya_ebpf::programs::XdpContext;
use xdpfw_common::{abi::NO_RULE, verdict::Outcome};

use crate::events;

/// What becomes of a packet, and what there is to tell of its source. One word, from low bits to high: 8 of
/// the action, 8 of the notice, 8 of the evidence, 24 of the port as [`events::port`] has it, 16 of the
/// rule's slot.
#[derive(Clone, Copy)]
pub struct Ending(u64);

const NOTICE: u32 = 8;
const EVIDENCE: u32 = 16;
const PORT: u32 = 24;
const SLOT: u32 = 48;
/// No rule's slot.
const NO_SLOT: u32 = u16::MAX as u32;

impl Ending {
    /// An action, and nothing to tell.
    #[inline(always)]
    pub fn only(action: u32) -> Self {
        Self(action.into())
    }

    /// An action, and what [`scan::note`](crate::scan::note) has to tell; 0 for nothing.
    #[inline(always)]
    pub fn of(action: u32, outcome: &Outcome, notice: u32) -> Self {
        if notice == 0 {
            return Self::only(action);
        }
        let port = u64::from(events::port(outcome));
        let slot = u64::from(outcome.rule().unwrap_or(NO_SLOT));
        Self(u64::from(action | notice << NOTICE) | port << PORT | slot << SLOT)
    }

    /// The action, as XDP numbers it.
    #[inline(always)]
    pub const fn action(self) -> u32 {
        self.0 as u8 as u32
    }

    /// Tells what there is to tell.
    #[inline(always)]
    pub fn tell<const FRAGS: bool>(self, ctx: &XdpContext) {
        if self.0 >> NOTICE == 0 {
            return;
        }
        let slot = match (self.0 >> SLOT) as u32 {
            NO_SLOT => NO_RULE,
            slot => slot,
        };
        let port = (self.0 >> PORT) as u32 & ((1 << (SLOT - PORT)) - 1);
        let (notice, evidence) = ((self.0 >> NOTICE) as u8, (self.0 >> EVIDENCE) as u8);
        events::notice::<FRAGS>(ctx, (slot, port), notice, evidence);
    }
}
