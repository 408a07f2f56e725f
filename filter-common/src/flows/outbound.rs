//! What a packet that leaves is remembered by.

use super::{
    Carries, Memory, Note, Origin, Packet, REFRESH, Recorder, Table, discovery, is_alive, note_time,
};
use crate::abi::{FlowKey, FlowState};

/// Remembers a packet that leaves, so that its answer may come in.
#[inline(always)]
pub fn record<M: Recorder>(packet: &Packet, origin: Origin, memory: &M) {
    match packet.carries {
        // These answer something, and are not answered.
        Carries::EchoReply | Carries::OtherIcmp => return,
        carries => write_note(carries.note(), packet, memory),
    }
    if packet.opens() {
        write_note(Note::Syn, packet, memory);
    }
    // A server's answers leave from a port that is open to all. Under bans, it is not.
    if memory.is_free(packet) && !memory.has_bans() && !must_know(packet, memory) {
        return;
    }
    if packet.key.is_to_group() && !(memory.discovers() && discovery::is_question(packet)) {
        return;
    }
    match packet.carries {
        Carries::Tcp => record_segment(packet, origin, memory),
        _ => record_other(packet, origin, memory),
    }
}

#[inline(always)]
fn record_segment<M: Recorder>(packet: &Packet, origin: Origin, memory: &M) {
    let &Packet { ref key, flags, .. } = packet;
    if flags.accepts() {
        // Of a connection that the peer opened; or of one that both ends opened at once,
        // whose SYN is remembered.
        return;
    }
    if flags.resets() {
        memory.remove(origin, Table::Brief, key);
        memory.remove(origin, Table::Tcp, key);
        return;
    }
    if flags.open_connection() {
        match memory.get(origin, Table::Brief, key) {
            // Sent again.
            Some(state) if !state.is_closed() => {
                memory.refresh(origin, Table::Brief, key);
                return;
            }
            Some(_) => memory.remove(origin, Table::Brief, key),
            None if !memory.has_bans() && memory.admits_answer(packet) => return,
            // The connection that had the same ports is over.
            None => memory.remove(origin, Table::Tcp, key),
        }
        let state = FlowState::new(memory.now());
        memory.insert(origin, Table::Brief, key, state);
        return;
    }
    let mut state = FlowState::new(memory.now());
    state.fin_out = u8::from(flags.finishes());
    // First the table that has most of them: a connection is in one of the two.
    match memory.get(origin, Table::Tcp, key) {
        Some(known) => {
            let is_news = state.fin_out & !known.fin_out != 0;
            state.fin_out |= known.fin_out;
            state.fin_in = known.fin_in;
            state.picked_up = known.picked_up;
            if state.is_closed() {
                memory.remove(origin, Table::Tcp, key);
                memory.insert(origin, Table::Brief, key, state);
                return;
            }
            if is_news {
                memory.set_fin_out(origin, key);
            }
            if is_news || is_stale(&known, memory) {
                memory.refresh(origin, Table::Tcp, key);
            }
        }
        None => record_first_segment(packet, state, origin, memory),
    }
}

/// Remembers a segment of a connection that is not open, as far as is known, and which is in
/// this state if nothing else is known of it.
#[inline(always)]
fn record_first_segment<M: Recorder>(
    packet: &Packet,
    mut state: FlowState,
    origin: Origin,
    memory: &M,
) {
    let key = &packet.key;
    match memory.get(origin, Table::Brief, key) {
        Some(brief) if brief.is_closed() => {
            if is_stale(&brief, memory) {
                memory.refresh(origin, Table::Brief, key);
            }
        }
        Some(_) => {
            // The handshake is over, as far as this end is concerned.
            memory.remove(origin, Table::Brief, key);
            memory.insert(origin, Table::Tcp, key, state);
        }
        None if memory.admits_answer(packet) || is_answer(packet, origin, memory) => {}
        None => {
            state.picked_up = 1;
            memory.insert(origin, Table::Tcp, key, state);
        }
    }
}

#[inline(always)]
fn record_other<M: Recorder>(packet: &Packet, origin: Origin, memory: &M) {
    let key = &packet.key;
    match memory.get(origin, Table::Other, key) {
        Some(state) if !is_stale(&state, memory) => {}
        Some(_) => memory.refresh(origin, Table::Other, key),
        None if !must_know(packet, memory) && memory.admits_answer(packet)
            || is_answer(packet, origin, memory) => {}
        None => {
            let state = FlowState::new(memory.now());
            memory.insert(origin, Table::Other, key, state);
        }
    }
}

/// Whether a flow has to be known though rules let in its answers: where the program bans who opens
/// something, a datagram does not show whether it does.
#[inline(always)]
fn must_know<M: Recorder>(packet: &Packet, memory: &M) -> bool {
    matches!(packet.carries, Carries::Udp) && memory.bans_openers()
}

/// Whether a packet that is forwarded answers a flow that was. What answers it in turn passes
/// as that flow's first packet did. Without this, a router would remember each conversation
/// twice, and the half that nobody closes would push out what is open.
#[inline(always)]
fn is_answer<M: Recorder>(packet: &Packet, origin: Origin, memory: &M) -> bool {
    origin == Origin::Forwarded && memory.is_known_turned(packet)
}

/// Whether a forwarded packet belongs to a flow that is known the other way round; `turned` is
/// its key as that flow has it.
#[inline(always)]
pub fn is_known_turned<M: Memory>(turned: &FlowKey, carries: Carries, memory: &M) -> bool {
    let known = |table| {
        let state = memory.get(Origin::Forwarded, table, turned);
        state.is_some_and(|state| is_alive(memory, table, &state, turned.protocol))
    };
    match carries {
        Carries::Tcp => known(Table::Tcp) || known(Table::Brief),
        _ => known(Table::Other),
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
