//! Runs frames through the programs of a host under a policy, and compares all its counters
//! before and after.

use std::{cell::RefCell, collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya_obj::programs::XdpAttachType;
use serde_json::Value;
use xdpfw_common::abi::BARE_MARK;
use xdpfw_tests::{
    Host, Lab,
    json::{number, rows, word},
};

use crate::{
    explained,
    table::{Case, Expected, Verdict},
};

/// By which way the frames come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Programs {
    /// As Ethernet frames: the program of the generation in force, and the dispatcher.
    Ethernet,
    /// As bare packets, as tunnels have them: the dispatcher that knows of this. The
    /// generation's program learns it from there.
    Bare,
    /// As Ethernet frames in several buffers, by the programs that take them so.
    Jumbo,
}

/// A program that is run on frames, and what another program has left in front of them.
struct Entry {
    program: PathBuf,
    /// XDP metadata.
    metadata: Vec<u8>,
}

/// What other programs may have left in front of a frame: nothing; our own mark of packets
/// without an Ethernet header, forged; as much as any kernel allows.
fn metadata() -> [Vec<u8>; 3] {
    let mark = BARE_MARK.to_ne_bytes();
    [Vec::new(), mark.to_vec(), mark.repeat(8)]
}

/// A host under a policy, whose programs are run on frames as if they had come in.
pub(crate) struct Filter {
    lab: Lab,
    entries: Vec<Entry>,
    programs: Programs,
    /// What has been counted so far.
    counted: RefCell<Counted>,
}

impl Filter {
    pub(crate) fn with(policy: &str, programs: Programs) -> Result<Self> {
        let lab = Lab::new()?;
        if programs == Programs::Jumbo {
            let end = &lab.link().near().interface;
            lab.host.run("ip", ["link", "set", end, "mtu", "9000"])?;
        }
        let lab = lab.filtered(policy);
        let pins = lab
            .host
            .pins()
            .join(format!("abi-{}", xdpfw_common::abi::ABI_VERSION));
        let generations = pins.join("generations");
        let mut generation = fs::read_dir(&generations)
            .with_context(|| format!("cannot read {}", generations.display()))?;
        let only = generation.next().context("no generation")??.path();
        ensure!(generation.next().is_none(), "more than one generation");
        let dispatcher = match programs {
            Programs::Ethernet | Programs::Jumbo => pins.join("dispatcher"),
            Programs::Bare => pins.join("dispatcher_l3"),
        };
        let mut entries = Vec::from(metadata().map(|metadata| Entry {
            program: dispatcher.clone(),
            metadata,
        }));
        if programs != Programs::Bare {
            // Only dispatchers call it, so it believes the metadata it is given.
            entries.push(Entry {
                program: only.join("program"),
                metadata: Vec::new(),
            });
        }
        Ok(Self {
            entries,
            programs,
            counted: RefCell::new(counters(&lab.host)?),
            lab,
        })
    }

    /// Claims the same verdict on each of these frames, and all that is counted
    /// of them.
    #[track_caller]
    fn judge(&self, case: &Case) -> Result<()> {
        let Case {
            name,
            frames,
            expected,
        } = case;
        let verdicts = self.run(frames)?;
        for (index, verdict) in verdicts.into_iter().enumerate() {
            let frame = &frames[index % frames.len()];
            assert_eq!(verdict, expected.verdict, "{name}: verdict on {frame:02x?}");
        }
        let mut changes = counters(&self.lab.host)?;
        let before = self.counted.replace(changes.clone());
        changes.retain(|counter, amount| {
            let before = before.get(counter).copied().unwrap_or_default();
            *amount = Amount {
                packets: amount.packets - before.packets,
                bytes: amount.bytes - before.bytes,
            };
            *amount != Amount::default()
        });
        let times = self.entries.len() as u64;
        let amount = Amount {
            packets: frames.len() as u64 * times,
            bytes: frames.iter().map(|frame| frame.len() as u64).sum::<u64>() * times,
        };
        assert_eq!(changes, changes_by(expected, amount), "{name}: counters");
        Ok(())
    }

