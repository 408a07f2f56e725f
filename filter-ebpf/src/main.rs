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
    // SAFETY: a tail call does not return, or does nothing.
    unsafe { CURRENT.tail_call(&ctx, 0) };
    // Never reached: the slot is filled before the first interface is attached.
    // Should it ever be, an unfiltered host is mended more easily than one
    // that nobody can reach.
    xdp_action::XDP_PASS
}

/// A generation.
#[xdp]
pub fn filter(ctx: XdpContext) -> u32 {
    let packet = Packet::new(&ctx);
    verdict::judge_then(&packet, &Kernel::new(&ctx), |outcome| {
        conclude(&packet, &outcome)
    })
}

/// The same generation, telling of each packet what became of it and why.
#[xdp]
pub fn filter_traced(ctx: XdpContext) -> u32 {
    let packet = Packet::new(&ctx);
    let outcome = verdict::judge(&packet, &Kernel::new(&ctx));
    trace::tell(&ctx, &packet, &outcome);
    conclude(&packet, &outcome)
}

#[inline(always)]
fn conclude(packet: &Packet<'_>, outcome: &Outcome) -> u32 {
    count::count(packet, outcome);
    match outcome.reason().verdict() {
        Verdict::Pass => xdp_action::XDP_PASS,
        Verdict::Drop => xdp_action::XDP_DROP,
    }
}
