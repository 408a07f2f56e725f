//! Owns the cost of real traffic: frames that a generator sends into a veth pair as
//! fast as the other end's native XDP program takes them, sender and receiver on
//! one CPU.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use aya::{
    TestRun as _, TestRunAttrs, TestRunOptions,
    programs::{Xdp, XdpMode, xdp::XdpLinkId},
};
use serde::Serialize;
use serde_json::Value;
use xdpfw_tests::packets;

use super::{
    programs::{self, FLOOR, NOOP, Yardsticks},
    series::Series,
    subject::Subject,
    test_run::thread_time,
};

/// Frames in one measurement: some tens of milliseconds, and every port five times.
const FRAMES: u32 = 300_000;
/// Measurements per receiver and round. The fastest counts: whatever else the
/// machine does can only slow a receiver down.
const TURNS: u32 = 8;
/// Frames between two turns of the receiver; its queue has room for 256.
const BATCH: u32 = 64;
/// How long the last frames of a measurement may take; after that, they are lost.
const PATIENCE: Duration = Duration::from_millis(100);

/// How many frames each receiver takes, in millions per second.
#[derive(Debug, Default, Serialize)]
pub(super) struct Live {
    /// A program that drops everything unseen.
    pub(super) noop: Series,
    /// A program that parses, counts and drops.
    pub(super) floor: Series,
    /// The filter as users have it.
    pub(super) xdpfw: Series,
    /// Frames that no receiver has seen. They are no part of the above.
    pub(super) lost: u64,
}

/// Who takes the frames.
#[derive(Clone, Copy)]
enum Receiver {
    Noop,
    Floor,
    Xdpfw,
}

impl Live {
    /// Measures every receiver once. Leaves xdpfw attached, as it finds it.
    pub(super) fn measure(
        &mut self,
        subject: &Subject,
        yardsticks: &mut Yardsticks,
        round: usize,
    ) -> Result<()> {
        // The kernel takes frames only for an interface that runs a program; this
        // one also keeps the peer's stack out of it.
        let far = &subject.lab.link().far().interface;
        let far_end = subject
            .lab
            .peer
            .enter(|| attach(yardsticks.get_mut(NOOP)?, far))?;
        subject.down()?;
        let mut receivers = [Receiver::Noop, Receiver::Floor, Receiver::Xdpfw];
        receivers.rotate_left(round % 3);
        for receiver in receivers {
            match receiver {
                Receiver::Noop => self.measure_yardstick(subject, yardsticks, NOOP)?,
                Receiver::Floor => self.measure_yardstick(subject, yardsticks, FLOOR)?,
                Receiver::Xdpfw => self.measure_xdpfw(subject, yardsticks)?,
            }
        }
        yardsticks.get_mut(NOOP)?.detach(far_end)?;
        subject.up()
    }

    fn measure_yardstick(
        &mut self,
        subject: &Subject,
        yardsticks: &mut Yardsticks,
        name: &str,
    ) -> Result<()> {
        let near = &subject.lab.link().near().interface;
        let link = subject
            .lab
            .host
            .enter(|| attach(yardsticks.get_mut(name)?, near))?;
        let traffic = send(subject, yardsticks)?;
        yardsticks.get_mut(name)?.detach(link)?;
        self.lost += traffic.lost;
        let series = if name == NOOP {
            &mut self.noop
        } else {
            &mut self.floor
        };
        series.push(traffic.mpps);
        Ok(())
    }

    fn measure_xdpfw(&mut self, subject: &Subject, yardsticks: &Yardsticks) -> Result<()> {
        subject.up()?;
        let traffic = send(subject, yardsticks)?;
        let judged = judged(subject)?;
        ensure!(
            judged == traffic.arrived,
            "xdpfw has judged {judged} packets, but {} arrived",
            traffic.arrived
        );
        subject.down()?;
        self.lost += traffic.lost;
        self.xdpfw.push(traffic.mpps);
        Ok(())
    }
}

/// What became of the frames that were sent.
struct Traffic {
    mpps: f64,
    /// Seen by the receiver's program, as the kernel counts.
    arrived: u64,
    lost: u64,
}

