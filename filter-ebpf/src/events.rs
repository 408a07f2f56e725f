//! Reports packets to whoever listens: what each is, what became of it and why; and through
//! aya-log what no report has room for.
//!
//! While nobody listens, a packet pays one load and a comparison for it. What listens says so
//! again and again ([`Listener::until`]), so that nothing is left on by one that was killed.
//! Whatever comes in, a CPU writes no more than so many reports in a second for a listener; beyond
//! that, a packet pays for finding out who wants it. One who asks for a source makes all packets
//! pay for being read, too.

use aya_ebpf::{
    bindings::{BPF_RB_NO_WAKEUP, xdp_md},
    helpers::{bpf_jiffies64, bpf_ktime_get_boot_ns},
    macros::map,
    maps::{Array, PerCpuArray, RingBuf},
    programs::XdpContext,
};
use aya_log_ebpf::debug;
use xdpfw_common::{
    Reason,
    abi::{
        Event, HEAD, LISTENERS, Listened, Listener, Missed, NO_KIND, NO_RULE, NOTICES,
        REPORTS_AT_ONCE, REPORTS_PER_SECOND, RING_BYTES, Report, WANTS_DIAGNOSTICS, WANTS_HEAD,
        Wanted, lot,
    },
    flows::Memory as _,
    verdict::{self, Conclude, Outcome},
    wire::{
        Frame, Malformation,
        ethernet::{self, Payload, VLAN_ID},
        ip,
    },
};
use xdpfw_ebpf::packet::Packet;

use crate::{frags::Copy, frame, ingress::Ingress as _, maps::flows::Known};

// What the loader does not want to listen to, it makes as small as can be.
#[map]
static REPORTS_0: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

#[map]
static REPORTS_1: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

#[map]
static REPORTS_2: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

#[map]
static REPORTS_3: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

#[map]
static LISTENING: Array<Listener> = Array::with_max_entries(LISTENERS as u32, 0);

#[map]
static MISSED: PerCpuArray<Missed> = PerCpuArray::with_max_entries(LISTENERS as u32, 0);

/// Whether anybody listens. Whoever does writes it; the program, once nobody does any more.
#[unsafe(no_mangle)]
#[unsafe(link_section = ".bss.listened")]
static mut LISTENED: Listened = Listened {
    threshold: 0,
    phase: 0,
};

/// The number of this generation. Written by the loader; the verifier sees a constant.
#[unsafe(no_mangle)]
static GENERATION: u32 = 0;

/// What a CPU may report for a reason.
#[repr(C)]
struct Bucket {
    /// Reports, times the ticks of a second.
    tokens: u64,
    /// When that was, in ticks.
    at: u64,
}

/// For each listener, a bucket for each reason.
#[map]
static BUCKETS: PerCpuArray<Bucket> =
    PerCpuArray::with_max_entries((LISTENERS * Reason::SLOTS) as u32, 0);

/// A report before it is in a ring: several may get it. Nothing else runs on this CPU before.
#[map]
static REPORT: PerCpuArray<Report> = PerCpuArray::with_max_entries(1, 0);

/// In the number that [`listeners`] returns, below [`LISTENERS`]: those who want the report.
const WHO: u32 = (1 << LISTENERS) - 1;
/// What some of them want, too: [`Wanted::flags`], so many bits higher.
const FLAGS_SHIFT: u32 = 8;

/// Stands for a packet without ports.
const NO_PORT: u32 = 0;
/// With a port in network byte order below it.
const HAS_PORT: u32 = 1 << 16;

/// Reports a packet that is counted as this one for its reason, if anybody wants to know.
#[inline(always)]
pub fn report<const FRAGS: bool>(ctx: &XdpContext, outcome: &Outcome, count: u64) {
    // SAFETY: aligned and initialised; others write it as one word.
    let listened = unsafe { (&raw const LISTENED).cast::<u64>().read_volatile() };
    if listened == 0 {
        return;
    }
    let Listened { threshold, phase } = Listened::of(listened);
    let lot = lot(count, phase);
    if lot > threshold {
        return;
    }
    let reason = outcome.reason().slot() as u32;
    let slot = outcome.rule().unwrap_or(NO_RULE);
    let port = port(outcome);
    // Calls from here, and not from a function between: there are 512 bytes of stack for all.
    let wanted = listeners(reason, slot, lot, port);
    if wanted & WHO == 0 {
        return;
    }
    write::<FRAGS>(ctx, wanted);
    tell(ctx.ctx, wanted);
}

/// The local port of a packet, as [`listeners`] takes it.
#[inline(always)]
pub fn port(outcome: &Outcome) -> u32 {
    match outcome.local_port() {
        Some((_, port)) => HAS_PORT | u32::from(port.to_be()),
        None => NO_PORT,
    }
}

