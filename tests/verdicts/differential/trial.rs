//! Compares program and model under one policy, and reports what differs.

use std::{
    collections::BTreeMap,
    fmt, thread,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xdpfw_common::Reason;
use xdpfw_model::{Opinion, PacketSource, Policy, Random, Verdict, judge, random};

use crate::explained;

use super::{
    Run,
    counts::reason_of,
    filter::{Arrival, Entry, Filter},
    over_time::OverTime,
    subject::Subject,
};

/// Packets between two looks at all counters; those that a packet is expected to
/// change are looked at after each.
const BATCH: usize = 1000;
/// Differences after which nobody wants to see more.
const ENOUGH: usize = 5;

/// How far the clock that the test reads may be from the one that the program reads, in
/// milliseconds.
const CLOCKS_APART: i64 = 10;
/// The longest that is waited for rules to end, in milliseconds.
const SOON: i64 = 5000;

/// Now, in milliseconds after 1970.
fn milliseconds() -> Result<i64> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(i64::try_from(now.as_millis())?)
}

/// When the time of a policy begins whose rules do not end in this test.
pub(crate) fn tomorrow() -> Result<i64> {
    Ok(milliseconds()? / 1000 + 86_400)
}

/// A random policy in force, and the packets for it.
pub(crate) struct Trial<'a> {
    subject: &'a Subject,
    seed: u64,
    number: u64,
    random: Random,
    policy: Policy,
    /// How many are compared.
    packets: u64,
    /// How many others are explained.
    explained: u64,
    source: PacketSource,
    filter: Filter,
}

