//! The whole ABI between the kernel program and userspace: names, sizes, keys
//! and values of every map and global.
//!
//! All structs are `repr(C)` without implicit padding. Ports in keys are in
//! network byte order, as the packet has them; everything else is in the host's.

use bytemuck::{Pod, Zeroable};

use crate::{reason::Reason, wire::Transport};

/// Version of all that follows. Pins of another version are never reused.
pub const ABI_VERSION: u32 = 1;

/// Names of programs, maps and globals in the eBPF object.
pub mod names {
    /// Program attached to every interface; jumps to the generation in force.
    pub const DISPATCHER: &str = "dispatcher";
    /// Program of a generation.
    pub const FILTER: &str = "filter";
    /// The same program, reporting each verdict through aya-log.
    pub const FILTER_TRACED: &str = "filter_traced";
    /// Program array with one element: the generation in force.
    pub const CURRENT: &str = "CURRENT";
    /// Hash map ([`PortKey`](super::PortKey) → class) of the local ports that
    /// rules mention.
    pub const LOCAL_PORTS: &str = "LOCAL_PORTS";
    /// The same for remote ports.
    pub const REMOTE_PORTS: &str = "REMOTE_PORTS";
    /// Hash map ([`ClassKey`](super::ClassKey) → [`Decision`](super::Decision)).
    pub const DECISIONS: &str = "DECISIONS";
    /// Per-CPU array of [`Block`](super::Block)s: totals, and drops per local port.
    pub const COUNTERS: &str = "COUNTERS";
    /// Per-CPU array of [`Counter`](super::Counter)s, one per rule slot.
    pub const RULE_HITS: &str = "RULE_HITS";
    /// Read-only global, a [`Config`](super::Config).
    pub const CONFIG: &str = "CONFIG";
    /// Read-only global, a [`PortBitmaps`](super::PortBitmaps).
    pub const LISTED: &str = "LISTED";
}

/// Ports per transport.
pub const PORTS: usize = 1 << 16;

/// Local ports counted in one [`Block`]: so many that a look-up for each block
/// reads in a moment what would take 131,072 look-ups one by one.
pub const PORTS_PER_BLOCK: usize = 1024;

/// Blocks of counters: the ports of both transports.
pub const BLOCKS: usize = 2 * PORTS / PORTS_PER_BLOCK;

/// Rules a policy may have.
pub const MAX_RULES: usize = 1 << 14;

/// Slots of the per-rule counters: each rule has one, and the rules of two
/// generations share none unless they are the same.
pub const RULE_SLOTS: usize = 2 * MAX_RULES;

/// Classes below this one are the unlisted ports' ([`unlisted_class`]).
pub const FIRST_LISTED_CLASS: u32 = 3;

/// Class of every port that no rule of this transport mentions; `None` is an
/// IP protocol without ports.
#[inline(always)]
pub const fn unlisted_class(transport: Option<Transport>) -> u32 {
    match transport {
        Some(Transport::Tcp) => 0,
        Some(Transport::Udp) => 1,
        None => 2,
    }
}

/// Which end of a connection a port belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Side {
    /// This host's port: the destination on ingress.
    Local = 0,
    /// The peer's port: the source on ingress.
    Remote = 1,
}

/// A port as a key of the port maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct PortKey {
    /// IP protocol number: 6 or 17.
    pub protocol: u8,
    /// Always zero.
    pub zero: u8,
    /// The port, in network byte order.
    pub port: [u8; 2],
}

impl PortKey {
    /// The key of `port`, given in host byte order.
    #[inline(always)]
    pub const fn new(transport: Transport, port: u16) -> Self {
        Self {
            protocol: transport.protocol(),
            zero: 0,
            port: port.to_be_bytes(),
        }
    }
}

/// The classes of a packet's ports, as the key of the decisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct ClassKey {
    /// Class of the local port.
    pub local: u32,
    /// Class of the remote port.
    pub remote: u32,
}

/// The rule that a tuple of classes is decided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct Decision {
    /// Slot of the rule's counters, below [`RULE_SLOTS`].
    pub slot: u32,
    /// One of [`ACTION_ALLOW`], [`ACTION_DENY`].
    pub action: u32,
}

/// [`Decision::action`]: the packet passes.
pub const ACTION_ALLOW: u32 = 0;
/// [`Decision::action`]: the packet is dropped.
pub const ACTION_DENY: u32 = 1;

/// Packets and bytes (whole frames, without the checksum that follows them).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// The counters of [`PORTS_PER_BLOCK`] local ports, and the totals of the packets
/// to them: one look-up finds both. The totals of the host are
/// the sum over all blocks; packets without ports are counted in block 0.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Block {
    /// Indexed by [`Reason::slot`].
    pub totals: [Counter; Reason::SLOTS],
    /// Packets dropped, by local port; see [`port_counter`].
    pub drops: [u64; PORTS_PER_BLOCK],
}

