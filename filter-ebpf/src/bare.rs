//! Marks packets that begin with their IP header, as layer-3 interfaces (tun) deliver
//! them: the dispatcher writes a word of XDP metadata in front of the packet, and the
//! filter reads it there.
//!
//! A program that redirects a packet to an interface may write metadata as well. So the
//! dispatcher first removes what it finds: the filter must never see a mark that our own
//! dispatcher did not write.

use aya_ebpf::{helpers::bpf_xdp_adjust_meta, programs::XdpContext};
use xdpfw_common::abi::BARE_MARK;

/// Removes the metadata in front of the packet, whoever left it there. Returns whether none is
/// left.
#[inline(always)]
pub fn remove_all(ctx: &XdpContext) -> bool {
    let (start, end) = (ctx.metadata(), ctx.metadata_end());
    // Where a driver has no room for metadata, `start` lies behind `end`.
    start >= end || remove(ctx, end - start)
}

/// Removes so many bytes of metadata: all there are.
#[cold]
#[inline(always)]
fn remove(ctx: &XdpContext, len: usize) -> bool {
    // SAFETY: no pointer into the packet is held.
    unsafe { bpf_xdp_adjust_meta(ctx.ctx, len as i32) == 0 }
}

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
        Some(place) => unsafe { place.write_unaligned(BARE_MARK) },
        None => return false,
    }
    true
}

/// Whether a packet is so marked. Hardly any has metadata at all.
#[inline(always)]
pub fn is_marked(ctx: &XdpContext) -> bool {
    place(ctx).is_some_and(is_mark)
}

/// Whether the mark stands at `place`.
#[cold]
#[inline(always)]
fn is_mark(place: *mut u32) -> bool {
    // SAFETY: within the metadata.
    unsafe { place.read_unaligned() == BARE_MARK }
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
