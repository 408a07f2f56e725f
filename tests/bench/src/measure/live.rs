//! Measures real traffic: how many packets of a scan a host gets rid of.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xdpfw_tests::task::say;

use crate::{
    measure::Run,
    report::{
        chapter::Chapter,
        names::{self, cases, chapters, subjects},
    },
    stage::{
        Stage,
        filter::{Filter, InForce},
        policy::{Form, Hook, Policy},
        traffic::{Probe, flood},
        yardsticks::{FLOOR, NOOP, Spread, TOUCH},
    },
};

/// How often each filter has its turn in a round, and measurements then.
const TURNS: usize = 12;
const MEASUREMENTS: u32 = 4;

/// Who drops it.
const FILTERS: [(&str, Filter); 9] = [
    (subjects::NOOP, Filter::Yardstick(NOOP)),
    (subjects::TOUCH, Filter::Yardstick(TOUCH)),
    (subjects::FLOOR, Filter::Yardstick(FLOOR)),
    (subjects::XDPFW, Filter::Xdpfw),
    (subjects::XDP_FILTER, Filter::XdpTools),
    (
        subjects::NFT_INGRESS,
        Filter::Nft(Hook::Ingress, Form::Plain),
    ),
    (subjects::NFT_RAW, Filter::Nft(Hook::Raw, Form::Plain)),
    (
        subjects::NFT_CONNTRACK,
        Filter::Nft(Hook::Input, Form::Plain),
    ),
    (subjects::IPTABLES_RAW, Filter::IptablesRaw),
];

/// What is dropped, on how many CPUs.
const CASES: [(&str, Probe, usize); 4] = [
    (cases::SYN_1_CPU, Probe::Syn, 1),
    (cases::SYN_2_CPUS, Probe::Syn, 2),
    (cases::UDP_1_CPU, Probe::Udp, 1),
    (cases::UDP_2_CPUS, Probe::Udp, 2),
];

/// A filter, on a host of its own.
struct Contender {
    subject: &'static str,
    filter: Filter,
    stage: Stage,
}

/// Measures all filters, each in force on a host of its own, so that they take turns of
/// some milliseconds: a slow moment of the machine then hits all.
pub(crate) fn measure(run: &Run<'_>) -> Result<Vec<Chapter>> {
    let mut chapter = names::chapter(chapters::LIVE)?;
    let floods = run.cpus.several(2).map_or(1, <[usize]>::len);
    let contenders = FILTERS
        .into_iter()
        .filter(|(_, filter)| filter.is_there())
        .map(|(subject, filter)| {
            Ok(Contender {
                subject,
                filter,
                stage: Stage::new(&run.build, floods)?,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    for _ in 0..run.rounds {
        // Each round loads all programs anew: where the kernel happens to put a
        // program's machine code changes its time by a nanosecond or so.
        let in_force = contenders
            .iter()
            .map(|one| one.filter.put(&one.stage, Policy::OnePort))
            .collect::<Result<Vec<InForce<'_>>>>()?;
        let arrived = compare(&mut chapter, &contenders, run)?;
        for (one, arrived) in contenders.iter().zip(arrived) {
            if one.filter == Filter::Xdpfw {
                let judged = judged(&one.stage)?;
                // What came too late to be counted here is judged all the same.
                ensure!(
                    judged >= arrived,
                    "xdpfw has judged {judged} packets, but {arrived} arrived"
                );
            }
        }
        in_force.into_iter().try_for_each(InForce::clear)?;
    }
    Ok(vec![chapter])
}

/// Adds a round, and returns how many packets arrived at each contender.
fn compare(chapter: &mut Chapter, contenders: &[Contender], run: &Run<'_>) -> Result<Vec<u64>> {
    let first = contenders.first().context("no filter")?;
    let generator = first.stage.generator(Spread::SCAN)?;
    let mut arrived = vec![0; contenders.len()];
    for (case, probe, count) in CASES {
        let Some(cpus) = run.cpus.several(count) else {
            continue;
        };
        let mut fastest = vec![0.0_f64; contenders.len()];
        for _ in 0..TURNS {
            run.check()?;
            for ((one, fastest), arrived) in contenders.iter().zip(&mut fastest).zip(&mut arrived) {
                let traffic = flood(&one.stage, &generator, probe, cpus, MEASUREMENTS)?;
                *fastest = fastest.max(traffic.mpps);
                *arrived += traffic.arrived;
                // They took their time, and were not received.
                if traffic.lost * 100 > traffic.arrived {
                    say(format_args!(
                        "bench: {}, {case}: {} frames were lost, {} arrived",
                        one.subject, traffic.lost, traffic.arrived
                    ));
                }
            }
        }
        for (one, fastest) in contenders.iter().zip(fastest) {
            chapter.push(one.subject, case, fastest);
        }
    }
    Ok(arrived)
}

/// How many packets xdpfw says it has seen.
fn judged(stage: &Stage) -> Result<u64> {
    let stats: Value = serde_json::from_str(&stage.xdpfw(&["--json", "stats", "--top", "1"])?)
        .context("what `xdpfw stats` wrote is not JSON")?;
    ["passed", "dropped"]
        .map(|verdict| stats["totals"][verdict]["packets"].as_u64())
        .into_iter()
        .sum::<Option<u64>>()
        .context("no totals in what `xdpfw stats` wrote")
}
