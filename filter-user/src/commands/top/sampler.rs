//! A thread that looks at the filter again and again: what it asks the kernel for may take a
//! while, where other commands hold the lock, and keys must not wait for that.

use std::{
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tokio::sync::mpsc as queue;

use super::{
    listening::Ear,
    reading::{FlowClock, Reading},
};

/// Until the second look, so that there are rates soon.
const FIRST: Duration = Duration::from_millis(300);
/// How often to take in what was reported of packets.
const HEAR: Duration = Duration::from_millis(50);
/// Looks that wait to be shown.
const ROOM: usize = 4;

/// Looks at the filter until it is dropped.
pub(super) struct Sampler {
    news: queue::Receiver<Result<Reading>>,
    _stop: mpsc::Sender<()>,
}

impl Sampler {
    /// Looks at once and returns that; then again at this interval, the first time sooner if
    /// `is_hasty`.
    ///
    /// # Errors
    ///
    /// The first look fails, or there can be no more threads.
    pub(super) fn start(interval: Duration, is_hasty: bool) -> Result<(Self, Reading)> {
        let mut flows = FlowClock::default();
        let first = Reading::take(&mut flows)?;
        let (report, news) = queue::channel(ROOM);
        let (stop, stopped) = mpsc::channel::<()>();
        let soon = if is_hasty {
            FIRST.min(interval)
        } else {
            interval
        };
        let run = move || {
            let mut ear = Ear::new(interval);
            ear.follow();
            let mut due = Instant::now() + soon;
            loop {
                let left = due.saturating_duration_since(Instant::now());
                match stopped.recv_timeout(left.min(HEAR)) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
                ear.hear();
                if Instant::now() < due {
                    continue;
                }
                let reading = Reading::take(&mut flows).map(|mut reading| {
                    if reading.filter.is_some() {
                        ear.follow();
                    }
                    reading.sampling = ear.take();
                    reading
                });
                if report.blocking_send(reading).is_err() {
                    return;
                }
                due = next_due(due, Instant::now(), interval);
            }
        };
        thread::Builder::new()
            .name("sampler".to_owned())
            .spawn(run)
            .context("cannot start a thread")?;
        Ok((Self { news, _stop: stop }, first))
    }

    /// Waits for the next look; the kernel may refuse, and is asked again at the next interval.
    /// Dropped while it waits, it loses none.
    ///
    /// # Errors
    ///
    /// Nobody looks any more.
    pub(super) async fn next(&mut self) -> Result<Result<Reading>> {
        self.news.recv().await.context("nobody looks any more")
    }
}

/// When to look again. What was missed is not made up for: of a look right after another one, there
/// would be rates of next to no time.
fn next_due(due: Instant, now: Instant, interval: Duration) -> Instant {
    let next = due + interval;
    match next < now + interval / 2 {
        true => now + interval,
        false => next,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_look_is_not_followed_by_a_hasty_one() {
        let interval = Duration::from_secs(1);
        let due = Instant::now();
        for (late, next) in [(0, 1000), (400, 1000), (600, 1600), (5000, 6000)] {
            let now = due + Duration::from_millis(late);
            assert_eq!(
                next_due(due, now, interval),
                due + Duration::from_millis(next)
            );
        }
    }
}
