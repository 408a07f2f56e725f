//! Makes lists of sources to be banned: those of the floods are in none, whose addresses are
//! all over the others.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, Ipv6Addr},
};

use crate::stage::yardsticks::Spread;

/// A million sources that leave room for others between them: no address with this bit is one
/// of theirs.
pub(crate) const APART: Spread = Spread::to(super::policy::OPEN)
    .with_sources(2_000_000)
    .sparing(SPARED);
const SPARED: u32 = 0b10;

/// Where the hosts that take part have their addresses, and behind them the floods theirs.
const HOSTS: [u8; 2] = [10, 64];

/// Goes through all numbers before any comes twice: the golden ratio, as 32 bits have it.
const STRIDE: u32 = 0x9e37_79b9;

/// Addresses all over the world, from the one with a number on. As many of them are close to a
/// source of a flood as chance has it.
pub(crate) fn addresses(first: u32, count: usize) -> String {
    lines((first..).filter_map(scattered).take(count))
}

/// So many addresses, each beside two sources of a flood [`APART`].
pub(crate) fn addresses_next_door(count: u32) -> String {
    lines(
        (0..count)
            .map(|number| next_door(number / 2) + number % 2)
            .map(Ipv4Addr::from),
    )
}

/// Prefixes all over the world, of all lengths from 20 bits on.
pub(crate) fn prefixes(count: usize) -> String {
    let prefixes = (0..).filter_map(scattered).enumerate();
    lines(
        prefixes
            .map(|(number, address)| match address.octets() {
                // Or it would hold a source of a flood.
                [10, ..] => format!("{address}/32"),
                _ => format!("{address}/{}", 20 + number % 12),
            })
            .take(count),
    )
}

/// So many prefixes, spread over the blocks that a flood [`APART`] comes from, none of which
/// holds a source of it.
pub(crate) fn prefixes_next_door(count: u32) -> String {
    lines((0..count).map(|number| format!("{}/31", Ipv4Addr::from(next_door(number * 5)))))
}

/// Prefixes of IPv6: three of four are what one host has, the others what a site has.
pub(crate) fn prefixes_of_ipv6(count: u32) -> String {
    lines((0..count).map(|number| {
        let [a, b] = [(number >> 16) as u16 | 0x100, number as u16];
        match number % 4 {
            0 => format!("{}/48", Ipv6Addr::new(0x2a00, a, b, 0, 0, 0, 0, 0)),
            _ => format!("{}/64", Ipv6Addr::new(0x2a01, a, b, 7, 0, 0, 0, 0)),
        }
    }))
}

/// An address that no source of a flood [`APART`] has; `None` where hosts that take part have
/// theirs.
fn scattered(number: u32) -> Option<Ipv4Addr> {
    let hash = number.wrapping_mul(STRIDE) & (u32::MAX >> 1);
    let address = Ipv4Addr::from(hash >> 1 << 2 | SPARED | hash & 1);
    let [a, b, ..] = address.octets();
    (a != HOSTS[0] || b >= HOSTS[1]).then_some(address)
}

/// The first of the two addresses behind the two sources with this number of a flood
/// [`APART`].
const fn next_door(number: u32) -> u32 {
    let [a, b] = HOSTS;
    u32::from_be_bytes([a, b, 0, 0]) + 4 * number + SPARED
}

fn lines(entries: impl Iterator<Item = impl std::fmt::Display>) -> String {
    let mut text = String::new();
    for entry in entries {
        let _ = writeln!(text, "{entry}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn is_spared(line: &str) -> bool {
        let address = line.split('/').next().unwrap_or(line);
        let address: Ipv4Addr = address.parse().expect("an address");
        address.to_bits() & SPARED != 0
    }

    #[test]
    fn no_two_entries_are_alike_and_none_is_a_source() {
        for text in [
            addresses(5, 10_000),
            addresses_next_door(10_000),
            prefixes_next_door(10_000),
        ] {
            let lines: HashSet<&str> = text.lines().collect();
            assert_eq!(lines.len(), 10_000);
            assert!(lines.iter().all(|line| is_spared(line)));
        }
        assert_eq!(prefixes(100).lines().count(), 100);
        let text = prefixes_of_ipv6(200_000);
        assert_eq!(text.lines().collect::<HashSet<_>>().len(), 200_000);
    }
}
