//! Cases of TCP flags.

use xdpfw_tests::packets::flags::{ACK, FIN, PSH, RST, SYN, URG};

use crate::{
    filter::Programs,
    frame::{both, tcp},
    page::usual,
    table::{Expected, Section, allowed, case, closed, denied, drops},
};

/// Whether a set of flags belongs to a row.
type Test = fn(u8) -> bool;

/// The sets of flags, each in exactly one of these.
const SETS: [(&str, Test); 9] = [
    ("none (NULL scan)", |bits| bits == 0),
    ("SYN and FIN, with any others", |bits| has(bits, SYN | FIN)),
    ("SYN and RST without FIN, with any others", |bits| {
        has(bits, SYN | RST) && !has(bits, FIN)
    }),
    ("FIN, PSH, URG (XMAS scan)", |bits| bits == FIN | PSH | URG),
    (
        "any other with FIN but neither ACK nor SYN (FIN scan)",
        |bits| has(bits, FIN) && bits & (ACK | SYN) == 0 && bits != FIN | PSH | URG,
    ),
    ("SYN alone, or with PSH, URG (SYN scan)", |bits| {
        bits & (SYN | ACK | FIN | RST) == SYN
    }),
    ("SYN and ACK, with or without PSH, URG", |bits| {
        bits & (SYN | ACK | FIN | RST) == SYN | ACK
    }),
    (
        "ACK without SYN, with any others (ACK scan, Maimon's scan)",
        |bits| has(bits, ACK) && !has(bits, SYN),
    ),
    ("RST, PSH, URG in any mixture", |bits| {
        bits != 0 && bits & (SYN | ACK | FIN) == 0
    }),
];

const fn has(bits: u8, flags: u8) -> bool {
    bits & flags == flags
}

/// Those of [`SETS`] that no stack sends.
const IMPOSSIBLE: usize = 5;

pub(crate) fn tcp_flags() -> Section {
    let mut cases = Vec::new();
    let mut seen: Vec<u8> = Vec::new();
    for (index, (name, holds)) in SETS.into_iter().enumerate() {
        let sets: Vec<u8> = (0..64).filter(|&bits| holds(bits)).collect();
        seen.extend(&sets);
        let ports: [(&str, u16, &str, Expected); 3] = [
            ("open", 443, "tcp/443", allowed("r1")),
            ("closed", 22, "tcp/22", closed("tcp/22")),
            ("denied", 23, "tcp/23", denied("r3").on("tcp/23")),
        ];
        for (which, port, counter, possible) in ports {
            let frames = sets.iter().flat_map(|&bits| {
                let with_ecn = (0..4).map(move |ecn| bits | ecn << 6);
                with_ecn.flat_map(move |bits| both(|version| tcp(version, port).flags(bits)))
            });
            let expected = match index < IMPOSSIBLE {
                true => drops("bad-flags").on(counter),
                false => possible,
            };
            let sets = sets.len();
            let name = format!("{name}, {which} port: {sets} of the 64 sets");
            cases.push(case(name, frames, expected));
        }
    }
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..64), "each set in one row");
    Section {
        title: "TCP flags",
        text: "All 64 sets of FIN, SYN, RST, PSH, ACK and URG, each without and with the two bits \
               of congestion notification (ECE, CWR), over IPv4 and IPv6. Without a socket, what \
               is no bare SYN is nobody's reply.",
        policies: &[usual!(), usual!("replies = \"sockets\"")],
        programs: Programs::Ethernet,
        cases,
    }
}
