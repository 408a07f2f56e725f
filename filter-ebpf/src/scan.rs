//! Looks for scans among what is dropped, and bans who scans, if the policy says so.
//!
//! Without `[scan]` in the policy, the verifier removes all of it.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use network_types::ip::{Ipv4Hdr, Ipv6Hdr};
use xdpfw_common::{
    abi::{
        BanKey, FOUND_BANNED, FOUND_CAPPED, FOUND_TRUSTED, NOTICE_BAN, NOTICE_SCAN, Note,
        OpenerOrigin, SCAN_SAMPLE, Source, V4, ban_source,
    },
    flows::is_lately,
    scan::{self, Kind, Place, Slot},
    verdict::Outcome,
    wire::{Frame, ip::Addresses},
};
use xdpfw_ebpf::packet::{Packet, forget, opaque, word};

use crate::{
    frame,
    maps::{flows::Known, opener_bans, opener_bans::Banned, scan as maps},
};

/// In what is handed to [`note_scan`]: where the kind is, above the port.
const KIND_SHIFT: u32 = 16;
/// Where it says that the packet is counted.
const SAMPLED: u32 = 1 << 24;
/// In what it returns: where the evidence is, above the notice.
const EVIDENCE_SHIFT: u32 = 8;

/// Notes a packet that is counted as this one for its reason, if it may be part of a scan. Of one in
/// several buffers, the first must have the IP header: scans are small. What there is to tell of it, and
/// the [evidence](EVIDENCE_SHIFT), or 0.
#[inline(always)]
pub fn note<const FRAGS: bool>(packet: &Packet<'_, FRAGS>, outcome: &Outcome, count: u64) -> u32 {
    if !maps::is_on() {
        return 0;
    }
    let Some((kind, fields)) = Kind::of(outcome) else {
        return 0;
    };
    // Before the place is looked for: what is found there is then at hand, and not put aside for this
    // call.
    let now = maps::now();
    // So it does not matter to the verifier which way led here; for that, any number will do.
    let network = forget(fields.network, now);
    let Some(key) = key(packet, network) else {
        return 0;
    };
    // At once, or the count is put aside instead.
    let is_counted = opaque(count as usize & (SCAN_SAMPLE as usize - 1)) == 0;
    let place = Place::of(&key, kind, &maps::secret());
    let told = (fields.local, is_counted);
    let tag = maps::tag(place.index());
    if tag.settles(place, told, now as u32, maps::config(), || {
        maps::slot(place.index())
    }) {
        return 0;
    }
    let mut what = u32::from(fields.local) | (kind as u32) << KIND_SHIFT;
    if is_counted {
        what |= SAMPLED;
    }
    let Place { who, hash } = place;
    note_scan(packet.ctx.ctx, who, hash, what, fields.network as u32)
}

/// The key of a packet's source, whose IP header is at `network`.
#[inline(always)]
fn key<F: Frame>(frame: &F, network: usize) -> Option<BanKey> {
    // So much has a header of either version, and both what their keys take.
    let header: &[u8; size_of::<Ipv4Hdr>()] = frame.read(network)?;
    // The address of IPv4, and the later half of what is taken of one of IPv6, are in one place.
    let last = word::<12, _>(header) << 32;
    let first = match header[0] >> 4 {
        6 => word::<8, _>(header),
        _ => u64::from(u32::from_ne_bytes(V4)),
    };
    Some((last | first).to_ne_bytes())
}

/// Notes a packet from a source; what there is to tell of it, or 0. A function of its own, for the
/// reason that `questions` have.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn note_scan(ctx: *mut xdp_md, who: u64, hash: u64, what: u32, network: u32) -> u32 {
    let (port, number) = (what as u16, (what >> KIND_SHIFT) as u8);
    let Some(kind) = kind(number) else {
        return 0;
    };
    if kind.may_be_late() && is_late(kind, port)
        || kind.may_be_traceroute(port) && is_traceroute(ctx, network, kind)
    {
        return 0;
    }
    let config = maps::config();
    let place = Place { who, hash };
    let Some(slot) = maps::slot(place.index()) else {
        return 0;
    };
    let tag = maps::tag(place.index());
    let packets = if what & SAMPLED != 0 { SCAN_SAMPLE } else { 0 };
    let now = maps::now() as u32;
    match scan::note((slot, tag), (place, kind), (port, packets), now, config) {
        false => 0,
        true => tell(ctx, network, kind, slot),
    }
}

/// Bans the source that was found, if the policy says so; what there is to tell.
#[cold]
#[inline(always)]
fn tell(ctx: *mut xdp_md, network: u32, kind: Kind, slot: &Slot) -> u32 {
    let mut notice = NOTICE_SCAN;
    if matches!(kind, Kind::Syn)
        && let Some(duration) = maps::ban()
        && let Some((source, _)) = source(ctx, network)
    {
        slot.set_mark(ban(&source, duration, &mut notice));
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
        Banned::Already => FOUND_BANNED,
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
    is_lately(&Known, note, port.to_be_bytes())
}

/// Whether a packet looks for the way to this host.
#[cold]
#[inline(always)]
fn is_traceroute(ctx: *mut xdp_md, network: u32, kind: Kind) -> bool {
    source(ctx, network).is_some_and(|(_, hops_left)| kind.is_traceroute(hops_left))
}

/// The source of a packet whose IP header is at `network`, and how many hops it has left.
#[inline(always)]
fn source(ctx: *mut xdp_md, network: u32) -> Option<(Source, u8)> {
    let ctx = XdpContext::new(ctx);
    let frame = frame::<false>(&ctx);
    let offset = frame.settle(network as usize);
    let header: &Ipv4Hdr = frame.read(offset)?;
    if header.vihl >> 4 != 6 {
        return Some((ban_source(&Addresses::of_ipv4(header)), header.ttl));
    }
    let header: &Ipv6Hdr = frame.read(offset)?;
    Some((ban_source(&Addresses::of_ipv6(header)), header.hop_limit))
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
