//! The XDP programs: what happens to a packet, from the driver's hook to the verdict.
//! `verdict` decides; this file only counts and translates.

#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![expect(
    missing_docs,
    reason = "the program attribute leaves the documentation off what it makes"
)]

mod bare;
mod clock;
mod cookies;
mod egress;
mod ending;
mod events;
mod frags;
mod gate;
mod host;
mod ingress;
mod maps;
mod probe;
mod questions;
mod recorder;
mod rehearsal;
mod scan;
mod sockets;
mod then;

use aya_ebpf::{
    bindings::xdp_action,
    macros::{map, xdp},
    maps::ProgramArray,
    programs::XdpContext,
};
use xdpfw_common::{
    Reason, Verdict,
    verdict::{self, Conclude, Outcome},
    wire::Frame,
};
use xdpfw_ebpf::packet::Packet;

use crate::{ending::Ending, frags::Copy, host::Kernel, maps::counters};

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
#[inline(always)]
pub fn filter(ctx: XdpContext) -> u32 {
    filter_in_one::<false>(&ctx)
}

/// The same, in several buffers.
#[xdp(frags)]
#[inline(always)]
pub fn filter_frags(ctx: XdpContext) -> u32 {
    filter_in_several::<false>(&ctx)
}

#[inline(always)]
fn filter_in_one<const REHEARSED: bool>(ctx: &XdpContext) -> u32 {
    let packet = frame::<false>(ctx);
    leave::<REHEARSED, false>(ctx, judge::<REHEARSED, _, _>(&packet, &packet))
}

#[inline(always)]
fn filter_in_several<const REHEARSED: bool>(ctx: &XdpContext) -> u32 {
    let packet = frame::<true>(ctx);
    let ending = match Copy::of(&packet) {
        Some(copy) => judge::<REHEARSED, _, _>(&packet, &copy),
        None => judge::<REHEARSED, _, _>(&packet, &packet),
    };
    leave::<REHEARSED, true>(ctx, ending)
}

#[inline(always)]
fn dispatch(ctx: &XdpContext) -> u32 {
    if bare::remove_all(ctx) {
        jump(ctx)
    } else {
        // The filter would believe a forged mark.
        xdp_action::XDP_DROP
    }
}

#[inline(always)]
fn dispatch_l3(ctx: &XdpContext) -> u32 {
    if bare::remove_all(ctx) && bare::mark(ctx) {
        jump(ctx)
    } else {
        // Read as Ethernet, the packet could be anything.
        xdp_action::XDP_DROP
    }
}

/// Goes on in the generation in force.
#[inline(always)]
fn jump(ctx: &XdpContext) -> u32 {
    // SAFETY: a tail call does not return, or does nothing.
    unsafe { CURRENT.tail_call(ctx, 0) };
    // Never reached: the slot is filled before the first interface is attached. If it
    // ever is, an unfiltered host is easier to repair than one that nobody can reach.
    xdp_action::XDP_PASS
}

/// The frame, as the dispatcher has marked it.
#[inline(always)]
fn frame<const FRAGS: bool>(ctx: &XdpContext) -> Packet<'_, FRAGS> {
    let mut packet = Packet::new(ctx);
    packet.has_ethernet = !bare::is_marked(ctx);
    packet
}

/// Judges a packet, whose headers can be read in `frame`. If it is `REHEARSED`, a candidate
/// judges it, too.
#[inline(always)]
fn judge<const REHEARSED: bool, const FRAGS: bool, F: Frame>(
    packet: &Packet<'_, FRAGS>,
    frame: &F,
) -> Ending {
    verdict::judge_then(
        frame,
        &Kernel::new(packet.ctx),
        Conclusion::<REHEARSED, _>(packet),
    )
}

/// Counts a packet, reports it, looks what it shows of its source, and translates the verdict.
struct Conclusion<'a, const REHEARSED: bool, const FRAGS: bool>(&'a Packet<'a, FRAGS>);

impl<const REHEARSED: bool, const FRAGS: bool> Conclude<Ending>
    for Conclusion<'_, REHEARSED, FRAGS>
{
    #[inline(always)]
    fn conclude(self, outcome: Outcome) -> Ending {
        let count = counters::count(self.0, &outcome);
        events::report::<FRAGS>(self.0.ctx, &outcome, count);
        let notice = match (outcome.reason(), outcome.rule()) {
            (Reason::Limit, Some(slot)) => questions::note_over_limit(slot).into(),
            _ => scan::note(self.0, &outcome, count),
        };
        if REHEARSED {
            rehearsal::pronounce(&outcome);
        }
        Ending::of(action(&outcome), &outcome, notice)
    }
}

#[inline(always)]
fn action(outcome: &Outcome) -> u32 {
    match outcome.reason().verdict() {
        Verdict::Pass => xdp_action::XDP_PASS,
        Verdict::Drop => xdp_action::XDP_DROP,
        Verdict::Answer => xdp_action::XDP_TX,
    }
}

/// The end of a packet's way through the filter, with what becomes of it: all paths meet here,
/// since a tail call in many places would be a function of its own, which returns.
#[inline(always)]
fn leave<const REHEARSED: bool, const FRAGS: bool>(ctx: &XdpContext, ending: Ending) -> u32 {
    ending.tell::<FRAGS>(ctx);
    let action = ending.action();
    if action == xdp_action::XDP_TX {
        // No candidate judges what has become its own answer.
        return cookies::send_cookie(ctx.ctx);
    }
    if REHEARSED {
        rehearsal::hand_on(ctx);
    }
    action
}
