//! Owns the cost of one packet alone, hot in the cache: `BPF_PROG_TEST_RUN`, which
//! calls a program on the same frame again and again.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::{TestRun as _, TestRunOptions, programs::Xdp};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use xdpfw_tests::packets::{self, flags};

use super::{
    programs::{self, FLOOR, NOOP, Yardsticks},
    series::Series,
    subject::{OPEN, Subject},
};

/// Calls in one measurement: some milliseconds.
const REPEAT: u32 = 200_000;
/// Calls before it, for caches and branch predictors.
const WARM_UP: u32 = 20_000;
/// Measurements per program and round, the programs taking turns. The fastest
/// counts: whatever else the machine does can only slow a program down.
pub(super) const TURNS: usize = 10;

/// `XDP_DROP` and `XDP_PASS`.
pub(super) const DROP: u32 = 1;
pub(super) const PASS: u32 = 2;

/// One packet through all programs, packet by packet.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct TestRun {
    pub(super) packets: Vec<Packet>,
}

/// What one kind of packet costs, in ns.
#[derive(Debug, Serialize)]
pub(super) struct Packet {
    pub(super) name: &'static str,
    /// Whether dropping it is what the goal is for.
    pub(super) judged: bool,
    #[serde(skip)]
    frame: Vec<u8>,
    /// What the filter must make of it.
    #[serde(skip)]
    verdict: u32,
    /// A program that does nothing: the kernel's loop.
    pub(super) noop: Series,
    /// What every filter must do.
    pub(super) floor: Series,
    /// The program of the generation in force.
    pub(super) filter: Series,
    /// The program that interfaces run, which jumps to the former.
    pub(super) dispatcher: Series,
}

impl TestRun {
    /// The packets that are to be measured.
    pub(super) fn new(subject: &Subject) -> Self {
        let (near, far) = (subject.lab.link().near(), subject.lab.link().far());
        // Not a port that the filter knows from the other side.
        let from = far.at(50_000);
        let tcp = |port, bits| packets::tcp(from, near.at(port), bits);
        let packets = vec![
            Packet::new(
                "SYN to a closed port",
                true,
                packets::frame(far, near, &tcp(23, flags::SYN)),
                DROP,
            ),
            Packet::new(
                "UDP to a closed port",
                true,
                packets::frame(far, near, &packets::udp(from, near.at(161), b"probe")),
                DROP,
            ),
            Packet::new(
                "SYN to the open port",
                false,
                packets::frame(far, near, &tcp(OPEN, flags::SYN)),
                PASS,
            ),
            // Might be a reply, so a socket is looked for.
            Packet::new(
                "ACK to a closed port",
                false,
                packets::frame(far, near, &tcp(23, flags::ACK)),
                DROP,
            ),
        ];
        Self { packets }
    }

    /// Measures every program on every packet.
    pub(super) fn measure(&mut self, subject: &Subject, yardsticks: &Yardsticks) -> Result<()> {
        let filter = programs::pinned(&subject.filter()?)?;
        let dispatcher = programs::pinned(&subject.dispatcher())?;
        let (noop, floor) = (yardsticks.get(NOOP)?, yardsticks.get(FLOOR)?);
        let host = &subject.lab.host;
        let interface = programs::index(host, &subject.lab.link().near().interface)?;
        // On the host, since that is where the kernel looks for the interface; and the
        // interface's host is where the filter looks for sockets.
        host.enter(|| {
            for packet in &mut self.packets {
                let (frame, verdict) = (&packet.frame, packet.verdict);
                let programs = [
                    (noop, DROP),
                    (floor, DROP),
                    (&filter, verdict),
                    (&dispatcher, verdict),
                ];
                let mut fastest = [f64::INFINITY; 4];
                for _ in 0..TURNS {
                    for ((program, verdict), fastest) in programs.into_iter().zip(&mut fastest) {
                        let time = nanoseconds(program, frame, interface, verdict)?;
                        *fastest = fastest.min(time);
                    }
                }
                let [noop, floor, filter, dispatcher] = fastest;
                packet.noop.push(noop);
                packet.floor.push(floor);
                packet.filter.push(filter);
                packet.dispatcher.push(dispatcher);
            }
            Ok(())
        })
    }
}

impl Packet {
    fn new(name: &'static str, judged: bool, frame: Vec<u8>, verdict: u32) -> Self {
        Self {
            name,
            judged,
            frame,
            verdict,
            noop: Series::default(),
            floor: Series::default(),
            filter: Series::default(),
            dispatcher: Series::default(),
        }
    }
}

/// What a call of `program` costs.
pub(super) fn nanoseconds(
    program: &Xdp,
    frame: &[u8],
    interface: u32,
    verdict: u32,
) -> Result<f64> {
    run(program, frame, interface, verdict, WARM_UP)?;
    // The kernel's own result is whole nanoseconds, a tenth of what is measured.
    // The time of our thread is exact, and leaves out other programs' and
    // interrupts'; the system call itself is nothing among so many calls.
    let start = thread_time();
    run(program, frame, interface, verdict, REPEAT)?;
    Ok((thread_time() - start).as_secs_f64() * 1e9 / f64::from(REPEAT))
}

fn run(program: &Xdp, frame: &[u8], interface: u32, verdict: u32, repeat: u32) -> Result<()> {
    let context = programs::context(frame.len(), interface)?;
    let result = program
        .test_run(TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(&context),
            repeat,
            ..TestRunOptions::new()
        })
        .context("the kernel cannot run the program (BPF_PROG_TEST_RUN)")?;
    ensure!(
        result.return_value == verdict,
        "the program returns {} where {verdict} was expected",
        result.return_value
    );
    Ok(())
}

/// The CPU time of this thread.
pub(super) fn thread_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}
