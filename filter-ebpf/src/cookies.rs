//! Answers new connections with SYN cookies, from where packets come in: no memory is taken for who
//! does not come back. The kernel makes the cookie for the socket that listens, and so knows it when it
//! comes back (`tcp_v4_get_syncookie` in net/ipv4/tcp_ipv4.c).
//!
//! First the packet is judged, counted and reported as it came; then it is turned into its answer.

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    helpers::{
        bpf_ktime_get_boot_ns, bpf_sk_release, bpf_tcp_check_syncookie, bpf_tcp_gen_syncookie,
        bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_load_bytes, bpf_xdp_store_bytes,
    },
    macros::map,
    maps::{HashMap, PerCpuArray},
    programs::XdpContext,
};
use xdpfw_common::{
    abi::{COOKIES_FOR, COOKIES_FROM, FlowKey, SynCount},
    wire::tcp::Flags,
};

use crate::{
    bare,
    maps::{atomic, tables},
    questions::{self, Asker},
    sockets,
};

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;
/// Bytes of an IPv4 header without options, of an IPv6 header, and the most of a TCP header.
const IPV4: u32 = 20;
const IPV6: u32 = 40;
const TCP: u32 = 60;
/// Bytes of a TCP header with an MSS option.
const ANSWER: u32 = 24;
/// Bytes of an Ethernet frame at least, without its checksum.
const SHORTEST: i32 = 60;
/// The hop limit of what hosts send (RFC 1700).
const HOPS: u32 = 64;
/// What fits into a window without a scale.
const WINDOW: u32 = 64_240;

// The loader sets how many entries it has room for.
#[map]
static SYN_COUNTS: HashMap<u32, SynCount> = HashMap::with_max_entries(1, 0);

/// What is read of a packet, and what becomes of it.
#[repr(C)]
struct Scratch {
    ip: [u8; IPV6 as usize],
    tcp: [u32; TCP as usize / 4],
    /// Where its IP header begins.
    network: u32,
    /// The number of the answer.
    cookie: u32,
    answer: [u32; (IPV6 + ANSWER) as usize / 4],
    macs: [u32; 3],
    swapped: [u32; 3],
}

/// Nothing else runs on this CPU while a packet is judged and answered.
#[map]
static SCRATCH_SYN: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// What becomes of a segment that a rule lets in which answers with SYN cookies.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Cookie {
    /// It passes: it is of a connection, brings a cookie back, or not many come now.
    Pass = 0,
    /// It is to be answered with a cookie.
    Answer = 1,
    /// It brings back what was never sent.
    Forged = 2,
}

impl Cookie {
    /// The one with this number.
    #[inline(always)]
    pub const fn of(number: u32) -> Self {
        match number {
            1 => Self::Answer,
            2 => Self::Forged,
            _ => Self::Pass,
        }
    }
}

/// What becomes of the packet in question, a segment that a rule lets in which counts in this slot: a
/// number of [`Cookie`]. Its headers are at these offsets.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn cookie(ctx: *mut xdp_md, slot: u32, network: u32, transport: u32) -> u32 {
    if !tables::has_cookies() {
        return Cookie::Pass as u32;
    }
    let Some(packet) = questions::asked(Asker::Ingress as u32) else {
        return Cookie::Pass as u32;
    };
    let opens = packet.flags.open_connection();
    let bits = packet.flags.bits() & (Flags::SYN_ACK | Flags::RST);
    // What is neither SYN nor ACK brings no cookie.
    if !opens && bits != Flags::ACK || !is_armed(slot, opens) {
        return Cookie::Pass as u32;
    }
    let ctx = XdpContext::new(ctx);
    judge(&ctx, &packet.key, opens, network, transport) as u32
}

