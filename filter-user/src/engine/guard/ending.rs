//! Finds ways in that end by themselves, with a rule that does.

use anyhow::Result;
use jiff::Timestamp;

use super::{
    Ending, Guard,
    before::{is_served, probe_of},
    words::{deciding, explain},
};
use crate::{
    datapath::{PacketProbe, Record},
    policy::Until,
};

impl Guard {
    /// The first way in that ends of those that `next` judges to be open.
    ///
    /// # Errors
    ///
    /// The kernel refuses a probe.
    pub(super) fn ending(&self, next: &PacketProbe, record: &Record) -> Result<Option<Ending>> {
        if !record.policy.has_ends() {
            return Ok(None);
        }
        let mut later = Later::of(record);
        let mut first: Option<Ending> = None;
        for way in &self.ways {
            let knocks = way.knocks.iter();
            let frames = knocks.flat_map(|knock| way.stations.frames(knock, &[&record.policy]));
            for knock in frames {
                for (index, _) in &way.interfaces {
                    let mut judged = next.judge(&knock.frame, *index)?;
                    // What lets it in now may hand it over to another rule that ends.
                    while is_served(knock.purpose, &judged)
                        && let Some(rule) = deciding(&judged, record)
                        && let Some(until) = &rule.until
                    {
                        let (probe, then) = later.at(until)?;
                        judged = probe.judge(&knock.frame, *index)?;
                        let is_news = first.as_ref().is_none_or(|first| *until < first.until);
                        if is_news && !is_served(knock.purpose, &judged) {
                            first = Some(Ending {
                                peer: way.peer,
                                rule: rule.id,
                                until: until.clone(),
                                lock_out: explain(knock.purpose, &judged, then, |_| true),
                            });
                        }
                    }
                }
            }
        }
        Ok(first)
    }
}

/// Probes of what a generation does when rules have ended.
struct Later<'a> {
    record: &'a Record,
    probes: Vec<(Until, PacketProbe, Record)>,
}

impl<'a> Later<'a> {
    const fn of(record: &'a Record) -> Self {
        let probes = Vec::new();
        Self { record, probes }
    }

    fn at(&mut self, until: &Until) -> Result<(&PacketProbe, &Record)> {
        let known = self.probes.iter().position(|(known, ..)| known == until);
        let place = match known {
            Some(place) => place,
            None => {
                let record = at(self.record, until.timestamp());
                let probe = probe_of(&record)?;
                self.probes.push((until.clone(), probe, record));
                self.probes.len() - 1
            }
        };
        let (_, probe, record) = &self.probes[place];
        Ok((probe, record))
    }
}

/// What a generation is at a moment, for good.
fn at(record: &Record, moment: Timestamp) -> Record {
    let mut then = record.clone();
    (then.policy.rules, then.slots) = record
        .policy
        .rules
        .iter()
        .zip(&record.slots)
        .filter(|(rule, _)| !rule.is_over(moment))
        .map(|(rule, slot)| {
            let mut rule = rule.clone();
            rule.until = None;
            (rule, *slot)
        })
        .unzip();
    then
}
