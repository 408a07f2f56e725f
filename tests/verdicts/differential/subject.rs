//! The host whose filter is compared: two filtered interfaces, no socket at all.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use rand::{RngExt as _, seq::IndexedRandom as _};
use serde_json::Value;
use xdpfw_common::abi::ABI_VERSION;
use xdpfw_model::Random;
use xdpfw_tests::{Lab, ifindex};

use super::filter::{Filter, SHORTEST, can_split};
use crate::explained;

/// The part of a frame in which headers are read, wherever its first buffer ends, in
/// bytes.
const READABLE: usize = 512;

/// Frames from this length on have ordinary headers.
const JUMBO: usize = 1400;

/// The host.
pub(crate) struct Subject {
    lab: Lab,
    /// Whether frames may come in several buffers.
    pub(crate) has_jumbo_frames: bool,
    /// Whether the kernel lets us say where the first buffer ends (Linux 6.18).
    has_split_frames: bool,
    interfaces: Vec<Interface>,
    pins: PathBuf,
}

/// A filtered interface.
#[derive(Clone, Debug)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) index: u32,
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
            has_split_frames: has_jumbo_frames
                && lab.host.enter(|| can_split(&pins, &interfaces[0]))?,
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

    /// The same, whole.
    pub(crate) fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// One of the filtered interfaces.
    pub(crate) fn choose_interface(&self, random: &mut Random) -> Interface {
        match self.interfaces.choose(random) {
            Some(interface) => interface.clone(),
            None => unreachable!("there are two"),
        }
    }

    /// Lays so many bytes of a frame into its first buffer: mostly all.
    pub(crate) fn choose_first_buffer(&self, random: &mut Random, len: usize) -> usize {
        // The same numbers are drawn, whatever the kernel can.
        let first = random.random_range(SHORTEST..=len.min(2 * READABLE));
        // Between short and jumbo frames are those with more headers than can be read.
        let is_split = random.random_ratio(1, 3) && !(READABLE..JUMBO).contains(&len);
        if is_split && self.has_split_frames {
            first
        } else {
            len
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
        self.apply(&["apply", "-"], policy)
    }

    /// Has a policy rehearsed behind the one in force.
    pub(crate) fn rehearse(&self, policy: &str) -> Result<Filter> {
        self.apply(&["apply", "--shadow", "-"], policy)
    }

    /// What the rehearsal found.
    pub(crate) fn shadow(&self) -> Value {
        self.lab.host.xdpfw(["shadow"]).json()
    }

    fn apply(&self, command: &[&str], policy: &str) -> Result<Filter> {
        let output = self.lab.host.xdpfw(command).stdin(policy).output()?;
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
        Filter::open(&self.pins, &generation)
    }

    /// What `explain` says of frames that come in by an interface.
    pub(crate) fn explain<'a>(
        &self,
        interface: &str,
        frames: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Vec<Value>> {
        explained::explain(&self.lab.host, interface, frames)
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