/// What a policy asks for besides its rules. Read-only data of the program, so
/// that the verifier removes the branches that the policy does not use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Config {
    /// 1: what no rule matches passes. 0: it is dropped.
    pub default_pass: u32,
    /// 1: later fragments are dropped. 0: they pass.
    pub drop_fragments: u32,
    /// One of [`UDP_REPLIES_OFF`], [`UDP_REPLIES_CONNECTED`], [`UDP_REPLIES_BOUND`].
    pub udp_replies: u32,
    /// 1: answers to this host's DHCP client pass.
    pub dhcp_client: u32,
    /// First port of the host's ephemeral range, host byte order.
    pub ephemeral_first: u32,
    /// Last port of the host's ephemeral range, host byte order.
    pub ephemeral_last: u32,
    /// 1: some rule looks at remote ports.
    pub remote_rules: u32,
    /// 1: some rule matches protocols without ports.
    pub portless_rules: u32,
}

/// [`Config::udp_replies`]: UDP passes by rules alone.
pub const UDP_REPLIES_OFF: u32 = 0;
/// [`Config::udp_replies`]: what a socket connected to this peer awaits passes.
pub const UDP_REPLIES_CONNECTED: u32 = 1;
/// [`Config::udp_replies`]: what any bound socket awaits passes.
pub const UDP_REPLIES_BOUND: u32 = 2;

/// The port of DHCP clients (RFC 2131, section 4.1).
pub const DHCP_CLIENT: u16 = 68;
/// The port of DHCP servers (RFC 2131, section 4.1).
pub const DHCP_SERVER: u16 = 67;

/// Words of one bitmap of ports.
const BITMAP_WORDS: usize = PORTS / u64::BITS as usize;

/// Bit of the first port of a word. The highest, so that the bit of any port
/// can be shifted to the sign, which is one comparison in the packet path.
const FIRST_BIT: u64 = 1 << (u64::BITS - 1);

/// What spares a packet its look-ups: a bit for each port.
///
/// A local port is *closed* when the default drops what comes to it, and neither a
/// rule nor its being a client's port can change that; an answer from a server's
/// port still can. This is all that the packet path asks about most packets, so
/// it has a bit of its own. A port is *listed* when the port maps have it, or when
/// a rule for any port at all makes each packet need a decision.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct PortBitmaps {
    open: [[u64; BITMAP_WORDS]; 2],
    listed: [[[u64; BITMAP_WORDS]; 2]; 2],
}

impl PortBitmaps {
    /// Every port closed, none listed.
    pub const EMPTY: Self = Self {
        open: [[0; BITMAP_WORDS]; 2],
        listed: [[[0; BITMAP_WORDS]; 2]; 2],
    };

    /// Opens a local port.
    pub const fn open(&mut self, transport: Transport, port: u16) {
        let (word, bit) = place(port);
        self.open[transport as usize][word] |= FIRST_BIT >> bit;
    }

    /// Lists a port; a listed local port is open.
    pub const fn insert(&mut self, side: Side, transport: Transport, port: u16) {
        let (word, bit) = place(port);
        self.listed[side as usize][transport as usize][word] |= FIRST_BIT >> bit;
        if matches!(side, Side::Local) {
            self.open(transport, port);
        }
    }

    /// Whether a local port is closed.
    #[inline(always)]
    pub fn is_closed(&self, transport: Transport, port: u16) -> bool {
        !is_set(&self.open[transport as usize], port)
    }

    /// Whether a port is listed.
    #[inline(always)]
    pub fn contains(&self, side: Side, transport: Transport, port: u16) -> bool {
        is_set(&self.listed[side as usize][transport as usize], port)
    }
}

/// Where the bit of a port is: the word, and the bit from the highest. They are
/// also the place and the block that [`port_counter`] gives, so that the packet
/// path computes them once, and from the port as the packet has it.
#[inline(always)]
const fn place(port: u16) -> (usize, u32) {
    let index = port.to_be() as usize;
    (index % BITMAP_WORDS, (index / BITMAP_WORDS) as u32)
}

/// Whether the bit of a port is set. The read is volatile: in the kernel program
/// the bitmaps are filled after compilation.
#[inline(always)]
fn is_set(bitmap: &[u64; BITMAP_WORDS], port: u16) -> bool {
    let (word, bit) = place(port);
    // SAFETY: a reference into `bitmap`, aligned and initialised.
    let word = unsafe { core::ptr::read_volatile(&raw const bitmap[word]) };
    (word << bit).cast_signed() < 0
}

/// Where the drops of a local port are counted: block and place in the block.
#[inline(always)]
pub const fn port_counter(transport: Transport, port: u16) -> (u32, usize) {
    let (word, bit) = place(port);
    (transport as u32 * u64::BITS + bit, word)
}

const _: () = {
    assert!(size_of::<PortKey>() == 4);
    assert!(size_of::<ClassKey>() == 8);
    assert!(size_of::<Decision>() == 8);
    assert!(size_of::<Counter>() == 16);
    assert!(size_of::<Block>() == 256 + 8 * 1024);
    assert!(size_of::<Config>() == 32);
    assert!(size_of::<PortBitmaps>() == 48 * 1024);
    assert!(BITMAP_WORDS == PORTS_PER_BLOCK);
    // The kernel's bound for a per-CPU element (PCPU_MIN_UNIT_SIZE).
    assert!(size_of::<Block>() <= 32 * 1024);
};
