//! Samples dropped packets for where they come from: of so many that come in, so few that looking
//! at them costs next to nothing.

use std::time::{Duration, Instant};

use anyhow::Result;
use xdpfw_common::{
    Reason, Verdict,
    abi::{Event, NO_RULE, ProtocolKind, Wanted, threshold},
};

use super::model::{Sampled, Sampling};
use crate::{
    commands::privilege::named,
    engine::{Followed, Listener},
    policy::Carried,
};

/// Packets that are looked at in a second, about, at most.
const PER_SECOND: f64 = 1000.0;
/// Packets that are kept from one look at the filter to the next.
const AT_ONCE: f64 = 5000.0;
/// How often the ratio is thought over.
const PACE: Duration = Duration::from_millis(250);
/// The most packets that one stands for.
const MOST: u32 = 1 << 20;

/// Hears of some of the packets that are dropped.
pub(super) struct Ear {
    listener: Option<Listener>,
    ratio: u32,
    why_not: Option<String>,
    heard: Vec<Sampled>,
    /// From when to when that was heard.
    span: (Instant, Instant),
    /// Events since the ratio was thought over last.
    fresh: u64,
    since: Instant,
    /// The most events per second.
    most: f64,
}

impl Ear {
    /// For one who asks at this interval.
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            listener: None,
            ratio: 1,
            why_not: None,
            heard: Vec::new(),
            span: (Instant::now(), Instant::now()),
            fresh: 0,
            since: Instant::now(),
            most: PER_SECOND.min(AT_ONCE / interval.as_secs_f64()),
        }
    }

    /// Begins to listen to the filter that is up, or goes on. To be called every second or so.
    pub(super) fn follow(&mut self) {
        let followed = self.listener.as_mut().map(Listener::follow);
        match followed {
            Some(Ok(Followed::Same | Followed::Changed)) => return,
            Some(Err(error)) => return self.end(error),
            Some(Ok(Followed::Ended)) | None => self.listener = None,
        }
        match Listener::begin(|_| Ok(wanted(self.ratio))) {
            Ok(listener) => {
                self.listener = Some(listener);
                self.why_not = None;
            }
            Err(error) => self.end(error),
        }
    }

    /// Takes in what was reported, and listens to more or fewer packets if need be. To be called
    /// several times a second.
    pub(super) fn hear(&mut self) {
        if let Err(error) = self.try_hear() {
            self.end(error);
        }
    }

    fn try_hear(&mut self) -> Result<()> {
        let Some(listener) = &mut self.listener else {
            return Ok(());
        };
        while let Some(report) = listener.hear()? {
            self.fresh += 1;
            // What is over is not looked at, and the ratio changes soon.
            if self.heard.len() < 2 * AT_ONCE as usize {
                self.heard.extend(sampled(&report.event, self.ratio));
            }
        }
        self.span.1 = Instant::now();
        let passed = self.since.elapsed();
        if passed < PACE {
            return Ok(());
        }
        let ratio = next_ratio(
            self.ratio,
            self.fresh as f64 / passed.as_secs_f64(),
            self.most,
        );
        if ratio != self.ratio {
            listener.want(wanted(ratio))?;
            self.ratio = ratio;
        }
        (self.fresh, self.since) = (0, Instant::now());
        Ok(())
    }

    fn end(&mut self, error: anyhow::Error) {
        self.listener = None;
        self.why_not = Some(format!("{:#}", named(error)));
    }

    /// What was heard since it was asked last.
    pub(super) fn take(&mut self) -> Sampling {
        let (from, to) = self.span;
        self.span = (to, to);
        Sampling {
            seconds: to.saturating_duration_since(from).as_secs_f64(),
            ratio: self.listener.as_ref().map(|_| self.ratio),
            why_not: self.why_not.clone(),
            packets: std::mem::take(&mut self.heard),
        }
    }
}

/// One of so many of all dropped packets.
fn wanted(ratio: u32) -> Wanted {
    let drops = Reason::ALL
        .iter()
        .filter(|reason| reason.verdict() == Verdict::Drop);
    Wanted {
        reasons: drops.fold(0, |bits, reason| bits | 1 << reason.slot()),
        slot: NO_RULE,
        source: [0; 16],
        mask: [0; 16],
        threshold: threshold(ratio),
        port: [0; 2],
        flags: 0,
    }
}

/// The ratio after one that led to so many events per second: a power of two, at once as high as
/// it has to be, and step by step lower again.
fn next_ratio(ratio: u32, per_second: f64, most: f64) -> u32 {
    if per_second > most {
        let times = (per_second / most).ceil().min(f64::from(MOST)) as u32;
        return ratio.saturating_mul(times.next_power_of_two()).min(MOST);
    }
    match per_second < most / 4.0 {
        true => (ratio / 2).max(1),
        false => ratio,
    }
}

/// What is kept of an event; `None` where its source is not known.
fn sampled(event: &Event, ratio: u32) -> Option<Sampled> {
    let (source, _) = event.addresses()?;
    let (local, remote) = (event.local(), event.remote());
    let number = u8::try_from(local).ok();
    Some(Sampled {
        source,
        carries: match event.kind() {
            Some(ProtocolKind::Tcp) => Some(Carried::Tcp { local, remote }),
            Some(ProtocolKind::Udp) => Some(Carried::Udp { local, remote }),
            Some(ProtocolKind::Icmp) => number.map(Carried::Icmp),
            Some(ProtocolKind::Icmp6) => number.map(Carried::Icmp6),
            Some(ProtocolKind::Other) => number.map(Carried::Other),
            None => None,
        },
        ratio,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_sampled_at_once_and_what_ebbs_step_by_step() {
        for (ratio, per_second, next) in [
            (1, 0.0, 1),
            (1, 1000.0, 1),
            (1, 1001.0, 2),
            (1, 60_000.0, 64),
            (64, 2500.0, 256),
            (64, 900.0, 64),
            (64, 400.0, 64),
            (64, 200.0, 32),
            (64, 0.0, 32),
            (2, 0.0, 1),
            (MOST, 1e9, MOST),
        ] {
            assert_eq!(
                next_ratio(ratio, per_second, 1000.0),
                next,
                "{ratio} {per_second}"
            );
        }
    }

    #[test]
    fn only_drops_are_asked_for() {
        let reasons = wanted(1).reasons;
        for reason in Reason::ALL {
            let is_wanted = reasons & 1 << reason.slot() != 0;
            assert_eq!(is_wanted, reason.verdict() == Verdict::Drop, "{reason}");
        }
    }
}
