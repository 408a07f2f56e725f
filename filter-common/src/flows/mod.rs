//! Decides which packets answer something that left: what packets on their way out leave
//! behind, and what packets on their way in may ask. Pure; the tables are the caller's.
//!
//! **Only the trusted side inserts.** [`record`] is for packets that leave, and it alone gets
//! a [`Recorder`]. [`ask`] is for packets that come in, and at most sets one bit of a flow
//! that exists. So nothing that comes in from outside can open anything, or evict anything.
//!
//! ```text
//!  bare SYN out ──► brief ──(first other segment out)──► tcp ──(FINs both ways)──► brief, 60 s
//!  other segment out, flow not known ──► tcp, picked up
//!  RST out ──► forgotten
//!  UDP, echo request, other protocols out ──► other
//! ```
//!
//! What rules let in as an answer anyway is not recorded, so that a server's connections do
//! not fill the tables. Nor is what goes to a group: nobody answers with its address. But see
//! [`is_found`].

mod conversation;
mod discovery;
mod inbound;
mod outbound;

use network_types::ip::IpProto;

pub(crate) use self::conversation::kind_of;
pub use self::{
    conversation::Conversation,
    discovery::{is_found, may_be_found},
    inbound::{Answer, ask, ask_tables},
    outbound::{is_known_turned, record},
};
pub use crate::abi::{Note, Origin, Table};
use crate::{
    abi::{FlowKey, FlowState},
    wire::{
        Transport,
        ip::{Addresses, Ends},
        tcp::Flags,
    },
};
use bytemuck::Zeroable as _;

/// Seconds that a bare SYN may be answered (`nf_conntrack_tcp_timeout_syn_sent` in
/// Documentation/networking/nf_conntrack-sysctl.rst).
pub const UNANSWERED_AGE: u64 = 120;
/// Seconds that a TCP connection may be silent: 5 days (`nf_conntrack_tcp_timeout_established`
/// there). Behind it stands the kernel's socket.
pub const TCP_AGE: u64 = 5 * 24 * 3600;
/// The same when FINs went both ways: late segments are still on the way.
pub const CLOSED_AGE: u64 = 60;
/// Seconds that a UDP packet may be answered.
pub const UDP_AGE: u64 = 180;
/// Seconds that an ICMP echo request may be answered.
pub const ECHO_AGE: u64 = 30;
/// The same for all other protocols (`nf_conntrack_generic_timeout` there).
pub const OTHER_AGE: u64 = 600;
/// Seconds between two writes of the same flow: a busy connection writes seldom.
pub const REFRESH: u64 = 1;

/// A packet, as far as flows see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Packet {
    /// The flow that it belongs to.
    pub key: FlowKey,
    /// What it carries.
    pub carries: Carries,
    /// The control bits of a TCP segment; of others, [`Flags::NONE`].
    pub flags: Flags,
    /// Always zero.
    pub padding: [u8; 2],
}

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Carries {
    /// A TCP segment.
    Tcp,
    /// A UDP datagram.
    Udp,
    /// An ICMP echo request, over either version of IP.
    EchoRequest,
    /// An ICMP echo reply.
    EchoReply,
    /// Another ICMP message. It neither opens nor answers a flow by itself.
    OtherIcmp,
    /// Another protocol, by its ports where it has them.
    Other,
}

impl Packet {
    /// Whether it is a bare SYN.
    #[inline(always)]
    const fn opens(&self) -> bool {
        self.flags.open_connection()
    }
}

/// The flows and notes that packets on their way in are compared with, and the time.
///
/// It cannot insert: see [`Recorder`].
pub trait Memory {
    /// The time, in ticks that never go back.
    fn now(&self) -> u64;

    /// Ticks in a second, at least one.
    fn ticks_per_second(&self) -> u64;

    /// What is remembered of a flow.
    fn get(&self, origin: Origin, table: Table, key: &FlowKey) -> Option<FlowState>;

    /// Sets [`FlowState::fin_in`] of an open TCP connection, if it is known. Changes nothing
    /// else, though packets that leave write the same flow at the same time.
    fn set_fin_in(&self, origin: Origin, key: &FlowKey);