/// Reports what came of a packet with this rule's slot and port, if anybody wants to know: `notice` and
/// `evidence` as [`Event`] has them.
#[cold]
#[inline(always)]
pub fn notice<const FRAGS: bool>(
    ctx: &XdpContext,
    (slot, port): (u32, u32),
    notice: u8,
    evidence: u8,
) {
    // SAFETY: aligned and initialised; others write it as one word.
    if unsafe { (&raw const LISTENED).cast::<u64>().read_volatile() } == 0 {
        return;
    }
    // The lowest lot: nobody gets a sample of them.
    let wanted = listeners(NOTICES.into(), slot, 0, port);
    if wanted & WHO == 0 {
        return;
    }
    write::<FRAGS>(ctx, wanted);
    if let Some(report) = report_to_fill() {
        report.event.notice = notice;
        report.event.evidence = evidence;
    }
    tell(ctx.ctx, wanted);
}

/// Writes what a packet is into the report.
#[inline(always)]
fn write<const FRAGS: bool>(ctx: &XdpContext, wanted: u32) {
    if FRAGS {
        vlans_frags(ctx.ctx);
        addresses_frags(ctx.ctx);
        fill_frags(ctx.ctx);
    } else {
        vlans_plain(ctx.ctx);
        addresses_plain(ctx.ctx);
        fill_plain(ctx.ctx);
    }
    if wanted >> FLAGS_SHIFT & u32::from(WANTS_HEAD) != 0 {
        if FRAGS {
            copy_frags(ctx.ctx);
        } else {
            copy_plain(ctx.ctx);
        }
    }
}

// Functions of their own, for the reason that `questions` have. They read the packet once more, so
// that the paths of the verdict need not keep what they found.

/// Who wants to know of a packet, as far as can be told without reading it, and what they want.
/// Begins the report if anybody does. Once nobody listens any more, it says so to all packets.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn listeners(reason: u32, slot: u32, lot: u32, port: u32) -> u32 {
    // SAFETY: it has no arguments.
    let now = unsafe { bpf_jiffies64() };
    let mut is_listened = false;
    let mut wanted = 0;
    for number in 0..LISTENERS as u32 {
        let Some(listener) = LISTENING.get_ptr(number) else {
            continue;
        };
        // SAFETY: a map value of this type. Who writes it meanwhile means one or the other.
        let Listener { until, wanted: by } = unsafe { &*listener };
        // SAFETY: aligned and initialised.
        if unsafe { core::ptr::read_volatile(until) } <= now {
            continue;
        }
        is_listened = true;
        let any_port = by.port == [0; 2];
        let its_port = HAS_PORT | u32::from(u16::from_ne_bytes(by.port));
        if lot <= by.threshold
            && by.reasons >> (reason & 31) & 1 != 0
            && (by.slot == NO_RULE || by.slot == slot)
            && (any_port || its_port == port)
            // Of a flood, all but a few packets end here. Where the source matters, nobody knows
            // yet whether the packet is wanted.
            && (by.mask != [0; 16] || can_afford(number, reason, now))
        {
            wanted |= 1 << number | u32::from(by.flags) << FLAGS_SHIFT;
        }
    }
    if !is_listened {
        // SAFETY: aligned; others write it as one word. Who begins to listen just now says so
        // again soon.
        unsafe { (&raw mut LISTENED).cast::<u64>().write_volatile(0) };
    }
    if wanted != 0
        && let Some(report) = report_to_fill()
    {
        // SAFETY: it has no arguments.
        report.at = unsafe { bpf_ktime_get_boot_ns() };
        report.captured = 0;
        // SAFETY: a reference, so aligned and initialised.
        report.generation = unsafe { core::ptr::read_volatile(&GENERATION) } as u16;
        report.event.reason = reason as u8;
        report.event.slot = slot;
    }
    wanted
}

/// The report before it is told.
#[inline(always)]
fn report_to_fill() -> Option<&'static mut Report> {
    // SAFETY: a map value of this type, this CPU's own; all zero, it is one, too.
    REPORT.get_ptr_mut(0).map(|report| unsafe { &mut *report })
}