impl<'a> Trial<'a> {
    /// Puts the policy with this number in force, for as many packets as the run has for each.
    pub(crate) fn of(subject: &'a Subject, run: Run, number: u64) -> Result<Self> {
        let Run {
            seed,
            packets,
            explained,
            ..
        } = run;
        // Each policy has its own numbers, to be had again without the others.
        let mut random = random(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let ephemeral = subject.choose_ephemeral(&mut random)?;
        let mut policy = Policy::random(&mut random, &subject.interface_names(), ephemeral);
        let mut source = PacketSource::aimed_at(&policy);
        if subject.has_jumbo_frames {
            source = source.with_jumbo_frames();
        }
        let filter = loop {
            // Of every third, rules end while packets come in; of the others, none does.
            policy.begins = match number.is_multiple_of(3) {
                true => milliseconds()? / 1000 + 1,
                false => tomorrow()?,
            };
            let filter = subject.put_in_force(&policy.to_toml())?;
            let end = policy.ends().next().unwrap_or(i64::MAX);
            // What ends before it is in force never is.
            if milliseconds()? - 1000 * policy.begins < end {
                break filter;
            }
        };
        Ok(Self {
            subject,
            seed,
            number,
            packets,
            explained,
            source,
            filter,
            policy,
            random,
        })
    }

    /// Compares the packets.
    pub(crate) fn compare(mut self) -> Result<Findings> {
        let subject = self.subject;
        let before = subject.rule_hits()?;
        let mut hits = vec![0; self.policy.rules.len()];
        let mut findings = subject.enter(|| self.compare_packets(&mut hits))?;
        if findings.differences.is_empty() {
            let after = subject.rule_hits()?;
            for (rule, expected) in self.policy.rules.iter().zip(hits) {
                let counted = |hits: &BTreeMap<String, u64>| {
                    let counted = hits.get(&rule.id).copied();
                    counted.with_context(|| format!("`xdpfw list` has no {}", rule.id))
                };
                let counted = counted(&after)? - counted(&before)?;
                ensure!(
                    counted == expected,
                    "`xdpfw list` counts {counted} packets at {}, not {expected}",
                    rule.id
                );
            }
        }
        if self.explained > 0 {
            findings.explained = self.explain()?;
        }
        Ok(findings)
    }

    /// Claims that `explain` says of other packets what the model does; how many these are.
    fn explain(&mut self) -> Result<u64> {
        // All by one interface, since each call of the command loads a program.
        let interface = self.subject.choose_interface(&mut self.random);
        let mut arrivals = Vec::new();
        while (arrivals.len() as u64) < self.explained {
            let mut arrival = arrival(self.subject, &mut self.source, &mut self.random);
            if arrival.entry.has_ethernet() && arrival.frame.len() <= explained::LONGEST {
                arrival.interface = interface.clone();
                arrivals.push(arrival);
            }
        }
        let frames = arrivals.iter().map(|one| one.frame.as_slice());
        let begin = self.time()? - CLOCKS_APART;
        let said = self.subject.explain(&interface.name, frames)?;
        let end = self.time()? + CLOCKS_APART;
        // Rules may have ended meanwhile, before any of the packets.
        let ends = self.policy.ends().filter(|&at| begin < at && at <= end);
        let moments: Vec<i64> = [begin].into_iter().chain(ends).collect();
        for (arrival, said) in arrivals.iter().zip(said) {
            let agrees = |&at: &i64| self.is_said(&self.judge(arrival, at), &said);
            let verdict = match said["verdict"] == "pass" {
                true => Verdict::Pass,
                false => Verdict::Drop,
            };
            ensure!(
                moments.iter().any(agrees),
                "explain says {said}\n{}",
                self.difference(arrival, verdict, Vec::new())
            );
        }
        Ok(self.explained)
    }

    /// Whether `explain` says this.
    fn is_said(&self, opinion: &Opinion, said: &Value) -> bool {
        let rule = opinion.rule.map(|rule| self.policy.rules[rule].id.as_str());
        let verdict = match opinion.verdict {
            Verdict::Pass => "pass",
            Verdict::Drop => "drop",
        };
        said["verdict"] == verdict
            && said["reason"] == opinion.reason
            && said["rule"].as_str() == rule
    }

    fn compare_packets(&mut self, hits: &mut [u64]) -> Result<Findings> {
        let over_time = OverTime::of(&self.policy, self.subject.interfaces())?;
        let policy = self.policy.clone();
        let moments = over_time.moments(&policy);
        let mut findings = Findings::default();
        let mut expected = self.filter.counts()?;
        let mut batch = Vec::with_capacity(BATCH);
        for number in 1..=self.packets {
            if number == self.packets / 2 {
                self.let_rules_end()?;
            }
            let arrival = arrival(self.subject, &mut self.source, &mut self.random);
            if arrival.entry.has_ethernet() {
                moments.compare(number, &arrival.to_model(0), arrival.interface.index)?;
            }
            let begin = self.time()?;
            let verdict = self.filter.run(&arrival)?;
            let mut opinion = self.judge(&arrival, begin - CLOCKS_APART);
            expected.add(&opinion, arrival.frame.len())?;
            if verdict != opinion.verdict || !self.filter.agrees(&expected, &opinion)? {
                // A rule may have ended meanwhile.
                let end = self.time()? + CLOCKS_APART;
                expected.take_back(&opinion, arrival.frame.len())?;
                opinion = self.judge(&arrival, end);
                expected.add(&opinion, arrival.frame.len())?;
            }
            if verdict == opinion.verdict && self.filter.agrees(&expected, &opinion)? {
                findings.note(&opinion)?;
                if let Some(rule) = opinion.rule {
                    hits[rule] += 1;
                }
            } else {
                expected.take_back(&opinion, arrival.frame.len())?;
                let after = self.filter.counts()?;
                let changes = expected.changes_to(&after);
                findings.add_difference(self.difference(&arrival, verdict, changes));
                expected = after;
            }
            batch.push(arrival);
            if batch.len() == BATCH || number == self.packets {
                if self.filter.counts()? != expected {
                    // Counted where it should be, and elsewhere, too.
                    self.find_culprits(&batch, &mut findings)?;
                    break;
                }
                batch.clear();
            }
            if findings.are_enough() {
                break;
            }
        }
        Ok(findings)
    }

    /// Asks again, and looks at all counters after each packet.
    fn find_culprits(&self, batch: &[Arrival], findings: &mut Findings) -> Result<()> {
        let mut before = self.filter.counts()?;
        for arrival in batch {
            let mut expected = before.clone();
            let opinion = self.judge(arrival, self.time()?);
            expected.add(&opinion, arrival.frame.len())?;
            let verdict = self.filter.run(arrival)?;
            let after = self.filter.counts()?;
            if after != expected {
                let changes = before.changes_to(&after);
                findings.add_difference(self.difference(arrival, verdict, changes));
            }
            before = after;
        }
        ensure!(
            !findings.differences.is_empty(),
            "counters changed that no packet is to blame for"
        );
        Ok(())
    }

    fn judge(&self, arrival: &Arrival, at: i64) -> Opinion {
        judge(&self.policy, &arrival.to_model(at))
    }

    /// The time of the policy, in milliseconds.
    fn time(&self) -> Result<i64> {
        Ok(milliseconds()? - 1000 * self.policy.begins)
    }

    /// Waits until those rules have ended that end soon.
    fn let_rules_end(&self) -> Result<()> {
        let Some(first) = self.policy.ends().next().filter(|&end| end <= SOON) else {
            return Ok(());
        };
        let wait = first + 2 * CLOCKS_APART - self.time()?;
        if wait <= SOON {
            thread::sleep(Duration::from_millis(u64::try_from(wait).unwrap_or(0)));
        }
        Ok(())
    }

    fn difference(&self, arrival: &Arrival, verdict: Verdict, changes: Vec<String>) -> String {
        let frame: String = arrival
            .frame
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let at = self.time().unwrap_or_default();
        let opinion = self.judge(arrival, at);
        let rule = opinion
            .rule
            .map_or("none", |rule| &self.policy.rules[rule].id);
        format!(
            "--- difference: `cargo xtask fuzz --seed {} --first {} --policies 1 --packets {} \
             --explained {}`\n\
             at {at} ms on {}, to {:?}, {} bytes in the first buffer, {} of metadata: {frame}\n\
             read as: {:?}\n\
             model:   {opinion:?}, the rule's id: {rule}\n\
             program: {verdict:?}, {}\n\
             ephemeral ports: {:?}\n{}",
            self.seed,
            self.number,
            self.packets,
            self.explained,
            arrival.interface.name,
            arrival.entry,
            arrival.first_buffer,
            arrival.metadata.len(),
            arrival.to_model(at).packet(),
            changes.join(", "),
            self.policy.ephemeral,
            self.policy.to_toml(),
        )
    }
}

/// The next packet, and where it comes in.
pub(crate) fn arrival(
    subject: &Subject,
    source: &mut PacketSource,
    random: &mut Random,
) -> Arrival {
    let entry = Entry::choose(random);
    let frame = if entry.has_ethernet() {
        source.frame(random)
    } else {
        source.bare_packet(random)
    };
    Arrival {
        interface: subject.choose_interface(random),
        entry,
        first_buffer: subject.choose_first_buffer(random, frame.len()),
        metadata: entry.choose_metadata(random, &frame),
        frame,
    }
}

/// What the comparison has seen.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Packets that all are of one mind about, by reason.
    packets: [u64; Reason::SLOTS],
    /// Packets that were explained as the model judges them.
    pub(crate) explained: u64,
    /// The others, as a report to be read.
    pub(crate) differences: Vec<String>,
}

