//! The traffic that benchmarks drop: turns the frame it is run on into a probe
//! of another port each time. Owns nothing of the filter.

use aya_ebpf::{
    bindings::xdp_action,
    macros::{map, xdp},
    maps::PerCpuArray,
    programs::XdpContext,
};

/// Ports that are probed, from 1 on.
const PORTS: u32 = 60_000;
/// From one probe to the next. It shares no divisor with [`PORTS`], so each port
/// is probed once before any is probed again; and neighbours are far apart, as
/// in a scan in random order, so no cache line of counters serves two probes.
const STRIDE: u32 = 37_087;
/// Of the destination port, behind Ethernet and IPv4 without options.
const OFFSET: usize = 14 + 20 + 2;

/// The port last probed, from 0 on.
#[map]
static LAST: PerCpuArray<u32> = PerCpuArray::with_max_entries(1, 0);

/// Sends a TCP or UDP frame out again, to the next port. Checksums are left as
/// they are: nothing that judges packets in XDP looks at them.
#[xdp]
pub fn generator(ctx: XdpContext) -> u32 {
    let Some(last) = LAST.get_ptr_mut(0) else {
        return xdp_action::XDP_ABORTED;
    };
    let field = ctx.data() + OFFSET;
    if field + size_of::<u16>() > ctx.data_end() {
        return xdp_action::XDP_ABORTED;
    }
    // SAFETY: a map value of this type, this CPU's own.
    let mut next = unsafe { *last } + STRIDE;
    if next >= PORTS {
        next -= PORTS;
    }
    let port = (next as u16 + 1).to_be();
    // SAFETY: as above; and the field lies before the packet's end, at an even
    // address, since frames begin at one.
    unsafe {
        *last = next;
        *(field as *mut u16) = port;
    }
    xdp_action::XDP_TX
}
