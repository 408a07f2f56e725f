//! Flows: what this host, or whom it forwards for, sent and may be answered.

use bytemuck::{Pod, Zeroable};

use super::{
    SharedMap,
    ports::{BITMAP_WORDS, FIRST_BIT, PORTS, index, place},
};

/// Names of the globals of flows.
pub mod names {
    /// Read-only global, a `u32`: ticks of the kernel's clock (`jiffies`) in a second.
    pub const TICKS_PER_SECOND: &str = "TICKS_PER_SECOND";
}

/// A flow, written as its answer will look: the remote end is where the answer comes from.
///
/// It has everything that tells one conversation from another, so that the same ports from
/// another peer are another flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct FlowKey {
    /// Where answers come from, in network byte order; IPv4 is in the first four bytes and
    /// zero behind.
    pub remote: [u8; 16],
    /// Where answers go to, in the same way.
    pub local: [u8; 16],
    /// Index of the interface, if one of the addresses is link-local and so means nothing
    /// without it; else 0.
    pub interface: u32,
    /// The peer's port, in network byte order; 0 for protocols without ports.
    pub remote_port: [u8; 2],
    /// The local port, in network byte order; the identifier of an ICMP echo; 0 for other
    /// protocols without ports.
    pub local_port: [u8; 2],
    /// Protocol number behind all extension headers.
    pub protocol: u8,
    /// Version of IP: 4 or 6.
    pub family: u8,
    /// Always zero.
    pub padding: [u8; 2],
}

/// What is remembered of a flow. Each flag is a byte of its own, since packets out and
/// packets in write them at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct FlowState {
    /// When the last packet left, in ticks of [`Memory::now`](crate::flows::Memory::now). It
    /// is up to a second behind.
    pub last_out: u64,
    /// 1: the first packet seen was not the one that opened the connection, so nobody knows
    /// which end did.
    pub picked_up: u8,
    /// 1: a FIN has left.
    pub fin_out: u8,
    /// 1: a FIN has come in.
    pub fin_in: u8,
    /// Always zero.
    pub padding: [u8; 5],
}

impl FlowState {
    /// A flow whose last packet leaves at this time.
    #[inline(always)]
    pub const fn new(last_out: u64) -> Self {
        Self {
            last_out,
            picked_up: 0,
            fin_out: 0,
            fin_in: 0,
            padding: [0; 5],
        }
    }

    /// Whether FINs went both ways.
    #[inline(always)]
    pub const fn is_closed(&self) -> bool {
        self.fin_out != 0 && self.fin_in != 0
    }
}

/// Whom a packet that leaves comes from. Each has tables of its own, so that what others
/// send through this host evicts nothing that it sent itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Origin {
    /// A process of this host.
    Local = 0,
    /// Another host, for which this one forwards.
    Forwarded = 1,
}

impl Origin {
    /// Both, in the order in which they are asked.
    pub const ALL: [Self; 2] = [Self::Local, Self::Forwarded];
}

/// The tables of flows that each origin has. A full table evicts what was used least
/// recently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Table {
    /// TCP connections whose handshake is not over, or that are over. Apart from the open
    /// ones, so that neither a scan of this host's own nor many short connections evict one
    /// of them.
    Brief = 0,
    /// Open TCP connections.
    Tcp = 1,
    /// Everything else.
    Other = 2,
}

impl Table {
    /// Every table.
    pub const ALL: [Self; 3] = [Self::Brief, Self::Tcp, Self::Other];
}

/// What a local port sent last. In front of the tables, it makes a flood of ports that this
/// host never used cost one load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum Note {
    /// Any TCP segment.
    Tcp = 0,
    /// A bare SYN. Apart from the others, so that SYNs to ports in use pay no more.
    Syn = 1,
    /// A UDP datagram.
    Udp = 2,
    /// Anything else that is answered; what stands in the place of the port is the
    /// identifier of an ICMP echo, or 0.
    Other = 3,
}

