//! Remembers flows: the tables and notes that all generations share.

use aya_ebpf::{
    helpers::bpf_jiffies64,
    macros::map,
    maps::{Array, LruHashMap, PerCpuArray},
};
use xdpfw_common::{
    abi::{
        FLOW_TABLE_COUNT, FlowCounts, FlowKey, FlowState, NOTE_BLOCKS, Note, NoteBlock, Origin,
        SENT_WORDS, Table, flow_counts, note_place, sent_place,
    },
    flows::Memory,
};

use super::atomic;

/// Written by the loader; the verifier sees a constant.
#[unsafe(no_mangle)]
static TICKS_PER_SECOND: u32 = 0;

type Flows = LruHashMap<FlowKey, FlowState>;

// The loader sets how many entries each table has room for.
#[map]
static BRIEF_LOCAL: Flows = Flows::with_max_entries(1, 0);

#[map]
static TCP_LOCAL: Flows = Flows::with_max_entries(1, 0);

#[map]
static OTHER_LOCAL: Flows = Flows::with_max_entries(1, 0);

#[map]
static BRIEF_FORWARDED: Flows = Flows::with_max_entries(1, 0);

#[map]
static TCP_FORWARDED: Flows = Flows::with_max_entries(1, 0);

#[map]
static OTHER_FORWARDED: Flows = Flows::with_max_entries(1, 0);

#[map]
static FLOW_COUNTS: PerCpuArray<FlowCounts> =
    PerCpuArray::with_max_entries(FLOW_TABLE_COUNT as u32, 0);

#[map]
static NOTES: Array<NoteBlock> = Array::with_max_entries(NOTE_BLOCKS as u32, 0);

#[map]
static SENT: Array<u64> = Array::with_max_entries(SENT_WORDS as u32, 0);

/// The tables, to be asked by packets that come in.
pub struct Known;

#[inline(always)]
fn table(origin: Origin, table: Table) -> &'static Flows {
    match (origin, table) {
        (Origin::Local, Table::Brief) => &BRIEF_LOCAL,
        (Origin::Local, Table::Tcp) => &TCP_LOCAL,
        (Origin::Local, Table::Other) => &OTHER_LOCAL,
        (Origin::Forwarded, Table::Brief) => &BRIEF_FORWARDED,
        (Origin::Forwarded, Table::Tcp) => &TCP_FORWARDED,
        (Origin::Forwarded, Table::Other) => &OTHER_FORWARDED,
    }
}

/// Where the note of a port is.
#[inline(always)]
fn place(note: Note, port: [u8; 2]) -> Option<*mut u32> {
    let (block, index) = note_place(note, port);
    let block = NOTES.get_ptr_mut(block)?;
    // SAFETY: within the block, as `note_place` says.
    Some(unsafe { block.cast::<u32>().add(index) })
}

/// Whether the bit of a note is set.
#[inline(always)]
fn has_sent(note: Note, port: [u8; 2]) -> bool {
    let (word, bit) = sent_place(note, port);
    SENT.get_ptr(word).is_some_and(|word| {
        // SAFETY: a map value, aligned.
        let bits = unsafe { word.read_volatile() };
        bits & bit != 0
    })
}

/// Sets the bit of a note.
#[inline(always)]
fn set_sent(note: Note, port: [u8; 2]) {
    let (word, bit) = sent_place(note, port);
    if let Some(word) = SENT.get_ptr_mut(word) {
        // SAFETY: a map value, aligned.
        unsafe { atomic::set_bits(word, bit) };
    }
}

/// The time, in ticks of the kernel's clock.
#[inline(always)]
fn now() -> u64 {
    // SAFETY: it has no arguments.
    unsafe { bpf_jiffies64() }
}

impl Memory for Known {
    #[inline(always)]
    fn now(&self) -> u64 {
        now()
    }

    #[inline(always)]
    fn ticks_per_second(&self) -> u64 {
        // SAFETY: a reference, so aligned and initialised.
        u64::from(unsafe { core::ptr::read_volatile(&TICKS_PER_SECOND) })
    }

    #[inline(always)]
    fn get(&self, origin: Origin, table_: Table, key: &FlowKey) -> Option<FlowState> {
        // SAFETY: each field is read whole, and makes sense beside any other's value.
        unsafe { table(origin, table_).get(key) }.copied()
    }

    #[inline(always)]
    fn set_fin_in(&self, origin: Origin, key: &FlowKey) {
        if let Some(state) = table(origin, Table::Tcp).get_ptr_mut(key) {
            // SAFETY: a map value of this type; a byte that nobody else writes but to 1.
            unsafe { (&raw mut (*state).fin_in).write_volatile(1) };
        }
    }

    #[inline(always)]
    fn note(&self, note: Note, port: [u8; 2]) -> u32 {
        if !has_sent(note, port) {
            return 0;
        }
        match place(note, port) {
            // SAFETY: a map value, aligned.
            Some(place) => unsafe { place.read_volatile() },
            None => 0,
        }
    }
}

/// Remembers a flow that is not known.
#[inline(always)]
pub fn insert(origin: Origin, table_: Table, key: &FlowKey, state: &FlowState) {
    if table(origin, table_).insert(key, state, 0).is_ok() {
        count(origin, table_, |counts| counts.inserted += 1);
    }
}

/// Notes that another packet of a flow leaves now, if it is known.
#[inline(always)]
pub fn refresh(origin: Origin, table_: Table, key: &FlowKey) {
    if let Some(state) = table(origin, table_).get_ptr_mut(key) {
        // SAFETY: a map value of this type, aligned.
        unsafe { (&raw mut (*state).last_out).write_volatile(now()) };
    }
}

/// Sets [`FlowState::fin_out`] of an open TCP connection, if it is known.
#[inline(always)]
pub fn set_fin_out(origin: Origin, key: &FlowKey) {
    if let Some(state) = table(origin, Table::Tcp).get_ptr_mut(key) {
        // SAFETY: a map value of this type; a byte that nobody else writes but to 1.
        unsafe { (&raw mut (*state).fin_out).write_volatile(1) };
    }
}

/// Forgets a flow, if it is known.
#[inline(always)]
pub fn remove(origin: Origin, table_: Table, key: &FlowKey) {
    if table(origin, table_).remove(key).is_ok() {
        count(origin, table_, |counts| counts.removed += 1);
    }
}

/// Remembers that a local port sends something.
#[inline(always)]
pub fn set_note(note: Note, port: [u8; 2], time: u32) {
    if let Some(place) = place(note, port) {
        // SAFETY: a map value, aligned.
        unsafe { place.write_volatile(time) };
    }
    if !has_sent(note, port) {
        set_sent(note, port);
    }
}

#[inline(always)]
fn count(origin: Origin, table: Table, change: impl FnOnce(&mut FlowCounts)) {
    if let Some(counts) = FLOW_COUNTS.get_ptr_mut(flow_counts(origin, table)) {
        // SAFETY: a map value of this type, this CPU's own.
        change(unsafe { &mut *counts });
    }
}
