//! Turns a new connection's packet into its answer.

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    helpers::{bpf_check_mtu, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_store_bytes},
    programs::XdpContext,
};
use xdpfw_common::{abi::FlowKey, wire::tcp::Flags};

use super::{IPV4, IPV6, SCRATCH_SYN, Scratch, TCP_PROTOCOL, destination, load};
use crate::{
    bare,
    maps::tables::has_cookies,
    questions::{self, Asker},
};

/// Bytes of a TCP header with an MSS option, and with all options.
const TCP_MSS: u32 = 24;
pub(super) const TCP: u32 = 40;
/// Bytes of an Ethernet frame at least, without its checksum.
const SHORTEST: i32 = 60;
/// Bytes of a packet that an interface can carry at least: as the kernel assumes it over IPv4
/// (`ip_rt_min_advmss`), and RFC 8200 asks for it.
const LEAST_IPV4: u32 = 296;
const LEAST_IPV6: u32 = 1_280;
/// Bytes of a packet at most.
const MOST: u32 = 65_535;
/// The hop limit of what hosts send (RFC 1700).
const HOPS: u32 = 64;
/// What fits into a window without a scale.
const WINDOW: u32 = 64_240;

/// Turns a packet into its answer; what becomes of it then.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn send_cookie(ctx: *mut xdp_md) -> u32 {
    if !has_cookies() {
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
    scratch.mtu = 0;
    // SAFETY: the context and the place live through the call. It also says whether the packet fits,
    // which nobody asked; if it fails, it writes nothing.
    unsafe {
        bpf_check_mtu(
            ctx.ctx.cast(),
            destination::interface(ctx),
            &raw mut scratch.mtu,
            0,
            0,
        )
    };
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

/// The size of segments that can be taken, in bytes (RFC 6691), where packets may be so long and have an
/// IP header of so many.
#[inline(always)]
fn mss(mtu: u32, ip: u32) -> u32 {
    let least = if ip == IPV6 { LEAST_IPV6 } else { LEAST_IPV4 };
    mtu.clamp(least, MOST) - ip - 20
}

/// Writes the answer over IPv4 (RFC 791); its length.
#[inline(always)]
fn write_ipv4(key: &FlowKey, scratch: &mut Scratch) -> u32 {
    let (local, remote) = (word(&key.local, 0), word(&key.remote, 0));
    let len = tcp_len(scratch);
    let mut ip = [
        0x4500_0000 | (IPV4 + len),
        // It may not be taken apart.
        0x0000_4000,
        HOPS << 24 | TCP_PROTOCOL << 16,
        local,
        remote,
    ];
    ip[2] |= checksum(ip.iter().fold(0, |sum, &word| add(sum, word)));
    let pseudo = add(add(TCP_PROTOCOL + len, local), remote);
    let answer = &mut scratch.answer;
    [answer[0], answer[1], answer[2], answer[3], answer[4]] = ip.map(u32::to_be);
    let mss = mss(scratch.mtu, IPV4);
    put_segment::<5>(key, scratch, pseudo, mss);
    IPV4 + len
}

/// Writes the answer over IPv6 (RFC 8200); its length.
#[inline(always)]
fn write_ipv6(key: &FlowKey, scratch: &mut Scratch) -> u32 {
    let len = tcp_len(scratch);
    let mut pseudo = TCP_PROTOCOL + len;
    scratch.answer[0] = 0x6000_0000_u32.to_be();
    scratch.answer[1] = (len << 16 | TCP_PROTOCOL << 8 | HOPS).to_be();
    for place in 0..4 {
        let (local, remote) = (word(&key.local, place), word(&key.remote, place));
        scratch.answer[2 + place] = local.to_be();
        scratch.answer[6 + place] = remote.to_be();
        pseudo = add(add(pseudo, local), remote);
    }
    let mss = mss(scratch.mtu, IPV6);
    put_segment::<10>(key, scratch, pseudo, mss);
    IPV6 + len
}

/// Bytes of the answer's TCP header.
#[inline(always)]
fn tcp_len(scratch: &Scratch) -> u32 {
    if scratch.options.has_timestamps() {
        TCP
    } else {
        TCP_MSS
    }
}

/// Writes the SYN-ACK (RFC 9293), with the sum of its pseudo header, behind an IP header of so many
/// words. Without timestamps, it has the size of segments alone, which is all that a cookie remembers.
#[inline(always)]
fn put_segment<const AT: usize>(key: &FlowKey, scratch: &mut Scratch, pseudo: u32, mss: u32) {
    let [local, remote] = [key.local_port, key.remote_port].map(u16::from_be_bytes);
    let asked = u32::from_be(scratch.tcp[1]);
    let [agreed, value, echo, scale] = match scratch.options.has_timestamps() {
        true => scratch.options.words(),
        false => [0; 4],
    };
    let mut tcp = [
        u32::from(local) << 16 | u32::from(remote),
        scratch.cookie,
        asked.wrapping_add(1),
        (tcp_len(scratch) / 4) << 28 | u32::from(Flags::SYN_ACK) << 16 | WINDOW,
        0,
        0x0204_0000 | mss,
        agreed,
        value,
        echo,
        scale,
    ];
    tcp[4] = checksum(tcp.iter().fold(pseudo, |sum, &word| add(sum, word))) << 16;
    for (place, word) in scratch.answer[AT..AT + 10].iter_mut().zip(tcp) {
        *place = word.to_be();
    }
}

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
fn store(ctx: &XdpContext, offset: u32, bytes: *mut u8, len: u32) -> bool {
    // SAFETY: the caller's bytes are so many.
    unsafe { bpf_xdp_store_bytes(ctx.ctx, offset, bytes.cast(), len) == 0 }
}
