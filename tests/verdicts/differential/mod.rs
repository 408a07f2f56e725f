//! Proves that the program in the kernel and the reference model are of one mind
//! about random packets under random policies: verdict, reason, rule, and every
//! counter, after every packet; and about what answers what, in random [`sequences`].
//!
//! `cargo xtask fuzz` runs the same at length, by setting the variables that
//! [`Run::asked_for`] reads.

#![expect(
    clippy::print_stdout,
    reason = "the test runner keeps it, and shows it where the test fails"
)]

mod counts;
mod filter;
mod over_time;
mod rehearsal;
mod sequences;
mod subject;
mod trial;

use std::{
    env,
    num::NonZero,
    sync::{Mutex, PoisonError},
    thread,
    time::{Instant, SystemTime},
};

use anyhow::{Context as _, Result, ensure};

use self::{
    sequences::Tally,
    subject::Subject,
    trial::{Findings, Trial},
};

/// The run that is part of every test run.
const SHORT: Run = Run {
    seed: 1,
    first: 0,
    policies: 20,
    packets: 2000,
    sequences: 200,
    explained: 100,
};

/// Policies between two signs of life.
const SOME: u64 = 50;

#[test]
fn model_and_program_agree_on_random_packets() -> Result<()> {
    if let Some(run) = Run::asked_for()? {
        return run.compare().map(drop);
    }
    let findings = SHORT.compare()?;
    // Else it would prove little.
    for reason in xdpfw_common::Reason::ALL {
        // No socket is there that could be replied to, nobody is banned or limited, and no policy lets
        // everything pass.
        let elsewhere = [
            "reply",
            "ban",
            "limit",
            "syn-cookie",
            "bad-cookie",
            "bypass",
            "no-program",
        ];
        let is_possible = !elsewhere.contains(&reason.as_str());
        assert_eq!(findings.have(*reason), is_possible, "{reason:?}");
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let another = Run {
        seed: now.as_secs(),
        ..SHORT
    };
    another.compare().map(drop)
}

/// What is compared.
#[derive(Clone, Copy, Debug)]
struct Run {
    /// What everything random follows from.
    seed: u64,
    /// The number of the first policy.
    first: u64,
    /// Random policies.
    policies: u64,
    /// Random packets under each.
    packets: u64,
    /// Random sequences under each.
    sequences: u64,
    /// Random packets under each that `explain` judges.
    explained: u64,
}

impl Run {
    /// The run that the environment asks for, if it does.
    fn asked_for() -> Result<Option<Self>> {
        let number = |name: &str| -> Result<Option<u64>> {
            env::var_os(name)
                .map(|text| text.to_str().and_then(|text| text.parse().ok()))
                .map(|number| number.with_context(|| format!("{name} is not a number")))
                .transpose()
        };
        let Some(seed) = number("XDPFW_FUZZ_SEED")? else {
            return Ok(None);
        };
        Ok(Some(Self {
            seed,
            first: number("XDPFW_FUZZ_FIRST")?.unwrap_or(SHORT.first),
            policies: number("XDPFW_FUZZ_POLICIES")?.unwrap_or(SHORT.policies),
            packets: number("XDPFW_FUZZ_PACKETS")?.unwrap_or(SHORT.packets),
            sequences: number("XDPFW_FUZZ_SEQUENCES")?.unwrap_or(SHORT.sequences),
            explained: number("XDPFW_FUZZ_EXPLAINED")?.unwrap_or(SHORT.explained),
        }))
    }

    /// Compares, on all CPUs, and claims that there is no difference.
    fn compare(self) -> Result<Findings> {
        println!(
            "seed {}: {} policies from number {} on, {} packets, {} sequences and {} \
             explanations each",
            self.seed, self.policies, self.first, self.packets, self.sequences, self.explained
        );
        let start = Instant::now();
        let progress = Mutex::new(Progress::default());
        let workers = thread::available_parallelism()
            .map_or(1, NonZero::get)
            .min(usize::try_from(self.policies)?);
        thread::scope(|scope| {
            let workers: Vec<_> = (0..workers)
                .map(|_| scope.spawn(|| self.work(&progress)))
                .collect();
            workers.into_iter().try_for_each(|worker| {
                let outcome = worker.join();
                outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        })?;
        let Progress {
            begun,
            findings,
            sequences,
        } = progress
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        println!("{findings}\n{sequences}");
        ensure!(
            findings.differences.is_empty(),
            "the model and the program differ; each difference is shown above"
        );
        ensure!(
            begun == self.policies
                && findings.packets() == self.policies * self.packets
                && findings.explained == self.policies * self.explained,
            "not all packets were compared"
        );
        sequences.check(self.policies * self.sequences)?;
        println!("no difference, in {:.0?}", start.elapsed());
        Ok(findings)
    }

    /// Compares under one policy after the other, until there is none left.
    fn work(self, progress: &Mutex<Progress>) -> Result<()> {
        let subjects = [Subject::new(false)?, Subject::new(true)?];
        let locked = || progress.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let number = {
                let mut progress = locked();
                if progress.begun == self.policies || progress.findings.are_enough() {
                    return Ok(());
                }
                progress.begun += 1;
                if progress.begun.is_multiple_of(SOME) {
                    println!("{} of {} policies", progress.begun, self.policies);
                }
                self.first + progress.begun - 1
            };
            // By its number, so that it is the same host when it is had again.
            let subject = &subjects[usize::from(number % 2 == 1)];
            let findings = Trial::of(subject, self, number)
                .and_then(Trial::compare)
                .with_context(|| format!("seed {}, policy {number}", self.seed))?;
            let tally = match self.sequences {
                // They have the policy put in force once more.
                0 => Tally::default(),
                sequences => sequences::compare(subject, self.seed, number, sequences)?,
            };
            let mut progress = locked();
            progress.findings.add(findings);
            progress.sequences.add(tally);
        }
    }
}

/// How far the workers are together.
#[derive(Debug, Default)]
struct Progress {
    /// Policies that some worker has taken.
    begun: u64,
    findings: Findings,
    sequences: Tally,
}
