//! Measures one packet through one program: `BPF_PROG_TEST_RUN` calls a program again and
//! again, on the same frame, or through one that changes the frame each time.

use anyhow::{Context as _, Result, ensure};
use aya::{TestRun as _, TestRunOptions, programs::Xdp};
use aya_obj::programs::XdpAttachType;
use xdpfw_tests::packets::{self, flags};

use crate::{
    measure::Run,
    report::{
        chapter::Chapter,
        names::{self, cases, chapters, subjects},
    },
    stage::{
        self, Stage,
        cpus::thread_time,
        filter::{Filter, InForce},
        policy::{CLOSED, OPEN, Policy},
        yardsticks::{FLOOR, NOOP, Spread, Yardsticks},
    },
};

/// Calls in one measurement: some milliseconds.
const REPEAT: u32 = 100_000;
/// Calls before it, for caches and branch predictors.
const WARM_UP: u32 = 20_000;
/// Measurements per program and round, the programs taking turns. The fastest
/// counts: whatever else the machine does can only slow a program down.
pub(crate) const TURNS: usize = 10;

/// `XDP_DROP` and `XDP_PASS`.
pub(crate) const DROP: u32 = 1;
pub(crate) const PASS: u32 = 2;

/// A packet that a program is called on.
pub(crate) struct Packet {
    pub(crate) case: &'static str,
    bytes: Vec<u8>,
    /// Whether another port of the scan is asked for each time.
    varied: bool,
    /// What a filter must make of it.
    pub(crate) verdict: u32,
}

impl Packet {
    /// One that comes in by the stage's first link, the same each time.
    pub(crate) fn new(stage: &Stage, case: &'static str, packet: &[u8], verdict: u32) -> Self {
        let link = stage.lab.link();
        Self {
            case,
            bytes: packets::frame(link.far(), link.near(), packet),
            varied: false,
            verdict,
        }
    }

    /// One to other ports from other sources each time, all of which are dropped.
    pub(crate) fn varied(stage: &Stage, case: &'static str, packet: &[u8]) -> Self {
        Self::varied_as(stage, case, packet, DROP)
    }

    /// The same, with this verdict on all of them.
    pub(crate) fn varied_as(
        stage: &Stage,
        case: &'static str,
        packet: &[u8],
        verdict: u32,
    ) -> Self {
        Self {
            varied: true,
            ..Self::new(stage, case, packet, verdict)
        }
    }
}

/// The packets that are measured, from the peer to the stage's host.
pub(crate) fn packets(stage: &Stage) -> [Packet; 6] {
    let (near, far) = (stage.lab.link().near(), stage.lab.link().far());
    // Not a port that the filter knows from the other side.
    let from = far.at(50_000);
    let tcp = |port, bits| packets::tcp(from, near.at(port), bits);
    let udp = |port| packets::udp(from, near.at(port), b"is there anyone?");
    let packet = |case, bytes: Vec<u8>, verdict| Packet::new(stage, case, &bytes, verdict);
    let varied = |case, bytes: Vec<u8>| Packet::varied(stage, case, &bytes);
    [
        packet(cases::SYN_HOT, tcp(CLOSED, flags::SYN), DROP),
        varied(cases::SYN_VARIED, tcp(CLOSED, flags::SYN)),
        packet(cases::UDP_HOT, udp(161), DROP),
        varied(cases::UDP_VARIED, udp(161)),
        packet(cases::SYN_OPEN, tcp(OPEN, flags::SYN), PASS),
        packet(cases::ACK_HOT, tcp(CLOSED, flags::ACK), DROP),
    ]
}

/// A program, and the stage that it is called on: there the kernel looks for the
/// interface, and the filter for sockets.
pub(crate) struct Callee<'a> {
    pub(crate) stage: &'a Stage,
    pub(crate) program: &'a Xdp,
    /// What it makes of any packet, if it is no filter.
    pub(crate) verdict: Option<u32>,
}

