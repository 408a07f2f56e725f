//! The kernel's state as a whole: which generation is in force, on which
//! interfaces; and the changes of it, each of which happens or does not.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use aya::{
    maps::{Array, Map, MapData},
    programs::{ProgramInfo, Xdp, XdpMode, links::FdLink, loaded_programs, xdp::XdpLink},
};
use aya_obj::programs::XdpAttachType;
use jiff::Timestamp;
use xdpfw_common::abi::names;

use super::{
    Generation, Interface, LinkLayer, Mode, Record, Refusal, bpffs, environment,
    generation::{self, Built},
    interface::{detach_unlinked, interfaces},
    link, object,
    slots::Slots,
};
use crate::{compiler, exit::Failure, policy::Policy};

/// The filter of this network namespace. Held under the [lock](super::Lock).
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
}

/// An interface that the filter is attached to.
#[derive(Clone, Debug)]
pub struct Attached {
    /// The interface.
    pub interface: Interface,
    /// Where its program runs.
    pub mode: Mode,
}

/// The filter while it is up.
#[derive(Debug)]
pub struct Live {
    /// The generation in force.
    pub generation: Generation,
    /// The interfaces it is attached to, at least one.
    pub attached: Vec<Attached>,
}

/// What becomes of the counters in a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counters {
    /// They go on; those of rules as far as the rule stays the same.
    Keep,
    /// They begin at zero.
    Reset,
}

/// A generation that is built, and not yet in force. Dropped before it is made,
/// it is removed again.
#[must_use = "a change is nothing until it is made"]
pub struct Change<'a> {
    store: &'a Store,
    built: Built,
    made: bool,
}

impl Store {
    /// The state of this network namespace, whether there is any or not.
    ///
    /// # Errors
    ///
    /// `/proc` cannot be read.
    pub fn open() -> Result<Self> {
        let directory = bpffs::directory()?;
        if !bpffs::is_mounted() {
            refuse_hidden_filter()?;
        }
        Ok(Self { directory })
    }

    /// The same, with bpffs mounted and the directory made.
    ///
    /// # Errors
    ///
    /// No place for pins is to be had.
    pub fn create() -> Result<Self> {
        Ok(Self {
            directory: bpffs::create()?,
        })
    }

    /// The generation in force, whatever interfaces it is attached to.
    ///
    /// # Errors
    ///
    /// The kernel refuses to tell.
    pub fn current(&self) -> Result<Option<Generation>> {
        let Some(program) = self.program_in_force()? else {
            return Ok(None);
        };
        for directory in self.generations()? {
            if generation::program_id(&directory).is_ok_and(|id| id == program) {
                return Generation::open(&directory).map(Some);
            }
        }
        Ok(None)
    }

    /// What is in force, and where; `None` while nothing is filtered.
    ///
    /// # Errors
    ///
    /// The kernel refuses to tell.
    pub fn live(&self) -> Result<Option<Live>> {
        let attached = self.attached()?;
        if attached.is_empty() {
            return Ok(None);
        }
        let live = self.current()?.map(|generation| Live {
            generation,
            attached,
        });
        Ok(live)
    }

    /// The interfaces that the filter is attached to.
    ///
    /// # Errors
    ///
    /// The kernel refuses to tell.
    pub fn attached(&self) -> Result<Vec<Attached>> {
        // Without these pins nothing is attached, and netlink need not be asked.
        if self.links()?.is_empty() || !self.dispatcher().exists() {
            return Ok(Vec::new());
        }
        let dispatchers = [
            ProgramInfo::from_pin(self.dispatcher())?.id(),
            ProgramInfo::from_pin(self.dispatcher_l3())?.id(),
        ];
        let attached = interfaces()?.into_iter().filter_map(|interface| {
            let (program, mode) = interface.xdp?;
            let ours = dispatchers.contains(&program) && self.link(interface.index).exists();
            ours.then_some(Attached { interface, mode })
        });
        Ok(attached.collect())
    }

