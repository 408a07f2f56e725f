//! The counters: totals per reason, drops per local port, hits per rule.
//!
//! All are per-CPU arrays, so a plain addition is exact: nothing else runs on
//! this CPU between its load and its store.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use xdpfw_common::{
    Verdict,
    abi::{BLOCKS, Block, Counter, RULE_SLOTS, Wraps, port_counter},
    verdict::Outcome,
    wire::Frame,
};
use xdpfw_ebpf::packet::Packet;

#[map]
static COUNTERS: PerCpuArray<Block> = PerCpuArray::with_max_entries(BLOCKS as u32, 0);

#[map]
static WRAPS: PerCpuArray<Wraps> = PerCpuArray::with_max_entries(BLOCKS as u32, 0);

#[map]
static RULE_HITS: PerCpuArray<Counter> = PerCpuArray::with_max_entries(RULE_SLOTS as u32, 0);

/// Counts a packet and what became of it.
#[inline(always)]
pub fn count<const FRAGS: bool>(packet: &Packet<'_, FRAGS>, outcome: &Outcome) {
    let bytes = packet.len() as u64;
    let (number, place) = match outcome.local_port() {
        Some((transport, port)) => port_counter(transport, port),
        None => (0, 0),
    };
    if let Some(block) = COUNTERS.get_ptr_mut(number) {
        // SAFETY: a map value of this type, this CPU's own.
        let block = unsafe { &mut *block };
        add(&mut block.totals[outcome.reason().slot()], bytes);
        if outcome.local_port().is_some() && outcome.reason().verdict() == Verdict::Drop {
            let drops = &mut block.drops[place];
            *drops = drops.wrapping_add(1);
            if *drops == 0 {
                wrap(number, place);
            }
        }
    }
    if let Some(slot) = outcome.rule()
        && let Some(hits) = RULE_HITS.get_ptr_mut(slot)
    {
        // SAFETY: as above.
        add(unsafe { &mut *hits }, bytes);
    }
}

/// Notes that a counter of drops has gone past its end.
#[cold]
#[inline(always)]
fn wrap(block: u32, place: usize) {
    if let Some(wraps) = WRAPS.get_ptr_mut(block) {
        // SAFETY: a map value of this type, this CPU's own.
        unsafe { (*wraps).ports[place] += 1 };
    }
}

#[inline(always)]
fn add(counter: &mut Counter, bytes: u64) {
    counter.packets += 1;
    counter.bytes += bytes;
}
