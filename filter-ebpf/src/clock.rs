//! Tells the loader the time that flows are kept in.

use aya_ebpf::{bindings::xdp_action, helpers::bpf_jiffies64, macros::xdp, programs::XdpContext};

/// Writes the time, 64 bits in the host's byte order, to the beginning of the packet. Never
/// attached: the loader runs it once.
#[xdp]
pub fn clock(ctx: XdpContext) -> u32 {
    let place = ctx.data();
    if place + size_of::<u64>() <= ctx.data_end() {
        // SAFETY: it has no arguments.
        let now = unsafe { bpf_jiffies64() };
        // SAFETY: within the packet, as just checked.
        unsafe { (place as *mut u64).write_unaligned(now) };
    }
    xdp_action::XDP_PASS
}
