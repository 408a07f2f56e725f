//! Owns the chapter on real traffic: how many packets of a scan a host gets rid of.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    bench::{
        report::{
            chapter::Chapter,
            names::{self, cases, chapters, subjects},
        },
        stage::{
            Stage,
            cpus::Cpus,
            filter::Filter,
            policy::{Form, Hook, Policy},
            traffic::{Probe, flood},
            yardsticks::Spread,
        },
    },
    build::Build,
    command::say,
    interrupt::Interrupted,
};

/// Measurements of each filter and round.
const TURNS: u32 = 8;

/// Who drops it.
const FILTERS: [(&str, Filter); 8] = [
    (subjects::NOOP, Filter::Noop),
    (subjects::FLOOR, Filter::Floor),
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

/// Measures every filter in every round, a new one of them first each time.
pub(crate) fn measure(
    build: &Build,
    cpus: &Cpus,
    rounds: u16,
    interrupted: &Interrupted,
) -> Result<Chapter> {
    let mut chapter = names::chapter(chapters::LIVE)?;
    let stage = Stage::new(build, cpus.several(2).map_or(1, <[usize]>::len))?;
    let mut filters: Vec<_> = FILTERS
        .into_iter()
        .filter(|(_, filter)| filter.is_there())
        .collect();
    for _ in 0..rounds {
        for &(subject, filter) in &filters {
            interrupted.check()?;
            // Each round loads all programs anew: where the kernel happens to put a
            // program's machine code changes its time by a nanosecond or so.
            let yardsticks = stage.generator(Spread::SCAN)?;
            let in_force = filter.put(&stage, Policy::OnePort)?;
            let mut arrived = 0;
            for (case, probe, count) in CASES {
                let Some(cpus) = cpus.several(count) else {
                    continue;
                };
                let traffic = flood(&stage, &yardsticks, probe, cpus, TURNS)?;
                // They took their time, and were not received.
                if traffic.lost * 100 > traffic.arrived {
                    say(format_args!(
                        "bench: {subject}, {case}: {} frames were lost, {} arrived",
                        traffic.lost, traffic.arrived
                    ));
                }
                arrived += traffic.arrived;
                chapter.push(subject, case, traffic.mpps);
            }
            if filter == Filter::Xdpfw {
                let judged = judged(&stage)?;
                // What came too late to be counted here is judged all the same.
                ensure!(
                    judged >= arrived,
                    "xdpfw has judged {judged} packets, but {arrived} arrived"
                );
            }
            in_force.clear()?;
        }
        filters.rotate_left(1);
    }
    Ok(chapter)
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
