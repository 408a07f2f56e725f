//! The mark on packets that begin with their IP header, as layer-3 interfaces (tun)
//! deliver them: a word of metadata, from the dispatcher to the filter.

use aya_ebpf::{helpers::bpf_xdp_adjust_meta, programs::XdpContext};

/// What stands in front of a packet that begins with its IP header: no other program's
/// metadata.
const BARE: u32 = u32::from_be_bytes(*b"bare");

/// Marks a packet that begins with its IP header. Returns whether it could be done.
#[inline(always)]
pub fn mark(ctx: &XdpContext) -> bool {
    // SAFETY: no pointer into the packet is held.
    let result = unsafe { bpf_xdp_adjust_meta(ctx.ctx, -(size_of::<u32>() as i32)) };
    if result != 0 {
        return false;
    }
    match place(ctx) {
        // SAFETY: within the metadata, which is this packet's own.
        Some(place) => unsafe { place.write_unaligned(BARE) },
        None => return false,
    }
    true
}

/// Whether a packet is so marked. Hardly any has metadata at all.
#[inline(always)]
pub fn is_marked(ctx: &XdpContext) -> bool {
    place(ctx).is_some_and(says_so)
}

/// Whether it is the mark that stands there.
#[cold]
#[inline(always)]
fn says_so(place: *mut u32) -> bool {
    // SAFETY: within the metadata.
    unsafe { place.read_unaligned() == BARE }
}

/// Where the mark stands, if there is so much metadata.
#[inline(always)]
fn place(ctx: &XdpContext) -> Option<*mut u32> {
    let start = ctx.metadata();
    // Where a driver has no room for metadata, `start` lies behind the packet's.
    if start + size_of::<u32>() > ctx.metadata_end() {
        return None;
    }
    Some(start as *mut u32)
}