#[inline(always)]
fn judge(ctx: &XdpContext, key: &FlowKey, opens: bool, network: u32, transport: u32) -> Cookie {
    let Some(scratch) = SCRATCH_SYN.get_ptr_mut(0) else {
        return Cookie::Pass;
    };
    // SAFETY: a map value of this type, this CPU's own.
    let scratch = unsafe { &mut *scratch };
    let is_ipv6 = key.family == 6;
    let ip_len = if is_ipv6 { IPV6 } else { IPV4 };
    if !load(ctx, network, scratch.ip.as_mut_ptr(), ip_len)
        || !load(ctx, transport, scratch.tcp.as_mut_ptr().cast(), 20)
    {
        return Cookie::Pass;
    }
    let words = u32::from_be(scratch.tcp[3]) >> 28;
    let len = words * 4;
    if !(20..=TCP).contains(&len) || !load(ctx, transport, scratch.tcp.as_mut_ptr().cast(), len) {
        return Cookie::Pass;
    }
    let Some(listener) = sockets::listener(ctx, key) else {
        return Cookie::Pass;
    };
    let ip = scratch.ip.as_mut_ptr().cast();
    let tcp = scratch.tcp.as_mut_ptr().cast();
    // SAFETY: the socket is ours until it is released, and both headers are as long as is said.
    let made = unsafe {
        match opens {
            true => bpf_tcp_gen_syncookie(listener.cast(), ip, ip_len, tcp, len),
            false => {
                i64::from(bpf_tcp_check_syncookie(listener.cast(), ip, ip_len, tcp, 20) as i32)
            }
        }
    };
    // SAFETY: released once, and not used afterwards.
    unsafe { bpf_sk_release(listener.cast()) };
    match (opens, made) {
        // The kernel makes none, so it answers itself.
        (true, ..0) => Cookie::Pass,
        (true, made) => {
            scratch.network = network;
            scratch.cookie = made as u32;
            Cookie::Answer
        }
        (false, 0) => Cookie::Pass,
        (false, _) => Cookie::Forged,
    }
}

/// Whether new connections of a rule are answered with cookies now; one more is counted.
#[inline(always)]
fn is_armed(slot: u32, opens: bool) -> bool {
    // SAFETY: it takes nothing and reads a clock (Linux 5.8).
    let second = unsafe { bpf_ktime_get_boot_ns() } / SECOND;
    let Some(count) = SYN_COUNTS.get_ptr_mut(slot) else {
        let first = SynCount {
            second,
            count: 1,
            armed_until: 0,
        };
        let _ = SYN_COUNTS.insert(slot, first, 0);
        return false;
    };
    // SAFETY: words of a map value of this type, aligned. Of those who write at once the last one
    // counts, within a second or two of flood.
    unsafe {
        if opens {
            if (&raw const (*count).second).read_volatile() != second {
                (&raw mut (*count).second).write_volatile(second);
                (&raw mut (*count).count).write_volatile(0);
            }
            atomic::add(&raw mut (*count).count, 1);
            let until = second + COOKIES_FOR;
            let is_many = (&raw const (*count).count).read_volatile() >= COOKIES_FROM;
            // Written once a second, so that CPUs do not take the line from each other.
            if is_many && (&raw const (*count).armed_until).read_volatile() != until {
                (&raw mut (*count).armed_until).write_volatile(until);
            }
        }
        (&raw const (*count).armed_until).read_volatile() >= second
    }
}

/// Turns a packet into its answer; what becomes of it then.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn send_cookie(ctx: *mut xdp_md) -> u32 {
    if !tables::has_cookies() {
        return xdp_action::XDP_DROP;
    }
    let ctx = XdpContext::new(ctx);
    match answer(&ctx) {
        Some(()) => xdp_action::XDP_TX,
        // Cut in half, it must not pass.
        None => xdp_action::XDP_DROP,
    }
}

#[inline(always)]
fn answer(ctx: &XdpContext) -> Option<()> {
    let packet = questions::asked(Asker::Ingress as u32)?;
    let scratch = SCRATCH_SYN.get_ptr_mut(0)?;
    // SAFETY: a map value of this type, this CPU's own.
    let scratch = unsafe { &mut *scratch };
    let key = &packet.key;
    let is_ipv6 = key.family == 6;
    let len = match is_ipv6 {
        true => write_ipv6(key, scratch),
        false => write_ipv4(key, scratch),
    };
    let network = scratch.network;
    let has_ethernet = !bare::is_marked(ctx);
    // SAFETY: the context lives as long as the run of the program.
    let now = unsafe { bpf_xdp_get_buff_len(ctx.ctx) } as i32;
    let mut wanted = (network + len) as i32;
    if has_ethernet && wanted < SHORTEST {
        wanted = SHORTEST;
    }
    // SAFETY: no pointer into the packet is held.
    if wanted != now && unsafe { bpf_xdp_adjust_tail(ctx.ctx, wanted - now) } != 0 {
        return None;
    }
    if has_ethernet {
        load(ctx, 0, scratch.macs.as_mut_ptr().cast(), 12).then_some(())?;
        let [a, b, c] = scratch.macs.map(u32::from_be);
        scratch.swapped = [b << 16 | c >> 16, c << 16 | a >> 16, a << 16 | b >> 16].map(u32::to_be);
        store(ctx, 0, scratch.swapped.as_mut_ptr().cast(), 12).then_some(())?;
    }
    store(ctx, network, scratch.answer.as_mut_ptr().cast(), len).then_some(())
}

