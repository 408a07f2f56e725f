//! Rehearses a policy: behind the generation in force, a candidate judges each packet, too, and
//! counts where it would do otherwise. What becomes of the packet, the first one decides.
//!
//! The candidate is a generation of its own, with its own flows and its own recorder, so that it
//! judges as it would in force. A generation that no candidate is behind has none of this.

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, BPF_NOEXIST, TC_ACT_UNSPEC, xdp_action, xdp_md},
    macros::{classifier, map, xdp},
    maps::{HashMap, PerCpuArray, ProgramArray},
    programs::{TcContext, XdpContext},
};
use xdpfw_common::{
    abi::{Difference, MAX_DIFFERENCES, NO_KIND, NO_RULE, Otherwise, Sentence},
    verdict::{self, Outcome},
    wire::Frame,
};
use xdpfw_ebpf::packet::Packet;

use crate::{
    action, ending::Ending, events, filter_in_one, filter_in_several, frags::Copy, frame,
    host::Kernel, leave, recorder::record,
};

/// The candidate behind a generation.
#[map]
static CANDIDATE: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Its recorder.
#[map]
static CANDIDATE_EGRESS: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The verdict that holds on the packet. Generation and candidate share it, and nothing else of
/// its kind runs on this CPU between them.
#[map]
static SENTENCE: PerCpuArray<Sentence> = PerCpuArray::with_max_entries(1, 0);

/// What the candidate judges otherwise. Memory is taken for what there is.
#[map]
static DIFFERENCES: HashMap<Otherwise, Difference> =
    HashMap::with_max_entries(MAX_DIFFERENCES as u32, BPF_F_NO_PREALLOC);

#[map]
static CROWDED_OUT: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// The candidate's verdict. Nothing else of its kind runs on this CPU before it is noted.
#[map]
static OPINION: PerCpuArray<Outcome> = PerCpuArray::with_max_entries(1, 0);

/// A difference before it is in its place: the stack has no room for it.
#[map]
static FIRST: PerCpuArray<Difference> = PerCpuArray::with_max_entries(1, 0);

/// A generation in front of a candidate.
#[xdp]
#[inline(always)]
pub fn filter_rehearsed(ctx: XdpContext) -> u32 {
    filter_in_one::<true>(&ctx)
}

/// The same, in several buffers.
#[xdp(frags)]
#[inline(always)]
pub fn filter_rehearsed_frags(ctx: XdpContext) -> u32 {
    filter_in_several::<true>(&ctx)
}

/// The egress half of a generation in front of a candidate.
#[classifier]
#[inline(always)]
pub fn recorder_rehearsed(ctx: TcContext) -> i32 {
    record(&ctx);
    // SAFETY: a tail call does not return, or does nothing.
    unsafe { CANDIDATE_EGRESS.tail_call(&ctx, 0) };
    TC_ACT_UNSPEC
}

/// A candidate.
#[xdp]
pub fn shadow(ctx: XdpContext) -> u32 {
    let packet = frame::<false>(&ctx);
    compare::<false, _>(&ctx, &packet)
}

/// The same, in several buffers.
#[xdp(frags)]
pub fn shadow_frags(ctx: XdpContext) -> u32 {
    let packet = frame::<true>(&ctx);
    match Copy::of(&packet) {
        Some(copy) => compare::<true, _>(&ctx, &copy),
        None => compare::<true, _>(&ctx, &packet),
    }
}

/// Leaves the verdict that holds for the candidate.
#[inline(always)]
pub fn pronounce(outcome: &Outcome) {
    let Some(place) = SENTENCE.get_ptr_mut(0) else {
        return;
    };
    let sentence = Sentence {
        action: action(outcome),
        reason: outcome.reason().slot() as u32,
        slot: outcome.rule().unwrap_or(NO_RULE),
    };
    // SAFETY: a map value of this type, this CPU's own.
    unsafe { place.write(sentence) };
}

/// Has the candidate judge a packet, too, which ends with the verdict on it all the same.
/// Returns only where there is none.
#[inline(always)]
pub fn hand_on(ctx: &XdpContext) {
    // SAFETY: a tail call does not return, or does nothing.
    unsafe { CANDIDATE.tail_call(ctx, 0) };
}

