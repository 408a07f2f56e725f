//! The clock that flows are kept in: the kernel's ticks (`jiffies`), which cost a packet one
//! load, where any other clock costs more than the rest of its verdict.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use crate::compiler::Clocks;

/// How long ticks are counted. The shortest that tells apart what kernels are built with.
const COUNTED: Duration = Duration::from_millis(60);
/// How often a second kernels tick (`HZ` in kernel/Kconfig.hz).
const USUAL: [u32; 4] = [100, 250, 300, 1000];
/// How exactly it must be known when a reading was taken.
const EXACT: Duration = Duration::from_millis(3);

/// The kernel's clock, and how fast it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Ticks in a second.
    pub ticks_per_second: u32,
    /// What it showed once.
    ticks: u64,
    /// When that was, in nanoseconds of `CLOCK_MONOTONIC`, which stands still when ticks do.
    nanoseconds: u64,
}

impl Clock {
    /// Learns how fast the clock goes that `read` reads.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub(super) fn measure(mut read: impl FnMut() -> Result<u64>) -> Result<Self> {
        let (first, begin) = reading(&mut read)?;
        thread::sleep(COUNTED);
        let (ticks, end) = reading(&mut read)?;
        let seconds = (end - begin).as_secs_f64();
        Ok(Self {
            ticks_per_second: usual(ticks.wrapping_sub(first) as f64 / seconds),
            ticks,
            nanoseconds: u64::try_from(end.as_nanos()).context("the clock is far ahead")?,
        })
    }

    /// A clock for tests, which shows 0 at boot.
    #[cfg(test)]
    pub(crate) const fn of_tests() -> Self {
        Self {
            ticks_per_second: 250,
            ticks: 0,
            nanoseconds: 0,
        }
    }

    /// What the clock shows now.
    pub fn now(&self) -> u64 {
        let passed = monotonic().saturating_sub(Duration::from_nanos(self.nanoseconds));
        let ticks = passed.as_nanos() * u128::from(self.ticks_per_second) / 1_000_000_000;
        self.ticks.saturating_add(ticks as u64)
    }

    /// What it will show so much later.
    pub(super) fn after(&self, duration: Duration) -> u64 {
        let ticks = duration.as_nanos() * u128::from(self.ticks_per_second) / 1_000_000_000;
        self.now().saturating_add(ticks as u64)
    }

    /// How long before now it showed something.
    pub fn since(&self, ticks: u64) -> Duration {
        let gone = self.now().saturating_sub(ticks);
        Duration::from_secs_f64(gone as f64 / f64::from(self.ticks_per_second))
    }
}

/// What the clocks show by which rules end.
pub fn clocks() -> Clocks {
    let patience = Instant::now() + Duration::from_secs(1);
    loop {
        let before = since_start();
        let wall = Timestamp::now();
        let boot = since_start();
        if boot - before < EXACT || Instant::now() > patience {
            return Clocks { wall, boot };
        }
    }
}

/// What a clock shows, and when.
fn reading(read: &mut impl FnMut() -> Result<u64>) -> Result<(u64, Duration)> {
    let patience = Instant::now() + Duration::from_secs(1);
    loop {
        let before = monotonic();
        let ticks = read()?;
        let after = monotonic();
        // On a busy machine, the best that is to be had.
        if after - before < EXACT || Instant::now() > patience {
            return Ok((ticks, after));
        }
    }
}

/// What the clock shows that stands still while the machine sleeps.
pub(super) fn monotonic() -> Duration {
    passed(ClockId::Monotonic)
}

/// The time since the machine started, asleep or not.
fn since_start() -> Duration {
    passed(ClockId::Boottime)
}

fn passed(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The usual speed next to a measured one, or that itself if it is none of them.
fn usual(measured: f64) -> u32 {
    let distance = |&usual: &u32| (f64::from(usual) - measured).abs() / f64::from(usual);
    let nearest = USUAL
        .into_iter()
        .min_by(|one, other| distance(one).total_cmp(&distance(other)));
    match nearest {
        Some(usual) if distance(&usual) < 0.2 => usual,
        _ => (measured.round() as u32).max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_one_of_the_usual_though_measured_badly() {
        for (measured, expected) in [
            (83.0, 100),
            (117.0, 100),
            (234.0, 250),
            (267.0, 250),
            (283.0, 300),
            (317.0, 300),
            (984.0, 1000),
            (24.0, 24),
            (0.0, 1),
        ] {
            assert_eq!(usual(measured), expected, "{measured}");
        }
    }

    #[test]
    fn the_clock_goes_on() -> Result<()> {
        let start = Instant::now();
        let clock = Clock::measure(|| Ok(1_000 + start.elapsed().as_millis() as u64))?;
        assert_eq!(clock.ticks_per_second, 1000);
        let (before, read) = (clock.now(), 1_000 + start.elapsed().as_millis() as u64);
        assert!(before.abs_diff(read) <= 4, "{before}, not {read}");
        assert!(clock.since(before) < Duration::from_secs(1));
        Ok(())
    }
}
