//! The kernel's state as a whole: which generation is in force, on which
//! interfaces; and the changes of it, each of which happens or does not.

use anyhow::{Context as _, Result, ensure};
use aya::{
    maps::{Array, Map, MapData},
    programs::{ProgramInfo, Xdp, XdpMode, links::FdLink, loaded_programs, xdp::XdpLink},
};
use aya_obj::programs::XdpAttachType;
use jiff::Timestamp;
use xdpfw_common::abi::{ABI_VERSION, names};

use super::{
    Generation, Interface, LinkLayer, Mode, Record, Refusal, environment,
    generation::{self, Built},
    interface::{detach_unlinked, interfaces},
    link, object,
    pins::PinDirectory,
    runtime,
    slots::Slots,
};
use crate::{compiler, exit::Failure, host, policy::Policy};

/// Directory of the links, by number of their interface.
const LINKS: &str = "links";
/// Directory of the generations, by their number.
const GENERATIONS: &str = "generations";
/// Pins: the program array with the generation in force, and the dispatchers.
const CURRENT: &str = "current";
const DISPATCHER: &str = "dispatcher";
const DISPATCHER_L3: &str = "dispatcher_l3";
/// What the names of versions' directories begin with.
const VERSION: &str = "abi-";

/// The filter of this network namespace. Held under the [lock](super::Lock).
///
/// Each namespace has its own interfaces and sockets, and so its own filter.
#[derive(Debug)]
pub struct Store {
    /// Our bpffs, if it is mounted.
    root: Option<PinDirectory>,
    /// The name of this namespace's directory in it.
    namespace: String,
    /// The directory of this version in that, if there is one.
    directory: Option<PinDirectory>,
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
        let root = runtime::pins()?;
        let namespace = host::network_namespace()?.to_string();
        let directory = match &root {
            Some(root) => match root.directory(&namespace)? {
                Some(own) => own.directory(&version())?,
                None => None,
            },
            None => {
                refuse_hidden_filter()?;
                None
            }
        };
        Ok(Self {
            root,
            namespace,
            directory,
        })
    }

    /// The same, with bpffs mounted and the directory made.
    ///
    /// # Errors
    ///
    /// No place for pins is to be had, or another version of xdpfw left its filter there.
    pub fn create() -> Result<Self> {
        let root = runtime::mounted_pins()?;
        let namespace = host::network_namespace()?.to_string();
        let own = root.make_directory(&namespace)?;
        refuse_other_versions(&own)?;
        Ok(Self {
            directory: Some(own.make_directory(&version())?),
            root: Some(root),
            namespace,
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
        let Some(generations) = self.directory_of(GENERATIONS)? else {
            return Ok(None);
        };
        for name in generations.names()? {
            if let Some(directory) = generations.directory(&name)?
                && generation::program_id(&directory).is_ok_and(|id| id == program)
            {
                return Generation::open(directory).map(Some);
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
        let (Some(directory), Some(links)) = (&self.directory, self.directory_of(LINKS)?) else {
            return Ok(Vec::new());
        };
        if links.names()?.is_empty() || !directory.has(DISPATCHER) {
            return Ok(Vec::new());
        }
        let dispatchers = [
            ProgramInfo::from_pin(directory.pin(DISPATCHER))?.id(),
            ProgramInfo::from_pin(directory.pin(DISPATCHER_L3))?.id(),
        ];
        let attached = interfaces()?.into_iter().filter_map(|interface| {
            let (program, mode) = interface.xdp?;
            let ours = dispatchers.contains(&program) && links.has(&interface.index.to_string());
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
        self.sweep(current.as_ref().map(|current| current.record().generation))?;
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
        let generations = self.existing()?.make_directory(GENERATIONS)?;
        let name = number.to_string();
        let directory = generations.make_directory(&name)?;
        let built = Generation::build(directory, record, &tables, previous)
            .inspect_err(|_| drop(generations.remove_all(&name)))?;
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
        let directory = self.existing()?;
        let links = directory.make_directory(LINKS)?;
        let dispatcher = match interface.link_layer {
            LinkLayer::Ethernet => DISPATCHER,
            LinkLayer::None => DISPATCHER_L3,
            LinkLayer::Other(number) => {
                return Err(Failure::kernel(format!(
                    "{}: its packets have neither an Ethernet header nor none (link layer {number}), which the filter cannot read",
                    interface.name
                ))
                .into());
            }
        };
        let mut dispatcher = Xdp::from_pin(directory.pin(dispatcher), XdpAttachType::Interface)?;
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
        let pin = interface.index.to_string();
        // Left by an interface that had the number before.
        link::remove(&links, &pin)?;
        link.pin(links.pin(&pin))
            .with_context(|| format!("cannot pin {}", links.shown(&pin).display()))?;
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
        match self.directory_of(LINKS)? {
            Some(links) => link::remove(&links, &index.to_string()),
            None => Ok(()),
        }
    }

    /// Removes everything: detaches all interfaces first, then forgets the
    /// generations and their counters.
    ///
    /// # Errors
    ///
    /// A pin cannot be removed.
    pub fn clear(&self) -> Result<()> {
        let (Some(root), Some(directory)) = (&self.root, &self.directory) else {
            return Ok(());
        };
        if let Some(links) = directory.directory(LINKS)? {
            for link in links.names()? {
                link::remove(&links, &link)?;
            }
        }
        for name in [LINKS, GENERATIONS, DISPATCHER, DISPATCHER_L3, CURRENT] {
            directory.remove_all(name)?;
        }
        if let Some(own) = root.directory(&self.namespace)? {
            own.remove_empty(&version())?;
        }
        root.remove_empty(&self.namespace)
    }

    /// Forgets links to interfaces that are gone.
    ///
    /// # Errors
    ///
    /// A pin cannot be removed.
    pub fn forget_gone(&self) -> Result<()> {
        let attached = self.attached()?;
        let Some(links) = self.directory_of(LINKS)? else {
            return Ok(());
        };
        for link in links.names()? {
            let mut attached = attached.iter().map(|one| one.interface.index.to_string());
            if attached.all(|alive| alive != link) {
                link::remove(&links, &link)?;
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
        match self.directory_of(LINKS)? {
            Some(links) => Ok(links.names()?.len()),
            None => Ok(0),
        }
    }

    /// Removes generations that are not in force: what commands left behind
    /// that were killed.
    fn sweep(&self, current: Option<u64>) -> Result<()> {
        let Some(generations) = self.directory_of(GENERATIONS)? else {
            return Ok(());
        };
        for name in generations.names()? {
            if current.is_none_or(|current| name != current.to_string()) {
                generations.remove_all(&name)?;
            }
        }
        Ok(())
    }

    fn program_in_force(&self) -> Result<Option<u32>> {
        let Some(directory) = self.directory.as_ref().filter(|own| own.has(CURRENT)) else {
            return Ok(None);
        };
        let map = MapData::from_pin(directory.pin(CURRENT))?;
        // To userspace a program array is an array of program ids
        // (`prog_fd_array_sys_lookup_elem` in kernel/bpf/arraymap.c).
        let slot = Array::<_, u32>::try_from(Map::Array(map))?;
        Ok(slot.get(&0, 0).ok())
    }

    /// One of the directories below this version's, if there is one.
    fn directory_of(&self, name: &str) -> Result<Option<PinDirectory>> {
        match &self.directory {
            Some(directory) => directory.directory(name),
            None => Ok(None),
        }
    }

    /// This version's directory, where there must be one.
    fn existing(&self) -> Result<&PinDirectory> {
        self.directory.as_ref().context("nothing is up")
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
        let directory = store.existing()?;
        if !directory.has(DISPATCHER) {
            // The first generation brings the dispatchers with it. The slot is
            // pinned before the programs that read it, and last the one that says
            // that all are there.
            directory.remove(CURRENT)?;
            directory.remove(DISPATCHER_L3)?;
            let frags = self.built.generation.record().frags;
            let object = &mut self.built.object;
            object.pin_map(names::CURRENT, &directory.pin(CURRENT))?;
            for (name, pin) in [
                (names::DISPATCHER_L3, DISPATCHER_L3),
                (names::DISPATCHER, DISPATCHER),
            ] {
                object.pin_program(&object::flavour(name, frags), &directory.pin(pin))?;
            }
        }
        object::store_program(&directory.pin(CURRENT), &self.built.program)?;
        self.made = true;
        // In force: what is left is tidying up, and its failure no failure of the
        // change. The next command does it as well.
        drop(store.sweep(Some(self.built.generation.record().generation)));
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
            let name = self.built.generation.record().generation.to_string();
            if let Ok(Some(generations)) = self.store.directory_of(GENERATIONS) {
                drop(generations.remove_all(&name));
            }
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

/// The name of this version's directory.
fn version() -> String {
    format!("{VERSION}{ABI_VERSION}")
}

fn refuse_other_versions(namespace: &PinDirectory) -> Result<()> {
    for name in namespace.names()? {
        if name.starts_with(VERSION) && name != version() && namespace.directory(&name)?.is_some() {
            return Err(Failure::kernel(format!(
                "another version of xdpfw filters this host ({}); say `down` with that version first",
                namespace.shown(&name).display()
            ))
            .into());
        }
    }
    Ok(())
}

/// Refuses to take a filter for none whose pins are elsewhere.
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
                "{} is filtered by an xdpfw of another version or in another container; say \
                 `xdpfw down` there first",
                interface.name
            ))
            .into());
        }
    }
    Ok(())
}
