//! Programs that stand in front of a generation with a deadline: until then it judges, and
//! from then on the one before it, whether any process of ours is alive or not.
//!
//! They are apart from the generation, so that one without a deadline pays nothing.

use aya_ebpf::{
    bindings::{TC_ACT_UNSPEC, xdp_action},
    helpers::bpf_ktime_get_boot_ns,
    macros::{classifier, map, xdp},
    maps::{Array, HashMap, ProgramArray},
    programs::{TcContext, XdpContext},
};
use xdpfw_common::{
    Reason,
    abi::{NO_DEADLINE, WAY_AFTER, WAY_BEFORE},
    verdict::Outcome,
};
use xdpfw_ebpf::packet::Packet;

use crate::{ingress::Ingress as _, maps::counters};

/// When the generation ends, in nanoseconds of `CLOCK_BOOTTIME`. Userspace writes it while
/// packets are judged.
#[map]
static DEADLINE: Array<u64> = Array::with_max_entries(1, 0);

/// The programs that judge before the deadline and after it.
#[map]
static WAYS: ProgramArray = ProgramArray::with_max_entries(2, 0);

/// The same for what leaves.
#[map]
static WAYS_EGRESS: ProgramArray = ProgramArray::with_max_entries(2, 0);

/// The interfaces that were not filtered before this generation, and are not after it. The
/// loader sets how many there is room for.
#[map]
static JOINED: HashMap<u32, u32> = HashMap::with_max_entries(1, 0);

/// Goes on in the generation that is in force now.
#[xdp]
pub fn gate(ctx: XdpContext) -> u32 {
    choose::<false>(&ctx)
}

/// The same, in several buffers.
#[xdp(frags)]
pub fn gate_frags(ctx: XdpContext) -> u32 {
    choose::<true>(&ctx)
}

/// The same for what leaves.
#[classifier]
pub fn gate_egress(ctx: TcContext) -> i32 {
    let way = if is_past() { WAY_AFTER } else { WAY_BEFORE };
    // SAFETY: a tail call does not return, or does nothing.
    unsafe { WAYS_EGRESS.tail_call(&ctx, way) };
    // Nothing is recorded on this way.
    TC_ACT_UNSPEC
}

/// Lets everything pass, and counts it.
#[xdp]
pub fn bypass(ctx: XdpContext) -> u32 {
    pass_all::<false>(&ctx)
}

/// The same, in several buffers.
#[xdp(frags)]
pub fn bypass_frags(ctx: XdpContext) -> u32 {
    pass_all::<true>(&ctx)
}

/// Counts a packet that passes since everything does.
#[inline(always)]
pub fn pass_all<const FRAGS: bool>(ctx: &XdpContext) -> u32 {
    pass::<FRAGS>(ctx, Reason::Bypass)
}

#[inline(always)]
fn choose<const FRAGS: bool>(ctx: &XdpContext) -> u32 {
    let way = if is_past() {
        if is_joined(ctx) {
            // Not filtered, and so not handed on either.
            return pass_all::<FRAGS>(ctx);
        }
        WAY_AFTER
    } else {
        WAY_BEFORE
    };
    // SAFETY: a tail call does not return, or does nothing.
    unsafe { WAYS.tail_call(ctx, way) };
    // The array was emptied: its pin is gone. An unfiltered host is easier to repair than one
    // that nobody can reach.
    pass::<FRAGS>(ctx, Reason::NoProgram)
}

#[inline(always)]
fn is_past() -> bool {
    let Some(deadline) = DEADLINE.get_ptr(0) else {
        return false;
    };
    // SAFETY: a map value, aligned. Userspace writes it as one word.
    let deadline = unsafe { deadline.read_volatile() };
    // SAFETY: it has no arguments.
    deadline != NO_DEADLINE && unsafe { bpf_ktime_get_boot_ns() } >= deadline
}

#[inline(always)]
fn is_joined(ctx: &XdpContext) -> bool {
    let interface = ctx.ingress_interface().unwrap_or(0);
    // SAFETY: the loader fills the map before the program runs, and nothing writes to it
    // afterwards.
    unsafe { JOINED.get(interface) }.is_some()
}

#[inline(always)]
fn pass<const FRAGS: bool>(ctx: &XdpContext, reason: Reason) -> u32 {
    counters::count(&Packet::<FRAGS>::new(ctx), &Outcome::of(reason));
    xdp_action::XDP_PASS
}
