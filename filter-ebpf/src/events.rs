//! Reports each packet to whoever traces the filter: an event for the packet, and through
//! aya-log what no event has room for.
//!
//! A generation that is not traced contains none of this: [`TRACED`] is 0 there, and the
//! verifier removes what depends on it.

use aya_ebpf::{
    bindings::xdp_md,
    macros::map,
    maps::{PerCpuArray, RingBuf},
    programs::XdpContext,
};
use aya_log_ebpf::{debug, warn};
use xdpfw_common::{
    abi::{Event, NO_RULE},
    verdict::Outcome,
    wire::{Frame, Malformation, ip},
};
use xdpfw_ebpf::packet::Packet;

use crate::{frags::Copy, frame, ingress::Ingress as _};

/// Whether packets are reported. Written by the loader; the verifier sees a constant.
#[unsafe(no_mangle)]
static TRACED: u32 = 0;

/// Events that nobody has read yet, two thousand at most. The loader makes it as small as
/// can be where none are written.
#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 17, 0);

/// Whether packets are reported.
#[inline(always)]
pub fn are_wanted() -> bool {
    // SAFETY: a reference, so aligned and initialised.
    unsafe { core::ptr::read_volatile(&TRACED) != 0 }
}

/// The verdict on the packet to be reported. Nothing else runs on this CPU before the report.
#[map]
static OUTCOME: PerCpuArray<Outcome> = PerCpuArray::with_max_entries(1, 0);

/// Reports a packet and the verdict on it.
#[inline(always)]
pub fn report<const FRAGS: bool>(ctx: &XdpContext, outcome: &Outcome) {
    if let Some(place) = OUTCOME.get_ptr_mut(0) {
        // SAFETY: a map value of this type, this CPU's own.
        unsafe { place.write(*outcome) };
    }
    if FRAGS {
        report_frags(ctx.ctx);
    } else {
        report_plain(ctx.ctx);
    }
}

/// Functions of their own, for the reason that [`questions`](crate::questions) have.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn report_plain(ctx: *mut xdp_md) -> u32 {
    let ctx = XdpContext::new(ctx);
    let packet = frame::<false>(&ctx);
    write(&packet, &packet)
}

/// The same for packets in several buffers.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn report_frags(ctx: *mut xdp_md) -> u32 {
    let ctx = XdpContext::new(ctx);
    let packet = frame::<true>(&ctx);
    match Copy::of(&packet) {
        Some(copy) => write(&packet, &copy),
        None => write(&packet, &packet),
    }
}

/// Writes the event. `frame` is where the packet's headers can be read. Returns 0, since the
/// verifier takes no function that returns nothing.
#[inline(always)]
fn write<const FRAGS: bool, F: Frame>(packet: &Packet<'_, FRAGS>, frame: &F) -> u32 {
    let Some(outcome) = OUTCOME.get_ptr(0) else {
        return 0;
    };
    // SAFETY: written just before, and not again before the end.
    let outcome = unsafe { &*outcome };
    if let Some(malformation) = outcome.malformation() {
        debug!(
            packet.ctx,
            "malformed: {}, {} bytes, {} of them in the first buffer",
            malformation.as_str(),
            packet.len() as u64,
            packet.first_buffer() as u64
        );
    }
    match EVENTS.reserve::<Event>(0) {
        Some(mut entry) => {
            // SAFETY: as large as an event, which any bytes are.
            fill(unsafe { &mut *entry.as_mut_ptr() }, packet, frame, outcome);
            entry.submit(0);
        }
        None => warn!(
            packet.ctx,
            "a packet is not shown: too many wait to be read"
        ),
    }
    0
}

/// Writes the event for a packet and the verdict on it, in its place: the stack has no room
/// for it.
#[inline(always)]
fn fill<const FRAGS: bool, F: Frame>(
    event: &mut Event,
    packet: &Packet<'_, FRAGS>,
    frame: &F,
    outcome: &Outcome,
) {
    event.source = [0; 16];
    event.destination = [0; 16];
    event.slot = outcome.rule().unwrap_or(NO_RULE);
    event.interface = packet.ctx.ingress_interface().unwrap_or(0);
    event.len = packet.len() as u32;
    event.remote = [0; 2];
    event.local = [0; 2];
    event.reason = outcome.reason().slot() as u8;
    event.kind = 0;
    event.family = 0;
    event.malformation = outcome.malformation().map_or(0, Malformation::code);
    if let Some(fields) = outcome.fields()
        && let Some((version, source, destination)) =
            ip::addresses(frame, frame.settle(fields.network))
    {
        event.source = source.octets();
        event.destination = destination.octets();
        event.remote = fields.remote.to_be_bytes();
        event.local = fields.local.to_be_bytes();
        event.kind = fields.kind as u8;
        event.family = version;
    }
}
