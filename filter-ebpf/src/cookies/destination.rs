//! Knows for whom a packet is: a listener on all addresses is found for any destination, also for
//! one that this host forwards to.

use aya_ebpf::{
    bindings::{BPF_FIB_LKUP_RET_FWD_DISABLED, BPF_FIB_LKUP_RET_NOT_FWDED},
    helpers::bpf_fib_lookup,
    programs::XdpContext,
};
use xdpfw_common::abi::{BridgePort, FlowKey};

use super::{Scratch, TCP_PROTOCOL, load};
use crate::{
    bare,
    ingress::Ingress as _,
    maps::{bridges, members::link_of},
};

/// Address families of sockets.
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// The interface by which this host's network stack gets what comes in: the bridge of a port, the bond
/// of a member.
#[inline(always)]
pub(super) fn interface(ctx: &XdpContext) -> u32 {
    let link = link_of(ctx.ingress_interface().unwrap_or(0));
    bridges::port(link).map_or(link, |port| port.bridge)
}

/// Whether a packet stays here. One that nobody gets also counts as such: where nothing is forwarded,
/// or nowhere, the kernel drops what is not its own.
#[inline(always)]
pub(super) fn is_here(ctx: &XdpContext, key: &FlowKey, scratch: &mut Scratch) -> bool {
    let link = link_of(ctx.ingress_interface().unwrap_or(0));
    let interface = match bridges::port(link) {
        Some(port) if is_bridged(ctx, port, scratch) => return false,
        Some(port) => port.bridge,
        None => link,
    };
    let route = &mut scratch.route;
    let is_ipv6 = key.family == 6;
    route.family = if is_ipv6 { AF_INET6 } else { AF_INET };
    route.l4_protocol = TCP_PROTOCOL as u8;
    route.sport = u16::from_ne_bytes(key.remote_port);
    route.dport = u16::from_ne_bytes(key.local_port);
    route.ifindex = interface;
    // The kernel has written its answer into these.
    route.__bindgen_anon_1.tot_len = 0;
    route.__bindgen_anon_2.flowinfo = 0;
    // IPv4 takes the first word.
    route.__bindgen_anon_3.ipv6_src = super::words(&key.remote);
    route.__bindgen_anon_4.ipv6_dst = super::words(&key.local);
    let route = &raw mut *route;
    // SAFETY: the context and what is asked live through the call, which is so long.
    let said = unsafe {
        bpf_fib_lookup(
            ctx.ctx.cast(),
            route,
            size_of::<aya_ebpf::bindings::bpf_fib_lookup>() as i32,
            0,
        )
    };
    // Before it looks, it asks whether the interface forwards.
    said == i64::from(BPF_FIB_LKUP_RET_NOT_FWDED)
        || said == i64::from(BPF_FIB_LKUP_RET_FWD_DISABLED)
}

/// Whether a frame that has come in by a port of a bridge is for somebody else than this host.
#[inline(always)]
fn is_bridged(ctx: &XdpContext, port: &BridgePort, scratch: &mut Scratch) -> bool {
    let place = scratch.macs.as_mut_ptr().cast::<[u8; 6]>();
    // SAFETY: there is room for two addresses, of any bytes.
    !bare::is_marked(ctx) && (!load(ctx, 0, place.cast(), 6) || unsafe { *place } != port.mac)
}
