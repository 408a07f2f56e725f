//! Decides which packets answer something that left: what packets on their way out leave
//! behind, and what packets on their way in may ask. Pure; the tables are the caller's.
//!
//! **Only the trusted side inserts.** [`record`] is for packets that leave, and it alone gets
//! a [`Recorder`]. [`ask`] is for packets that come in, and at most sets one bit of a flow
//! that exists. So nothing that comes in from outside can open anything, or evict anything.
//!
//! ```text
//!  bare SYN out ──► unanswered ──(first other segment out)──► tcp ──(FINs both ways)──► 60 s
//!  other segment out, flow not known ──► tcp, picked up
//!  RST out ──► forgotten
//!  UDP, echo request, other protocols out ──► other
//! ```
//!
//! What rules let in as an answer anyway is not recorded, so that a server's connections do
//! not fill the tables.

mod inbound;
mod outbound;

pub use self::{
    inbound::{Answer, ask},
    outbound::record,
};
use crate::{
    abi::{FlowKey, FlowState},
    wire::tcp::Flags,
};

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
pub struct Packet {
    /// The flow that it belongs to.
    pub key: FlowKey,
    /// What it carries.
    pub carries: Carries,
}

/// What a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// A TCP segment with these control bits.
    Tcp(Flags),
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

/// Whom a packet that leaves comes from. Each has tables of its own, so that what others
/// send through this host evicts nothing that it sent itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A process of this host.
    Local,
    /// Another host, for which this one forwards.
    Forwarded,
}

impl Origin {
    /// Both, in the order in which they are asked.
    pub const ALL: [Self; 2] = [Self::Local, Self::Forwarded];
}

/// The tables of flows that each origin has. A full table evicts what was used least
/// recently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Table {
    /// Bare SYNs that left, until another segment leaves. Apart from the connections, so
    /// that a scan of this host's own evicts none of them.
    Unanswered,
    /// TCP connections.
    Tcp,
    /// Everything else.
    Other,
}

/// What a local port sent last. In front of the tables, it makes a flood of ports that this
/// host never used cost one load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Note {
    /// Any TCP segment.
    Tcp,
    /// A bare SYN. Apart from the others, so that SYNs to ports in use pay no more.
    Syn,
    /// A UDP datagram.
    Udp,
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

    /// Sets [`FlowState::FIN_IN`] of a TCP connection, if it is known. Changes nothing else,
    /// though packets that leave write the same flow at the same time.
    fn set_fin_in(&self, origin: Origin, key: &FlowKey);

    /// When a local port sent something last, as [`note_time`]; 0 is never. The port is in
    /// network byte order.
    fn note(&self, note: Note, port: [u8; 2]) -> u32;
}

/// The same for packets on their way out, which insert.
pub trait Recorder: Memory {
    /// Remembers a flow, whether it is known or not. May evict another one.
    fn put(&self, origin: Origin, table: Table, key: &FlowKey, state: FlowState);

    /// Forgets a flow, if it is known.
    fn remove(&self, origin: Origin, table: Table, key: &FlowKey);

    /// Remembers that a local port sends something.
    fn set_note(&self, note: Note, port: [u8; 2], time: u32);

    /// Whether rules let in whatever comes to the local port of this packet, by a bitmap.
    fn is_open(&self, packet: &Packet) -> bool;

    /// Whether rules let in the answer to this packet. Asked only where a flow would be
    /// inserted: it costs what a packet that comes in costs.
    fn admits_answer(&self, packet: &Packet) -> bool;
}

/// Ticks in one unit of a note's time, as a power of two: a quarter of a second where a
/// second has 250.
const NOTE_SHIFT: u32 = 6;

/// The time of a note: 32 bits, never 0. It goes round after 34 years of 250 ticks a second.
pub const fn note_time(now: u64) -> u32 {
    let time = (now >> NOTE_SHIFT) as u32;
    if time == 0 { 1 } else { time }
}

/// Whether a note is from the last so many seconds, or perhaps so.
fn is_lately<M: Memory>(memory: &M, note: Note, port: [u8; 2], seconds: u64) -> bool {
    let time = memory.note(note, port);
    let units = (seconds * memory.ticks_per_second()) >> NOTE_SHIFT;
    // One more, since both ends of the time are rounded down.
    time != 0 && u64::from(note_time(memory.now()).wrapping_sub(time)) <= units + 1
}

/// Whether so many seconds or less have gone by since a flow's last packet left.
fn is_alive<M: Memory>(memory: &M, state: &FlowState, seconds: u64) -> bool {
    let gone = memory.now().saturating_sub(state.last_out);
    gone <= seconds * memory.ticks_per_second()
}

/// Seconds that a flow in [`Table::Other`] may be answered.
const fn age_of_other(carries: Carries) -> u64 {
    match carries {
        Carries::Udp => UDP_AGE,
        Carries::EchoRequest | Carries::EchoReply | Carries::OtherIcmp => ECHO_AGE,
        Carries::Tcp(_) | Carries::Other => OTHER_AGE,
    }
}

/// Seconds that a TCP connection may be silent.
const fn age_of_tcp(state: &FlowState) -> u64 {
    const BOTH: u32 = FlowState::FIN_OUT | FlowState::FIN_IN;
    if state.flags & BOTH == BOTH {
        CLOSED_AGE
    } else {
        TCP_AGE
    }
}
