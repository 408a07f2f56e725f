//! Counts packets: totals per reason, drops per local port, hits per rule.
//!
//! All counters are in per-CPU arrays, so a plain addition is exact: nothing else runs on
//! this CPU between its load and its store.

use aya_ebpf::{macros::map, maps::PerCpuArray};
use xdpfw_common::{
    Reason, Verdict,
    abi::{
        BLOCKS, Block, Counter, INTERFACE_PLACES, INTERFACE_SLOTS, InterfaceSlots, Overflows,
        RULE_SLOTS, port_counter,
    },
    verdict::Outcome,
    wire::Frame as _,
};
use xdpfw_ebpf::packet::{Packet, opaque};

use crate::{ingress::Ingress as _, questions};

#[map]
static COUNTERS: PerCpuArray<Block> = PerCpuArray::with_max_entries(BLOCKS as u32, 0);

#[map]
static OVERFLOWS: PerCpuArray<Overflows> = PerCpuArray::with_max_entries(BLOCKS as u32, 0);

#[map]
static RULE_HITS: PerCpuArray<Counter> = PerCpuArray::with_max_entries(RULE_SLOTS as u32, 0);

/// Where each interface is counted. Userspace writes it when the filter is attached to one.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".bss.counted")]
static mut INTERFACES_COUNTED: InterfaceSlots = InterfaceSlots::EMPTY;

/// Counts a packet and the verdict on it. Returns which one it is for its reason.
#[inline(always)]
pub fn count<const FRAGS: bool>(packet: &Packet<'_, FRAGS>, outcome: &Outcome) -> u64 {
    let mut count = 0;
    let interface = interface_slot(packet);
    let bytes = packet.len() as u64;
    let (number, place) = match outcome.local_port() {
        Some((transport, port)) => port_counter(transport, port),
        None => (0, 0),
    };
    if let Some(block) = COUNTERS.get_ptr_mut(number) {
        // SAFETY: a map value of this type, this CPU's own.
        let block = unsafe { &mut *block };
        // The compiler knows which reasons there are, and would leave out the mask that tells the
        // verifier.
        let slot = opaque(outcome.reason() as usize) % Reason::SLOTS;
        let total = &mut block.totals[interface][slot];
        total.count(bytes);
        count = total.packets;
        if outcome.local_port().is_some() && outcome.reason().verdict() == Verdict::Drop {
            let drops = &mut block.drops[place];
            *drops = drops.wrapping_add(1);
            if *drops == 0 {
                overflow(number, place);
            }
        }
    }
    if matches!(outcome.reason(), Reason::Ban) {
        questions::count_banned();
    }
    if let Some(slot) = outcome.rule()
        && let Some(hits) = RULE_HITS.get_ptr_mut(slot)
    {
        // SAFETY: as above.
        unsafe { &mut *hits }.count(bytes);
    }
    count
}

/// The slot of the interface that a packet came in by.
#[inline(always)]
fn interface_slot<const FRAGS: bool>(packet: &Packet<'_, FRAGS>) -> usize {
    let place = packet.ctx.ingress_interface().unwrap_or(0) as usize % INTERFACE_PLACES;
    // SAFETY: within the array, aligned and initialised; others write it byte by byte.
    let slot = unsafe { (&raw const INTERFACES_COUNTED.slots[place]).read_volatile() };
    usize::from(slot) % INTERFACE_SLOTS
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
