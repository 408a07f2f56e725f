//! Proves that scans are found, and what is no scan is not; that a flood hides none; and that a place
//! that all CPUs write at once says nothing that is far from true.

use std::{cell::Cell, collections::HashSet, thread};

use proptest::prelude::*;
use xdpfw_common::{
    abi::{BanKey, FOUND_BANNED, PORT_BITS, SCANNER_COUNT, ScanConfig},
    scan::{Kind, Place, Slot, Tag, expected_bits, note},
};

const SECRET: [u64; 2] = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];

/// Ten seconds of a clock with 250 ticks, as the policy has it by default.
const WINDOW: u32 = 39;
const SECOND: u32 = 4;
const HOUR: u32 = 14_062;

fn config(ports: u32) -> ScanConfig {
    ScanConfig {
        bits: expected_bits(ports),
        slow_bits: expected_bits(2 * ports),
        window: WINDOW,
        slow_window: 12 * HOUR,
        second: SECOND,
        minute: 60 * SECOND,
        rest: 600 * SECOND,
        bans_openers: 1,
        ban: 1,
        secret: SECRET,
    }
}

/// A table as the kernel has it.
struct Table {
    slots: Vec<Slot>,
    tags: Vec<Tag>,
    config: ScanConfig,
}

impl Table {
    fn new(ports: u32) -> Self {
        Self {
            slots: (0..SCANNER_COUNT).map(|_| Slot::default()).collect(),
            tags: (0..SCANNER_COUNT).map(|_| Tag::default()).collect(),
            config: config(ports),
        }
    }

    /// Whether a packet ends with the tag; it has looked at the place if `looks` is one more then.
    fn settles(&self, place: Place, port: u16, now: u32, looks: &Cell<u32>) -> bool {
        let index = place.index() as usize;
        self.tags[index].settles(place, (port, false), now, &self.config, || {
            looks.set(looks.get() + 1);
            Some(&self.slots[index])
        })
    }

    fn note(&self, source: u64, kind: Kind, port: u16, now: u32) -> bool {
        let source: BanKey = source.to_be_bytes();
        let place = Place::of(&source, kind, &SECRET);
        if self.settles(place, port, now, &Cell::new(0)) {
            return false;
        }
        let index = place.index() as usize;
        let (slot, tag) = (&self.slots[index], &self.tags[index]);
        let found = note((slot, tag), (place, kind), (port, 0), now, &self.config);
        if found && kind == Kind::Syn && self.config.ban != 0 {
            slot.set_mark(FOUND_BANNED);
        }
        found
    }
}

#[test]
fn a_scan_is_found_within_a_few_ports_of_what_the_policy_says() {
    for ports in [4, 16, 64, 128] {
        let mut worst = 0;
        for source in 0..200 {
            let table = Table::new(ports);
            let found = (1..=2000).find(|port| table.note(source, Kind::Syn, *port, 1));
            let found = u32::from(found.expect("a scan of 2,000 ports"));
            // What is random is the number of ports that share a bit.
            assert!(found + ports / 4 >= ports, "{ports}: {found}");
            worst = worst.max(found);
        }
        assert!(worst <= ports + 4 + ports / 3, "{ports}: {worst}");
    }
}

#[test]
fn kinds_are_counted_apart() {
    let table = Table::new(4);
    for (port, kind) in (1..).zip(Kind::ALL) {
        assert!(!table.note(7, kind, port, 1));
    }
}

#[test]
fn who_tries_again_and_again_is_not_found() {
    let table = Table::new(4);
    for now in 0..HOUR {
        for port in [23, 2323, 445] {
            assert!(!table.note(7, Kind::Syn, port, now));
        }
    }
}

#[test]
fn a_slow_scan_is_found_by_its_ports_of_hours() {
    let table = Table::new(16);
    // A port every five minutes.
    let found =
        (1..100).find(|port| table.note(7, Kind::Syn, *port, u32::from(*port) * 300 * SECOND));
    assert!((29..40).contains(&found.unwrap()), "{found:?}");
    // A port every hour.
    assert!(!(1..100).any(|port| table.note(8, Kind::Syn, port, u32::from(port) * HOUR)));
}

