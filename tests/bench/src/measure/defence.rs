//! Measures what it costs to look for scans, and what bans and lists cost those who are not
//! banned: packets through the program of policies with and without.

pub(super) mod bounds;
pub(super) mod lists;

use anyhow::Result;
use aya::programs::Xdp;
use xdpfw_tests::packets;

use crate::{
    measure::{
        Run,
        packet::{self, Callee, DROP, PASS, Packet},
    },
    report::{
        chapter::Chapter,
        names::{self, cases, chapters, subjects},
    },
    stage::{
        Stage,
        filter::attached,
        lists::{APART, addresses, addresses_next_door, prefixes, prefixes_next_door},
        policy::{CLOSED, OPEN, Policy},
        yardsticks::Spread,
    },
};

/// What makes a policy look for scans, and ban who scans.
const SCAN: &str = "[scan]\nports = 16\nwindow = \"10s\"\n";
const SCAN_AND_BAN: &str = "[scan]\nports = 16\nwindow = \"10s\"\nban = \"10m\"\n";

/// What stands in the way of packets.
#[derive(Clone, Copy)]
enum Defence {
    /// A part of the policy; nothing, if it is empty.
    Policy(&'static str),
    /// Bans by hand.
    Bans(fn() -> String),
    /// A list that bans.
    List(fn() -> String),
}

const SCANS: [(&str, Defence); 3] = [
    (subjects::ONE_PORT, Defence::Policy("")),
    (subjects::SCAN, Defence::Policy(SCAN)),
    (subjects::SCANS_BANNED, Defence::Policy(SCAN_AND_BAN)),
];

const BANS: [(&str, Defence); 7] = [
    (subjects::NOBODY_BANNED, Defence::Policy("")),
    (subjects::SCANS_BANNED, Defence::Policy(SCAN_AND_BAN)),
    (subjects::BANS, Defence::Bans(|| addresses(0, 100_000))),
    (
        subjects::LIST_OF_ADDRESSES,
        Defence::List(|| addresses(0, 1_000_000)),
    ),
    (
        subjects::LIST_OF_PREFIXES,
        Defence::List(|| prefixes(100_000)),
    ),
    (
        subjects::ADDRESSES_NEXT_DOOR,
        Defence::List(|| addresses_next_door(1_000_000)),
    ),
    (
        subjects::PREFIXES_NEXT_DOOR,
        Defence::List(|| prefixes_next_door(100_000)),
    ),
];

/// A host with a defence.
struct Defended {
    name: &'static str,
    stage: Stage,
    program: Xdp,
}

impl Defended {
    fn new(run: &Run<'_>, (name, defence): (&'static str, Defence)) -> Result<Self> {
        run.check()?;
        let stage = Stage::new(&run.build, 0)?;
        stage.up()?;
        match defence {
            Defence::Policy(more) => stage.apply_text(&policy(&stage, more))?,
            Defence::Bans(entries) => {
                stage.apply_text(&policy(&stage, ""))?;
                let file = stage.write("bans", &entries())?;
                stage.time_xdpfw_reading(&["ban", "--stdin"], &file)?;
            }
            Defence::List(entries) => {
                let list = lists::banning(&stage, "banned", &entries())?;
                stage.apply_text(&policy(&stage, &list))?;
            }
        }
        let program = attached(&stage)?;
        Ok(Self {
            name,
            stage,
            program,
        })
    }

    fn callee(&self) -> (&'static str, Callee<'_>) {
        let callee = Callee {
            stage: &self.stage,
            program: &self.program,
            verdict: None,
        };
        (self.name, callee)
    }
}

/// The policy of one port, and what is besides.
fn policy(stage: &Stage, more: &str) -> String {
    Policy::OnePort.xdpfw(stage.interfaces()) + more
}

/// Measures what is dropped, with and without a look for scans.
pub(crate) fn measure_scans(run: &Run<'_>) -> Result<Vec<Chapter>> {
    measure(run, chapters::DEFENCE_SCANS, &SCANS, |stage| {
        let (near, far) = (stage.lab.link().near(), stage.lab.link().far());
        let syn = packets::syn(far.at(50_000), near.at(CLOSED));
        let varied = |case| Packet::varied(stage, case, &syn);
        [
            (Packet::new(stage, cases::SYN_HOT, &syn, DROP), Spread::SCAN),
            (varied(cases::SCAN_ONE_SOURCE), Spread::SCAN.with_sources(1)),
            (varied(cases::SCAN_MANY_SOURCES), Spread::SCAN),
        ]
    })
}

/// Measures what is let in, while others are banned.
pub(crate) fn measure_bans(run: &Run<'_>) -> Result<Vec<Chapter>> {
    measure(run, chapters::DEFENCE_BANS, &BANS, |stage| {
        let (near, far) = (stage.lab.link().near(), stage.lab.link().far());
        let syn = packets::syn(far.at(50_000), near.at(OPEN));
        [
            (Packet::new(stage, cases::SYN_OPEN, &syn, PASS), APART),
            (
                Packet::varied_as(stage, cases::SYN_OPEN_VARIED, &syn, PASS),
                APART,
            ),
        ]
    })
}

/// Measures packets, each with what it varies in, under all defences in every round.
fn measure<const N: usize>(
    run: &Run<'_>,
    id: &str,
    defences: &[(&'static str, Defence)],
    packets: fn(&Stage) -> [(Packet, Spread); N],
) -> Result<Vec<Chapter>> {
    let mut chapter = names::chapter(id)?;
    for _ in 0..run.rounds {
        // Anew in each round, for the same reason as the features.
        let hosts = defences
            .iter()
            .map(|&defence| Defended::new(run, defence))
            .collect::<Result<Vec<_>>>()?;
        let Some(first) = hosts.first() else { break };
        let callees: Vec<_> = hosts.iter().map(Defended::callee).collect();
        for (packet, spread) in packets(&first.stage) {
            let mut varier = first.stage.yardsticks(spread)?;
            packet::compare(&mut chapter, &[packet], &callees, &mut varier, run)?;
        }
    }
    Ok(vec![chapter])
}
