//! What a packet that comes in may ask before it is dropped.

use super::{Carries, Memory, Note, Origin, Packet, Table, is_alive, is_lately};
use crate::abi::FlowState;

/// Whether a packet answers something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It answers nothing.
    No,
    /// It belongs to a flow that left from here.
    Yes,
    /// It belongs to a connection that was open before it was seen. Nobody knows who opened
    /// it, so it counts before the default alone, never before a rule that denies.
    PickedUp,
    /// No flow is known. Only the kernel's sockets can tell: not a listener (TCP), or
    /// connected to the sender (UDP).
    AskSocket,
}

/// What a packet that comes in answers.
#[inline(always)]
pub fn ask<M: Memory>(packet: &Packet, memory: &M) -> Answer {
    if may_ask(packet, memory) {
        ask_tables(packet, memory)
    } else {
        Answer::No
    }
}

/// Whether a packet may answer something, by the note of its local port.
#[inline(always)]
fn may_ask<M: Memory>(packet: &Packet, memory: &M) -> bool {
    let note = match packet.carries {
        // A bare SYN answers a SYN that left: both ends open the connection at once (RFC
        // 9293, section 3.5).
        Carries::Tcp if packet.opens() => Note::Syn,
        Carries::EchoRequest | Carries::OtherIcmp => return false,
        carries => carries.note(),
    };
    is_lately(memory, note, packet.key.local_port)
}

/// What a packet that comes in answers, if its note says that it may, as [`is_lately`] has
/// it.
#[inline(always)]
pub fn ask_tables<M: Memory>(packet: &Packet, memory: &M) -> Answer {
    // Not in a loop: each table is a map of its own, which the kernel program must name.
    let [first, second] = Origin::ALL;
    if let Some(answer) = ask_table(packet, first, memory) {
        return answer;
    }
    if let Some(answer) = ask_table(packet, second, memory) {
        return answer;
    }
    match packet.carries {
        Carries::Tcp if !packet.opens() => Answer::AskSocket,
        Carries::Udp => Answer::AskSocket,
        _ => Answer::No,
    }
}

/// The same as far as the tables of one origin tell.
#[inline(always)]
fn ask_table<M: Memory>(packet: &Packet, origin: Origin, memory: &M) -> Option<Answer> {
    let key = &packet.key;
    let alive = |table| {
        let state = memory.get(origin, table, key)?;
        is_alive(memory, table, &state, key.protocol).then_some(state)
    };
    if !matches!(packet.carries, Carries::Tcp) {
        return alive(Table::Other).map(|_| Answer::Yes);
    }
    let opens = packet.opens();
    if !opens && let Some(state) = alive(Table::Tcp) {
        if packet.flags.finishes() && state.fin_in == 0 {
            memory.set_fin_in(origin, key);
        }
        return Some(known(&state));
    }
    let state = alive(Table::Brief)?;
    (!opens || !state.is_closed()).then(|| known(&state))
}

/// What the packets of a known connection answer.
#[inline(always)]
const fn known(state: &FlowState) -> Answer {
    match state.picked_up {
        0 => Answer::Yes,
        _ => Answer::PickedUp,
    }
}