#[test]
fn who_was_found_is_found_again_after_a_rest() {
    let table = Table::new(16);
    let mut now = 1;
    let mut found = Vec::new();
    for port in 1..=60_000 {
        now += u32::from(port % 20 == 0);
        if table.note(7, Kind::Syn, port, now) {
            found.push(now);
        }
    }
    assert!(found.len() > 1);
    for pair in found.windows(2) {
        let between = pair[1] - pair[0];
        assert!((600 * SECOND..700 * SECOND).contains(&between), "{between}");
    }
}

#[test]
fn who_was_only_shown_is_found_once_the_policy_bans() {
    let mut table = Table::new(16);
    table.config.ban = 0;
    assert!((1..=40).any(|port| table.note(7, Kind::Syn, port, 1)));
    assert!(!(41..=60).any(|port| table.note(7, Kind::Syn, port, 2)));
    table.config.ban = 1;
    assert!((61..=80).any(|port| table.note(7, Kind::Syn, port, 3)));
    assert!(!(81..=100).any(|port| table.note(7, Kind::Syn, port, 4)));
}

/// A million sources with one packet each, between two packets of a scan.
#[test]
fn a_flood_of_sources_hides_no_scan() {
    let table = Table::new(16);
    let mut random = 1_u64;
    let mut flood = |packets: u32, now| {
        for _ in 0..packets {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            assert!(!table.note(random | 1 << 63, Kind::Syn, (random >> 40) as u16, now));
        }
    };
    flood(1_000_000, 1);
    // 100 ports a second in 100,000 packets a second.
    let mut found = None;
    for port in 1..=4_000 {
        let now = 1 + u32::from(port) / 25;
        flood(1_000, now);
        if table.note(7, Kind::Syn, port, now) {
            found = Some(port);
            break;
        }
    }
    let found = found.expect("a scan of 4,000 ports");
    assert!(found < 500, "{found}");
}

/// What it costs is a look at a place, which is in no cache.
#[test]
fn most_packets_of_a_flood_and_of_a_long_scan_need_no_look_at_a_place() {
    let table = Table::new(16);
    let looks = Cell::new(0);
    let mut random = 1_u64;
    let mut flood = || {
        let mut unsettled = 0_u32;
        for _ in 0..200_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let place = Place::of(&(random >> 20).to_be_bytes(), Kind::Syn, &SECRET);
            if !table.settles(place, (random >> 40) as u16, 1, &looks) {
                unsettled += 1;
                table.note(random >> 20, Kind::Syn, (random >> 40) as u16, 1);
            }
        }
        unsettled
    };
    flood();
    looks.set(0);
    let unsettled = flood();
    assert!(unsettled + looks.get() < 500, "{unsettled}, {looks:?}");
    let place = Place::of(&7_u64.to_be_bytes(), Kind::Syn, &SECRET);
    let table = Table::new(16);
    for port in 0..2_000 {
        table.note(7, Kind::Syn, port, 1);
    }
    looks.set(0);
    assert!((2_000..4_000).all(|port| table.settles(place, port, 1, &looks)));
    assert_eq!(looks.get(), 0);
    // Once in a while it is noted that it goes on, and after the window it begins anew.
    assert!(!table.settles(place, 1, 1 + SECOND, &looks));
    table.note(7, Kind::Syn, 1, 2 + WINDOW);
    assert!(!table.settles(place, 2, 2 + WINDOW, &looks));
}

#[test]
fn who_filled_the_table_does_not_keep_it() {
    let table = Table::new(16);
    for source in 0..u64::from(SCANNER_COUNT) * 4 {
        for port in 1..=24 {
            table.note(source | 1 << 63, Kind::Syn, port, 1);
        }
    }
    for (source, now, most) in [(7, 2 + WINDOW, 500), (8, 2 + 33 * WINDOW, 30)] {
        let found = (1..=1000).find(|port| table.note(source, Kind::Syn, *port, now));
        assert!(found.is_some_and(|port| port < most), "{found:?}");
    }
}

