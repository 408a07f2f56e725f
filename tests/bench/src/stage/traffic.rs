//! Sends real traffic: a generator in the kernel sends frames into a veth pair as fast as the
//! other end takes them, sender and receiver on one CPU.

use std::{
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::{TestRun as _, TestRunAttrs, TestRunOptions, programs::Xdp};
use xdpfw_tests::{Host, Link, packets};

use crate::stage::{
    self, Stage,
    cpus::{Softirqd, pin, softirqs_are_in_thread_time, thread_time},
    yardsticks::{GENERATOR, Spread, Yardsticks},
};

/// How long a measurement should take: less than what disturbs it is apart.
const TURN: Duration = Duration::from_millis(6);
/// Frames that tell how many that are.
const TRIAL: u32 = 2_000;
/// Frames that go before the first measurement, to fill the caches: who was measured in
/// between has filled them with other things. One for each port, if that does not take
/// longer than this.
const WARM_UP: u32 = Spread::SCAN.ports as u32;
const PATIENCE_TO_WARM_UP: Duration = Duration::from_millis(60);
/// The turns that these two are.
const UNMEASURED: u32 = 2;
/// Frames between two turns of the receiver; its queue has room for 256.
const BATCH: u32 = 64;
/// How long the last frames of a measurement may take; after that, they are lost.
const PATIENCE: Duration = Duration::from_millis(100);

/// What frames carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// What asks for a connection.
    Syn,
    /// A UDP packet as scanners send them.
    Udp,
}

/// What became of the frames that were sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traffic {
    /// Millions of frames per second that the host has received: the fastest turn, since
    /// whatever else the machine does can only slow a receiver down.
    pub(crate) mpps: f64,
    /// Frames that the host has received in all turns.
    pub(crate) arrived: u64,
    /// Frames that it has not. They took their time, but are not counted.
    pub(crate) lost: u64,
}

impl Traffic {
    /// What a frame costs, from its making to its end.
    pub(crate) fn nanoseconds(&self) -> f64 {
        1e3 / self.mpps
    }
}

/// Sends frames to the stage's host, on as many CPUs at once as are given, each by a link
/// of its own, in so many turns.
pub(crate) fn flood(
    stage: &Stage,
    yardsticks: &Yardsticks,
    probe: Probe,
    cpus: &[usize],
    turns: u32,
) -> Result<Traffic> {
    ensure!(
        cpus.len() <= stage.floods.len(),
        "too few links for the CPUs"
    );
    let generator = yardsticks.get(GENERATOR)?;
    let start = Barrier::new(cpus.len());
    let each: Vec<Traffic> = thread::scope(|scope| {
        let senders: Vec<_> = cpus
            .iter()
            .zip(&stage.floods)
            .map(|(&cpu, link)| {
                let start = &start;
                scope.spawn(move || {
                    pin(cpu)?;
                    let sender = Sender::new(stage, link, probe)?;
                    sender.flood(generator, cpu, turns, start)
                })
            })
            .collect();
        let outcome = |sender: thread::ScopedJoinHandle<'_, Result<Traffic>>| {
            let panic = |panic| std::panic::resume_unwind(panic);
            sender.join().unwrap_or_else(panic)
        };
        senders.into_iter().map(outcome).collect::<Result<_>>()
    })?;
    Ok(Traffic {
        mpps: each.iter().map(|traffic| traffic.mpps).sum(),
        arrived: each.iter().map(|traffic| traffic.arrived).sum(),
        lost: each.iter().map(|traffic| traffic.lost).sum(),
    })
}

/// What sends over one link.
pub(crate) struct Sender<'a> {
    host: &'a Host,
    peer: &'a Host,
    near: &'a str,
    frame: Vec<u8>,
    /// `struct xdp_md`: the frame leaves where it is said to have come in.
    context: Vec<u8>,
}

impl<'a> Sender<'a> {
    pub(crate) fn new(stage: &'a Stage, link: &'a Link, probe: Probe) -> Result<Self> {
        let (near, far) = (link.near(), link.far());
        let (from, to) = (far.at(50_000), near.at(1));
        let packet = match probe {
            Probe::Syn => packets::syn(from, to),
            Probe::Udp => packets::udp(from, to, b"is there anyone?"),
        };
        let frame = packets::frame(far, near, &packet);
        let interface = stage.lab.peer.enter(|| stage::index(&far.interface))?;
        Ok(Self {
            host: &stage.lab.host,
            peer: &stage.lab.peer,
            near: &near.interface,
            context: stage::context(frame.len(), interface)?,
            frame,
        })
    }

    /// Sends in turns, all that wait at `start` together, from the CPU of this thread.
    fn flood(&self, generator: &Xdp, cpu: usize, turns: u32, start: &Barrier) -> Result<Traffic> {
        let softirqd = Softirqd::of(cpu);
        let mut traffic = Traffic {
            mpps: 0.0,
            arrived: 0,
            lost: 0,
        };
        // The first frames tell how many there are in the next turns.
        let (mut warm_up, mut many) = (TRIAL, TRIAL);
        for turn in 0..turns + UNMEASURED {
            let frames = match turn {
                0 => TRIAL,
                1 => warm_up,
                _ => many,
            };
            start.wait();
            let before = (self.arrived()?, softirqd.time());
            let sending = self.peer.enter(|| self.send(generator, frames))?;
            let arrived = self.settled(before.0, frames)? - before.0;
            ensure!(
                arrived <= u64::from(frames),
                "{frames} frames were sent to {}, but {arrived} arrived",
                self.near
            );
            let time = sending + (softirqd.time() - before.1);
            traffic.arrived += arrived;
            traffic.lost += u64::from(frames) - arrived;
            if turn == 0 {
                let within = |turn: Duration| {
                    let frames = f64::from(TRIAL) * turn.div_duration_f64(time);
                    (frames as u32).max(TRIAL)
                };
                many = within(TURN);
                warm_up = within(PATIENCE_TO_WARM_UP).min(WARM_UP);
            } else if turn >= UNMEASURED {
                let mpps = arrived as f64 / time.as_secs_f64() / 1e6;
                traffic.mpps = traffic.mpps.max(mpps);
            }
        }
        Ok(traffic)
    }

    /// Runs the generator for real, so that what it returns happens to the frames, and
    /// returns how long that kept the CPU. To be called on the peer.
    pub(crate) fn send(&self, generator: &Xdp, frames: u32) -> Result<Duration> {
        let start = thread_time();
        let result = generator
            .test_run(TestRunOptions {
                data_in: Some(&self.frame),
                ctx_in: Some(&self.context),
                repeat: frames,
                attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
                ..TestRunOptions::new()
            })
            .context("the kernel cannot send frames (BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18)")?;
        // The time of our thread is exact, and leaves out what other programs and other
        // machines took. The kernel's own result is the time on the wall, in whole
        // nanoseconds per frame: only where the receiver's part is not in ours.
        Ok(if softirqs_are_in_thread_time() {
            thread_time() - start
        } else {
            result.duration * frames
        })
    }

    /// How many frames the host has received on this link.
    fn arrived(&self) -> Result<u64> {
        Ok(self.host.counters(self.near)?.rx_packets)
    }

    /// The same, when nothing is on the way any more.
    fn settled(&self, before: u64, frames: u32) -> Result<u64> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.arrived()?;
            if now - before >= u64::from(frames) || Instant::now() > deadline {
                return Ok(now);
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}
