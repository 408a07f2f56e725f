//! Measures growth: what a packet of a scan costs as rules, ports, prefixes or sources become
//! more. Each policy is on a host of its own, so that all can take turns.

use anyhow::{Context as _, Result};
use aya::programs::Xdp;

use crate::{
    measure::{
        Run,
        packet::{self, Callee, DROP},
    },
    report::{
        chapter::Chapter,
        names::{self, cases, chapters, subjects},
    },
    stage::{
        Stage,
        filter::{Filter, InForce},
        policy::{CLOSED, Form, Hook, OPEN, Policy},
        traffic::{Probe, flood},
        yardsticks::{NOOP, Spread},
    },
};

/// Measurements of each filter and round.
const TURNS: u32 = 4;

/// Beyond this, a packet that is asked about by one rule after the other takes a
/// millisecond, and nobody would have it so.
const MOST_PLAIN_RULES: usize = 10_000;

/// What grows.
struct Growth {
    id: &'static str,
    /// The policy of a size.
    policy: fn(u32) -> Policy,
    /// The flood of a size.
    spread: fn(u32) -> Spread,
    filters: &'static [(&'static str, Filter)],
}

/// Filters that get long lists: nft at its fastest hook.
const TOLD: &[(&str, Filter)] = &[
    (subjects::NOOP, Filter::Yardstick(NOOP)),
    (subjects::XDPFW, Filter::Xdpfw),
    (subjects::NFT_PLAIN, Filter::Nft(Hook::Ingress, Form::Plain)),
    (subjects::NFT_SETS, Filter::Nft(Hook::Ingress, Form::Sets)),
];

const GROWTHS: [Growth; 5] = [
    Growth {
        id: chapters::RULES,
        policy: Policy::Rules,
        spread: |_| Spread::SCAN,
        filters: TOLD,
    },
    Growth {
        id: chapters::PORTS,
        policy: Policy::Ports,
        spread: |_| Spread::to(CLOSED),
        filters: TOLD,
    },
    Growth {
        id: chapters::PREFIXES,
        policy: Policy::Prefixes,
        spread: |_| Spread::to(CLOSED),
        filters: TOLD,
    },
    Growth {
        id: chapters::PREFIXES_ASKED,
        policy: Policy::Prefixes,
        spread: |_| Spread::to(OPEN),
        filters: TOLD,
    },
    Growth {
        id: chapters::SOURCES,
        policy: |_| Policy::OnePort,
        spread: |sources| Spread {
            sources,
            ..Spread::SCAN
        },
        filters: &[
            (subjects::NOOP, Filter::Yardstick(NOOP)),
            (subjects::XDPFW, Filter::Xdpfw),
            (subjects::XDP_FILTER, Filter::XdpTools),
            (
                subjects::NFT_INGRESS,
                Filter::Nft(Hook::Ingress, Form::Plain),
            ),
            (
                subjects::NFT_CONNTRACK,
                Filter::Nft(Hook::Input, Form::Plain),
            ),
        ],
    },
];

/// Measures the chapters of these that are wanted.
pub(crate) fn measure(run: &Run<'_>) -> Result<Vec<Chapter>> {
    let wanted = GROWTHS.iter().filter(|growth| run.wants(growth.id));
    wanted.map(|growth| growth.measure(run)).collect()
}

impl Growth {
    fn measure(&self, run: &Run<'_>) -> Result<Chapter> {
        let mut chapter = names::chapter(self.id)?;
        let sizes = sizes(&chapter)?;
        // A stage for each filter; what changes on it is the policy, or only the flood.
        let stages = self
            .filters
            .iter()
            .filter(|(_, filter)| filter.is_there())
            .map(|&(subject, filter)| Ok((subject, filter, Stage::new(&run.build, 1)?)))
            .collect::<Result<Vec<_>>>()?;
        let (_, _, first) = stages.first().context("no filter")?;
        let cpu = &[run.cpus.one()];
        for _ in 0..run.rounds {
            for (case, size) in &sizes {
                let generator = first.generator((self.spread)(*size))?;
                for (subject, filter, stage) in &stages {
                    run.check()?;
                    let rules = (self.policy)(*size).plain_rules();
                    if filter.is_plain() && rules > MOST_PLAIN_RULES {
                        continue;
                    }
                    let in_force = filter.put(stage, (self.policy)(*size))?;
                    let traffic = flood(stage, &generator, Probe::Syn, cpu, TURNS)?;
                    chapter.push(subject, case, traffic.nanoseconds());
                    in_force.clear()?;
                }
            }
        }
        Ok(chapter)
    }
}

/// The cases of a chapter, and the numbers that they are.
fn sizes(chapter: &Chapter) -> Result<Vec<(String, u32)>> {
    let scale = chapter
        .scale()
        .context("a chapter of growth has no scale")?;
    let sizes = scale.into_iter().map(|size| size as u32);
    Ok(chapter.cases.iter().cloned().zip(sizes).collect())
}

/// Measures one packet alone under more and more rules: what is dropped, and what is let
/// in by the last rule.
pub(crate) fn measure_hot(run: &Run<'_>) -> Result<Vec<Chapter>> {
    let mut chapter = names::chapter(chapters::RULES_HOT)?;
    let sizes = sizes(&chapter)?;
    let stages = sizes
        .iter()
        .map(|_| Stage::new(&run.build, 0))
        .collect::<Result<Vec<_>>>()?;
    for _ in 0..run.rounds {
        run.check()?;
        let in_force = sizes
            .iter()
            .zip(&stages)
            .map(|((_, count), stage)| Filter::Xdpfw.put(stage, Policy::Rules(*count)))
            .collect::<Result<Vec<InForce<'_>>>>()?;
        let programs = in_force
            .iter()
            .map(InForce::program)
            .collect::<Result<Vec<Xdp>>>()?;
        compare_hot(&mut chapter, &stages, &programs)?;
        for filter in in_force {
            filter.clear()?;
        }
    }
    Ok(vec![chapter])
}

/// Adds a round of [`measure_hot`], the programs taking turns.
fn compare_hot(chapter: &mut Chapter, stages: &[Stage], programs: &[Xdp]) -> Result<()> {
    let stage = stages.first().context("no stage")?;
    let mut yardsticks = stage.yardsticks(Spread::SCAN)?;
    let ours = stage.yardsticks(Spread::SCAN)?;
    let noop = Callee {
        stage,
        program: ours.get(NOOP)?,
        verdict: Some(DROP),
    };
    let packets = packet::packets(stage);
    let find = |case| packets.iter().find(|packet| packet.case == case);
    for (subject, case) in [
        (subjects::XDPFW_DROP, cases::SYN_HOT),
        (subjects::XDPFW_PASS, cases::SYN_OPEN),
    ] {
        let packet = find(case).context("no such packet")?;
        let mut least = f64::INFINITY;
        let mut fastest = vec![f64::INFINITY; programs.len()];
        for _ in 0..packet::TURNS {
            least = least.min(noop.nanoseconds(packet, &mut yardsticks)?);
            for ((program, stage), fastest) in programs.iter().zip(stages).zip(&mut fastest) {
                let callee = Callee {
                    stage,
                    program,
                    verdict: None,
                };
                *fastest = fastest.min(callee.nanoseconds(packet, &mut yardsticks)?);
            }
        }
        for (case, fastest) in chapter.cases.clone().iter().zip(fastest) {
            // The same for both packets, which it does not look at.
            if packet.verdict == DROP {
                chapter.push(subjects::NOOP, case, least);
            }
            chapter.push(subject, case, fastest);
        }
    }
    Ok(())
}