/// The counts are at most off by what CPUs that write at the same moment can make of them.
#[test]
fn cpus_at_once_count_about_the_same() {
    let table = Table::new(256);
    let source = 7_u64;
    thread::scope(|scope| {
        for cpu in 0..4_u16 {
            let table = &table;
            scope.spawn(move || {
                for port in (0..100).map(|port| port * 4 + cpu) {
                    table.note(source, Kind::Syn, port, 1);
                }
            });
        }
    });
    let place = Place::of(&source.to_be_bytes(), Kind::Syn, &SECRET);
    let evidence = table.slots[place.index() as usize].evidence();
    let expected = expected_bits(400);
    assert!(u32::from(evidence) <= PORT_BITS + 16 && u32::from(evidence) + 60 >= expected);
}

proptest! {
    /// Whatever comes in whatever order, nobody is found who sent to fewer ports than so many bits.
    #[test]
    fn nobody_is_found_for_fewer_ports(
        packets in proptest::collection::vec((0_u64..40, 0_u16..12, 0_u32..3), 1..2000)
    ) {
        let table = Table::new(16);
        let mut now = 1;
        let mut ports = HashSet::new();
        for (source, port, later) in packets {
            now += later;
            ports.insert((source, port));
            prop_assert!(!table.note(source, Kind::Syn, port, now));
        }
    }

    /// Clocks that go round and CPUs that are a moment behind change nothing.
    #[test]
    fn the_clock_may_go_round(begin in any::<u32>()) {
        let table = Table::new(16);
        let found = (1..=40_u16).find(|port| {
            let now = begin.wrapping_add(u32::from(port % 3));
            table.note(7, Kind::Syn, *port, now)
        });
        prop_assert!((16..30).contains(&found.unwrap_or(0)), "{:?}", found);
    }
}

/// How far counts are from what is expected of each, in squares (chi-squared).
fn unevenness(counts: &[u32], expected: f64) -> f64 {
    let square = |count: &u32| (f64::from(*count) - expected).powi(2) / expected;
    counts.iter().map(square).sum::<f64>() / counts.len() as f64
}

fn place(source: u64, secret: &[u64; 2]) -> Place {
    Place::of(&source.to_be_bytes(), Kind::Syn, secret)
}

#[test]
fn sources_are_spread_evenly() {
    // Neighbours, as IPv4 has them; /64s of a /32; multiples.
    for (base, step) in [
        (0xffff_ffff_0a00_0000, 1),
        (0x2001_0db8 << 32, 1),
        (0, 1 << 40),
    ] {
        let mut counts = vec![0_u32; SCANNER_COUNT as usize];
        for number in 0..u64::from(SCANNER_COUNT) * 8 {
            let source = u64::wrapping_add(base, number * step);
            counts[place(source, &SECRET).index() as usize] += 1;
        }
        let unevenness = unevenness(&counts, 8.0);
        assert!(unevenness < 1.1, "{base:x}: {unevenness}");
    }
}

#[test]
fn ports_set_bits_as_if_at_random() {
    let mut counts = [0_u32; PORT_BITS as usize];
    for source in 0..64 {
        for port in 1..1024 {
            let mark = place(source, &SECRET).port(port);
            counts[mark.word * 64 + mark.bit.trailing_zeros() as usize] += 1;
        }
    }
    let unevenness = unevenness(&counts, 64.0 * 1023.0 / 128.0);
    assert!(unevenness < 1.4, "{unevenness}");
}

#[test]
fn who_shares_a_place_depends_on_the_secret() {
    let other = [SECRET[0], SECRET[1] ^ 1 << 40];
    let first = place(1, &SECRET).index();
    let shares = |source: &u64| place(*source, &SECRET).index() == first;
    let share: Vec<u64> = (2..2_000_000).filter(shares).collect();
    assert!(share.len() > 10);
    let first = place(1, &other).index();
    let shares = |source: &&u64| place(**source, &other).index() == first;
    assert_eq!(share.iter().filter(shares).count(), 0);
}