/// Hands the report that is filled to those who want it, and counts for those who cannot have it.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn tell(ctx: *mut xdp_md, wanted: u32) -> u32 {
    let Some(report) = REPORT.get_ptr(0) else {
        return 0;
    };
    // SAFETY: filled just before, and not again before the end.
    let report = unsafe { &*report };
    // SAFETY: it has no arguments.
    let now = unsafe { bpf_jiffies64() };
    let mut is_told = false;
    for number in 0..LISTENERS as u32 {
        if wanted >> number & 1 == 0 || !is_wanted_from(number, &report.event, now) {
            continue;
        }
        let flags = u64::from(BPF_RB_NO_WAKEUP);
        let written = match number {
            0 => REPORTS_0.output::<Report>(report, flags),
            1 => REPORTS_1.output::<Report>(report, flags),
            2 => REPORTS_2.output::<Report>(report, flags),
            _ => REPORTS_3.output::<Report>(report, flags),
        };
        if written.is_err()
            && let Some(missed) = missed_by(number)
        {
            missed.lost += 1;
        }
        is_told = true;
    }
    if is_told
        && wanted >> FLAGS_SHIFT & u32::from(WANTS_DIAGNOSTICS) != 0
        && report.event.malformation != 0
    {
        let ctx = XdpContext::new(ctx);
        debug!(
            &ctx,
            "malformed: {} bytes, {} of them in the first buffer",
            report.event.len,
            (ctx.data_end() - ctx.data()) as u64
        );
    }
    0
}

/// Whether a listener wants to know of packets from this one's source, and can have the report.
#[inline(always)]
fn is_wanted_from(number: u32, event: &Event, now: u64) -> bool {
    let Some(listener) = LISTENING.get_ptr(number) else {
        return false;
    };
    // SAFETY: a map value of this type. Who writes it meanwhile means one or the other.
    let Wanted { source, mask, .. } = unsafe { &(*listener).wanted };
    if *mask == [0; 16] {
        return true;
    }
    let [source, mask, from] =
        [source, mask, &event.source].map(|bytes| u128::from_ne_bytes(*bytes));
    event.family != 0 && from & mask == source && can_afford(number, event.reason.into(), now)
}

/// What a listener missed on this CPU.
#[inline(always)]
fn missed_by(number: u32) -> Option<&'static mut Missed> {
    // SAFETY: a map value of this type, this CPU's own.
    MISSED
        .get_ptr_mut(number)
        .map(|missed| unsafe { &mut *missed })
}

/// Whether a listener can have one more report for this reason; counts it if not.
#[inline(always)]
fn can_afford(number: u32, reason: u32, now: u64) -> bool {
    if take(number, reason, now) {
        return true;
    }
    if let Some(missed) = missed_by(number) {
        missed.suppressed += 1;
    }
    false
}

/// Takes what one report costs from a listener's bucket, if there is enough in it.
#[inline(always)]
fn take(number: u32, reason: u32, now: u64) -> bool {
    let index = number * Reason::SLOTS as u32 + reason % Reason::SLOTS as u32;
    let Some(bucket) = BUCKETS.get_ptr_mut(index) else {
        return false;
    };
    // SAFETY: a map value of this type, this CPU's own.
    let bucket = unsafe { &mut *bucket };
    let second = Known.ticks_per_second();
    let full = REPORTS_AT_ONCE * second;
    let passed = now.wrapping_sub(bucket.at);
    let tokens = if passed >= second {
        full
    } else {
        let tokens = bucket.tokens + passed * REPORTS_PER_SECOND;
        if tokens < full { tokens } else { full }
    };
    bucket.at = now;
    let is_enough = tokens >= second;
    bucket.tokens = if is_enough { tokens - second } else { tokens };
    is_enough
}

/// Writes the VLANs of a packet into the report. Apart from the rest, which the verifier would go
/// through once for each number of tags.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn vlans_plain(ctx: *mut xdp_md) -> u32 {
    let ctx = XdpContext::new(ctx);
    fill_vlans(&frame::<false>(&ctx))
}

/// The same for packets in several buffers.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn vlans_frags(ctx: *mut xdp_md) -> u32 {
    let ctx = XdpContext::new(ctx);
    let packet = frame::<true>(&ctx);
    match Copy::of(&packet) {
        Some(copy) => fill_vlans(&copy),
        None => fill_vlans(&packet),
    }
}

#[inline(always)]
fn fill_vlans<F: Frame>(frame: &F) -> u32 {
    let (tags, count) = ethernet::vlan_tags(frame);
    if let Some(report) = report_to_fill() {
        let tags = tags.map(|tag| u16::from_be_bytes(tag) & VLAN_ID);
        report.event.vlans = tags.map(u16::to_be_bytes);
        report.event.vlan_count = count;
    }
    0
}

/// Fills the report for a packet, but for addresses, VLANs and its first bytes.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn fill_plain(ctx: *mut xdp_md) -> u32 {
    let ctx = XdpContext::new(ctx);
    let packet = frame::<false>(&ctx);
    fill_report(&packet, &packet)
}

/// The same for packets in several buffers.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn fill_frags(ctx: *mut xdp_md) -> u32 {
    let ctx = XdpContext::new(ctx);
    let packet = frame::<true>(&ctx);
    match Copy::of(&packet) {
        Some(copy) => fill_report(&packet, &copy),
        None => fill_report(&packet, &packet),
    }
}

