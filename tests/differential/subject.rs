//! Owns the host whose filter is asked: two filtered interfaces, no socket at all.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya_obj::programs::XdpAttachType;
use rand::{RngExt as _, seq::IndexedRandom as _};
use xdpfw_common::abi::{ABI_VERSION, names};
use xdpfw_model::{Opinion, Random, Verdict};
use xdpfw_tests::{Lab, ifindex};

use crate::counts::{CountMaps, Counts};

/// The host.
pub(crate) struct Subject {
    lab: Lab,
    /// Whether frames may come in several buffers.
    pub(crate) has_jumbo_frames: bool,
    interfaces: Vec<Interface>,
    pins: PathBuf,
}

/// A filtered interface.
#[derive(Clone, Debug)]
pub(crate) struct Interface {
    pub(crate) name: String,
    index: u32,
}

/// A frame, and where it comes in.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) interface: Interface,
    pub(crate) entry: Entry,
    pub(crate) frame: Vec<u8>,
}

/// Where a frame meets the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// At the dispatcher that interfaces run.
    Dispatcher,
    /// At the one that interfaces without a link layer run: the frame has no Ethernet
    /// header.
    DispatcherL3,
    /// At the program that it jumps to.
    Generation,
}

impl Entry {
    /// One of them.
    pub(crate) fn choose(random: &mut Random) -> Self {
        match random.random_range(0..10) {
            0..4 => Self::Dispatcher,
            4..6 => Self::DispatcherL3,
            _ => Self::Generation,
        }
    }

    /// Whether frames have an Ethernet header there.
    pub(crate) fn has_ethernet(self) -> bool {
        self != Self::DispatcherL3
    }
}

impl Arrival {
    /// The same for the model.
    pub(crate) fn to_model(&self) -> xdpfw_model::Arrival<'_> {
        xdpfw_model::Arrival {
            has_ethernet: self.entry.has_ethernet(),
            ..xdpfw_model::Arrival::ethernet(&self.interface.name, &self.frame)
        }
    }
}

/// The program in force, and its counters.
pub(crate) struct Filter {
    generation: Xdp,
    dispatcher: Xdp,
    dispatcher_l3: Xdp,
    maps: CountMaps,
}

impl Subject {
    /// Sets the host up, with interfaces of the usual MTU or of a large one.
    pub(crate) fn new(has_jumbo_frames: bool) -> Result<Self> {
        let lab = Lab::with_links(2)?;
        if has_jumbo_frames {
            for link in &lab.links {
                for (host, end) in [(&lab.host, link.near()), (&lab.peer, link.far())] {
                    host.run("ip", ["link", "set", &end.interface, "mtu", "9000"])?;
                }
            }
        }
        let interfaces = lab.links.iter().map(|link| {
            let name = link.near().interface.clone();
            let index = u32::try_from(ifindex(&lab.host, &name)?)?;
            Ok(Interface { name, index })
        });
        let interfaces: Vec<Interface> = interfaces.collect::<Result<_>>()?;
        for interface in &interfaces {
            lab.host.xdpfw(["up", &interface.name]).ok();
        }
        // Or the ephemeral range must not reach below.
        lab.host
            .sysctl("net/ipv4/ip_unprivileged_port_start", "0")?;
        let pins = lab.host.pins().join(format!("abi-{ABI_VERSION}"));
        Ok(Self {
            lab,
            has_jumbo_frames,
            interfaces,
            pins,
        })
    }

    /// The filtered interfaces.
    pub(crate) fn interface_names(&self) -> Vec<&str> {
        let names = self.interfaces.iter();
        names.map(|interface| interface.name.as_str()).collect()
    }

    /// One of the filtered interfaces.
    pub(crate) fn choose_interface(&self, random: &mut Random) -> Interface {
        match self.interfaces.choose(random) {
            Some(interface) => interface.clone(),
            None => unreachable!("there are two"),
        }
    }