impl Callee<'_> {
    /// Calls the program so many times, and looks at the last verdict.
    pub(crate) fn call(&self, packet: &Packet, varier: &mut Yardsticks, repeat: u32) -> Result<()> {
        let program = if packet.varied {
            varier.varied(self.program.fd()?)?
        } else {
            self.program
        };
        let verdict = self.verdict.unwrap_or(packet.verdict);
        let link = self.stage.lab.link();
        self.stage.lab.host.enter(|| {
            let interface = stage::index(&link.near().interface)?;
            run(program, &packet.bytes, interface, verdict, repeat)
        })
    }

    /// What a call costs, in ns.
    pub(crate) fn nanoseconds(&self, packet: &Packet, varier: &mut Yardsticks) -> Result<f64> {
        let program = if packet.varied {
            varier.varied(self.program.fd()?)?
        } else {
            self.program
        };
        let verdict = self.verdict.unwrap_or(packet.verdict);
        let link = self.stage.lab.link();
        self.stage.lab.host.enter(|| {
            let interface = stage::index(&link.near().interface)?;
            // Varied packets are written to, and the next program starts anew.
            let bytes = &packet.bytes;
            let run = |repeat| run(program, bytes, interface, verdict, repeat);
            run(WARM_UP)?;
            // The kernel's own result is whole nanoseconds, a tenth of what is measured.
            // The time of our thread is exact, and leaves out other programs' and
            // interrupts'; the system call itself is nothing among so many calls.
            let start = thread_time();
            run(REPEAT)?;
            Ok((thread_time() - start).as_secs_f64() * 1e9 / f64::from(REPEAT))
        })
    }
}

/// Measures every program in every round.
pub(crate) fn measure(run: &Run<'_>) -> Result<Vec<Chapter>> {
    let mut chapter = names::chapter(chapters::PACKET)?;
    let (ours, theirs) = (Stage::new(&run.build, 1)?, Stage::new(&run.build, 1)?);
    let has_xdp_filter = Filter::XdpTools.is_there();
    for _ in 0..run.rounds {
        run.check()?;
        // Each round loads all programs anew: where the kernel happens to put a
        // program's machine code changes its time by a nanosecond or so.
        let mut varier = ours.yardsticks(Spread::SCAN)?;
        let yardsticks = ours.yardsticks(Spread::SCAN)?;
        let xdpfw = Filter::Xdpfw.put(&ours, Policy::OnePort)?;
        let dispatcher = xdpfw.program()?;
        let generation =
            Xdp::from_pin(ours.generation()?.join("program"), XdpAttachType::Interface)
                .context("cannot open the generation's program")?;
        let xdp_filter = has_xdp_filter
            .then(|| Filter::XdpTools.put(&theirs, Policy::OnePort))
            .transpose()?;
        let peer = xdp_filter.as_ref().map(|filter| filter.program());
        let peer = peer.transpose()?;

        let callee = |stage, program| Callee {
            stage,
            program,
            verdict: None,
        };
        let yardstick = |program| Callee {
            verdict: Some(DROP),
            ..callee(&ours, program)
        };
        let mut callees = vec![
            (subjects::NOOP, yardstick(yardsticks.get(NOOP)?)),
            (subjects::FLOOR, yardstick(yardsticks.get(FLOOR)?)),
            (subjects::XDPFW, callee(&ours, &dispatcher)),
            (subjects::WITHOUT_DISPATCHER, callee(&ours, &generation)),
        ];
        if let Some(program) = &peer {
            callees.push((subjects::XDP_FILTER, callee(&theirs, program)));
        }
        compare(&mut chapter, &packets(&ours), &callees, &mut varier, run)?;
        xdpfw.clear()?;
        xdp_filter.map(InForce::clear).transpose()?;
    }
    Ok(vec![chapter])
}

/// Adds a round: every packet through every program, these taking turns.
pub(crate) fn compare(
    chapter: &mut Chapter,
    packets: &[Packet],
    callees: &[(&str, Callee<'_>)],
    varier: &mut Yardsticks,
    run: &Run<'_>,
) -> Result<()> {
    for packet in packets {
        run.check()?;
        let mut fastest = vec![f64::INFINITY; callees.len()];
        for _ in 0..TURNS {
            for ((_, callee), fastest) in callees.iter().zip(&mut fastest) {
                *fastest = fastest.min(callee.nanoseconds(packet, varier)?);
            }
        }
        for ((subject, _), fastest) in callees.iter().zip(fastest) {
            chapter.push(subject, packet.case, fastest);
        }
    }
    Ok(())
}

fn run(program: &Xdp, frame: &[u8], interface: u32, verdict: u32, repeat: u32) -> Result<()> {
    let context = stage::context(frame.len(), interface)?;
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