#[inline(always)]
fn fill_report<const FRAGS: bool, F: Frame>(packet: &Packet<'_, FRAGS>, frame: &F) -> u32 {
    match report_to_fill() {
        Some(report) => verdict::read_then(frame, Fill(&mut report.event, packet)),
        None => 0,
    }
}

/// Writes what a packet is into the event for it, at the end of each path of the reading.
struct Fill<'a, const FRAGS: bool>(&'a mut Event, &'a Packet<'a, FRAGS>);

impl<const FRAGS: bool> Conclude<u32> for Fill<'_, FRAGS> {
    #[inline(always)]
    fn conclude(self, outcome: Outcome) -> u32 {
        fill(self.0, self.1, &outcome);
        0
    }
}

/// Writes what a packet is into the event for it, in its place: the stack has no room for it.
/// Reason, rule, addresses and VLANs are the caller's.
#[inline(always)]
pub fn fill<const FRAGS: bool>(event: &mut Event, packet: &Packet<'_, FRAGS>, outcome: &Outcome) {
    event.interface = packet.ctx.ingress_interface().unwrap_or(0);
    event.len = packet.len() as u32;
    event.malformation = outcome.malformation().map_or(0, Malformation::code);
    event.notice = 0;
    event.evidence = 0;
    match outcome.fields() {
        Some(fields) => {
            event.remote = fields.remote.to_be_bytes();
            event.local = fields.local.to_be_bytes();
            event.kind = fields.kind as u8;
            event.flags = fields.flags.bits();
        }
        None => {
            event.remote = [0; 2];
            event.local = [0; 2];
            event.kind = NO_KIND;
            event.flags = 0;
        }
    }
}

/// Writes the addresses of a packet into the report, for the same reason as its VLANs.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn addresses_plain(ctx: *mut xdp_md) -> u32 {
    let ctx = XdpContext::new(ctx);
    fill_report_addresses(&frame::<false>(&ctx))
}

/// The same for packets in several buffers.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn addresses_frags(ctx: *mut xdp_md) -> u32 {
    let ctx = XdpContext::new(ctx);
    let packet = frame::<true>(&ctx);
    match Copy::of(&packet) {
        Some(copy) => fill_report_addresses(&copy),
        None => fill_report_addresses(&packet),
    }
}

#[inline(always)]
fn fill_report_addresses<F: Frame>(frame: &F) -> u32 {
    if let Some(report) = report_to_fill() {
        fill_addresses(&mut report.event, frame);
    }
    0
}

/// Writes the addresses of a packet into the event for it.
#[inline(always)]
pub fn fill_addresses<F: Frame>(event: &mut Event, frame: &F) {
    for address in [&mut event.source, &mut event.destination] {
        zero(address);
    }
    event.family = 0;
    if let Some(network) = network(frame)
        && let Some((version, source, destination)) = ip::addresses(frame, frame.settle(network))
    {
        event.source = source.octets();
        event.destination = destination.octets();
        event.family = version;
    }
}

/// Where the IP header of a packet is, if it has one.
#[inline(always)]
fn network<F: Frame>(frame: &F) -> Option<usize> {
    if !frame.has_ethernet() {
        return Some(0);
    }
    match ethernet::payload(frame) {
        Ok(Payload::Ipv4(offset) | Payload::Ipv6(offset)) => Some(offset),
        _ => None,
    }
}

/// Fills an address with zeros. The compiler would call a function for that, which needs stack.
#[inline(always)]
fn zero(address: &mut [u8; 16]) {
    let words: *mut [u8; 4] = address.as_mut_ptr().cast();
    for word in 0..4 {
        // SAFETY: four words of four bytes.
        unsafe { words.add(word).write_volatile([0; 4]) };
    }
}

/// Copies the first bytes of a packet to the report.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn copy_plain(ctx: *mut xdp_md) -> u32 {
    let ctx = XdpContext::new(ctx);
    copy(&frame::<false>(&ctx))
}

/// The same for packets in several buffers.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn copy_frags(ctx: *mut xdp_md) -> u32 {
    let ctx = XdpContext::new(ctx);
    let packet = frame::<true>(&ctx);
    match Copy::of(&packet) {
        Some(copied) => copy(&copied),
        None => copy(&packet),
    }
}

#[inline(always)]
fn copy<F: Frame>(frame: &F) -> u32 {
    let Some(report) = report_to_fill() else {
        return 0;
    };
    let mut copied = 0;
    while copied < HEAD
        && let Some(two) = frame.read::<[u8; 2]>(frame.settle(copied))
    {
        [report.head[copied], report.head[copied + 1]] = *two;
        copied += 2;
    }
    if copied < HEAD
        && let Some([last]) = frame.read::<[u8; 1]>(frame.settle(copied))
    {
        report.head[copied] = *last;
        copied += 1;
    }
    report.captured = copied as u16;
    0
}