/// Judges a packet, and notes it if the verdict that holds is another one.
#[inline(always)]
fn compare<const FRAGS: bool, F: Frame>(ctx: &XdpContext, frame: &F) -> u32 {
    let outcome = verdict::judge(frame, &Kernel::new(ctx));
    let Some(sentence) = sentence() else {
        // Never reached: the map has one element.
        return xdp_action::XDP_DROP;
    };
    if action(&outcome) != sentence.action {
        if let Some(place) = OPINION.get_ptr_mut(0) {
            // SAFETY: a map value of this type, this CPU's own.
            unsafe { place.write(outcome) };
        }
        if FRAGS {
            note_several(ctx.ctx);
        } else {
            note_one(ctx.ctx);
        }
    }
    leave::<false, FRAGS>(ctx, Ending::only(sentence.action))
}

#[inline(always)]
fn sentence() -> Option<Sentence> {
    // SAFETY: a map value of this type, this CPU's own; all zero, it is one, too.
    SENTENCE.get_ptr(0).map(|place| unsafe { *place })
}

/// Functions of their own, for the reason that [`questions`](crate::questions) have.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn note_one(ctx: *mut xdp_md) -> u32 {
    let ctx = XdpContext::new(ctx);
    let packet = frame::<false>(&ctx);
    note(&packet, &packet)
}

/// The same for packets in several buffers.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn note_several(ctx: *mut xdp_md) -> u32 {
    let ctx = XdpContext::new(ctx);
    let packet = frame::<true>(&ctx);
    match Copy::of(&packet) {
        Some(copy) => note(&packet, &copy),
        None => note(&packet, &packet),
    }
}

/// Notes that a packet is judged otherwise. Returns 0, since the verifier takes no function that
/// returns nothing.
#[inline(always)]
fn note<const FRAGS: bool, F: Frame>(packet: &Packet<'_, FRAGS>, frame: &F) -> u32 {
    let (Some(sentence), Some(outcome)) = (sentence(), OPINION.get_ptr(0)) else {
        return 0;
    };
    // SAFETY: written just before, and not again before the end.
    let outcome = unsafe { &*outcome };
    let (kind, local) = match outcome.fields() {
        Some(fields) => (fields.kind as u8, fields.local),
        None => (NO_KIND, 0),
    };
    let key = Otherwise {
        live_slot: sentence.slot,
        next_slot: outcome.rule().unwrap_or(NO_RULE),
        live_reason: sentence.reason as u8,
        next_reason: outcome.reason().slot() as u8,
        kind,
        padding: 0,
        local: local.to_be_bytes(),
        more_padding: [0; 2],
    };
    if !add(&key) && !insert(&key, packet, frame, outcome) && !add(&key) {
        crowd_out();
    }
    0
}

/// Counts one more packet of a difference that is known.
#[inline(always)]
fn add(key: &Otherwise) -> bool {
    let Some(difference) = DIFFERENCES.get_ptr_mut(key) else {
        return false;
    };
    // SAFETY: a map value of this type, aligned; all count atomically.
    unsafe { add_atomically(difference.cast()) };
    true
}

/// Remembers the first packet of a difference. Where another CPU was faster, it does not.
#[inline(always)]
fn insert<const FRAGS: bool, F: Frame>(
    key: &Otherwise,
    packet: &Packet<'_, FRAGS>,
    frame: &F,
    outcome: &Outcome,
) -> bool {
    let Some(place) = FIRST.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: a map value of this type, this CPU's own; all zero, it is one, too.
    let first = unsafe { &mut *place };
    first.packets = 1;
    first.sample.reason = outcome.reason().slot() as u8;
    first.sample.slot = outcome.rule().unwrap_or(NO_RULE);
    events::fill(&mut first.sample, packet, outcome);
    events::fill_addresses(&mut first.sample, frame);
    DIFFERENCES.insert(key, first, BPF_NOEXIST.into()).is_ok()
}

#[inline(always)]
fn crowd_out() {
    if let Some(count) = CROWDED_OUT.get_ptr_mut(0) {
        // SAFETY: a map value of this type, this CPU's own.
        unsafe { *count += 1 };
    }
}

/// Adds one to a word to which others add at the same time. For this target, `core` has no
/// function that does.
///
/// # Safety
///
/// `word` is aligned and initialised, and everybody changes it atomically.
#[inline(always)]
unsafe fn add_atomically(word: *mut u64) {
    // SAFETY: one atomic instruction, on what the caller vouches for.
    #[cfg(target_arch = "bpf")]
    unsafe {
        core::arch::asm!(
            "lock *(u64 *)({word} + 0) += {one}",
            word = in(reg) word,
            one = in(reg) 1_u64,
            options(nostack),
        );
    }
    // SAFETY: the caller vouches.
    #[cfg(not(target_arch = "bpf"))]
    unsafe {
        use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
        AtomicU64::from_ptr(word).fetch_add(1, Relaxed);
    }
}
