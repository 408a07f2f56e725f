//! Reports packets to whoever traces the filter: an event for each one that is wanted, and
//! through aya-log what no event has room for.
//!
//! A generation that is not traced contains none of this: [`TRACED`] is 0 there, and the
//! verifier removes what depends on it.

use aya_ebpf::{
    bindings::xdp_md,
    helpers::bpf_get_prandom_u32,
    macros::map,
    maps::{Array, PerCpuArray, RingBuf},
    programs::XdpContext,
};
use aya_log_ebpf::debug;
use xdpfw_common::{
    abi::{Event, NO_RULE, ProtocolKind, Wanted},
    verdict::Outcome,
    wire::{
        Frame, Malformation,
        ethernet::{self, VLAN_ID},
        ip,
    },
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

/// Which packets are reported. Whoever reads them says so; before, none are.
#[map]
static WANTED: Array<Wanted> = Array::with_max_entries(1, 0);

/// How many packets are not reported, since too many events wait to be read.
#[map]
static UNREPORTED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

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
    write(&packet, &packet, vlans_plain(ctx.ctx))
}

/// The same for packets in several buffers.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn report_frags(ctx: *mut xdp_md) -> u32 {
    let ctx = XdpContext::new(ctx);
    let packet = frame::<true>(&ctx);
    match Copy::of(&packet) {
        Some(copy) => write(&packet, &copy, vlans_frags(ctx.ctx)),
        None => write(&packet, &packet, vlans_frags(ctx.ctx)),
    }
}

/// The VLANs of a packet in one number, since the verifier would go through all that follows
/// once for each number of tags: the count in bits 24 and up, below it the identifiers of
/// twelve bits, the inner one lowest.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn vlans_plain(ctx: *mut xdp_md) -> u32 {
    let ctx = XdpContext::new(ctx);
    vlans(&frame::<false>(&ctx))
}

/// The same for packets in several buffers.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn vlans_frags(ctx: *mut xdp_md) -> u32 {
    let ctx = XdpContext::new(ctx);
    let packet = frame::<true>(&ctx);
    match Copy::of(&packet) {
        Some(copy) => vlans(&copy),
        None => vlans(&packet),
    }
}

#[inline(always)]
fn vlans<F: Frame>(frame: &F) -> u32 {
    let (tags, count) = ethernet::vlan_tags(frame);
    let [outer, inner] = tags.map(|tag| u32::from(u16::from_be_bytes(tag) & VLAN_ID));
    u32::from(count) << 24 | outer << 12 | inner
}

/// Writes the event if it is wanted. `frame` is where the packet's headers can be read. Returns
/// 0, since the verifier takes no function that returns nothing.
#[inline(always)]
fn write<const FRAGS: bool, F: Frame>(packet: &Packet<'_, FRAGS>, frame: &F, vlans: u32) -> u32 {
    let Some(outcome) = OUTCOME.get_ptr(0) else {
        return 0;
    };
    // SAFETY: written just before, and not again before the end.
    let outcome = unsafe { &*outcome };
    if !WANTED
        .get(0)
        .is_some_and(|wanted| is_wanted(wanted, frame, outcome) && is_sampled(wanted))
    {
        return 0;
    }
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
            fill(
                unsafe { &mut *entry.as_mut_ptr() },
                packet,
                frame,
                vlans,
                outcome,
            );
            entry.submit(0);
        }
        None => {
            if let Some(unreported) = UNREPORTED.get_ptr_mut(0) {
                // SAFETY: a map value of this type, this CPU's own.
                unsafe { *unreported += 1 };
            }
        }
    }
    0
}

/// Whether the reader wants to know of a packet. What it does not want takes no room from what
/// it does.
#[inline(always)]
fn is_wanted<F: Frame>(wanted: &Wanted, frame: &F, outcome: &Outcome) -> bool {
    if wanted.reasons >> outcome.reason().slot() & 1 == 0 {
        return false;
    }
    if wanted.slot != NO_RULE && outcome.rule() != Some(wanted.slot) {
        return false;
    }
    let Some(fields) = outcome.fields() else {
        return wanted.port == [0; 2] && wanted.mask == [0; 16];
    };
    if wanted.port != [0; 2] {
        let has_ports = matches!(fields.kind, ProtocolKind::Tcp | ProtocolKind::Udp);
        if !has_ports || fields.local.to_be_bytes() != wanted.port {
            return false;
        }
    }
    if wanted.mask == [0; 16] {
        return true;
    }
    match ip::addresses(frame, frame.settle(fields.network)) {
        Some((_, source, _)) => {
            let [source, mask, network] =
                [source.octets(), wanted.mask, wanted.source].map(u128::from_ne_bytes);
            source & mask == network
        }
        None => false,
    }
}

/// Whether this packet is one of the sample.
#[inline(always)]
fn is_sampled(wanted: &Wanted) -> bool {
    // SAFETY: the helper takes nothing and gives a number.
    wanted.sample <= 1 || unsafe { bpf_get_prandom_u32() } % wanted.sample == 0
}

/// Writes the event for a packet and the verdict on it, in its place: the stack has no room
/// for it.
#[inline(always)]
pub fn fill<const FRAGS: bool, F: Frame>(
    event: &mut Event,
    packet: &Packet<'_, FRAGS>,
    frame: &F,
    vlans: u32,
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
    event.vlans = [vlans >> 12, vlans].map(|vlan| (vlan as u16 & VLAN_ID).to_be_bytes());
    event.vlan_count = (vlans >> 24) as u8;
    event.flags = 0;
    event.padding = [0; 2];
    if let Some(fields) = outcome.fields()
        && let Some((version, source, destination)) =
            ip::addresses(frame, frame.settle(fields.network))
    {
        event.source = source.octets();
        event.destination = destination.octets();
        event.remote = fields.remote.to_be_bytes();
        event.local = fields.local.to_be_bytes();
        event.kind = fields.kind as u8;
        event.flags = fields.flags.bits();
        event.family = version;
    }
}