    /// When a local port sent something last, as [`note_time`]; 0 is never. The port is in
    /// network byte order.
    fn note(&self, note: Note, port: [u8; 2]) -> u32;
}

/// The same for packets on their way out, which insert.
pub trait Recorder: Memory {
    /// Remembers a flow that is not known. May evict another one.
    fn insert(&self, origin: Origin, table: Table, key: &FlowKey, state: FlowState);

    /// Notes that another packet of a flow leaves now, if it is known.
    fn refresh(&self, origin: Origin, table: Table, key: &FlowKey);

    /// Sets [`FlowState::fin_out`] of an open TCP connection, if it is known.
    fn set_fin_out(&self, origin: Origin, key: &FlowKey);

    /// Forgets a flow, if it is known.
    fn remove(&self, origin: Origin, table: Table, key: &FlowKey);

    /// Remembers that a local port sends something.
    fn set_note(&self, note: Note, port: [u8; 2], time: u32);

    /// Whether the policy asks for answers to what is asked of groups.
    fn discovers(&self) -> bool;

    /// Whether rules let in whatever comes to the local port of this packet, by a bitmap.
    fn is_free(&self, packet: &Packet) -> bool;

    /// Whether anybody is banned: whom rules let in may be, and be answered all the same.
    fn has_bans(&self) -> bool;

    /// Whether somebody whom rules let in may later be banned from opening anything: then what he has
    /// opened must be known by then.
    fn bans_openers(&self) -> bool;

    /// Whether rules let in the answer to this packet. Asked only where a flow would be
    /// inserted: it costs what a packet that comes in costs.
    fn admits_answer(&self, packet: &Packet) -> bool;

    /// [`is_known_turned`], of a packet that is forwarded.
    fn is_known_turned(&self, packet: &Packet) -> bool;
}

/// A host that knows no flows.
#[derive(Clone, Copy, Debug)]
pub struct NoFlows;

impl Memory for NoFlows {
    fn now(&self) -> u64 {
        0
    }

    fn ticks_per_second(&self) -> u64 {
        1
    }

    fn get(&self, _: Origin, _: Table, _: &FlowKey) -> Option<FlowState> {
        None
    }

    fn set_fin_in(&self, _: Origin, _: &FlowKey) {}

    fn note(&self, _: Note, _: [u8; 2]) -> u32 {
        0
    }
}

/// Ticks in one unit of a note's time, as a power of two: a quarter of a second where a
/// second has 250.
const NOTE_SHIFT: u32 = 6;

/// The time of a note: 32 bits, never 0. It goes round after 34 years of 250 ticks a second.
pub const fn note_time(now: u64) -> u32 {
    let time = (now >> NOTE_SHIFT) as u32;
    if time == 0 { 1 } else { time }
}

/// Whether a local port, in network byte order, may have sent something within the age of
/// its flows. If not, nothing that comes to it can be an answer.
#[inline(always)]
pub fn is_lately<M: Memory>(memory: &M, note: Note, port: [u8; 2]) -> bool {
    let seconds = match note {
        Note::Tcp => TCP_AGE,
        Note::Syn => UNANSWERED_AGE,
        Note::Udp => UDP_AGE,
        Note::Other => OTHER_AGE,
    };
    let time = memory.note(note, port);
    // Most ports never sent anything, and need not know the time.
    time != 0 && {
        let units = (seconds * memory.ticks_per_second()) >> NOTE_SHIFT;
        // One more, since both ends of the time are rounded down.
        u64::from(note_time(memory.now()).wrapping_sub(time)) <= units + 1
    }
}

/// Whether a flow may still be answered.
#[inline(always)]
fn is_alive<M: Memory>(memory: &M, table: Table, state: &FlowState, protocol: u8) -> bool {
    let gone = memory.now().saturating_sub(state.last_out);
    gone <= age(table, state, protocol) * memory.ticks_per_second()
}

