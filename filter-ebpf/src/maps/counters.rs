//! Counts packets: totals per reason, drops per local port, hits per rule.
//!
//! All counters are in per-CPU arrays, so a plain addition is exact: nothing else runs on
//! this CPU between its load and its store.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use xdpfw_common::{
    Verdict,
    abi::{BLOCKS, Block, Counter, Overflows, RULE_SLOTS, port_counter},
    verdict::Outcome,
    wire::Frame,
};

#[map]
static COUNTERS: PerCpuArray<Block> = PerCpuArray::with_max_entries(BLOCKS as u32, 0);

#[map]
static OVERFLOWS: PerCpuArray<Overflows> = PerCpuArray::with_max_entries(BLOCKS as u32, 0);

#[map]
static RULE_HITS: PerCpuArray<Counter> = PerCpuArray::with_max_entries(RULE_SLOTS as u32, 0);

/// Counts a packet and the verdict on it.
#[inline(always)]
pub fn count<F: Frame>(packet: &F, outcome: &Outcome) {
    let bytes = packet.len() as u64;
    let (number, place) = match outcome.local_port() {
        Some((transport, port)) => port_counter(transport, port),
        None => (0, 0),
    };
    if let Some(block) = COUNTERS.get_ptr_mut(number) {
        // SAFETY: a map value of this type, this CPU's own.
        let block = unsafe { &mut *block };
        block.totals[outcome.reason().slot()].count(bytes);
        if outcome.local_port().is_some() && outcome.reason().verdict() == Verdict::Drop {
            let drops = &mut block.drops[place];
            *drops = drops.wrapping_add(1);
            if *drops == 0 {
                overflow(number, place);
            }
        }
    }
    if let Some(slot) = outcome.rule()
        && let Some(hits) = RULE_HITS.get_ptr_mut(slot)
    {
        // SAFETY: as above.
        unsafe { &mut *hits }.count(bytes);
    }
}

/// Notes that a counter of drops has overflowed.
#[cold]
#[inline(always)]
fn overflow(block: u32, place: usize) {
    if let Some(overflows) = OVERFLOWS.get_ptr_mut(block) {
        // SAFETY: a map value of this type, this CPU's own.
        unsafe { (*overflows).ports[place] += 1 };
    }
}