impl Findings {
    fn note(&mut self, opinion: &Opinion) -> Result<()> {
        self.packets[reason_of(opinion)?.slot()] += 1;
        Ok(())
    }

    fn add_difference(&mut self, difference: String) {
        self.differences.push(difference);
    }

    /// Takes in what was seen elsewhere.
    pub(crate) fn add(&mut self, other: Self) {
        for (ours, theirs) in self.packets.iter_mut().zip(other.packets) {
            *ours += theirs;
        }
        self.explained += other.explained;
        self.differences.extend(other.differences);
    }

    /// Packets without a difference.
    pub(crate) fn packets(&self) -> u64 {
        self.packets.iter().sum()
    }

    /// Whether a packet was judged for this reason.
    pub(crate) const fn have(&self, reason: Reason) -> bool {
        self.packets[reason.slot()] > 0
    }

    /// Whether more differences would tell nothing new.
    pub(crate) fn are_enough(&self) -> bool {
        self.differences.len() >= ENOUGH
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for difference in self.differences.iter().take(ENOUGH) {
            writeln!(f, "{difference}")?;
        }
        for reason in Reason::ALL {
            let packets = self.packets[reason.slot()];
            writeln!(f, "{packets:10} {} {reason}", reason.verdict())?;
        }
        write!(
            f,
            "{:10} packets, {} more explained, {} differences",
            self.packets(),
            self.explained,
            self.differences.len()
        )
    }
}
