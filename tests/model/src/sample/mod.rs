//! Draws random policies whose rules get in each other's way, and packets aimed at their
//! edges.

mod headers;
mod mutate;
mod packet;
mod policy;

use rand::{RngExt as _, seq::IndexedRandom as _};

pub use self::packet::PacketSource;
use crate::{Random, policy::Mac};

/// Ethernet addresses that frames come from, and rules name.
const MACS: [Mac; 4] = [
    [2, 0, 10, 0, 0, 2],
    [2, 0, 10, 0, 0, 3],
    [2, 0, 10, 0, 1, 2],
    [0; 6],
];

/// Whether something that happens so often, in percent, happens now.
fn chance(random: &mut Random, percent: u32) -> bool {
    random.random_ratio(percent, 100)
}

/// One of these, none of them rarer than the others.
fn one_of<T: Copy>(random: &mut Random, values: &[T]) -> T {
    match values.choose(random) {
        Some(&value) => value,
        None => unreachable!("a choice from nothing"),
    }
}

/// One of these, as often as its weight says.
fn weighted<T: Copy>(random: &mut Random, values: &[(u32, T)]) -> T {
    let mut at = random.random_range(0..values.iter().map(|(weight, _)| weight).sum());
    for &(weight, value) in values {
        if at < weight {
            return value;
        }
        at -= weight;
    }
    unreachable!("the weights add up")
}

/// Random bytes.
fn bytes(random: &mut Random, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    random.fill(&mut bytes[..]);
    bytes
}