/// Sends every port of the host some frames, for what is to be measured with drops
/// counted everywhere.
pub(super) fn scan(subject: &Subject, yardsticks: &mut Yardsticks) -> Result<()> {
    let (peer, far) = (&subject.lab.peer, &subject.lab.link().far().interface);
    let far_end = peer.enter(|| attach(yardsticks.get_mut(NOOP)?, far))?;
    let sender = Sender::new(subject)?;
    peer.enter(|| sender.flood(yardsticks.generator()?))?;
    Ok(yardsticks.get_mut(NOOP)?.detach(far_end)?)
}

/// Sends frames from the peer to whatever receives them.
fn send(subject: &Subject, yardsticks: &Yardsticks) -> Result<Traffic> {
    let (host, near) = (&subject.lab.host, &subject.lab.link().near().interface);
    let arrived = || -> Result<u64> { Ok(host.counters(near)?.rx_packets) };
    // Should the receiver's turn have been put off, it comes in a moment.
    let settled = |before: u64| -> Result<u64> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = arrived()?;
            if now - before >= u64::from(FRAMES) || Instant::now() > deadline {
                return Ok(now);
            }
            thread::sleep(Duration::from_millis(1));
        }
    };
    let sender = Sender::new(subject)?;
    let generator = yardsticks.generator()?;

    let before = arrived()?;
    let mut last = before;
    let mut mpps = 0.0_f64;
    // The first turn is not measured: it fills the caches, and the counters of
    // every port are touched for the first time.
    for turn in 0..=TURNS {
        let per_frame = subject.lab.peer.enter(|| sender.flood(generator))?;
        let now = settled(last)?;
        if turn > 0 {
            let received = (now - last) as f64 / f64::from(FRAMES);
            mpps = mpps.max(received / per_frame * 1e3);
        }
        last = now;
    }
    let sent = u64::from(FRAMES) * u64::from(TURNS + 1);
    let arrived = last - before;
    let Some(lost) = sent.checked_sub(arrived) else {
        bail!("{sent} frames were sent, but {arrived} arrived");
    };
    Ok(Traffic {
        mpps,
        arrived,
        lost,
    })
}

/// What is sent from the peer.
struct Sender {
    frame: Vec<u8>,
    /// `struct xdp_md`: the frame leaves where it is said to have come in.
    context: Vec<u8>,
}

impl Sender {
    fn new(subject: &Subject) -> Result<Self> {
        let (near, far) = (subject.lab.link().near(), subject.lab.link().far());
        let frame = packets::frame(far, near, &packets::syn(far.at(50_000), near.at(1)));
        let interface = programs::index(&subject.lab.peer, &far.interface)?;
        Ok(Self {
            context: programs::context(frame.len(), interface)?,
            frame,
        })
    }

    /// Runs the generator for real, so that what it returns happens to the frames,
    /// and returns the nanoseconds per frame. To be called on the peer.
    fn flood(&self, generator: &Xdp) -> Result<f64> {
        let start = thread_time();
        let result = generator
            .test_run(TestRunOptions {
                data_in: Some(&self.frame),
                ctx_in: Some(&self.context),
                repeat: FRAMES,
                attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
                ..TestRunOptions::new()
            })
            .context("the kernel cannot send frames (BPF_F_TEST_XDP_LIVE_FRAMES, Linux 5.18)")?;
        // Not the time on the wall: past the last frame, the system call waits some
        // 20 ms for nothing that concerns us. The kernel's result is whole nanoseconds,
        // rounded down. Our thread's time is exact, unless the kernel accounts softirqs,
        // and with them the receiver, elsewhere (CONFIG_IRQ_TIME_ACCOUNTING): then it
        // is less.
        let ours = (thread_time() - start).as_secs_f64() * 1e9 / f64::from(FRAMES);
        Ok(ours.max(result.duration.as_nanos() as f64))
    }
}

fn attach(program: &mut Xdp, interface: &str) -> Result<XdpLinkId> {
    program
        .attach(interface, XdpMode::Driver)
        .with_context(|| format!("cannot attach a program to {interface}"))
}

/// How many packets xdpfw says it has seen.
fn judged(subject: &Subject) -> Result<u64> {
    let stats: Value = serde_json::from_str(&subject.xdpfw(&["--json", "stats", "--top", "1"])?)
        .context("what `xdpfw stats` wrote is not JSON")?;
    ["passed", "dropped"]
        .map(|verdict| stats["totals"][verdict]["packets"].as_u64())
        .into_iter()
        .sum::<Option<u64>>()
        .context("no totals in what `xdpfw stats` wrote")
}
