//! Looks for scans among what is dropped, and bans who scans, if the policy says so.
//!
//! Without `[scan]` in the policy, the verifier removes all of it.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};
use xdpfw_common::{
    abi::{
        FOUND_BANNED, FOUND_CAPPED, FOUND_TRUSTED, NOTICE_BAN, NOTICE_SCAN, Note, OpenerOrigin,
        SCAN_SAMPLE, Source, ban_key, ban_source,
    },
    flows::is_lately,
    scan::{self, Kind, Place},
    verdict::Outcome,
    wire::{Frame, ip::Addresses},
};

use crate::{
    events,
    frags::Copy,
    frame,
    maps::{flows::Known, opener_bans, opener_bans::Banned, scan as maps},
};

/// In what is handed to [`scanned_plain`]: where the kind is, above the port.
const KIND_SHIFT: u32 = 16;
/// Where it says that the packet is counted.
const SAMPLED: u32 = 1 << 24;
/// In what it returns: where the evidence is, above the notice.
const EVIDENCE_SHIFT: u32 = 8;

/// Notes a packet that is counted as this one for its reason, if it may be part of a scan.
#[inline(always)]
pub fn note<const FRAGS: bool>(ctx: &XdpContext, outcome: &Outcome, count: u64) {
    if !maps::is_on() {
        return;
    }
    let Some((kind, fields)) = Kind::of(outcome) else {
        return;
    };
    let mut what = u32::from(fields.local) | (kind as u32) << KIND_SHIFT;
    if count as u32 & (SCAN_SAMPLE - 1) == 0 {
        what |= SAMPLED;
    }
    let network = fields.network as u32;
    let notice = match FRAGS {
        true => scanned_frags(ctx.ctx, network, what),
        false => scanned_plain(ctx.ctx, network, what),
    };
    if notice != 0 {
        events::notice::<FRAGS>(ctx, outcome, notice as u8, (notice >> EVIDENCE_SHIFT) as u8);
    }
}

// Functions of their own, for the reason that `questions` have.

/// Notes a packet whose IP header is at `network`; what there is to tell of it, or 0.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn scanned_plain(ctx: *mut xdp_md, network: u32, what: u32) -> u32 {
    let ctx = XdpContext::new(ctx);
    scanned(&frame::<false>(&ctx), network, what)
}

/// The same for packets in several buffers.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn scanned_frags(ctx: *mut xdp_md, network: u32, what: u32) -> u32 {
    let ctx = XdpContext::new(ctx);
    let packet = frame::<true>(&ctx);
    match Copy::of(&packet) {
        Some(copy) => scanned(&copy, network, what),
        None => scanned(&packet, network, what),
    }
}

#[inline(always)]
fn scanned<F: Frame>(frame: &F, network: u32, what: u32) -> u32 {
    let (port, number) = (what as u16, (what >> KIND_SHIFT) as u8);
    let offset = frame.settle(network as usize);
    let Some(header) = frame.read::<Ipv4Hdr>(offset) else {
        return 0;
    };
    let (source, hops_left) = if header.vihl >> 4 == 6 {
        let Some(header) = frame.read::<Ipv6Hdr>(offset) else {
            return 0;
        };
        (ban_source(&Addresses::of_ipv6(header)), header.hop_limit)
    } else {
        (ban_source(&Addresses::of_ipv4(header)), header.ttl)
    };
    let Some(kind) = kind(number) else {
        return 0;
    };
    if kind.is_traceroute(port, hops_left) || is_late(kind, port) {
        return 0;
    }
    let Some(state) = maps::state() else {
        return 0;
    };
    let key = ban_key(&source);
    // SAFETY: a map value of this type, whose secret nobody writes once packets come in.
    let place = Place::of(&key, kind, unsafe { &(*state).secret });
    let Some(slot) = maps::slot(place.index()) else {
        return 0;
    };
    let packets = if what & SAMPLED != 0 { SCAN_SAMPLE } else { 0 };
    let (now, config) = (maps::now() as u32, maps::config());
    if !scan::note(slot, place, (&key, kind), (port, packets), now, &config) {
        return 0;
    }
    let mut notice = NOTICE_SCAN;
    if matches!(kind, Kind::Syn) && config.ban != 0 {
        slot.set_mark(ban(&source, config.ban, &mut notice));
    }
    u32::from(notice) | u32::from(slot.evidence()) << EVIDENCE_SHIFT
}

/// Bans a source that scans; the mark of what came of it.
#[inline(always)]
fn ban(source: &Source, duration: u64, notice: &mut u8) -> u8 {
    match opener_bans::ban(source, OpenerOrigin::Scan, duration) {
        Banned::Yes => {
            *notice |= NOTICE_BAN;
            FOUND_BANNED
        }
        Banned::Trusted => FOUND_TRUSTED,
        Banned::Capped => FOUND_CAPPED,
    }
}

/// Whether a packet may be late for what this host has sent from its port.
#[inline(always)]
fn is_late(kind: Kind, port: u16) -> bool {
    let note = match kind {
        Kind::Udp => Note::Udp,
        _ => Note::Tcp,
    };
    kind.may_be_late() && is_lately(&Known, note, port.to_be_bytes())
}

/// The kind with a number.
#[inline(always)]
fn kind(number: u8) -> Option<Kind> {
    Some(match number {
        1 => Kind::Syn,
        2 => Kind::Udp,
        3 => Kind::Null,
        4 => Kind::Xmas,
        5 => Kind::Fin,
        6 => Kind::Ack,
        7 => Kind::Other,
        _ => return None,
    })
}
