//! The whole ABI between the kernel program and userspace: names, sizes, keys
//! and values of every map and global.
//!
//! All structs are `repr(C)` without implicit padding. Ports in keys are in
//! network byte order, as the packet has them; everything else is in the host's.

use bytemuck::{Pod, Zeroable};

use crate::{reason::Reason, wire::Transport};

/// Version of all that follows. Pins of another version are never reused.
pub const ABI_VERSION: u32 = 3;

/// Names of programs, maps and globals in the eBPF object.
pub mod names {
    /// Program attached to an interface; jumps to the generation in force.
    pub const DISPATCHER: &str = "dispatcher";
    /// The same for interfaces whose packets come without a link-layer header.
    pub const DISPATCHER_L3: &str = "dispatcher_l3";
    /// Program of a generation.
    pub const FILTER: &str = "filter";
    /// The same program, reporting each verdict through aya-log.
    pub const FILTER_TRACED: &str = "filter_traced";
    /// Behind the name of each of these programs, for the flavour that takes packets
    /// in several buffers (Linux 5.18), as drivers deliver them above a page.
    pub const FRAGS: &str = "_frags";
    /// Program array with one element: the generation in force.
    pub const CURRENT: &str = "CURRENT";
    /// Hash map ([`LocalKey`](super::LocalKey) → [`Node`](super::Node)): where the
    /// way to a decision begins for what rules name.
    pub const LOCAL: &str = "LOCAL";
    /// Hash map ([`EdgeKey`](super::EdgeKey) → [`Node`](super::Node)): the way on.
    pub const EDGES: &str = "EDGES";
    /// Hash map ([`LocalKey`](super::LocalKey) → class) of the remote ports that
    /// rules name.
    pub const REMOTE_PORTS: &str = "REMOTE_PORTS";
    /// Hash map (interface index → class) of the interfaces that rules name.
    pub const INTERFACES: &str = "INTERFACES";
    /// Tries (prefix → class) of the source addresses that rules name, IPv4 and IPv6.
    pub const SOURCES: [&str; 2] = ["SOURCES4", "SOURCES6"];
    /// The same for destination addresses.
    pub const DESTINATIONS: [&str; 2] = ["DESTINATIONS4", "DESTINATIONS6"];
    /// Per-CPU array of [`Block`](super::Block)s: totals, and drops per local port.
    pub const COUNTERS: &str = "COUNTERS";
    /// Per-CPU array of [`Wraps`](super::Wraps), one per block.
    pub const WRAPS: &str = "WRAPS";
    /// Per-CPU array of [`Counter`](super::Counter)s, one per rule slot.
    pub const RULE_HITS: &str = "RULE_HITS";
    /// Read-only global, a [`Config`](super::Config).
    pub const CONFIG: &str = "CONFIG";
    /// Read-only global, a [`PortBitmaps`](super::PortBitmaps).
    pub const LISTED: &str = "LISTED";
}

/// XDP metadata that the dispatcher of an interface without a link layer puts in front of
/// a packet, in the host's byte order: the packet begins with its IP header.
pub const BARE_MARK: u32 = u32::from_be_bytes(*b"bare");

/// Ports per transport.
pub const PORTS: usize = 1 << 16;

/// Local ports counted in one [`Block`]: as many as an element of a per-CPU array can hold
/// [`Wraps`] of, so that few look-ups read all.
pub const PORTS_PER_BLOCK: usize = 8192;

/// Blocks of counters: the ports of both transports.
pub const BLOCKS: usize = 2 * PORTS / PORTS_PER_BLOCK;

/// Rules a policy may have.
pub const MAX_RULES: usize = 1 << 14;

/// Slots of the per-rule counters: each rule has one, and the rules of two
/// generations share none unless they are the same.
pub const RULE_SLOTS: usize = 2 * MAX_RULES;

/// Which end of a connection a port belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Side {
    /// This host's port: the destination on ingress.
    Local = 0,
    /// The peer's port: the source on ingress.
    Remote = 1,
}

/// What a rule's words say of the packet's own kind: the protocol, and what stands
/// in the port's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Kind {
    /// TCP; the local port.
    Tcp = 0,
    /// UDP; the local port.
    Udp = 1,
    /// ICMP over IPv4; the type.
    Icmp = 2,
    /// ICMP over IPv6; the type.
    Icmp6 = 3,
    /// Any other protocol; its number.
    Other = 4,
}

impl Kind {
    /// Every kind, in order.
    pub const ALL: [Self; 5] = [Self::Tcp, Self::Udp, Self::Icmp, Self::Icmp6, Self::Other];

    /// The user's word for it.
    #[inline(always)]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Icmp6 => "icmp6",
            Self::Other => "proto",
        }
    }

    /// The transport, for those that have ports.
    #[inline(always)]
    pub const fn transport(self) -> Option<Transport> {
        match self {
            Self::Tcp => Some(Transport::Tcp),
            Self::Udp => Some(Transport::Udp),
            Self::Icmp | Self::Icmp6 | Self::Other => None,
        }
    }

    /// Its bit in [`Config::listed_kinds`].
    #[inline(always)]
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }
}

impl From<Transport> for Kind {
    #[inline(always)]
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Tcp => Self::Tcp,
            Transport::Udp => Self::Udp,
        }
    }
}

/// A port, ICMP type or protocol number as a key of the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct LocalKey {
    /// The [`Kind`].
    pub kind: u8,
    /// Always zero.
    pub zero: u8,
    /// What stands in the port's place, in network byte order.
    pub value: [u8; 2],
}