/// Writes the answer over IPv4 (RFC 791); its length.
#[inline(always)]
fn write_ipv4(key: &FlowKey, scratch: &mut Scratch) -> u32 {
    let (local, remote) = (word(&key.local, 0), word(&key.remote, 0));
    let mut ip = [
        0x4500_0000 | (IPV4 + ANSWER),
        // It may not be taken apart.
        0x0000_4000,
        HOPS << 24 | TCP_PROTOCOL << 16,
        local,
        remote,
    ];
    ip[2] |= checksum(ip.iter().fold(0, |sum, &word| add(sum, word)));
    let pseudo = add(add(TCP_PROTOCOL + ANSWER, local), remote);
    let tcp = segment(key, scratch, pseudo, tables::cookie_mss(false));
    let answer = &mut scratch.answer;
    [answer[0], answer[1], answer[2], answer[3], answer[4]] = ip.map(u32::to_be);
    put_segment(&mut answer[5..11], tcp);
    IPV4 + ANSWER
}

/// Writes the answer over IPv6 (RFC 8200); its length.
#[inline(always)]
fn write_ipv6(key: &FlowKey, scratch: &mut Scratch) -> u32 {
    let mut pseudo = TCP_PROTOCOL + ANSWER;
    scratch.answer[0] = 0x6000_0000_u32.to_be();
    scratch.answer[1] = (ANSWER << 16 | TCP_PROTOCOL << 8 | HOPS).to_be();
    for place in 0..4 {
        let (local, remote) = (word(&key.local, place), word(&key.remote, place));
        scratch.answer[2 + place] = local.to_be();
        scratch.answer[6 + place] = remote.to_be();
        pseudo = add(add(pseudo, local), remote);
    }
    let tcp = segment(key, scratch, pseudo, tables::cookie_mss(true));
    put_segment(&mut scratch.answer[10..16], tcp);
    IPV6 + ANSWER
}

/// The SYN-ACK (RFC 9293): its header and the size of segments, which is all that a cookie remembers.
/// Scales and timestamps would be lost.
#[inline(always)]
fn segment(key: &FlowKey, scratch: &Scratch, pseudo: u32, mss: u16) -> [u32; 6] {
    let [local, remote] = [key.local_port, key.remote_port].map(u16::from_be_bytes);
    let asked = u32::from_be(scratch.tcp[1]);
    let mut tcp = [
        u32::from(local) << 16 | u32::from(remote),
        scratch.cookie,
        asked.wrapping_add(1),
        (ANSWER / 4) << 28 | u32::from(Flags::SYN_ACK) << 16 | WINDOW,
        0,
        0x0204_0000 | u32::from(mss),
    ];
    tcp[4] = checksum(tcp.iter().fold(pseudo, |sum, &word| add(sum, word))) << 16;
    tcp
}

#[inline(always)]
fn put_segment(place: &mut [u32], tcp: [u32; 6]) {
    for (place, word) in place.iter_mut().zip(tcp) {
        *place = word.to_be();
    }
}

/// Protocol number of TCP.
const TCP_PROTOCOL: u32 = 6;

/// A word of an address.
#[inline(always)]
fn word(address: &[u8; 16], place: usize) -> u32 {
    let at = place * 4;
    u32::from_be_bytes([
        address[at],
        address[at + 1],
        address[at + 2],
        address[at + 3],
    ])
}

/// Adds a word to a sum of halves of words.
#[inline(always)]
const fn add(sum: u32, word: u32) -> u32 {
    sum + (word >> 16) + (word & 0xffff)
}

/// The checksum of a sum (RFC 1071).
#[inline(always)]
const fn checksum(sum: u32) -> u32 {
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    !sum & 0xffff
}

#[inline(always)]
fn load(ctx: &XdpContext, offset: u32, place: *mut u8, len: u32) -> bool {
    // SAFETY: the caller's place is so long.
    unsafe { bpf_xdp_load_bytes(ctx.ctx, offset, place.cast(), len) == 0 }
}

#[inline(always)]
fn store(ctx: &XdpContext, offset: u32, bytes: *mut u8, len: u32) -> bool {
    // SAFETY: the caller's bytes are so many.
    unsafe { bpf_xdp_store_bytes(ctx.ctx, offset, bytes.cast(), len) == 0 }
}
