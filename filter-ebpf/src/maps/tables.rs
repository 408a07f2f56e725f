//! Reads the compiled policy: maps and read-only data that the loader fills before the
//! program runs. Nothing may change them afterwards.

use aya_ebpf::{
    helpers::bpf_ktime_get_boot_ns,
    macros::map,
    maps::{
        HashMap,
        lpm_trie::{Key, LpmTrie},
    },
};
use xdpfw_common::{
    Transport,
    abi::{Config, EdgeKey, Ends, LocalKey, Node, PortBitmaps, ProtocolKind, Side},
    verdict,
    wire::{ethernet::Mac, ip::Addresses},
};

use crate::ingress::Ingress;

/// Written by the loader; the verifier sees constants.
#[unsafe(no_mangle)]
static CONFIG: Config = Config {
    default_pass: 0,
    drop_fragments: 0,
    replies: 0,
    dhcp_client: 0,
    icmp_errors: 0,
    discovery: 0,
    drop_non_ip: 0,
    established_only: 0,
    syn_cookies: 0,
    cookie_options: 0,
    listed_kinds: 0,
    questions: 0,
    rest: [Node::NO_RULE; ProtocolKind::ALL.len()],
    fragments: [Node::NO_RULE; ProtocolKind::ALL.len()],
};

/// Written by the loader.
#[unsafe(no_mangle)]
static LISTED: PortBitmaps = PortBitmaps::EMPTY;

/// Written by the loader.
#[unsafe(no_mangle)]
static ENDS: Ends = Ends::NONE;

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
static MACS: HashMap<Mac, u32> = HashMap::with_max_entries(1, 0);

#[map]
static SOURCES4: LpmTrie<[u8; 4], u32> = LpmTrie::with_max_entries(1, 0);

#[map]
static SOURCES6: LpmTrie<[u8; 16], u32> = LpmTrie::with_max_entries(1, 0);

#[map]
static DESTINATIONS4: LpmTrie<[u8; 4], u32> = LpmTrie::with_max_entries(1, 0);

#[map]
static DESTINATIONS6: LpmTrie<[u8; 16], u32> = LpmTrie::with_max_entries(1, 0);

/// Whether whatever comes to a local port passes.
#[inline(always)]
pub fn is_free(transport: Transport, port: u16) -> bool {
    LISTED.is_free(transport, port)
}

/// Whether some rule answers with SYN cookies.
#[inline(always)]
pub fn has_cookies() -> bool {
    // SAFETY: a reference, so aligned and initialised. The loader fills it in after compilation.
    unsafe { (&raw const CONFIG.syn_cookies).read_volatile() != 0 }
}

/// What answers with SYN cookies offer: see [`Config::cookie_options`].
#[inline(always)]
pub fn cookie_options() -> u32 {
    // SAFETY: as above.
    unsafe { (&raw const CONFIG.cookie_options).read_volatile() }
}

/// How many ends of rules are ahead. A function of its own with a name that others can see: the
/// verifier goes through its loop once.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn ends_ahead() -> u32 {
    // SAFETY: it takes nothing and reads a clock (Linux 5.8).
    ENDS.ahead(unsafe { bpf_ktime_get_boot_ns() })
}

/// The tables, asked about the packet of a context.
pub struct Tables<'a, C> {
    ctx: &'a C,
}

impl<'a, C> Tables<'a, C> {
    /// The tables, to be asked about the packet of `ctx`.
    #[inline(always)]
    pub const fn new(ctx: &'a C) -> Self {
        Self { ctx }
    }
}

impl<C: Ingress> verdict::Tables for Tables<'_, C> {
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
    fn interface_class(&self) -> Option<u32> {
        let interface = self.ctx.ingress_interface()?;
        // SAFETY: as above.
        Some(unsafe { INTERFACES.get(interface) }.copied().unwrap_or(0))
    }

    #[inline(always)]
    fn mac_class(&self, mac: &Mac) -> u32 {
        // SAFETY: as above.
        unsafe { MACS.get(*mac) }.copied().unwrap_or(0)
    }

    #[inline(always)]
    fn ends_ahead(&self) -> u32 {
        ends_ahead()
    }

    #[inline(always)]
    fn address_class(&self, side: Side, addresses: &Addresses<'_>) -> u32 {
        let class = match (addresses, side) {
            (Addresses::V4(ends), Side::Remote) => SOURCES4.get(Key::new(32, *ends.remote)),
            (Addresses::V4(ends), Side::Local) => DESTINATIONS4.get(Key::new(32, *ends.local)),
            (Addresses::V6(ends), Side::Remote) => SOURCES6.get(Key::new(128, *ends.remote)),
            (Addresses::V6(ends), Side::Local) => DESTINATIONS6.get(Key::new(128, *ends.local)),
        };
        class.copied().unwrap_or(0)
    }
}
