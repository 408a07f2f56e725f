//! Reports each packet to whoever traces the filter: an event for the packet, and through
//! aya-log what no event has room for.
//!
//! A generation that is not traced contains none of this: [`TRACED`] is 0 there, and the
//! verifier removes what depends on it.

use aya_ebpf::{macros::map, maps::RingBuf};
use aya_log_ebpf::{debug, warn};
use xdpfw_common::{
    abi::{Event, NO_RULE},
    verdict::Outcome,
    wire::{Frame, Malformation, ip},
};
use xdpfw_ebpf::packet::{Context, Packet};

use crate::ingress::Ingress;

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

/// Reports a packet and the verdict on it. `frame` is where its headers can be read.
#[inline(always)]
pub fn report<const FRAGS: bool, C: Context + Ingress, F: Frame>(
    packet: &Packet<'_, FRAGS, C>,
    frame: &F,
    outcome: &Outcome,
) {
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
            entry.write(event(packet, frame, outcome));
            entry.submit(0);
        }
        None => warn!(
            packet.ctx,
            "a packet is not shown: too many wait to be read"
        ),
    }
}

/// The event for a packet and the verdict on it.
#[inline(always)]
fn event<const FRAGS: bool, C: Context + Ingress, F: Frame>(
    packet: &Packet<'_, FRAGS, C>,
    frame: &F,
    outcome: &Outcome,
) -> Event {
    let mut event = Event {
        source: [0; 16],
        destination: [0; 16],
        slot: outcome.rule().unwrap_or(NO_RULE),
        interface: packet.ctx.ingress_interface(),
        len: packet.len() as u32,
        remote: [0; 2],
        local: [0; 2],
        reason: outcome.reason().slot() as u8,
        kind: 0,
        family: 0,
        malformation: outcome.malformation().map_or(0, Malformation::code),
    };
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
    event
}