impl LocalKey {
    /// The key of `value`, given in host byte order.
    #[inline(always)]
    pub const fn new(kind: Kind, value: u16) -> Self {
        Self {
            kind: kind as u8,
            zero: 0,
            value: value.to_be_bytes(),
        }
    }
}

/// Where a packet is on the way to its decision: either there, or at a question
/// about it.
///
/// The rules are compiled to a diagram of such nodes. A packet's kind and local
/// port lead to the first; each asks for the packet's class in one dimension, and
/// the class leads to the next. A class of 0, or one that the node has no edge for,
/// leads *otherwise*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct Node {
    /// Its number, in the keys of its edges.
    pub number: u32,
    /// What it asks: a bit of [`dimension`], or 0 when the decision is reached.
    /// With [`dimension::MORE`], the way otherwise is the edge of class 0; without,
    /// it ends at the decision below.
    pub asks: u32,
    /// The decision: slot of the rule's counters, below [`RULE_SLOTS`], or [`NO_RULE`].
    pub slot: u32,
    /// What that rule does: [`ACTION_ALLOW`] or [`ACTION_DENY`].
    pub action: u32,
}

impl Node {
    /// The end of a way on which no rule matches.
    pub const NO_RULE: Self = Self {
        number: 0,
        asks: 0,
        slot: NO_RULE,
        action: 0,
    };
}

/// What a [`Node`] can ask for. The dimensions are asked in this order.
pub mod dimension {
    /// The interface the packet came in on.
    pub const INTERFACE: u32 = 1 << 0;
    /// The remote port.
    pub const REMOTE_PORT: u32 = 1 << 1;
    /// The destination address.
    pub const DESTINATION: u32 = 1 << 2;
    /// The source address.
    pub const SOURCE: u32 = 1 << 3;
    /// Another question follows even where the packet's class has no edge.
    pub const MORE: u32 = 1 << 8;
}

/// An edge of the diagram, as the key of the node it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct EdgeKey {
    /// [`Node::number`] of the node it leads from.
    pub node: u32,
    /// The class; 0 where the packet's has no edge of its own.
    pub class: u32,
}

/// [`Node::slot`]: no rule matches.
pub const NO_RULE: u32 = u32::MAX;
/// [`Node::action`]: the packet passes.
pub const ACTION_ALLOW: u32 = 0;
/// [`Node::action`]: the packet is dropped.
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
///
/// A scan goes through the counters of all ports, as far apart as can be. They are short,
/// so that most of them stay in the caches next to a CPU; what does not fit them is in
/// [`Wraps`], where hardly any packet comes.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Block {
    /// Indexed by [`Reason::slot`].
    pub totals: [Counter; Reason::SLOTS],
    /// Packets dropped, by local port, as far as 16 bits hold them; see [`port_counter`].
    pub drops: [u16; PORTS_PER_BLOCK],
}

/// How often each counter in [`Block::drops`] has gone past its end, from
/// [`u16::MAX`] to 0. Written right after that, so that whoever reads this, the counter,
/// and this again sees both of one moment if this is the same.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Wraps {
    /// By local port, in the order of [`Block::drops`].
    pub ports: [u32; PORTS_PER_BLOCK],
}

/// Packets that one time in [`Wraps`] stands for.
pub const WRAP: u64 = 1 << u16::BITS;

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
    /// [`Kind::bit`]s of the kinds without ports that [`names::LOCAL`] has entries of.
    pub listed_kinds: u32,
    /// [`dimension`]s that some node asks for.
    pub dimensions: u32,
    /// Where the way to a decision begins for what no rule names, by [`Kind`].
    pub rest: [Node; Kind::ALL.len()],
}

/// [`Config::udp_replies`]: UDP passes by rules alone.
pub const UDP_REPLIES_OFF: u32 = 0;
/// [`Config::udp_replies`]: what a socket connected to this peer awaits passes.
pub const UDP_REPLIES_CONNECTED: u32 = 1;
/// [`Config::udp_replies`]: what any bound socket awaits passes.
pub const UDP_REPLIES_BOUND: u32 = 2;

/// The ports of DHCP clients, over IPv4 (RFC 2131, section 4.1) and IPv6 (RFC 8415,
/// section 7.2).
pub const DHCP_CLIENTS: [u16; 2] = [68, 546];
/// The ports of DHCP servers, in the same order.
pub const DHCP_SERVERS: [u16; 2] = [67, 547];

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
/// it has a bit of its own. A port is *listed* when the port maps have it.
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

/// A port's place in whatever has one for each: the port as the packet has it.
#[inline(always)]
const fn index(port: u16) -> usize {
    port.to_be() as usize
}

/// Where the bit of a port is: the word, and the bit from the highest.
#[inline(always)]
const fn place(port: u16) -> (usize, u32) {
    let index = index(port);
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
    let index = transport as usize * PORTS + index(port);
    ((index / PORTS_PER_BLOCK) as u32, index % PORTS_PER_BLOCK)
}

const _: () = {
    assert!(size_of::<LocalKey>() == 4);
    assert!(size_of::<EdgeKey>() == 8);
    assert!(size_of::<Node>() == 16);
    assert!(size_of::<Counter>() == 16);
    assert!(size_of::<Block>() == 256 + 16 * 1024);
    assert!(size_of::<Wraps>() == 32 * 1024);
    assert!(size_of::<Config>() == 32 + 5 * 16);
    assert!(size_of::<PortBitmaps>() == 48 * 1024);
    // The kernel's bound for a per-CPU element (PCPU_MIN_UNIT_SIZE).
    assert!(size_of::<Block>() <= 32 * 1024 && size_of::<Wraps>() <= 32 * 1024);
};
