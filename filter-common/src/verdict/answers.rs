//! Decides what passes as an answer: note, then flow, then socket.

use crate::{
    abi::{Note, REPLIES_FLOWS, REPLIES_SOCKETS, setting},
    flows::{self, Answer, Carries, Memory, Packet, ask, ask_tables, is_lately},
    verdict::{Host, Sockets, Tables},
};

/// Whether a segment to a closed port may be an answer. If not, it is dropped for the price
/// of a load. The port is in host byte order.
#[inline(always)]
pub(super) fn may_be_answer<H: Host>(host: &H, note: Note, port: u16) -> bool {
    match setting(&host.tables().config().replies) {
        REPLIES_FLOWS => is_lately(host.memory(), note, port.to_be_bytes()),
        REPLIES_SOCKETS => !matches!(note, Note::Syn),
        _ => false,
    }
}

/// Whether a packet answers something. Where a rule has `denied` it, only what is known to
/// have been asked from here counts: a connection that was accepted has a socket, too, and
/// the rule is there to end it. A packet that `is_noted` has been asked for the note
/// of its port before.
#[inline(always)]
pub fn is_answer<T: Tables, S: Sockets, M: Memory>(
    tables: &T,
    sockets: &S,
    memory: &M,
    packet: &Packet,
    denied: bool,
    is_noted: bool,
) -> bool {
    let answer = match setting(&tables.config().replies) {
        REPLIES_FLOWS if is_noted => ask_tables(packet, memory),
        REPLIES_FLOWS => ask(packet, memory),
        REPLIES_SOCKETS => Answer::AskSocket,
        _ => Answer::No,
    };
    match answer {
        Answer::Yes => true,
        Answer::PickedUp => !denied,
        Answer::AskSocket => !denied && !is_established_only(tables) && has_socket(sockets, packet),
        Answer::No => false,
    }
}

/// Whether a packet answers what this host asked a group, and the policy asks for such.
#[inline(always)]
pub fn is_discovery<T: Tables, M: Memory>(tables: &T, memory: &M, packet: &Packet) -> bool {
    discovers(tables) && flows::is_found(packet, memory)
}

/// Whether the policy asks for answers to what this host asks groups. It takes flows to tell
/// them.
#[inline(always)]
pub fn discovers<T: Tables>(tables: &T) -> bool {
    let config = tables.config();
    setting(&config.discovery) != 0 && setting(&config.replies) == REPLIES_FLOWS
}

#[inline(always)]
fn has_socket<S: Sockets>(sockets: &S, packet: &Packet) -> bool {
    match packet.carries {
        Carries::Tcp if packet.flags.open_connection() => false,
        Carries::Tcp | Carries::Udp => sockets.has_socket(&packet.key),
        _ => false,
    }
}

/// Whether only flows count that are known already, and none are added.
#[inline(always)]
pub fn is_established_only<T: Tables>(tables: &T) -> bool {
    setting(&tables.config().established_only) != 0
}
