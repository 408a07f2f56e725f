//! The program's own account of each packet, through aya-log; only the traced
//! flavour of a generation contains it.

use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::info;
use core::net::Ipv4Addr;
use xdpfw_common::{verdict::Outcome, wire::ipv4};

use crate::packet::Packet;

/// Writes a line about a verdict: what came in, what became of it, and why.
#[inline(always)]
pub fn tell(ctx: &XdpContext, packet: &Packet<'_>, outcome: &Outcome) {
    let verdict = outcome.reason().verdict().as_str();
    let reason = outcome.reason().as_str();
    let Some(segment) = outcome.segment() else {
        match outcome.malformation() {
            Some(malformation) => {
                info!(ctx, "{} {}: {}", verdict, reason, malformation.as_str());
            }
            None => info!(ctx, "{} {}", verdict, reason),
        }
        return;
    };
    let Some(addresses) = ipv4::addresses(packet, segment.network) else {
        return;
    };
    let source = Ipv4Addr::from(addresses.source);
    let destination = Ipv4Addr::from(addresses.destination);
    let transport = segment.transport.as_str();
    match outcome.rule() {
        Some(slot) => info!(
            ctx,
            "{} {}: {} {}:{} -> {}:{} slot {}",
            verdict,
            reason,
            transport,
            source,
            segment.remote,
            destination,
            segment.local,
            slot
        ),
        None => info!(
            ctx,
            "{} {}: {} {}:{} -> {}:{}",
            verdict,
            reason,
            transport,
            source,
            segment.remote,
            destination,
            segment.local
        ),
    }
}
