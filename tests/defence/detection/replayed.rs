//! Scans that take hours or many sources, replayed through the program with the time moved.

use std::{net::Ipv4Addr, net::SocketAddrV4, time::Duration};

use anyhow::Result;
use xdpfw_tests::{Lab, packets};

use super::{POLICY, Row, found, lab, page::Section};
use crate::judge::Judge;

/// A scan of one source: ports, and how long it waits behind each.
struct Slow {
    name: &'static str,
    ports: u16,
    between: Duration,
    /// Ports that are tried before the time is moved.
    at_once: u16,
    found: bool,
}

const SLOW: [Slow; 4] = [
    Slow {
        name: "`nmap -T2`: a port in 0.4 seconds",
        ports: 100,
        between: Duration::from_millis(400),
        at_once: 25,
        found: true,
    },
    Slow {
        name: "`nmap -T1`: a port in 15 seconds",
        ports: 100,
        between: Duration::from_secs(15),
        at_once: 1,
        found: true,
    },
    Slow {
        name: "`nmap -T0`: a port in 5 minutes",
        ports: 60,
        between: Duration::from_secs(300),
        at_once: 1,
        found: true,
    },
    Slow {
        name: "a port an hour",
        ports: 60,
        between: Duration::from_secs(3_600),
        at_once: 1,
        found: false,
    },
];

/// Sources that scan together, and how many ports each.
const MANY: [(u32, u16, &str); 5] = [
    (1, 64, "all"),
    (10, 64, "all"),
    (1_000, 64, "95 % at least"),
    (1_000, 10, "none: each is a source of its own"),
    (100_000, 1, "none: each is a source of its own"),
];

pub(super) fn prove() -> Result<Section> {
    let mut rows = Vec::new();
    for slow in &SLOW {
        let lab = lab(POLICY)?;
        let judge = Judge::of(&lab)?;
        for first in (0..slow.ports).step_by(slow.at_once.into()) {
            judge
                .dropped((first..first + slow.at_once).map(|port| probe(&lab, 0, 1_000 + port)))?;
            judge.pass(slow.between * u32::from(slow.at_once))?;
        }
        let is_found = !found(&lab.host)?.is_empty();
        assert_eq!(is_found, slow.found, "{}", slow.name);
        let cell = if is_found { "found" } else { "missed" };
        rows.push(Row::new(slow.name, &[cell]));
    }
    for (sources, ports, expected) in MANY {
        let lab = lab(POLICY)?;
        let judge = Judge::of(&lab)?;
        // All of them at once: one port of each, and then the next.
        let probes = (0..ports).flat_map(|port| (0..sources).map(move |source| (source, port)));
        judge.dropped(probes.map(|(source, port)| probe(&lab, source, 1_000 + port)))?;
        let found = found(&lab.host)?.len();
        let holds = match expected {
            "all" => found == sources as usize,
            "95 % at least" => found * 100 >= sources as usize * 95,
            _ => found == 0,
        };
        assert!(holds, "{sources} sources: {found} found");
        let (sources, s) = (grouped(sources), if ports == 1 { "" } else { "s" });
        let word = if sources == "1" { "source" } else { "sources" };
        rows.push(Row::new(
            format!("{sources} {word}, {ports} port{s} each"),
            &[expected],
        ));
    }
    rows.push(under_a_flood()?);
    Ok(Section {
        text: "## Slow scans, and many sources\n\nReplayed through the program (`BPF_PROG_TEST_RUN`), the \
               time moved between two packets.\n",
        heads: &["scan", "found"],
        rows,
    })
}

/// A scan among packets from so many sources that each place of the table is fought for.
fn under_a_flood() -> Result<Row> {
    const SOURCES: u32 = 100_000;
    const PORTS: u16 = 200;
    let lab = lab(POLICY)?;
    let judge = Judge::of(&lab)?;
    let flood = (0..SOURCES).map(|number| {
        let port = number.wrapping_mul(40_503) as u16;
        (1 + number, 1_000 + port % 60_000)
    });
    let probes = flood.enumerate().flat_map(|(number, forged)| {
        // One in 500 is of the scan.
        let own = (number % 500 == 0).then_some((0, 1_000 + (number / 500) as u16 % PORTS));
        own.into_iter().chain([forged])
    });
    judge.dropped(probes.map(|(source, port)| probe(&lab, source, port)))?;
    let list = found(&lab.host)?;
    assert_eq!(list.len(), 1, "{list:?}");
    assert!(list[0].0 == address(0).to_string() && list[0].2);
    Ok(Row::new(
        "one source, 200 ports, one packet in 500 of a flood from 100,000 forged sources",
        &["the one"],
    ))
}

fn address(source: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + source)
}

fn probe(lab: &Lab, source: u32, port: u16) -> Vec<u8> {
    let from = SocketAddrV4::new(address(source), 40_000);
    packets::syn(from, lab.link().near().at(port))
}

fn grouped(number: u32) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{},{:03}", number / 1_000, number % 1_000),
    }
}
