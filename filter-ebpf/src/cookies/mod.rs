//! Answers new connections with SYN cookies, from where packets come in: no memory is taken for who
//! does not come back. The kernel makes the cookie for the socket that listens, and so knows it when it
//! comes back (`tcp_v4_get_syncookie` in net/ipv4/tcp_ipv4.c).
//!
//! First the packet is judged, counted and reported as it came; then it is turned into its answer.

mod answer;
mod destination;
mod options;

use aya_ebpf::{
    bindings::{bpf_fib_lookup, xdp_md},
    helpers::{
        bpf_ktime_get_boot_ns, bpf_sk_release, bpf_tcp_check_syncookie, bpf_tcp_gen_syncookie,
        bpf_xdp_load_bytes,
    },
    macros::map,
    maps::{HashMap, PerCpuArray},
    programs::XdpContext,
};
use xdpfw_common::{
    abi::{COOKIE_TIMESTAMPS, COOKIES_FOR, COOKIES_FROM, FlowKey, SynCount},
    wire::tcp::Flags,
};

pub use answer::send_cookie;
use options::Options;

use crate::{
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
/// Protocol number of TCP.
const TCP_PROTOCOL: u32 = 6;

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
    /// The number of the answer, and what is agreed on in its timestamps.
    cookie: u32,
    options: Options,
    answer: [u32; (IPV6 + answer::TCP) as usize / 4],
    route: bpf_fib_lookup,
    /// In bytes, of the interface that the packet has come in by.
    mtu: u32,
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
    if !destination::is_here(ctx, key, scratch) {
        // SAFETY: released once, and not used afterwards.
        unsafe { bpf_sk_release(listener.cast()) };
        return Cookie::Pass;
    }
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
            scratch.options = Options::NONE;
            if tables::cookie_options() & COOKIE_TIMESTAMPS != 0 {
                options::read_cookie_options(len);
            }
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

/// An address as words whose bytes stay where they are.
#[inline(always)]
const fn words(address: &[u8; 16]) -> [u32; 4] {
    // SAFETY: any bytes are words, and both are of the same size.
    unsafe { core::mem::transmute(*address) }
}

#[inline(always)]
fn load(ctx: &XdpContext, offset: u32, place: *mut u8, len: u32) -> bool {
    // SAFETY: the caller's place is so long.
    unsafe { bpf_xdp_load_bytes(ctx.ctx, offset, place.cast(), len) == 0 }
}
