//! Damages frames: cuts them short, flips bits, and lies in the fields that parsers believe.

use rand::RngExt as _;

use super::{bytes, headers::Draft, one_of, weighted};
use crate::Random;

/// The shortest frame that the kernel runs a program on, in bytes.
const SHORTEST: usize = 14;
/// The part of a frame where headers are, in bytes.
const HEADERS: usize = 140;

/// Does something bad to a frame, or several things.
pub(super) fn mutate(random: &mut Random, draft: &mut Draft) {
    for _ in 0..weighted(random, &[(75, 1), (18, 2), (7, 4)]) {
        match weighted(
            random,
            &[(30, 0), (20, 1), (10, 2), (35, 3), (3, 4), (2, 5)],
        ) {
            0 => truncate(random, draft),
            1 => flip(random, draft),
            2 => overwrite(random, draft),
            3 => lie(random, draft),
            4 => splice(random, draft),
            _ => {
                let len = random.random_range(SHORTEST..200);
                // Mostly headers, then noise.
                let kept = one_of(random, &[0, 12, 14, draft.network]).min(len);
                let noise = bytes(random, len - kept);
                draft.bytes.truncate(kept);
                draft.bytes.extend(noise);
            }
        }
    }
    if draft.bytes.len() < SHORTEST {
        draft.bytes.resize(SHORTEST, 0);
    }
}

/// Cuts a frame short.
pub(super) fn truncate(random: &mut Random, draft: &mut Draft) {
    // Where one header ends and the next begins, it matters most.
    let edges = [
        draft.network,
        draft.network + 20,
        draft.network + 40,
        draft.transport,
    ]
    .into_iter()
    .chain(draft.extensions.iter().copied())
    // Behind an ICMP header and the headers that it quotes are eight bytes.
    .chain([8, 20, 24, 8 + 20 + 8, 8 + 40 + 8].map(|len| draft.transport + len));
    let edges: Vec<usize> = edges
        .flat_map(|edge| [edge.saturating_sub(1), edge, edge + 1])
        .collect();
    let len = if random.random() {
        one_of(random, &edges)
    } else {
        random.random_range(SHORTEST..=draft.bytes.len().max(SHORTEST))
    };
    draft.bytes.truncate(len.max(SHORTEST));
    if random.random() {
        // The packet's own length believes it, so that the cut is seen behind it.
        let packet = draft.bytes.len().saturating_sub(draft.network);
        set_length(draft, packet);
    }
}

/// Makes the IP header say that the packet, header included, has this length.
fn set_length(draft: &mut Draft, len: usize) {
    let (place, len) = if draft.is_v4 {
        (draft.network + 2, len)
    } else {
        (draft.network + 4, len.saturating_sub(40))
    };
    put(draft, place, &(len as u16).to_be_bytes());
}

fn flip(random: &mut Random, draft: &mut Draft) {
    for _ in 0..one_of(random, &[1, 1, 2, 8]) {
        if let Some(byte) = place(random, draft) {
            *byte ^= 1 << random.random_range(0..8);
        }
    }
}

fn overwrite(random: &mut Random, draft: &mut Draft) {
    let value = one_of(
        random,
        &[
            0, 1, 2, 4, 5, 6, 7, 8, 17, 20, 0x40, 0x45, 0x4f, 0x60, 0x7f, 0x80, 0xf0, 0xff,
        ],
    );
    if let Some(byte) = place(random, draft) {
        *byte = value;
    }
}

/// A byte of the headers.
fn place<'a>(random: &mut Random, draft: &'a mut Draft) -> Option<&'a mut u8> {
    // The Ethernet addresses mean nothing.
    let first = draft.network.min(12);
    let len = draft.bytes.len().min(HEADERS);
    let index = random.random_range(first..len.max(first + 1));
    draft.bytes.get_mut(index)
}

/// Writes into a frame, as far as it goes.
fn put(draft: &mut Draft, at: usize, value: &[u8]) {
    for (byte, value) in draft.bytes.iter_mut().skip(at).zip(value) {
        *byte = *value;
    }
}

/// Changes a number by little, or altogether.
fn near(random: &mut Random, value: u16) -> u16 {
    match random.random_range(0..4) {
        0 => value.wrapping_add(random.random_range(1..9)),
        1 => value.wrapping_sub(random.random_range(1..9)),
        2 => one_of(random, &[0, 1, 7, 8, 19, 20, 39, 40, 0x7fff, 0xffff]),
        _ => random.random_range(0..200),
    }
}

fn lie(random: &mut Random, draft: &mut Draft) {
    let word = |draft: &Draft, at: usize| {
        let byte = |at| draft.bytes.get(at).copied().unwrap_or(0);
        u16::from_be_bytes([byte(at), byte(at + 1)])
    };
    let (network, transport) = (draft.network, draft.transport);
    match random.random_range(0..6) {
        // The packet's length.
        0 => {
            let at = network + if draft.is_v4 { 2 } else { 4 };
            let len = near(random, word(draft, at));
            put(draft, at, &len.to_be_bytes());
        }
        // Version and header length.
        1 => {
            let first = if random.random() {
                (if draft.is_v4 { 0x40 } else { 0x60 }) | random.random_range(0..16)
            } else {
                random.random()
            };
            put(draft, network, &[first]);
        }
        // An extension header's length or successor, or IPv4's fragment field.
        2 if draft.is_v4 => {
            let field: u16 = random.random();
            put(draft, network + 6, &field.to_be_bytes());
        }
        2 if !draft.extensions.is_empty() => {
            let at = one_of(random, &draft.extensions);
            let value = random.random_range(0..24);
            put(draft, at + usize::from(random.random::<bool>()), &[value]);
        }
        // Another protocol than the one that follows.
        3 => {
            let protocol = one_of(random, &[0, 1, 6, 17, 43, 44, 51, 58, 59, 60]);
            put(
                draft,
                network + if draft.is_v4 { 9 } else { 6 },
                &[protocol],
            );
        }
        // The transport's lengths.
        _ if draft.protocol == 17 => {
            let len = near(random, word(draft, transport + 4));
            put(draft, transport + 4, &len.to_be_bytes());
        }
        _ if draft.protocol == 6 => {
            let offset = random.random_range(0..16_u8) << 4;
            put(draft, transport + 12, &[offset]);
        }
        _ => flip(random, draft),
    }
}

/// Inserts or removes some bytes, so that all behind them shifts.
fn splice(random: &mut Random, draft: &mut Draft) {
    let first = draft.network.min(12);
    let at = random.random_range(first..draft.bytes.len().clamp(first + 1, HEADERS));
    let at = at.min(draft.bytes.len());
    let count = random.random_range(1..9);
    if random.random() {
        let inserted = bytes(random, count);
        draft.bytes.splice(at..at, inserted);
    } else {
        let end = (at + count).min(draft.bytes.len());
        draft.bytes.drain(at..end);
    }
}
