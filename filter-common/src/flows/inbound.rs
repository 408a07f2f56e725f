//! What a packet that comes in may ask before it is dropped.

use super::{
    Carries, Memory, Note, Origin, Packet, TCP_AGE, Table, UDP_AGE, UNANSWERED_AGE, age_of_other,
    age_of_tcp, is_alive, is_lately,
};
use crate::{abi::FlowState, wire::tcp::Flags};

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
    match packet.carries {
        Carries::Tcp(flags) if flags.open_connection() => ask_syn(packet, memory),
        Carries::Tcp(flags) => ask_segment(packet, flags, memory),
        Carries::Udp => {
            if !is_lately(memory, Note::Udp, packet.key.local_port, UDP_AGE) {
                return Answer::No;
            }
            match is_answered(packet, memory) {
                true => Answer::Yes,
                false => Answer::AskSocket,
            }
        }
        Carries::EchoReply | Carries::Other => match is_answered(packet, memory) {
            true => Answer::Yes,
            false => Answer::No,
        },
        Carries::EchoRequest | Carries::OtherIcmp => Answer::No,
    }
}

/// A bare SYN answers a SYN that left: both ends open the connection at once (RFC 9293,
/// section 3.5).
#[inline(always)]
fn ask_syn<M: Memory>(packet: &Packet, memory: &M) -> Answer {
    if is_lately(memory, Note::Syn, packet.key.local_port, UNANSWERED_AGE)
        && is_unanswered(packet, memory)
    {
        Answer::Yes
    } else {
        Answer::No
    }
}

#[inline(always)]
fn ask_segment<M: Memory>(packet: &Packet, flags: Flags, memory: &M) -> Answer {
    if !is_lately(memory, Note::Tcp, packet.key.local_port, TCP_AGE) {
        return Answer::No;
    }
    let key = &packet.key;
    for origin in Origin::ALL {
        let Some(state) = memory.get(origin, Table::Tcp, key) else {
            continue;
        };
        if !is_alive(memory, &state, age_of_tcp(&state)) {
            continue;
        }
        if flags.finishes() && !state.has(FlowState::FIN_IN) {
            memory.set_fin_in(origin, key);
        }
        return match state.has(FlowState::PICKED_UP) {
            true => Answer::PickedUp,
            false => Answer::Yes,
        };
    }
    match is_unanswered(packet, memory) {
        true => Answer::Yes,
        false => Answer::AskSocket,
    }
}

#[inline(always)]
fn is_unanswered<M: Memory>(packet: &Packet, memory: &M) -> bool {
    Origin::ALL.into_iter().any(|origin| {
        memory
            .get(origin, Table::Unanswered, &packet.key)
            .is_some_and(|state| is_alive(memory, &state, UNANSWERED_AGE))
    })
}

/// Whether something other than TCP left, and not too long ago.
#[inline(always)]
fn is_answered<M: Memory>(packet: &Packet, memory: &M) -> bool {
    let age = age_of_other(packet.carries);
    Origin::ALL.into_iter().any(|origin| {
        memory
            .get(origin, Table::Other, &packet.key)
            .is_some_and(|state| is_alive(memory, &state, age))
    })
}
