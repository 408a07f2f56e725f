//! Owns real traffic: frames that a generator in the kernel sends into a veth pair as
//! fast as the other end takes them, sender and receiver on one CPU.

use std::{
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use aya::{TestRun as _, TestRunAttrs, TestRunOptions, programs::Xdp};
use xdpfw_tests::{Host, Link, packets};

use crate::bench::stage::{
    self, Stage,
    cpus::{Softirqd, pin, thread_time},
    yardsticks::{GENERATOR, Yardsticks},
};

/// Most frames in one measurement, and how long one should take.
const MOST_FRAMES: u32 = 300_000;
const TURN: Duration = Duration::from_millis(25);
/// Frames that tell how many that are.
const TRIAL: u32 = 2_000;
/// The part of a measurement that goes before the first one, to fill the caches: who was
/// measured in between has filled them with other things.
const WARM_UP: u32 = 4;
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
        // How many frames a measurement has, which the first ones tell.
        let mut many = TRIAL;
        for turn in 0..turns + UNMEASURED {
            let frames = if turn == 1 { many / WARM_UP } else { many };
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
                let share = TURN.as_secs_f64() / time.as_secs_f64();
                many = (f64::from(TRIAL) * share) as u32;
                many = many.clamp(TRIAL, MOST_FRAMES);
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
        // Not the time on the wall, which is others', too. The kernel's result is whole
        // nanoseconds per frame, rounded down. Our thread's time is exact, unless the kernel accounts
        // softirqs, and with them the receiver, elsewhere (CONFIG_IRQ_TIME_ACCOUNTING):
        // then it is less.
        let ours = thread_time() - start;
        Ok(ours.max(result.duration * frames))
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
