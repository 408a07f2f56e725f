//! The programs that the filter is measured against: some do nothing, one does only what
//! every filter must do.

#![no_std]
#![no_main]
#![expect(
    missing_docs,
    reason = "the program attribute leaves the documentation off what it makes"
)]

mod generator;

use aya_ebpf::{
    bindings::{TC_ACT_UNSPEC, xdp_action},
    macros::{classifier, map, xdp},
    maps::PerCpuArray,
    programs::{TcContext, XdpContext},
};
use xdpfw_common::{
    abi::Block,
    wire::{
        Frame, Transport,
        ethernet::{self, Payload},
        ipv4, tcp, udp,
    },
};
use xdpfw_ebpf::packet::Packet;

#[map]
static TOTALS: PerCpuArray<Block> = PerCpuArray::with_max_entries(1, 0);

/// Drops every packet unseen.
#[xdp]
pub fn noop(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}

/// Lets every packet that leaves go on unseen.
#[classifier]
pub fn noop_egress(_ctx: TcContext) -> i32 {
    TC_ACT_UNSPEC
}

/// Passes every packet unseen.
#[xdp]
pub fn pass(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Reads one field of the frame, and drops.
#[xdp]
pub fn touch(ctx: XdpContext) -> u32 {
    match ethernet::payload(&Packet::<false>::new(&ctx)) {
        Ok(_) => xdp_action::XDP_DROP,
        Err(_) => xdp_action::XDP_PASS,
    }
}

/// Parses down to the ports, counts packets and bytes, and drops.
#[xdp]
pub fn floor(ctx: XdpContext) -> u32 {
    let packet = Packet::<false>::new(&ctx);
    match parse_and_count(&packet) {
        Some(()) => xdp_action::XDP_DROP,
        None => xdp_action::XDP_PASS,
    }
}

#[inline(always)]
fn parse_and_count(packet: &Packet<'_, false>) -> Option<()> {
    let Ok(Payload::Ipv4(offset)) = ethernet::payload(packet) else {
        return None;
    };
    let ip = ipv4::parse(packet, offset).ok()?;
    if ip.non_initial_fragment {
        None
    } else if ip.protocol == Transport::Tcp.protocol() {
        let tcp = tcp::parse(packet, &ip.payload).ok()?;
        count(packet, tcp.destination());
        Some(())
    } else if ip.protocol == Transport::Udp.protocol() {
        let udp = udp::parse(packet, &ip.payload).ok()?;
        count(packet, udp.destination());
        Some(())
    } else {
        None
    }
}

/// The port decides where to count, so that the parse cannot be optimised away.
#[inline(always)]
fn count(packet: &Packet<'_, false>, port: u16) {
    if let Some(totals) = TOTALS.get_ptr_mut(0) {
        // SAFETY: a map value of this type, this CPU's own.
        let counter = unsafe { &mut (*totals).totals[0][usize::from(port & 1)] };
        counter.packets += 1;
        counter.bytes += packet.len() as u64;
    }
}
