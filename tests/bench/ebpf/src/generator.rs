//! Makes the traffic that benchmarks drop: turns the frame it runs on into a probe from
//! another source to another port each time; or a frame that leaves into one to another peer.

use aya_ebpf::{
    bindings::{TC_ACT_SHOT, xdp_action},
    macros::{classifier, map, xdp},
    maps::{PerCpuArray, ProgramArray},
    programs::{TcContext, XdpContext},
};
use network_types::{
    eth::EthHdr,
    ip::{IpProto, Ipv4Hdr},
};

/// How many ports are probed, and the first of them. Written by the loader.
#[unsafe(no_mangle)]
static PORTS: u32 = 1;
#[unsafe(no_mangle)]
static FIRST_PORT: u32 = 1;
/// How many sources the probes come from. Written by the loader.
#[unsafe(no_mangle)]
static SOURCES: u32 = 1;

/// Bits that no source has: addresses with one of them are nobody's. Written by the loader.
#[unsafe(no_mangle)]
static SPARED: u32 = 0;

/// The first source: behind the addresses of the hosts that take part.
const FIRST_SOURCE: u32 = u32::from_be_bytes([10, 64, 0, 0]);

/// From one probe to the next. A prime, so it shares no divisor with the number of ports
/// and each is probed once before any is probed again; and neighbours are far apart, as
/// in a scan in random order, so no cache line of counters serves two probes.
const PORT_STRIDE: u64 = 37_087;
/// The same for sources.
const SOURCE_STRIDE: u64 = 2_654_435_761;

/// Where things are, behind Ethernet and IPv4 without options: two bytes each, but for
/// the protocol and the source.
mod offset {
    use super::{EthHdr, Ipv4Hdr};

    pub(super) const PROTOCOL: usize = EthHdr::LEN + 9;
    pub(super) const IP_CHECKSUM: usize = EthHdr::LEN + 10;
    pub(super) const SOURCE: usize = EthHdr::LEN + 12;
    pub(super) const DESTINATION: usize = EthHdr::LEN + 16;
    pub(super) const PORT: usize = EthHdr::LEN + Ipv4Hdr::LEN + 2;
    pub(super) const TCP_CHECKSUM: usize = EthHdr::LEN + Ipv4Hdr::LEN + 16;
    pub(super) const UDP_CHECKSUM: usize = EthHdr::LEN + Ipv4Hdr::LEN + 6;
}

/// What a probe has at least: a TCP header, or as much of UDP.
const LEN: usize = EthHdr::LEN + Ipv4Hdr::LEN + 20;

/// Probes made so far.
#[map]
static MADE: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// The program that [`varied`] hands its packets to.
#[map]
static SUBJECT: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The same for programs that take packets in several buffers.
#[map]
static SUBJECT_FRAGS: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// The program that [`varied_egress`] hands its packets to.
#[map]
static SUBJECT_EGRESS: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Sends a TCP or UDP frame out again, as the next probe.
#[xdp]
pub fn generator(ctx: XdpContext) -> u32 {
    match next_probe(&ctx) {
        Some(()) => xdp_action::XDP_TX,
        None => xdp_action::XDP_ABORTED,
    }
}

/// Makes the frame the next probe and hands it to the program that is measured.
#[xdp]
pub fn varied(ctx: XdpContext) -> u32 {
    hand_over(&ctx, &SUBJECT)
}

/// The same for programs that take packets in several buffers.
#[xdp(frags)]
pub fn varied_frags(ctx: XdpContext) -> u32 {
    hand_over(&ctx, &SUBJECT_FRAGS)
}

/// Makes a frame that leaves one to another peer, and hands it to the program that is
/// measured.
#[classifier]
pub fn varied_egress(ctx: TcContext) -> i32 {
    if next_peer(&ctx).is_some() {
        // SAFETY: a tail call does not return, or does nothing.
        unsafe { SUBJECT_EGRESS.tail_call(&ctx, 0) };
    }
    TC_ACT_SHOT
}

#[inline(always)]
fn hand_over(ctx: &XdpContext, subject: &ProgramArray) -> u32 {
    if next_probe(ctx).is_some() {
        // SAFETY: a tail call does not return, or does nothing.
        unsafe { subject.tail_call(ctx, 0) };
    }
    xdp_action::XDP_ABORTED
}

/// Turns the frame to the next peer. Nobody looks at its checksums.
#[inline(always)]
fn next_peer(ctx: &TcContext) -> Option<()> {
    let start = ctx.data();
    if start + LEN > ctx.data_end() {
        return None;
    }
    let peer = FIRST_SOURCE + next(next_number()? * SOURCE_STRIDE, setting(&SOURCES));
    let [high, low] = [(peer >> 16) as u16, peer as u16].map(u16::to_be);
    // SAFETY: before the packet's end, as just checked, and at an even address.
    unsafe { *((start + offset::DESTINATION) as *mut [u16; 2]) = [high, low] };
    Some(())
}

/// Makes the frame the next probe, with right checksums: the kernel's stack drops others
/// long before its filters see them.
#[inline(always)]
fn next_probe(ctx: &XdpContext) -> Option<()> {
    let start = ctx.data();
    if start + LEN > ctx.data_end() {
        return None;
    }
    let number = next_number()?;
    let port = setting(&FIRST_PORT) + next(number * PORT_STRIDE, setting(&PORTS));
    let source =
        FIRST_SOURCE + (next(number * SOURCE_STRIDE, setting(&SOURCES)) & !setting(&SPARED));

    // SAFETY: all that is read and written lies before the packet's end, as just checked,
    // at even addresses, since frames begin at one.
    unsafe {
        let protocol = *((start + offset::PROTOCOL) as *const u8);
        let ip_checksum = (start + offset::IP_CHECKSUM) as *mut u16;
        let checksum = if protocol == IpProto::Tcp as u8 {
            start + offset::TCP_CHECKSUM
        } else {
            start + offset::UDP_CHECKSUM
        } as *mut u16;
        let source_field = (start + offset::SOURCE) as *mut [u16; 2];
        let port_field = (start + offset::PORT) as *mut u16;

        let [high, low] = [(source >> 16) as u16, source as u16].map(u16::to_be);
        let port = (port as u16).to_be();
        let [old_high, old_low] = *source_field;
        let sources = change(old_high, high) + change(old_low, low);
        *ip_checksum = adjusted(*ip_checksum, sources);
        *checksum = adjusted(*checksum, sources + change(*port_field, port));
        *source_field = [high, low];
        *port_field = port;
    }
    Some(())
}

/// Counts one more.
#[inline(always)]
fn next_number() -> Option<u64> {
    let made = MADE.get_ptr_mut(0)?;
    // SAFETY: a map value of this type, this CPU's own.
    unsafe {
        *made += 1;
        Some(*made)
    }
}

/// Which of `count` things it is.
#[inline(always)]
fn next(number: u64, count: u32) -> u32 {
    // The compiler does not know that there is one at least.
    number.checked_rem(u64::from(count)).unwrap_or(0) as u32
}

/// What a word's change adds to the sum that a checksum is made of (RFC 1624).
#[inline(always)]
fn change(old: u16, new: u16) -> u32 {
    u32::from(!old) + u32::from(new)
}

/// A checksum after a change of what it is made of.
#[inline(always)]
fn adjusted(checksum: u16, change: u32) -> u16 {
    let mut sum = u32::from(!checksum) + change;
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

/// Reads what the loader has written.
#[inline(always)]
fn setting(global: &u32) -> u32 {
    // SAFETY: a reference, so aligned and initialised.
    unsafe { core::ptr::read_volatile(global) }
}
