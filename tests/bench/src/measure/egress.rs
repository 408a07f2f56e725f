//! Measures what it costs to remember what leaves: one packet through the program, and what
//! the host sends meanwhile, all of it on one CPU.

use std::{
    net::{SocketAddr, UdpSocket},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use aya::{
    TestRun as _, TestRunOptions,
    programs::{ProgramFd, SchedClassifier},
};
use xdpfw_tests::packets::{self, flags};

use crate::{
    measure::{Run, attack::gigabits, packet::TURNS},
    report::{
        chapter::Chapter,
        names::{self, cases, chapters, subjects},
    },
    stage::{
        Stage,
        cpus::thread_time,
        filter::{Filter, InForce},
        policy::{OPEN, Policy},
        yardsticks::{NOOP_EGRESS, PASS, Spread, Yardsticks},
    },
};

/// Calls in one measurement, and before it. New flows are measured while the table has room
/// (65,536 flows): fewer, and none before.
const REPEAT: u32 = 100_000;
const WARM_UP: u32 = 80_000;
const ROOM: u32 = 40_000;
/// What lets every packet go on (`TC_ACT_UNSPEC`).
const UNSPEC: u32 = u32::MAX;

/// The port that the host asks from.
const ASKER: u16 = 40_001;
/// The peer's port that is asked.
const SERVER: u16 = 50_053;

/// Packets in one measurement of real traffic: less than there are ports.
const BURST: u16 = 20_000;
/// The first of the ports that new flows go to.
const FIRST_PORT: u16 = 1_000;

/// A packet that leaves.
struct Packet {
    case: &'static str,
    bytes: Vec<u8>,
    /// What of it is new.
    peers: Peers,
}

/// Who gets packets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Peers {
    /// Always the same.
    One,
    /// Another one each time.
    Others,
    /// The same, but the first packets of these fill an empty table.
    First,
}

/// Measures one packet through one program.
pub(crate) fn measure_packets(run: &Run<'_>) -> Result<Vec<Chapter>> {
    let mut chapter = names::chapter(chapters::EGRESS)?;
    let stage = Stage::new(&run.build, 0)?;
    for _ in 0..run.rounds {
        // Anew in each round: so the tables are empty, too.
        let in_force = Filter::Xdpfw.put(&stage, Policy::OnePort)?;
        let recorder = SchedClassifier::from_pin(stage.generation()?.join("recorder"))
            .context("cannot open the generation's program for what leaves")?;
        let yardsticks = stage.yardsticks(Spread::SCAN)?;
        let mut varier = stage.yardsticks(Spread::SCAN)?;
        let callees = [
            (subjects::NOOP, yardsticks.get_egress(NOOP_EGRESS)?),
            (subjects::XDPFW, &recorder),
        ];
        for packet in packets(&stage) {
            run.check()?;
            let turns = match packet.peers {
                // The table has room once.
                Peers::First => 1,
                _ => TURNS,
            };
            let mut fastest = [f64::INFINITY; 2];
            for _ in 0..turns {
                for ((_, program), fastest) in callees.iter().zip(&mut fastest) {
                    let time = nanoseconds(&stage, program, &packet, &mut varier)?;
                    *fastest = fastest.min(time);
                }
            }
            for ((subject, _), fastest) in callees.iter().zip(fastest) {
                chapter.push(subject, packet.case, fastest);
            }
        }
        in_force.clear()?;
    }
    Ok(vec![chapter])
}

/// From the stage's host to its peer. The order fills the table.
fn packets(stage: &Stage) -> [Packet; 5] {
    let (near, far) = (stage.lab.link().near(), stage.lab.link().far());
    let server = far.at(SERVER);
    let udp = packets::udp(near.at(ASKER), server, b"is there anyone?");
    let ack = |port| packets::tcp(near.at(port), server, flags::ACK);
    let packet = |case, packet: &[u8], peers| Packet {
        case,
        bytes: packets::frame(near, far, packet),
        peers,
    };
    [
        packet(cases::UDP_NEW, &udp, Peers::First),
        packet(cases::UDP_KNOWN, &udp, Peers::One),
        packet(cases::TCP_KNOWN, &ack(ASKER), Peers::One),
        packet(cases::FROM_OPEN_PORT, &ack(OPEN), Peers::One),
        packet(cases::UDP_FULL, &udp, Peers::Others),
    ]
}