    /// Gives the host a range of ports to hand out to clients: mostly the usual one.
    pub(crate) fn choose_ephemeral(&self, random: &mut Random) -> Result<(u16, u16)> {
        let (first, last) = if random.random_ratio(2, 3) {
            (32_768, 60_999)
        } else {
            // Even the ports of servers, as few would have it.
            let lowest = if random.random() { 1 } else { 1024 };
            let first = random.random_range(lowest..65_000);
            (first, random.random_range(first + 1..=65_535))
        };
        self.lab
            .host
            .sysctl("net/ipv4/ip_local_port_range", &format!("{first} {last}"))?;
        Ok((first, last))
    }

    /// Puts a policy in force, as a user would.
    pub(crate) fn put_in_force(&self, policy: &str) -> Result<Filter> {
        let output = self.lab.host.xdpfw(["apply", "-"]).stdin(policy).output()?;
        ensure!(
            output.status.success(),
            "xdpfw refuses the policy: {}\n{policy}",
            String::from_utf8_lossy(&output.stderr)
        );
        let generations = self.pins.join("generations");
        let mut generations = fs::read_dir(&generations)
            .with_context(|| format!("cannot read {}", generations.display()))?;
        let generation = generations.next().context("no generation")??.path();
        ensure!(generations.next().is_none(), "more than one generation");
        let open = |pin: PathBuf| {
            Xdp::from_pin(&pin, XdpAttachType::Interface)
                .with_context(|| format!("cannot open {}", pin.display()))
        };
        Ok(Filter {
            generation: open(generation.join("program"))?,
            dispatcher: open(self.pins.join(names::DISPATCHER))?,
            dispatcher_l3: open(self.pins.join(names::DISPATCHER_L3))?,
            maps: CountMaps::open(&generation)?,
        })
    }

    /// Packets that each rule has decided, as users are told.
    pub(crate) fn rule_hits(&self) -> Result<BTreeMap<String, u64>> {
        let list = self.lab.host.xdpfw(["list"]).json();
        let rules = list["rules"].as_array().context("no rules")?;
        let hits = rules.iter().map(|rule| {
            let id = rule["id"].as_str().context("a rule without an id")?;
            let packets = rule["packets"].as_u64().context("a rule without hits")?;
            Ok((id.to_owned(), packets))
        });
        hits.collect()
    }

    /// Does `work` on the host, where alone its program finds its sockets.
    pub(crate) fn enter<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        self.lab.host.enter(work)
    }
}

impl Filter {
    /// What the program does with a frame.
    pub(crate) fn run(&self, arrival: &Arrival) -> Result<Verdict> {
        // `struct xdp_md` in linux/bpf.h: data, its end, metadata, the interface that
        // the frame came in by, its queue, the interface that it leaves by.
        let len = u32::try_from(arrival.frame.len())?;
        let context = [0, len, 0, arrival.interface.index, 0, 0];
        let program = match arrival.entry {
            Entry::Dispatcher => &self.dispatcher,
            Entry::DispatcherL3 => &self.dispatcher_l3,
            Entry::Generation => &self.generation,
        };
        let result = program.test_run(TestRunOptions {
            data_in: Some(&arrival.frame),
            ctx_in: Some(bytemuck::cast_slice(&context)),
            ..TestRunOptions::new()
        })?;
        // `XDP_DROP` and `XDP_PASS` in linux/bpf.h.
        match result.return_value {
            1 => Ok(Verdict::Drop),
            2 => Ok(Verdict::Pass),
            other => bail!("the program returned {other} for {arrival:02x?}"),
        }
    }

    /// All counters.
    pub(crate) fn counts(&self) -> Result<Counts> {
        self.maps.read()
    }

    /// Whether the counters that a packet with this opinion changes are as expected.
    pub(crate) fn agrees(&self, expected: &Counts, opinion: &Opinion) -> Result<bool> {
        self.maps.agree(expected, opinion)
    }
}
