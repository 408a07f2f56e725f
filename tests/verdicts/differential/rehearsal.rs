//! Proves that a rehearsal finds what the reference model finds, for random pairs of policies
//! and random packets: who would be judged otherwise, by rule and port, and how many. What is in
//! force judges and counts as it does without.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use rand::RngExt as _;
use xdpfw_model::{Opinion, PacketSource, Policy, Transport, Verdict, judge, random};
use xdpfw_tests::json::{number, rows, word};

use super::{subject::Subject, trial::arrival};

/// Pairs of policies in each flavour of the programs.
const PAIRS: u64 = 6;
/// Packets for each.
const PACKETS: u64 = 1500;
/// What everything random follows from.
const SEED: u64 = 7;

/// A verdict and what it is due to: the rule's id, else the reason.
type Decision = (String, String);
/// Packets that are judged otherwise, by both decisions and the local port.
type Found = BTreeMap<(Decision, Decision, Option<(String, u64)>), u64>;

#[test]
fn a_rehearsal_finds_what_the_model_does() -> Result<()> {
    let mut all = 0;
    for has_jumbo_frames in [false, true] {
        let subject = Subject::new(has_jumbo_frames)?;
        for pair in 0..PAIRS {
            let found = compare(&subject, pair)
                .with_context(|| format!("pair {pair}, jumbo frames: {has_jumbo_frames}"))?;
            all += found.values().sum::<u64>();
        }
    }
    // Else it would prove little.
    assert!(all > PAIRS * PACKETS / 10, "{all}");
    Ok(())
}

fn compare(subject: &Subject, pair: u64) -> Result<Found> {
    let mut random = random(SEED ^ pair.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let ephemeral = subject.choose_ephemeral(&mut random)?;
    let mut policy = || {
        let mut policy = Policy::random(&mut random, &subject.interface_names(), ephemeral);
        // How rules end is held against the model elsewhere.
        for rule in &mut policy.rules {
            rule.until = None;
        }
        policy
    };
    let (live, candidate) = (policy(), policy());
    let mut sources = [&live, &candidate].map(|policy| match subject.has_jumbo_frames {
        true => PacketSource::aimed_at(policy).with_jumbo_frames(),
        false => PacketSource::aimed_at(policy),
    });
    subject.put_in_force(&live.to_toml())?;
    let filter = subject.rehearse(&candidate.to_toml())?;
    let mut counts = filter.counts()?;
    let mut expected = Found::new();
    subject.enter(|| {
        for _ in 0..PACKETS {
            let source = &mut sources[usize::from(random.random::<bool>())];
            let arrival = arrival(subject, source, &mut random);
            let old = judge(&live, &arrival.to_model(0));
            let new = judge(&candidate, &arrival.to_model(0));
            let verdict = filter.run(&arrival)?;
            ensure!(
                verdict == old.verdict,
                "{verdict:?}, but {old:?} holds, and {new:?} does not: {arrival:02x?}"
            );
            counts.add(&old, arrival.frame.len())?;
            if old.verdict != new.verdict {
                let port = new.port.map(|(transport, port)| {
                    let name = match transport {
                        Transport::Tcp => "tcp",
                        Transport::Udp => "udp",
                    };
                    (name.to_owned(), u64::from(port))
                });
                let key = (decision(&live, &old), decision(&candidate, &new), port);
                *expected.entry(key).or_default() += 1;
            }
        }
        ensure!(
            filter.counts()? == counts,
            "what is in force counts otherwise than without a rehearsal: {:?}",
            counts.changes_to(&filter.counts()?)
        );
        Ok(())
    })?;
    let found = found(subject)?;
    ensure!(
        found == expected,
        "found: {found:#?}\nof the model: {expected:#?}\nin force:\n{}\nrehearsed:\n{}",
        live.to_toml(),
        candidate.to_toml()
    );
    Ok(found)
}

fn decision(policy: &Policy, opinion: &Opinion) -> Decision {
    let why = match opinion.rule {
        Some(rule) => policy.rules[rule].id.clone(),
        None => opinion.reason.to_owned(),
    };
    let verdict = match opinion.verdict {
        Verdict::Pass => "pass",
        Verdict::Drop => "drop",
    };
    (verdict.to_owned(), why)
}

/// What the rehearsal shows.
fn found(subject: &Subject) -> Result<Found> {
    let shadow = subject.shadow();
    let mut found = Found::new();
    for row in rows(&shadow["by_rule"])? {
        let decision = |side: &str| -> Result<Decision> {
            let side = &row[side];
            let why = side["rule"]
                .as_str()
                .map_or_else(|| word(&side["reason"]), Ok)?;
            Ok((word(&side["verdict"])?.to_owned(), why.to_owned()))
        };
        let port = match row["port"].as_u64() {
            Some(port) => Some((word(&row["protocol"])?.to_owned(), port)),
            None => None,
        };
        let key = (decision("old")?, decision("new")?, port);
        *found.entry(key).or_default() += number(&row["packets"])?;
    }
    let sum: u64 = found.values().sum();
    ensure!(number(&shadow["differences"])? == sum, "{shadow}");
    Ok(found)
}