/// What a call costs, in ns.
fn nanoseconds(
    stage: &Stage,
    program: &SchedClassifier,
    packet: &Packet,
    varier: &mut Yardsticks,
) -> Result<f64> {
    let fd: &ProgramFd = program.fd()?;
    let program = match packet.peers {
        Peers::One => program,
        Peers::Others | Peers::First => varier.varied_egress(fd)?,
    };
    stage.lab.host.enter(|| {
        let run = |repeat| call(program, &packet.bytes, repeat);
        let repeat = if packet.peers == Peers::First {
            ROOM
        } else {
            run(WARM_UP)?;
            REPEAT
        };
        let start = thread_time();
        run(repeat)?;
        Ok((thread_time() - start).as_secs_f64() * 1e9 / f64::from(repeat))
    })
}

fn call(program: &SchedClassifier, frame: &[u8], repeat: u32) -> Result<()> {
    let result = program
        .test_run(TestRunOptions {
            data_in: Some(frame),
            repeat,
            ..TestRunOptions::new()
        })
        .context("the kernel cannot run the program (BPF_PROG_TEST_RUN)")?;
    ensure!(
        result.return_value == UNSPEC,
        "the program returns {} for what leaves",
        result.return_value
    );
    Ok(())
}

/// What stands before the host.
const FILTERS: [(&str, Filter); 4] = [
    (subjects::NO_FILTER, Filter::None),
    (subjects::XDP_PASS, Filter::Yardstick(PASS)),
    (subjects::XDPFW_BY_SOCKETS, Filter::Xdpfw),
    (subjects::XDPFW, Filter::Xdpfw),
];

/// Measures what the host sends: over a TCP connection, and in small packets.
pub(crate) fn measure_traffic(run: &Run<'_>) -> Result<Vec<Chapter>> {
    let mut throughput = names::chapter(chapters::EGRESS_THROUGHPUT)?;
    let mut rate = names::chapter(chapters::EGRESS_PACKETS)?;
    // Each has a stage of its own, so that they can take turns.
    let stages = FILTERS
        .iter()
        .map(|_| Stage::new(&run.build, 1))
        .collect::<Result<Vec<_>>>()?;
    for _ in 0..run.rounds {
        let filtered: Vec<(&str, &Stage, InForce<'_>)> = FILTERS
            .into_iter()
            .zip(&stages)
            .map(|((subject, filter), stage)| {
                let in_force = filter.put(stage, Policy::OnePort)?;
                if subject == subjects::XDPFW_BY_SOCKETS {
                    let text = Policy::OnePort.xdpfw(stage.interfaces());
                    let by_sockets = "replies = \"sockets\"\ndefault";
                    stage.apply_text(&text.replacen("default", by_sockets, 1))?;
                }
                Ok((subject, stage, in_force))
            })
            .collect::<Result<_>>()?;
        let mut most = [0.0_f64; FILTERS.len()];
        for _ in 0..THROUGHPUT_TURNS {
            for ((_, stage, _), most) in filtered.iter().zip(&mut most) {
                run.check()?;
                let (host, peer) = (&stage.lab.host, &stage.lab.peer);
                let address = stage.lab.link().far().address;
                *most = most.max(gigabits(peer, host, address)?);
            }
        }
        for ((subject, ..), most) in filtered.iter().zip(most) {
            throughput.push(subject, cases::ONE_CONNECTION, most);
        }
        for (case, is_new) in [(cases::ONE_FLOW, false), (cases::NEW_FLOWS, true)] {
            run.check()?;
            let mut most = [0.0_f64; FILTERS.len()];
            for _ in 0..TURNS {
                for ((_, stage, _), most) in filtered.iter().zip(&mut most) {
                    *most = most.max(megapackets(stage, is_new)?);
                }
            }
            for ((subject, ..), most) in filtered.iter().zip(most) {
                rate.push(subject, case, most);
            }
        }
        for (_, _, in_force) in filtered {
            in_force.clear()?;
        }
    }
    Ok(vec![throughput, rate])
}

/// Connections of each in a round, all taking turns; the fastest counts.
const THROUGHPUT_TURNS: usize = 2;

/// How fast the host sends small UDP packets, in Mpps, to one port of the peer or to another
/// one each time; a program of the peer drops them unseen.
fn megapackets(stage: &Stage, is_new: bool) -> Result<f64> {
    let link = stage.floods.first().context("no link for a flood")?;
    stage.lab.host.enter(|| {
        // Another port each turn, so that no flow is an earlier turn's.
        let socket = UdpSocket::bind(link.near().at(0))?;
        let start = Instant::now();
        for number in 0..BURST {
            let port = FIRST_PORT + if is_new { number } else { 0 };
            let peer = SocketAddr::from(link.far().at(port));
            socket
                .send_to(b"is there anyone?", peer)
                .context("the host cannot send")?;
        }
        Ok(f64::from(BURST) / 1e6 / start.elapsed().as_secs_f64())
    })
}
