//! Owns a result that nobody measured: numbers of a plausible size, the same each time.

use crate::bench::report::{
    Report,
    chapter::Unit,
    machine::Machine,
    names::{OUTLINES, Outline, cases::*, chapters::*, subjects::*},
};

const ROUNDS: u16 = 5;

/// A run without gaps, but for what cannot be: no set of nft's for a single rule.
pub(crate) fn report() -> Report {
    let chapters = OUTLINES.iter().map(|outline| {
        let mut chapter = outline.chapter();
        for round in 0..ROUNDS {
            for (index, subject) in outline.subjects.iter().enumerate() {
                for case in outline.cases {
                    // Rounds differ by some per mille.
                    let noise = 1.0 + 0.002 * f64::from((u32::from(round) * 7 + index as u32) % 5);
                    if let Some(value) = value(outline, subject, case) {
                        chapter.push(subject, case, value * noise);
                    }
                }
            }
        }
        chapter
    });
    Report::new(machine(), chapters.collect())
}

fn machine() -> Machine {
    Machine {
        date: "2026-01-02".into(),
        command: "cargo xtask bench --page".into(),
        rounds: ROUNDS,
        cpu_model: "Sample CPU @ 3.00GHz".into(),
        cpus: 2,
        is_virtual: true,
        kernel: "6.18.0".into(),
        spectre_v2: Some("Mitigation: Enhanced / Automatic IBRS".into()),
        bpf_jit: Some("1".into()),
        bpf_stats: Some("0".into()),
        stolen: 0.002,
        xdpfw: "xdpfw 0.1.0".into(),
        revision: Some("0123abc".into()),
        peers: vec![
            ("nft".into(), "nftables v1.0.6".into()),
            ("xdp-filter".into(), "xdp-tools 1.3.1".into()),
        ],
    }
}

fn value(outline: &Outline, subject: &str, case: &str) -> Option<f64> {
    let scale = || case.replace(',', "").parse().unwrap_or(1.0_f64);
    let varied = if case.contains("varied") { 18.0 } else { 0.0 };
    let open = if case.contains("open port") { 8.0 } else { 0.0 };
    Some(match outline.id {
        PACKET => {
            let ack = if case == ACK_HOT { 19.0 } else { 0.0 };
            match subject {
                NOOP => 7.0 + varied,
                FLOOR => 8.9 + varied,
                XDPFW => 9.9 + varied * 1.1 + ack + open,
                WITHOUT_DISPATCHER => 8.9 + varied * 1.1 + ack + open,
                _ => 38.0 + varied * 1.4,
            }
        }
        FEATURES => {
            let index = outline
                .subjects
                .iter()
                .position(|known| *known == subject)?;
            9.0 + index as f64 * 2.1 + varied + open
        }
        LIVE => {
            let cpus = if case.contains("2 CPUs") { 1.94 } else { 1.0 };
            let udp = if case.contains("UDP") { 0.98 } else { 1.0 };
            let mpps = match subject {
                NOOP => 7.0,
                TOUCH => 6.9,
                FLOOR => 6.85,
                XDPFW => 6.7,
                XDP_FILTER => 5.4,
                NFT_INGRESS => 2.2,
                NFT_RAW => 1.3,
                NFT_CONNTRACK => 0.9,
                _ => 1.1,
            };
            mpps * cpus * udp
        }
        SOURCES => {
            let misses = scale().log10();
            match subject {
                NOOP => 143.0 + misses,
                XDPFW => 149.0 + misses * 1.2,
                XDP_FILTER => 185.0 + misses * 8.0,
                NFT_INGRESS => 455.0 + misses * 9.0,
                _ => 1_100.0 + misses * 220.0,
            }
        }
        RULES_HOT => match subject {
            NOOP => 7.0,
            XDPFW_DROP => 9.9 + scale().log10() * 0.05,
            _ => 18.0 + scale().log10() * 3.0,
        },
        RULES | PORTS | PREFIXES | PREFIXES_ASKED => match subject {
            NOOP => 143.0,
            XDPFW => {
                let asked = if outline.id == PREFIXES_ASKED {
                    22.0
                } else {
                    0.4
                };
                149.0 + scale().log10() * asked
            }
            NFT_PLAIN if scale() > 20_000.0 => return None,
            NFT_PLAIN => 450.0 + scale() * 9.0,
            _ => 470.0 + scale().log10() * 15.0,
        },
        THROUGHPUT => match (subject, case == FLOOD) {
            (NO_FILTER, false) => 18.4,
            (NO_FILTER, true) => 4.1,
            (XDPFW, false) => 17.9,
            (XDPFW, true) => 12.6,
            (_, false) => 17.2,
            (NFT_RAW, true) => 6.6,
            (_, true) => 5.2,
        },
        LATENCY | LATENCY_P99 => {
            let tail = if outline.id == LATENCY { 1.0 } else { 3.4 };
            let flood = if case == FLOOD { 6.0 } else { 1.0 };
            let mine = if subject == XDPFW && case == FLOOD {
                0.4
            } else {
                1.0
            };
            46.0 * tail * flood * mine
        }
        FLOOD_TAKEN => 100.0,
        APPLY => match (subject, case) {
            (XDPFW_APPLY, TEN_THOUSAND_RULES) => 112.0,
            (XDPFW_APPLY, _) => 260.0,
            (NFT_FILE, TEN_THOUSAND_RULES) => 240.0,
            (NFT_FILE, _) => 2_450.0,
            (NFT_FILE_SETS, _) => 190.0,
            (_, TEN_THOUSAND_RULES) => return None,
            _ => 175.0,
        },
        COMMANDS => match (subject, case) {
            (XDPFW, "start") => 1.9,
            (XDPFW, "add a rule") => 36.0,
            (XDPFW, _) => 8.0,
            (_, "start") => 1.4,
            (_, "add a rule") => 9.0,
            _ => 14.0,
        },
        _ => {
            debug_assert_eq!(outline.unit, Unit::Mebibytes);
            match (subject, case) {
                (XDPFW_COUNTERS, _) => 1.5,
                (XDPFW_MAPS, ONE_RULE) => 0.1,
                (XDPFW_MAPS, TEN_THOUSAND_RULES) => 1.3,
                (XDPFW_MAPS, _) => 3.1,
                (XDPFW_APPLY_PEAK, ONE_RULE) => 47.0,
                (XDPFW_APPLY_PEAK, _) => 71.0,
                (_, ONE_RULE) => 4.2,
                _ => 96.0,
            }
        }
    })
}
