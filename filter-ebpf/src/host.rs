//! What the verdict asks of the kernel: the compiled policy in maps and
//! read-only data, and the sockets of this host.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        BPF_F_CURRENT_NETNS, BPF_TCP_ESTABLISHED, BPF_TCP_LISTEN, bpf_sock, bpf_sock_tuple,
        bpf_sock_tuple__bindgen_ty_1, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1,
    },
    helpers::{bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp},
    macros::map,
    maps::HashMap,
    programs::XdpContext,
};
use xdpfw_common::{
    Transport,
    abi::{ClassKey, Config, Decision, PortBitmaps, PortKey, Side},
    verdict::{Host, Segment},
    wire::ipv4::Addresses,
};

/// Written by the loader; the verifier sees constants.
#[unsafe(no_mangle)]
static CONFIG: Config = Config {
    default_pass: 0,
    drop_fragments: 0,
    udp_replies: 0,
    dhcp_client: 0,
    ephemeral_first: 0,
    ephemeral_last: 0,
    remote_rules: 0,
    portless_rules: 0,
};

/// Written by the loader.
#[unsafe(no_mangle)]
static LISTED: PortBitmaps = PortBitmaps::EMPTY;

// The loader sets how many entries each map has room for.
#[map]
static LOCAL_PORTS: HashMap<PortKey, u32> = HashMap::with_max_entries(1, 0);

#[map]
static REMOTE_PORTS: HashMap<PortKey, u32> = HashMap::with_max_entries(1, 0);

#[map]
static DECISIONS: HashMap<ClassKey, Decision> = HashMap::with_max_entries(1, 0);

/// The kernel, as the verdict sees it.
pub struct Kernel<'a> {
    ctx: &'a XdpContext,
}

impl<'a> Kernel<'a> {
    /// The kernel in which `ctx` is being judged.
    #[inline(always)]
    pub const fn new(ctx: &'a XdpContext) -> Self {
        Self { ctx }
    }
}

impl Host for Kernel<'_> {
    #[inline(always)]
    fn config(&self) -> &Config {
        &CONFIG
    }

    #[inline(always)]
    fn is_closed(&self, transport: Transport, port: u16) -> bool {
        LISTED.is_closed(transport, port)
    }

    #[inline(always)]
    fn is_listed(&self, side: Side, transport: Transport, port: u16) -> bool {
        LISTED.contains(side, transport, port)
    }

    #[inline(always)]
    fn class_of(&self, side: Side, transport: Transport, port: u16) -> Option<u32> {
        let classes = match side {
            Side::Local => &LOCAL_PORTS,
            Side::Remote => &REMOTE_PORTS,
        };
        // SAFETY: the loader fills the maps before the program runs, and
        // nothing writes to them afterwards.
        unsafe { classes.get(PortKey::new(transport, port)) }.copied()
    }

    #[inline(always)]
    fn decision(&self, local: u32, remote: u32) -> Option<Decision> {
        // SAFETY: as above.
        unsafe { DECISIONS.get(ClassKey { local, remote }) }.copied()
    }

    #[inline(always)]
    fn has_socket(&self, addresses: &Addresses, segment: &Segment, bound: bool) -> bool {
        let mut tuple = bpf_sock_tuple {
            __bindgen_anon_1: bpf_sock_tuple__bindgen_ty_1 {
                ipv4: bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 {
                    saddr: u32::from_ne_bytes(addresses.source),
                    daddr: u32::from_ne_bytes(addresses.destination),
                    sport: segment.remote.to_be(),
                    dport: segment.local.to_be(),
                },
            },
        };
        let len = size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1>() as u32;
        let netns = i64::from(BPF_F_CURRENT_NETNS) as u64;
        match segment.transport {
            Transport::Tcp => {
                // SAFETY: context and tuple live through the call.
                let socket =
                    unsafe { bpf_skc_lookup_tcp(self.ctx.as_ptr(), &mut tuple, len, netns, 0) };
                // A listener takes new connections, which are for rules to allow.
                state_of(socket).is_some_and(|state| state != BPF_TCP_LISTEN)
            }
            Transport::Udp => {
                // SAFETY: as above.
                let socket =
                    unsafe { bpf_sk_lookup_udp(self.ctx.as_ptr(), &mut tuple, len, netns, 0) };
                // The kernel marks a connected UDP socket as TCP's "established"
                // (`__ip4_datagram_connect` in net/ipv4/datagram.c), and finds
                // it for packets of its peer only.
                state_of(socket).is_some_and(|state| bound || state == BPF_TCP_ESTABLISHED)
            }
        }
    }
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