    /// Builds a generation for a policy. Nothing is in force before
    /// [`Change::make`], and a change that is dropped leaves no trace.
    ///
    /// # Errors
    ///
    /// The policy is too complex, or the kernel refuses the program.
    pub fn prepare(&self, policy: &Policy, counters: Counters, traced: bool) -> Result<Change<'_>> {
        let current = self.current()?;
        self.sweep(current.as_ref())?;
        let previous = match counters {
            Counters::Keep => current.as_ref(),
            Counters::Reset => None,
        };
        let slots = Slots::assign(policy, previous.map(Generation::record));
        let environment = environment(policy)?;
        let tables = compiler::compile(policy, &environment, &slots.of_rules)
            .map_err(|error| Failure::policy(error.message(policy)))?;
        if let Some(previous) = previous {
            previous.clear_slots(&slots.fresh)?;
        }
        let number = current.as_ref().map_or(0, |old| old.record().generation) + 1;
        let record = Record {
            generation: number,
            counting_since: previous
                .map_or_else(Timestamp::now, |previous| previous.record().counting_since),
            traced,
            frags: match &current {
                Some(current) => current.record().frags,
                None => wants_frags()? && object::takes_frags()?,
            },
            policy: policy.clone(),
            environment,
            slots: slots.of_rules,
        };
        bpffs::make(&self.directory.join("generations"))?;
        let directory = self.directory.join("generations").join(number.to_string());
        let built = Generation::build(&directory, record, &tables, previous)
            .inspect_err(|_| drop(generation::remove(&directory)))?;
        Ok(Change {
            store: self,
            built,
            made: false,
        })
    }

    /// Attaches the filter to an interface. A generation must be in force.
    ///
    /// # Errors
    ///
    /// The interface has a program already, or its driver or the kernel refuses.
    pub fn attach(&self, interface: &Interface, mode: Mode) -> Result<()> {
        bpffs::make(&self.directory.join("links"))?;
        let dispatcher = match interface.link_layer {
            LinkLayer::Ethernet => self.dispatcher(),
            LinkLayer::None => self.dispatcher_l3(),
            LinkLayer::Other(number) => {
                return Err(Failure::kernel(format!(
                    "{}: its packets have neither an Ethernet header nor none (link layer {number}), which the filter cannot read",
                    interface.name
                ))
                .into());
            }
        };
        let mut dispatcher = Xdp::from_pin(dispatcher, XdpAttachType::Interface)?;
        let id = dispatcher
            .attach_to_if_index(
                interface.index,
                match mode {
                    Mode::Native => XdpMode::Driver,
                    Mode::Generic => XdpMode::Skb,
                    Mode::Offloaded => XdpMode::Hardware,
                },
            )
            .map_err(|error| {
                let joined_late = mode == Mode::Native && self.is_joined_late(interface);
                Refusal::of(interface, mode, joined_late, &error)
            })?;
        let link: XdpLink = dispatcher.take_link(id)?;
        let Ok(link) = FdLink::try_from(link) else {
            // Where links are unknown, aya attaches by netlink, which nothing
            // could keep or replace atomically.
            detach_unlinked(interface.index, mode)?;
            return Err(
                Failure::kernel("this kernel has no XDP links (they came with Linux 5.9)").into(),
            );
        };
        let pin = self.link(interface.index);
        // Left by an interface that had the number before.
        link::remove(&pin)?;
        link.pin(&pin)
            .with_context(|| format!("cannot pin {}", pin.display()))?;
        let attached = self.attached()?;
        let shown = attached
            .iter()
            .any(|a| a.interface.index == interface.index && a.mode == mode);
        ensure!(
            shown,
            "{}: attached, but the kernel does not show it",
            interface.name
        );
        Ok(())
    }

    /// Whether native mode would take an interface's large packets, had the filter been
    /// brought up with it: the flavour of the program stays what it was then.
    fn is_joined_late(&self, interface: &Interface) -> bool {
        let has_one_buffer = self
            .current()
            .is_ok_and(|current| current.is_some_and(|generation| !generation.record().frags));
        has_one_buffer && wants_frags_for(interface) && object::takes_frags().is_ok_and(|yes| yes)
    }

    /// Detaches the filter from an interface, or does nothing.
    ///
    /// # Errors
    ///
    /// The pin cannot be removed.
    pub fn detach(&self, index: u32) -> Result<()> {
        link::remove(&self.link(index))
    }

    /// Removes everything: detaches all interfaces first, then forgets the
    /// generations and their counters.
    ///
    /// # Errors
    ///
    /// A pin cannot be removed.
    pub fn clear(&self) -> Result<()> {
        for link in self.links()? {
            link::remove(&link)?;
        }
        bpffs::remove_directory(&self.directory.join("links"))?;
        for directory in self.generations()? {
            generation::remove(&directory)?;
        }
        bpffs::remove_directory(&self.directory.join("generations"))?;
        bpffs::remove_file(&self.dispatcher())?;
        bpffs::remove_file(&self.dispatcher_l3())?;
        bpffs::remove_file(&self.slot())?;
        bpffs::remove(&self.directory)
    }

    /// Forgets links to interfaces that are gone.
    ///
    /// # Errors
    ///
    /// A pin cannot be removed.
    pub fn forget_gone(&self) -> Result<()> {
        let attached = self.attached()?;
        for link in self.links()? {
            let alive = attached
                .iter()
                .any(|attached| link == self.link(attached.interface.index));
            if !alive {
                link::remove(&link)?;
            }
        }
        Ok(())
    }

    /// How many links are pinned, to interfaces that exist or not.
    ///
    /// # Errors
    ///
    /// The directory cannot be read.
    pub fn link_count(&self) -> Result<usize> {
        Ok(self.links()?.len())
    }

    /// Removes generations that are not in force: what commands left behind
    /// that were killed.
    fn sweep(&self, current: Option<&Generation>) -> Result<()> {
        for directory in self.generations()? {
            if current.is_none_or(|current| current.directory() != directory) {
                generation::remove(&directory)?;
            }
        }
        Ok(())
    }

    fn program_in_force(&self) -> Result<Option<u32>> {
        if !self.slot().exists() {
            return Ok(None);
        }
        let map = MapData::from_pin(self.slot())?;
        // To userspace a program array is an array of program ids
        // (`prog_fd_array_sys_lookup_elem` in kernel/bpf/arraymap.c).
        let slot = Array::<_, u32>::try_from(Map::Array(map))?;
        Ok(slot.get(&0, 0).ok())
    }

    fn generations(&self) -> Result<Vec<PathBuf>> {
        bpffs::entries(&self.directory.join("generations"))
    }

    fn links(&self) -> Result<Vec<PathBuf>> {
        bpffs::entries(&self.directory.join("links"))
    }

    fn link(&self, index: u32) -> PathBuf {
        self.directory.join("links").join(index.to_string())
    }

    fn slot(&self) -> PathBuf {
        self.directory.join("current")
    }

    fn dispatcher(&self) -> PathBuf {
        self.directory.join("dispatcher")
    }

    fn dispatcher_l3(&self) -> PathBuf {
        self.directory.join("dispatcher_l3")
    }
}