/// Seconds since its last packet out within which a flow may be answered, by its table and
/// protocol number.
#[inline(always)]
pub const fn age(table: Table, state: &FlowState, protocol: u8) -> u64 {
    const UDP: u8 = Transport::Udp.protocol();
    const ICMP: u8 = IpProto::Icmp as u8;
    const ICMP6: u8 = IpProto::Ipv6Icmp as u8;
    match (table, protocol) {
        (Table::Brief | Table::Tcp, _) if state.is_closed() => CLOSED_AGE,
        (Table::Brief, _) => UNANSWERED_AGE,
        (Table::Tcp, _) => TCP_AGE,
        (Table::Other, UDP) => UDP_AGE,
        (Table::Other, ICMP | ICMP6) => ECHO_AGE,
        (Table::Other, _) => OTHER_AGE,
    }
}

impl Carries {
    /// The note that packets leave behind which carry the same the other way.
    #[inline(always)]
    const fn note(self) -> Note {
        match self {
            Self::Tcp => Note::Tcp,
            Self::Udp => Note::Udp,
            Self::EchoRequest | Self::EchoReply | Self::OtherIcmp | Self::Other => Note::Other,
        }
    }
}

impl FlowKey {
    /// The key of a packet that comes in by an interface with this index, or of the answer
    /// to one that leaves by it. Ports are in network byte order.
    #[inline(always)]
    pub fn new(
        addresses: &Addresses<'_>,
        protocol: u8,
        remote_port: [u8; 2],
        local_port: [u8; 2],
        interface: u32,
    ) -> Self {
        let mut key = Self::zeroed();
        key.set_addresses(addresses, interface);
        key.remote_port = remote_port;
        key.local_port = local_port;
        key.protocol = protocol;
        key
    }

    /// Writes the addresses and all that depends on them. Field by field: the kernel program
    /// has no room for a second key. By words: a CPU that reads a word whose bytes were just
    /// written waits for all of them.
    #[inline(always)]
    fn set_addresses(&mut self, addresses: &Addresses<'_>, interface: u32) {
        let (remote, local) = match addresses {
            Addresses::V4(ends) => {
                self.family = 4;
                (padded(ends.remote), padded(ends.local))
            }
            Addresses::V6(ends) => {
                self.family = 6;
                (words(ends.remote), words(ends.local))
            }
        };
        let is_link_local =
            is_link_local(remote[0], self.family) || is_link_local(local[0], self.family);
        self.interface = match is_link_local {
            true => interface,
            false => 0,
        };
        self.remote = bytemuck::cast(remote);
        self.local = bytemuck::cast(local);
    }

    /// The same flow, as the other end would have it: of protocols with ports, or without
    /// either port or identifier.
    #[inline(always)]
    pub const fn turned(&self) -> Self {
        Self {
            remote: self.local,
            local: self.remote,
            remote_port: self.local_port,
            local_port: self.remote_port,
            ..*self
        }
    }

    /// Its addresses.
    #[inline(always)]
    pub fn addresses(&self) -> Addresses<'_> {
        const SHORT: &[u8; 4] = &[0; 4];
        match self.family {
            6 => Addresses::V6(Ends {
                remote: &self.remote,
                local: &self.local,
            }),
            _ => Addresses::V4(Ends {
                remote: self.remote.first_chunk().unwrap_or(SHORT),
                local: self.local.first_chunk().unwrap_or(SHORT),
            }),
        }
    }

    /// Whether the remote end is a group: multicast, or the broadcast to all.
    #[inline(always)]
    const fn is_to_group(&self) -> bool {
        match self.family {
            6 => self.remote[0] == 0xff,
            _ => self.remote[0] >= 224,
        }
    }
}

/// An IPv4 address as words, with zeros behind it.
#[inline(always)]
const fn padded(address: &[u8; 4]) -> [u32; 4] {
    [u32::from_ne_bytes(*address), 0, 0, 0]
}

/// An IPv6 address as words.
#[inline(always)]
const fn words(address: &[u8; 16]) -> [u32; 4] {
    let &[a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = address;
    [
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
        u32::from_ne_bytes([i, j, k, l]),
        u32::from_ne_bytes([m, n, o, p]),
    ]
}

/// Whether an address that begins with this word means nothing without the interface (RFC
/// 4291, section 2.5.6; RFC 3927).
#[inline(always)]
const fn is_link_local(word: u32, family: u8) -> bool {
    let word = u32::from_be(word);
    match family {
        6 => word >> 22 == 0xfe80 >> 6,
        _ => word >> 16 == 0xa9fe,
    }
}