impl Note {
    /// How many there are.
    pub const COUNT: usize = 4;
}

/// Insertions into a table of flows, and removals that were no evictions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct FlowCounts {
    /// Flows that were not known before.
    pub inserted: u64,
    /// Flows that ended, or went on in another table.
    pub removed: u64,
}

/// The hash map ([`FlowKey`] → [`FlowState`]) of a table; it evicts what was used least
/// recently. The loader sets how many entries it has room for.
#[inline(always)]
pub const fn flow_table(origin: Origin, table: Table) -> SharedMap {
    FLOW_TABLES[origin as usize][table as usize]
}

/// Where the [`FlowCounts`] of a table are in [`FLOW_COUNTS`].
#[inline(always)]
pub const fn flow_counts(origin: Origin, table: Table) -> u32 {
    (origin as usize * Table::ALL.len() + table as usize) as u32
}

/// Tables of flows, of all origins.
pub const FLOW_TABLE_COUNT: usize = Origin::ALL.len() * Table::ALL.len();

/// Array of [`NoteBlock`]s: when each local port sent something last.
pub const NOTES: SharedMap = SharedMap::of_flows("NOTES", "notes");
/// Array of [`SENT_WORDS`] words, with a bit for each note: whether the port ever sent
/// something since the filter is up. It is in front of the notes, since it stays in the cache
/// while a flood goes over all ports, and they do not.
pub const SENT: SharedMap = SharedMap::of_flows("SENT", "sent");
/// Per-CPU array of [`FlowCounts`], one for each table.
pub const FLOW_COUNTS: SharedMap = SharedMap::of_flows("FLOW_COUNTS", "flow_counts");

pub(super) const FLOW_TABLES: [[SharedMap; Table::ALL.len()]; Origin::ALL.len()] = [
    [
        SharedMap::of_flows("BRIEF_LOCAL", "brief_local"),
        SharedMap::of_flows("TCP_LOCAL", "tcp_local"),
        SharedMap::of_flows("OTHER_LOCAL", "other_local"),
    ],
    [
        SharedMap::of_flows("BRIEF_FORWARDED", "brief_forwarded"),
        SharedMap::of_flows("TCP_FORWARDED", "tcp_forwarded"),
        SharedMap::of_flows("OTHER_FORWARDED", "other_forwarded"),
    ],
];

/// Notes in one element of their map: a line of the cache.
pub const NOTES_PER_BLOCK: usize = 16;
/// The notes of neighbouring ports, each a [`note_time`](crate::flows::note_time) or 0.
pub type NoteBlock = [u32; NOTES_PER_BLOCK];
/// Elements of [`NOTES`].
pub const NOTE_BLOCKS: usize = Note::COUNT * PORTS / NOTES_PER_BLOCK;

/// Where the note of a port is, given in network byte order: block and place in the block.
#[inline(always)]
pub const fn note_place(note: Note, port: [u8; 2]) -> (u32, usize) {
    let index = note as usize * PORTS + index(u16::from_be_bytes(port));
    ((index / NOTES_PER_BLOCK) as u32, index % NOTES_PER_BLOCK)
}

/// Elements of [`SENT`].
pub const SENT_WORDS: usize = Note::COUNT * BITMAP_WORDS;

/// Where [`SENT`] has the bit of a note, whose port is in network byte order: the word, and
/// the bit. Bits may be set too many: the note itself still says what holds.
#[inline(always)]
pub const fn sent_place(note: Note, port: [u8; 2]) -> (u32, u64) {
    let (word, bit) = place(u16::from_be_bytes(port));
    (
        (note as usize * BITMAP_WORDS + word) as u32,
        FIRST_BIT >> bit,
    )
}

const _: () = assert!(size_of::<FlowKey>() == 44 && align_of::<FlowKey>() == 4);
const _: () = assert!(size_of::<FlowState>() == 16);
