//! What the verdict asks of the kernel: the compiled policy in maps and
//! read-only data, and the sockets of this host.

use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        BPF_F_CURRENT_NETNS, BPF_TCP_ESTABLISHED, BPF_TCP_LISTEN, bpf_sock, bpf_sock_tuple,
        bpf_sock_tuple__bindgen_ty_1, bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1,
        bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2,
    },
    helpers::{bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp},
    macros::map,
    maps::{
        HashMap,
        lpm_trie::{Key, LpmTrie},
    },
    programs::XdpContext,
};
use xdpfw_common::{
    Transport,
    abi::{Config, EdgeKey, Kind, LocalKey, Node, PortBitmaps, Side},
    verdict::{Host, Segment},
    wire::ip::Addresses,
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
    listed_kinds: 0,
    dimensions: 0,
    rest: [Node::NO_RULE; Kind::ALL.len()],
};

/// Written by the loader.
#[unsafe(no_mangle)]
static LISTED: PortBitmaps = PortBitmaps::EMPTY;

// The loader sets how many entries each map has room for.
#[map]
static LOCAL: HashMap<LocalKey, Node> = HashMap::with_max_entries(1, 0);

#[map]
static EDGES: HashMap<EdgeKey, Node> = HashMap::with_max_entries(1, 0);

#[map]
static REMOTE_PORTS: HashMap<LocalKey, u32> = HashMap::with_max_entries(1, 0);

#[map]
static INTERFACES: HashMap<u32, u32> = HashMap::with_max_entries(1, 0);

#[map]
static SOURCES4: LpmTrie<[u8; 4], u32> = LpmTrie::with_max_entries(1, 0);

#[map]
static SOURCES6: LpmTrie<[u8; 16], u32> = LpmTrie::with_max_entries(1, 0);

#[map]
static DESTINATIONS4: LpmTrie<[u8; 4], u32> = LpmTrie::with_max_entries(1, 0);

#[map]
static DESTINATIONS6: LpmTrie<[u8; 16], u32> = LpmTrie::with_max_entries(1, 0);

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
    fn local(&self, key: LocalKey) -> Option<Node> {
        // SAFETY: the loader fills the maps before the program runs, and
        // nothing writes to them afterwards.
        unsafe { LOCAL.get(key) }.copied()
    }

    #[inline(always)]
    fn edge(&self, key: EdgeKey) -> Option<Node> {
        // SAFETY: as above.
        unsafe { EDGES.get(key) }.copied()
    }

    #[inline(always)]
    fn remote_port_class(&self, transport: Transport, port: u16) -> u32 {
        let key = LocalKey::new(transport.into(), port);
        // SAFETY: as above.
        unsafe { REMOTE_PORTS.get(key) }.copied().unwrap_or(0)
    }

    #[inline(always)]
    fn interface_class(&self) -> u32 {
        // SAFETY: the context lives as long as the run of the program.
        let index = unsafe { (*self.ctx.ctx).ingress_ifindex };
        // SAFETY: as above.
        unsafe { INTERFACES.get(index) }.copied().unwrap_or(0)
    }

    #[inline(always)]
    fn address_class(&self, side: Side, addresses: &Addresses<'_>) -> u32 {
        let class = match (addresses, side) {
            (Addresses::V4(header), Side::Remote) => SOURCES4.get(Key::new(32, header.src_addr)),
            (Addresses::V4(header), Side::Local) => {
                DESTINATIONS4.get(Key::new(32, header.dst_addr))
            }
            (Addresses::V6(header), Side::Remote) => SOURCES6.get(Key::new(128, header.src_addr)),
            (Addresses::V6(header), Side::Local) => {
                DESTINATIONS6.get(Key::new(128, header.dst_addr))
            }
        };
        class.copied().unwrap_or(0)
    }

    #[inline(always)]
    fn has_socket(&self, addresses: &Addresses<'_>, segment: &Segment, bound: bool) -> bool {
        let (tuple, len) = tuple(addresses, segment);
        let tuple = (&raw const tuple).cast_mut();
        let netns = i64::from(BPF_F_CURRENT_NETNS) as u64;
        match segment.transport {
            Transport::Tcp => {
                // SAFETY: context and tuple live through the call.
                let socket = unsafe { bpf_skc_lookup_tcp(self.ctx.as_ptr(), tuple, len, netns, 0) };
                // A listener takes new connections, which are for rules to allow.
                state_of(socket).is_some_and(|state| state != BPF_TCP_LISTEN)
            }
            Transport::Udp => {
                // SAFETY: as above.
                let socket = unsafe { bpf_sk_lookup_udp(self.ctx.as_ptr(), tuple, len, netns, 0) };
                // The kernel marks a connected UDP socket as TCP's "established"
                // (`__ip4_datagram_connect` in net/ipv4/datagram.c), and finds
                // it for packets of its peer only.
                state_of(socket).is_some_and(|state| bound || state == BPF_TCP_ESTABLISHED)
            }
        }
    }
}

/// The key of a socket look-up, and its length, which tells the version of IP.
#[inline(always)]
fn tuple(addresses: &Addresses<'_>, segment: &Segment) -> (bpf_sock_tuple, u32) {
    let (sport, dport) = (segment.remote.to_be(), segment.local.to_be());
    let (union, len) = match addresses {
        Addresses::V4(header) => (
            bpf_sock_tuple__bindgen_ty_1 {
                ipv4: bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 {
                    saddr: u32::from_ne_bytes(header.src_addr),
                    daddr: u32::from_ne_bytes(header.dst_addr),
                    sport,
                    dport,
                },
            },
            size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1>(),
        ),
        Addresses::V6(header) => (
            bpf_sock_tuple__bindgen_ty_1 {
                ipv6: bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2 {
                    saddr: words(header.src_addr),
                    daddr: words(header.dst_addr),
                    sport,
                    dport,
                },
            },
            size_of::<bpf_sock_tuple__bindgen_ty_1__bindgen_ty_2>(),
        ),
    };
    let tuple = bpf_sock_tuple {
        __bindgen_anon_1: union,
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