    /// Claims the same verdicts on all of these frames, and all that is counted of them; and that
    /// `explain` says the same, and counts nothing.
    #[track_caller]
    pub(crate) fn judge_all(&self, cases: &[Case]) -> Result<()> {
        for case in cases {
            self.judge(case)?;
        }
        if self.programs != Programs::Ethernet {
            return Ok(());
        }
        let frames = cases.iter().flat_map(|case| {
            let frames = case.frames.iter();
            frames.map(move |frame| (case, frame.as_slice()))
        });
        let frames: Vec<(&Case, &[u8])> = frames
            .filter(|(_, frame)| frame.len() <= explained::LONGEST)
            .collect();
        let interface = &self.lab.link().near().interface;
        let said = explained::explain(
            &self.lab.host,
            interface,
            frames.iter().map(|(_, frame)| *frame),
        )?;
        for ((case, _), said) in frames.iter().zip(said) {
            let Case { name, expected, .. } = case;
            assert_eq!(said["verdict"], expected.verdict.as_str(), "{name}: {said}");
            assert_eq!(said["reason"], expected.reason, "{name}: {said}");
            assert_eq!(said["rule"].as_str(), expected.rule, "{name}: {said}");
            let detail = said["malformation"].as_str();
            assert_eq!(detail, expected.detail, "{name}: {said}");
        }
        assert_eq!(*self.counted.borrow(), counters(&self.lab.host)?);
        Ok(())
    }

    /// What each program says to each frame.
    fn run(&self, frames: &[Vec<u8>]) -> Result<Vec<Verdict>> {
        let Self { lab, entries, .. } = self;
        lab.host.enter(|| {
            let mut verdicts = Vec::with_capacity(entries.len() * frames.len());
            for Entry {
                program: pin,
                metadata,
            } in entries
            {
                let program = Xdp::from_pin(pin, XdpAttachType::Interface)
                    .with_context(|| format!("cannot open {}", pin.display()))?;
                for frame in frames {
                    let data = [&metadata[..], frame].concat();
                    // `struct xdp_md` in linux/bpf.h: where the frame begins, and ends.
                    let context = [metadata.len() as u32, data.len() as u32, 0, 0, 0, 0];
                    let result = program.test_run(TestRunOptions {
                        data_in: Some(&data),
                        ctx_in: Some(bytemuck::cast_slice(&context)),
                        ..TestRunOptions::new()
                    })?;
                    verdicts.push(verdict(result.return_value)?);
                }
            }
            Ok(verdicts)
        })
    }
}

type Counted = BTreeMap<String, Amount>;

/// All counters that the command line shows.
fn counters(host: &Host) -> Result<Counted> {
    let status = host.status();
    let [stats, list] = ["stats", "list"].map(|command| host.xdpfw([command]).json());
    assert_eq!(status["totals"], stats["totals"], "status and stats");
    let mut counters = Counted::new();
    for (verdict, total) in [(Verdict::Pass, "passed"), (Verdict::Drop, "dropped")] {
        let amount = Amount::of(&status["totals"][total])?;
        counters.insert(format!("total {}", verdict.as_str()), amount);
    }
    for reason in rows(&status["reasons"])? {
        let name = format!("{} {}", word(&reason["verdict"])?, word(&reason["reason"])?);
        counters.insert(name, Amount::of(reason)?);
    }
    for port in rows(&stats["ports"])? {
        let name = format!("{}/{}", word(&port["protocol"])?, port["port"]);
        let packets = number(&port["dropped_packets"])?;
        counters.insert(name, Amount { packets, bytes: 0 });
    }
    for rule in rows(&list["rules"])? {
        counters.insert(word(&rule["id"])?.to_owned(), Amount::of(rule)?);
    }
    Ok(counters)
}

/// What a counter says; ports count no bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Amount {
    packets: u64,
    bytes: u64,
}

impl Amount {
    fn of(value: &Value) -> Result<Self> {
        Ok(Self {
            packets: number(&value["packets"])?,
            bytes: number(&value["bytes"])?,
        })
    }
}

/// `XDP_DROP` and `XDP_PASS` in linux/bpf.h.
fn verdict(action: u32) -> Result<Verdict> {
    match action {
        1 => Ok(Verdict::Drop),
        2 => Ok(Verdict::Pass),
        other => bail!("the program returned {other}"),
    }
}

/// All counters that so many packets change.
fn changes_by(expected: &Expected, amount: Amount) -> Counted {
    let verdict = expected.verdict.as_str();
    let mut changes = Counted::from([
        (format!("{verdict} {}", expected.reason), amount),
        (format!("total {verdict}"), amount),
    ]);
    if let Some(rule) = expected.rule {
        changes.insert(rule.to_owned(), amount);
    }
    if let Some(port) = expected.port {
        changes.insert(port.to_owned(), Amount { bytes: 0, ..amount });
    }
    changes
}
