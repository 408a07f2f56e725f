//! Hands what passes on to another program, which the operator has pinned: its verdict is the
//! packet's then.
//!
//! These are programs of their own. A tail call costs the program that it is in, at its start
//! and at each call of a function, even where the verifier finds that it is never reached.

use aya_ebpf::{
    bindings::xdp_action,
    macros::{map, xdp},
    maps::ProgramArray,
    programs::XdpContext,
};

use crate::{bare, filter_in_one, filter_in_several, gate};

/// The other program. Userspace fills it before this one runs.
#[map]
static NEXT: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// A generation behind which another program runs.
#[xdp]
#[inline(always)]
pub fn filter_then(ctx: XdpContext) -> u32 {
    hand_on(&ctx, filter_in_one::<false>(&ctx))
}

/// The same, in several buffers.
#[xdp(frags)]
#[inline(always)]
pub fn filter_then_frags(ctx: XdpContext) -> u32 {
    hand_on(&ctx, filter_in_several::<false>(&ctx))
}

/// Hands on everything, and counts it.
#[xdp]
pub fn bypass_then(ctx: XdpContext) -> u32 {
    hand_on(&ctx, gate::pass_all::<false>(&ctx))
}

/// The same, in several buffers.
#[xdp(frags)]
pub fn bypass_then_frags(ctx: XdpContext) -> u32 {
    hand_on(&ctx, gate::pass_all::<true>(&ctx))
}

/// The end of a packet's way, which is counted already: if it passes, it goes on in the other
/// program, as it came by the wire.
#[inline(always)]
pub fn hand_on(ctx: &XdpContext, action: u32) -> u32 {
    if action != xdp_action::XDP_PASS {
        return action;
    }
    // Our own mark: of other metadata, the dispatcher has left none. Should it stay, the other
    // program sees it no more than metadata that it does not read.
    bare::remove_all(ctx);
    // SAFETY: a tail call does not return, or does nothing.
    unsafe { NEXT.tail_call(ctx, 0) };
    // The array was emptied: its pin is gone. The packet passes, as it does where no other
    // program is: it was judged already.
    action
}
