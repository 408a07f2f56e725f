//! Looks up the sockets of this host: whether one of them talks to the sender of the
//! packet.

use aya_ebpf::{
    EbpfContext,
    bindings::{
        BPF_F_CURRENT_NETNS, BPF_TCP_ESTABLISHED, BPF_TCP_LISTEN, bpf_sock, bpf_sock_tuple,
        bpf_sock_tuple__bindgen_ty_1, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1,
        bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2,
    },
    helpers::{bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp},
};
use xdpfw_common::{Transport, abi::FlowKey, verdict};

/// The sockets, looked up for the packet of a context.
pub struct Sockets<'a, C> {
    ctx: &'a C,
}

impl<'a, C> Sockets<'a, C> {
    /// The sockets, to be looked up for the packet of `ctx`.
    #[inline(always)]
    pub const fn new(ctx: &'a C) -> Self {
        Self { ctx }
    }
}

impl<C: EbpfContext> verdict::Sockets for Sockets<'_, C> {
    #[inline(always)]
    fn has_socket(&self, key: &FlowKey) -> bool {
        let (tuple, len) = tuple(key);
        let tuple = (&raw const tuple).cast_mut();
        let netns = i64::from(BPF_F_CURRENT_NETNS) as u64;
        if key.protocol == Transport::Tcp.protocol() {
            // SAFETY: context and tuple live through the call.
            let socket = unsafe { bpf_skc_lookup_tcp(self.ctx.as_ptr(), tuple, len, netns, 0) };
            // A listener takes new connections, which are for rules to allow.
            state_of(socket).is_some_and(|state| state != BPF_TCP_LISTEN)
        } else {
            // SAFETY: as above.
            let socket = unsafe { bpf_sk_lookup_udp(self.ctx.as_ptr(), tuple, len, netns, 0) };
            // The kernel marks a connected UDP socket as TCP's "established"
            // (`__ip4_datagram_connect` in net/ipv4/datagram.c), and finds
            // it for packets of its peer only.
            state_of(socket).is_some_and(|state| state == BPF_TCP_ESTABLISHED)
        }
    }
}

/// The socket that listens for a connection; the caller releases it. `None` if there is none, or one
/// that knows the connection.
#[inline(always)]
pub fn listener<C: EbpfContext>(ctx: &C, key: &FlowKey) -> Option<*mut bpf_sock> {
    let (tuple, len) = tuple(key);
    let tuple = (&raw const tuple).cast_mut();
    let netns = i64::from(BPF_F_CURRENT_NETNS) as u64;
    // SAFETY: context and tuple live through the call.
    let socket = unsafe { bpf_skc_lookup_tcp(ctx.as_ptr(), tuple, len, netns, 0) };
    if socket.is_null() {
        return None;
    }
    // SAFETY: not null, and ours until it is released.
    if unsafe { (*socket).state } == BPF_TCP_LISTEN {
        return Some(socket);
    }
    // SAFETY: released once, and not used afterwards.
    unsafe { bpf_sk_release(socket.cast()) };
    None
}

/// The key of a socket look-up, and its length, which tells the version of IP.
#[inline(always)]
fn tuple(key: &FlowKey) -> (bpf_sock_tuple, u32) {
    let [sport, dport] = [key.remote_port, key.local_port].map(u16::from_ne_bytes);
    let (saddr, daddr) = (words(key.remote), words(key.local));
    let is_ipv6 = key.family == 6;
    // All of it has a value, also what the look-up does not read: the compiler would copy
    // what has none, and the verifier refuses that.
    let ipv6 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 {
        saddr,
        daddr,
        sport,
        dport,
    };
    let mut union = bpf_sock_tuple__bindgen_ty_1 { ipv6 };
    if !is_ipv6 {
        union.ipv4 = bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 {
            saddr: saddr[0],
            daddr: daddr[0],
            sport,
            dport,
        };
    }
    let tuple = bpf_sock_tuple {
        __bindgen_anon_1: union,
    };
    let len = match is_ipv6 {
        true => size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2>(),
        false => size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1>(),
    };
    (tuple, len as u32)
}

/// An address as words whose bytes stay where they are.
#[inline(always)]
const fn words(address: [u8; 16]) -> [u32; 4] {
    // SAFETY: any bytes are words, and both are of the same size.
    unsafe { core::mem::transmute(address) }
}

/// The state of a looked-up socket, which is given back to the kernel.
#[inline(always)]
fn state_of(socket: *mut bpf_sock) -> Option<u32> {
    if socket.is_null() {
        return None;
    }
    // SAFETY: not null, and ours until it is released.
    let state = unsafe { (*socket).state };
    // SAFETY: released once, and not used afterwards.
    unsafe { bpf_sk_release(socket.cast()) };
    Some(state)
}
