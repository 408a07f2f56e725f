//! What a packet that leaves is remembered by.

use super::{Carries, Note, Origin, Packet, REFRESH, Recorder, Table, note_time};
use crate::{abi::FlowState, wire::tcp::Flags};

/// Remembers a packet that leaves, so that its answer may come in.
#[inline(always)]
pub fn record<M: Recorder>(packet: &Packet, origin: Origin, memory: &M) {
    // A server's answers leave from a port that is open to all.
    if memory.is_open(packet) {
        return;
    }
    match packet.carries {
        Carries::Tcp(flags) => record_segment(packet, flags, origin, memory),
        Carries::Udp | Carries::EchoRequest | Carries::Other => {
            record_other(packet, origin, memory);
        }
        // These answer something, and are not answered.
        Carries::EchoReply | Carries::OtherIcmp => {}
    }
}

#[inline(always)]
fn record_segment<M: Recorder>(packet: &Packet, flags: Flags, origin: Origin, memory: &M) {
    let key = &packet.key;
    if flags.resets() {
        memory.remove(origin, Table::Unanswered, key);
        memory.remove(origin, Table::Tcp, key);
    } else if flags.accepts() {
        // Of a connection that the peer opened; or of one that both ends opened at once,
        // whose SYN is remembered.
    } else if flags.open_connection() {
        if memory.get(origin, Table::Unanswered, key).is_none() && memory.admits_answer(packet) {
            return;
        }
        // The connection that had the same ports is over.
        memory.remove(origin, Table::Tcp, key);
        let state = FlowState::new(memory.now(), 0);
        memory.put(origin, Table::Unanswered, key, state);
        write_note(Note::Syn, packet, memory);
        write_note(Note::Tcp, packet, memory);
    } else {
        record_later_segment(packet, flags, origin, memory);
    }
}

/// Remembers a segment that neither opens nor ends a connection at once.
#[inline(always)]
fn record_later_segment<M: Recorder>(packet: &Packet, flags: Flags, origin: Origin, memory: &M) {
    let key = &packet.key;
    let fin = if flags.finishes() {
        FlowState::FIN_OUT
    } else {
        0
    };
    if memory.get(origin, Table::Unanswered, key).is_some() {
        // The handshake is over, as far as this end is concerned.
        memory.remove(origin, Table::Unanswered, key);
        let state = FlowState::new(memory.now(), fin);
        memory.put(origin, Table::Tcp, key, state);
    } else if let Some(state) = memory.get(origin, Table::Tcp, key) {
        let news = fin & !state.flags != 0;
        if news || is_stale(&state, memory) {
            let state = FlowState::new(memory.now(), state.flags | fin);
            memory.put(origin, Table::Tcp, key, state);
        }
    } else if memory.admits_answer(packet) {
        return;
    } else {
        let state = FlowState::new(memory.now(), FlowState::PICKED_UP | fin);
        memory.put(origin, Table::Tcp, key, state);
    }
    write_note(Note::Tcp, packet, memory);
}

#[inline(always)]
fn record_other<M: Recorder>(packet: &Packet, origin: Origin, memory: &M) {
    let key = &packet.key;
    match memory.get(origin, Table::Other, key) {
        Some(state) if !is_stale(&state, memory) => {}
        None if memory.admits_answer(packet) => return,
        _ => {
            let state = FlowState::new(memory.now(), 0);
            memory.put(origin, Table::Other, key, state);
        }
    }
    if matches!(packet.carries, Carries::Udp) {
        write_note(Note::Udp, packet, memory);
    }
}

/// Whether a flow was written so long ago that it is written again.
#[inline(always)]
fn is_stale<M: Recorder>(state: &FlowState, memory: &M) -> bool {
    memory.now().saturating_sub(state.last_out) > REFRESH * memory.ticks_per_second()
}

/// Writes a note, unless it says so already: CPUs must not fight over its line.
#[inline(always)]
fn write_note<M: Recorder>(note: Note, packet: &Packet, memory: &M) {
    let (port, time) = (packet.key.local_port, note_time(memory.now()));
    if memory.note(note, port) != time {
        memory.set_note(note, port, time);
    }
}