impl Change<'_> {
    /// Puts the generation in force, for all interfaces at once.
    ///
    /// # Errors
    ///
    /// The kernel refuses; the previous generation is then still in force.
    pub fn make(mut self) -> Result<Generation> {
        let store = self.store;
        if !store.dispatcher().exists() {
            // The first generation brings the dispatchers with it. The slot is
            // pinned before the programs that read it, and last the one that says
            // that all are there.
            bpffs::remove_file(&store.slot())?;
            bpffs::remove_file(&store.dispatcher_l3())?;
            let frags = self.built.generation.record().frags;
            let object = &mut self.built.object;
            object.pin_map(names::CURRENT, &store.slot())?;
            for (name, pin) in [
                (names::DISPATCHER_L3, store.dispatcher_l3()),
                (names::DISPATCHER, store.dispatcher()),
            ] {
                object.pin_program(&object::flavour(name, frags), &pin)?;
            }
        }
        object::store_program(&store.slot(), &self.built.program)?;
        self.made = true;
        // In force: what is left is tidying up, and its failure no failure of the
        // change. The next command does it as well.
        drop(store.sweep(Some(&self.built.generation)));
        Ok(self.built.generation.clone())
    }

    /// What was built, for those who want to know.
    pub fn describe(&self) -> String {
        self.built.summary.clone()
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        if !self.made {
            // What remains is removed by the next change.
            drop(generation::remove(self.built.generation.directory()));
        }
    }
}

/// Whether this host has interfaces whose packets may come in several buffers, filtered
/// or not: one of them may be joined later.
fn wants_frags() -> Result<bool> {
    Ok(interfaces()?.iter().any(wants_frags_for))
}

fn wants_frags_for(interface: &Interface) -> bool {
    // Drivers put up to about 3 KiB into one buffer under XDP, the least 2 KiB.
    const ONE_BUFFER: u32 = 2000;
    // Loopback has a large MTU everywhere, and its own kind of buffers.
    interface.mtu > ONE_BUFFER && interface.name != "lo"
}

/// Refuses to take a filter for none whose pins are out of sight.
fn refuse_hidden_filter() -> Result<()> {
    for interface in interfaces()? {
        let Some((id, _)) = interface.xdp else {
            continue;
        };
        let ours = loaded_programs().filter_map(Result::ok).any(|program| {
            let name = program.name_as_str();
            program.id() == id && name.is_some_and(|name| name.starts_with(names::DISPATCHER))
        });
        if ours {
            return Err(Failure::kernel(format!(
                "{} is filtered, but its pins are out of sight here; say `nsenter \
                 --net=/run/netns/NAME` instead of `ip netns exec NAME`",
                interface.name
            ))
            .into());
        }
    }
    Ok(())
}
