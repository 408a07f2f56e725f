//! The egress dispatchers: what happens to a packet that leaves. They change nothing of it
//! and never say what becomes of it.

use aya_ebpf::{
    bindings::TC_ACT_UNSPEC,
    macros::{classifier, map},
    maps::ProgramArray,
    programs::TcContext,
};
use xdpfw_common::abi::{BARE_MARK, BARE_MARK_CB};

/// The egress half of the generation in force. An array of its own, since a program array
/// holds programs of one type.
#[map]
static CURRENT_EGRESS: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The program that stays attached while generations come and go.
#[classifier]
pub fn dispatcher_egress(ctx: TcContext) -> i32 {
    dispatch(ctx, 0)
}

/// The same for interfaces whose packets begin with the IP header.
#[classifier]
pub fn dispatcher_egress_l3(ctx: TcContext) -> i32 {
    dispatch(ctx, BARE_MARK)
}

/// Marks a packet, or writes that it has no mark, and goes on in the generation in force.
///
/// The mark stands in the control buffer, which a tail call leaves as it is. It is written
/// either way: what another program left there must not be taken for a mark.
#[inline(always)]
fn dispatch(mut ctx: TcContext, mark: u32) -> i32 {
    ctx.cb_mut()[BARE_MARK_CB] = mark;
    // SAFETY: a tail call does not return, or does nothing.
    unsafe { CURRENT_EGRESS.tail_call(&ctx, 0) };
    // The slot is empty. This goes on with the next program of the interface, under TCX as
    // under clsact, and sends the packet if there is none.
    TC_ACT_UNSPEC
}
