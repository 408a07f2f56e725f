//! The XDP program: what happens to a packet, from the driver's hook to the
//! verdict. `judge` decides; this file only counts and translates.

#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![expect(
    missing_docs,
    reason = "the program attribute leaves the documentation off what it makes"
)]

mod count;
mod host;
mod packet;
mod runtime;
mod trace;

use aya_ebpf::{
    bindings::xdp_action,
    helpers::bpf_xdp_adjust_meta,
    macros::{map, xdp},
    maps::ProgramArray,
    programs::XdpContext,
};
use xdpfw_common::{
    Verdict,
    verdict::{self, Outcome},
};

use crate::{host::Kernel, packet::Packet};

/// The generation in force. One element, so that a change of policy is one
/// store for all interfaces at once.
#[map]
static CURRENT: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The program that stays attached while generations come and go.
#[xdp]
pub fn dispatcher(ctx: XdpContext) -> u32 {
    dispatch(&ctx)
}

/// The same, in several buffers.
#[xdp(frags)]
pub fn dispatcher_frags(ctx: XdpContext) -> u32 {
    dispatch(&ctx)
}

/// The same for interfaces whose packets begin with the IP header.
#[xdp]
pub fn dispatcher_l3(ctx: XdpContext) -> u32 {
    dispatch_l3(&ctx)
}

/// The same, in several buffers.
#[xdp(frags)]
pub fn dispatcher_l3_frags(ctx: XdpContext) -> u32 {
    dispatch_l3(&ctx)
}

/// A generation.
#[xdp]
pub fn filter(ctx: XdpContext) -> u32 {
    judge::<false>(&ctx)
}

/// The same, in several buffers.
#[xdp(frags)]
pub fn filter_frags(ctx: XdpContext) -> u32 {
    judge::<true>(&ctx)
}

/// The same generation, telling of each packet what became of it and why.
#[xdp]
pub fn filter_traced(ctx: XdpContext) -> u32 {
    judge_aloud::<false>(&ctx)
}

/// The same, in several buffers.
#[xdp(frags)]
pub fn filter_traced_frags(ctx: XdpContext) -> u32 {
    judge_aloud::<true>(&ctx)
}

#[inline(always)]
fn dispatch(ctx: &XdpContext) -> u32 {
    // SAFETY: a tail call does not return, or does nothing.
    unsafe { CURRENT.tail_call(ctx, 0) };
    // Never reached: the slot is filled before the first interface is attached.
    // Should it ever be, an unfiltered host is mended more easily than one
    // that nobody can reach.
    xdp_action::XDP_PASS
}

/// Marks the packet by a word of metadata, which otherwise no packet has.
#[inline(always)]
fn dispatch_l3(ctx: &XdpContext) -> u32 {
    // SAFETY: no pointer into the packet is held.
    let result = unsafe { bpf_xdp_adjust_meta(ctx.ctx, -(size_of::<u32>() as i32)) };
    if result != 0 {
        // Read as Ethernet, the packet could be anything.
        return xdp_action::XDP_DROP;
    }
    dispatch(ctx)
}

#[inline(always)]
fn judge<const FRAGS: bool>(ctx: &XdpContext) -> u32 {
    let packet = Packet::<FRAGS>::new(ctx);
    verdict::judge_then(&packet, &Kernel::new(ctx), |outcome| {
        conclude(&packet, &outcome)
    })
}

#[inline(always)]
fn judge_aloud<const FRAGS: bool>(ctx: &XdpContext) -> u32 {
    let packet = Packet::<FRAGS>::new(ctx);
    let outcome = verdict::judge(&packet, &Kernel::new(ctx));
    trace::tell(ctx, &packet, &outcome);
    conclude(&packet, &outcome)
}

#[inline(always)]
fn conclude<const FRAGS: bool>(packet: &Packet<'_, FRAGS>, outcome: &Outcome) -> u32 {
    count::count(packet, outcome);
    match outcome.reason().verdict() {
        Verdict::Pass => xdp_action::XDP_PASS,
        Verdict::Drop => xdp_action::XDP_DROP,
    }
}
