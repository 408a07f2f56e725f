//! Samples the counters, and computes rates between two samples.

use anyhow::Result;
use jiff::Timestamp;
use xdpfw_common::Transport;

use super::{Counting, Engine, Facts, InForce};
use crate::datapath::Snapshot;

/// The counters at a time.
#[derive(Debug)]
pub struct Sample {
    /// When they were read.
    pub at: Timestamp,
    /// When they were zero.
    pub since: Timestamp,
    /// The counters.
    pub counters: Snapshot,
}

/// How fast counters move up to a sample.
#[derive(Clone, Copy, Debug)]
pub struct Rates<'a> {
    sample: &'a Sample,
    /// What they moved from; `None` is zero.
    previous: Option<&'a Sample>,
}

impl Sample {
    /// Reads the counters of the filter in force.
    ///
    /// # Errors
    ///
    /// Nothing is filtered, or the kernel refuses.
    pub fn take() -> Result<Self> {
        let engine = Engine::shared()?;
        let generation = &engine.must_be_up()?.generation;
        Ok(Self {
            counters: generation.snapshot()?,
            at: Timestamp::now(),
            since: generation.record().counting_since,
        })
    }

    /// Sets the counters to zero by a generation with new ones: no packet is counted twice,
    /// and none is lost. Returns the final state of the old ones.
    ///
    /// # Errors
    ///
    /// Nothing is filtered, or the kernel refuses; then nothing is set to zero.
    pub fn take_last() -> Result<Self> {
        let engine = Engine::exclusive()?;
        let old = &engine.must_be_up()?.generation;
        let record = old.record();
        let counters = old.counters()?;
        engine
            .change(&InForce(record))
            .facts(Facts::Kept)
            .counting(Counting::Anew)
            .commit()?;
        Ok(Self {
            counters: counters.read()?,
            at: Timestamp::now(),
            since: record.counting_since,
        })
    }
}

impl<'a> Rates<'a> {
    /// From an earlier sample to this one; from zero if there is none, or if the counters
    /// began anew since.
    pub fn between(previous: Option<&'a Sample>, sample: &'a Sample) -> Self {
        Self {
            sample,
            previous: previous.filter(|previous| previous.since == sample.since),
        }
    }

    /// The sample that they lead to.
    pub const fn sample(&self) -> &'a Sample {
        self.sample
    }

    /// Drops of a local port, per second.
    pub fn dropped(&self, transport: Transport, port: u16) -> f64 {
        self.per_second(|counters| counters.dropped(transport, port))
    }

    /// What a count moved by, per second.
    pub fn per_second(&self, count: impl Fn(&Snapshot) -> u64) -> f64 {
        let seconds = self.sample.at.duration_since(self.began()).as_secs_f64();
        if seconds <= 0.0 {
            return 0.0;
        }
        let before = self
            .previous
            .map_or(0, |previous| count(&previous.counters));
        count(&self.sample.counters).saturating_sub(before) as f64 / seconds
    }

    fn began(&self) -> Timestamp {
        self.previous
            .map_or(self.sample.since, |previous| previous.at)
    }
}
