//! The state of the filter in the kernel: which generation is in force, and on which
//! interfaces. Each change of it happens as a whole or not at all.

mod candidate;
mod counted;
mod egress;
mod listeners;
mod older;
mod stack;

pub use self::{candidate::Candidate, older::Older};
use self::{egress::egress_hook, listeners::LISTENERS};
use super::{
    Attached, Changes, Generation, Probe, Record, Refusal, Rehearsal, Term,
    attach::{self, Dispatchers},
    foreign::{Layout, refuse_hidden_filter, refuse_other_versions, sweep_other_versions, version},
    frags::delivers_frags,
    generation::Legacy,
    object::maker,
    pins::PinDirectory,
    runtime,
    strays::{self, Stray},
};
use crate::{
    compiler::Tables,
    netlink::{Interface, Mode},
    system,
};
use anyhow::{Context as _, Result};

/// Directory of the links, by number of their interface.
const LINKS: &str = "links";
/// Directory of the generations, by their number.
const GENERATIONS: &str = "generations";
/// Pin of the program array with the generation in force.
const CURRENT: &str = "current";
/// Pins of the dispatchers.
const DISPATCHERS: Dispatchers = Dispatchers {
    ethernet: "dispatcher",
    layer3: "dispatcher_l3",
};

/// The same, as every version has it.
const LAYOUT: Layout = Layout {
    links: LINKS,
    dispatchers: DISPATCHERS,
};

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

/// The filter while it is up.
#[derive(Debug)]
pub struct Live {
    /// The generation in force.
    pub generation: Generation,
    /// What judges after its deadline, and so on, up to the one that is there for good.
    pub behind: Vec<Generation>,
    /// What packets still enter by, though its time is over; the last one first.
    pub over: Vec<Generation>,
    /// The interfaces it is attached to, at least one.
    pub attached: Vec<Attached>,
}

impl Store {
    /// The state of this network namespace, whether there is any or not.
    ///
    /// # Errors
    ///
    /// `/proc` cannot be read, or the filter's pins are elsewhere.
    pub fn open() -> Result<Self> {
        let root = runtime::pins()?;
        let namespace = system::network_namespace()?.to_string();
        let own = match &root {
            Some(root) => root.directory(&namespace)?,
            None => None,
        };
        let directory = match &own {
            Some(own) => {
                refuse_other_versions(own, LAYOUT)?;
                own.directory(&version())?
            }
            None => None,
        };
        let store = Self {
            root,
            namespace,
            directory,
        };
        if store.directory.is_none() {
            refuse_hidden_filter(&store.strays()?)?;
        }
        Ok(store)
    }

    /// The same, with bpffs mounted and the directory made.
    ///
    /// # Errors
    ///
    /// No place for pins is to be had, or another version of xdpfw left its filter there.
    pub fn create() -> Result<Self> {
        let root = runtime::mounted_pins()?;
        let namespace = system::network_namespace()?.to_string();
        let own = root.make_directory(&namespace)?;
        refuse_other_versions(&own, LAYOUT)?;
        sweep_other_versions(&own, LAYOUT)?;
        Ok(Self {
            directory: Some(own.make_directory(&version())?),
            root: Some(root),
            namespace,
        })
    }

    /// Whether there is a place for pins: from the first `up` to the `down` of all.
    pub const fn is_made(&self) -> bool {
        self.directory.is_some()
    }

    /// The generation in force, whatever interfaces it is attached to.
    ///
    /// # Errors
    ///
    /// The kernel refuses to tell.
    pub fn current(&self) -> Result<Option<Generation>> {
        Ok(self.stack()?.map(|stack| stack.in_force))
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
        let live = self.stack()?.map(|stack| Live {
            generation: stack.in_force,
            behind: stack.behind,
            over: stack.over,
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
        let (Some(directory), Some(links)) = (&self.directory, self.directory_of(LINKS)?) else {
            return Ok(Vec::new());
        };
        let mut attached = attach::attached(DISPATCHERS, directory, &links)?;
        let egress = egress_hook(directory);
        for one in &mut attached {
            one.egress = egress.on(one.interface.index)?;
        }
        Ok(attached)
    }

    /// Builds a generation from a record and the tables of its policy. It shares the flows of
    /// another one, and the counters of `counters_of`, or begins with none and at zero. With a
    /// `term`, it ends so long after the commit; with a `rehearsal`, a candidate is behind it.
    /// Nothing is in force before [`Candidate::commit`].
    ///
    /// # Errors
    ///
    /// The kernel refuses the program, or there is a generation of this number.
    pub fn build(
        &self,
        record: Record,
        tables: &Tables,
        flows_of: Option<&Generation>,
        counters_of: Option<&Generation>,
        term: Option<Term<'_>>,
        rehearsal: Option<&Rehearsal<'_>>,
    ) -> Result<Candidate<'_>> {
        let record = Record {
            maker: maker(),
            ..record
        };
        let in_force = self.current()?;
        let generations = self.existing()?.make_directory(GENERATIONS)?;
        let name = record.generation.to_string();
        let directory = generations.make_directory(&name)?;
        let legacy = Legacy {
            flows_of,
            counters_of,
            in_force: in_force.as_ref(),
        };
        let built = Generation::build(directory, record, tables, &legacy, term.as_ref(), rehearsal)
            .and_then(|built| {
                built.generation.count_interfaces(&self.attached_names()?)?;
                Ok(built)
            })
            .inspect_err(|_| drop(generations.remove_all(&name)))?;
        Ok(Candidate::new(self, built, term.map(|term| term.lasts)))
    }

    /// Attaches the filter to an interface: first to what leaves, if `egress` says so, then
    /// to what comes in. A generation must be in force. A program of others is replaced if
    /// `replace` says so. Returns what else was changed for it.
    ///
    /// # Errors
    ///
    /// The interface has an XDP program already, or its driver or the kernel refuses one
    /// half. Then nothing is attached: without what left, answers would be lost in silence.
    pub fn attach(
        &self,
        interface: &Interface,
        mode: Mode,
        egress: bool,
        replace: bool,
    ) -> Result<(Attached, Changes)> {
        let index = interface.index;
        let had_egress = self.egress_on(index)?.is_some();
        if egress {
            self.attach_egress(interface)?;
        }
        self.attach_ingress(interface, mode, replace)
            .inspect_err(|_| {
                if !had_egress {
                    // What remains is removed by `clear`.
                    drop(self.detach_egress(index));
                }
            })
    }

    fn attach_ingress(
        &self,
        interface: &Interface,
        mode: Mode,
        replace: bool,
    ) -> Result<(Attached, Changes)> {
        let directory = self.existing()?;
        let links = directory.make_directory(LINKS)?;
        if let Some(stray) = self.stray_on(interface)? {
            return Err(stray.into());
        }
        let joined_late = || self.is_joined_late(interface);
        let changes = attach::attach(
            DISPATCHERS,
            directory,
            &links,
            interface,
            mode,
            replace,
            joined_late,
        )?;
        let shown = self.shown(interface, mode);
        match shown.and_then(|attached| self.count_apart().map(|()| attached)) {
            Ok(attached) => Ok((attached, changes)),
            Err(error) => {
                drop(attach::detach(&links, &interface.index.to_string()));
                drop(changes.put_back());
                Err(error)
            }
        }
    }

    /// What the kernel shows of an interface that the filter was just attached to.
    fn shown(&self, interface: &Interface, mode: Mode) -> Result<Attached> {
        let mut attached = self.attached()?.into_iter();
        attached
            .find(|a| a.interface.index == interface.index && a.mode == mode)
            .with_context(|| {
                format!(
                    "{}: attached, but the kernel does not show it",
                    interface.name
                )
            })
    }

    /// What is in the way if an interface runs the filter of another namespace.
    fn stray_on(&self, interface: &Interface) -> Result<Option<Refusal>> {
        let Some((program, _)) = interface.xdp else {
            return Ok(None);
        };
        let mut strays = self.strays()?.into_iter();
        let stray = strays.find(|stray| stray.interface.index == interface.index);
        Ok(stray.map(|_| Refusal::of_stray(interface, program)))
    }

    /// Whether native mode would take an interface's large packets, had the filter been
    /// brought up with it: the flavour of the program stays what it was then.
    fn is_joined_late(&self, interface: &Interface) -> bool {
        let has_one_buffer = self
            .current()
            .is_ok_and(|current| current.is_some_and(|generation| !generation.record().frags));
        has_one_buffer
            && delivers_frags(interface)
            && Probe::load()
                .and_then(|mut probe| probe.takes_frags())
                .is_ok_and(|yes| yes)
    }

    /// Detaches the filter from an interface, or does nothing.
    ///
    /// # Errors
    ///
    /// A pin cannot be removed.
    pub fn detach(&self, index: u32) -> Result<()> {
        // What leaves is seen as long as what comes in is filtered.
        if let Some(links) = self.directory_of(LINKS)? {
            attach::detach(&links, &index.to_string())?;
        }
        self.detach_egress(index)
    }

    /// Removes everything: detaches all interfaces first, then forgets the
    /// generations and their counters.
    ///
    /// # Errors
    ///
    /// A pin cannot be removed.
    pub fn clear(&self) -> Result<()> {
        let Some(root) = &self.root else {
            return Ok(());
        };
        if let Some(directory) = &self.directory {
            Self::clear_version(directory)?;
        }
        // Also what a command made that was killed before it got any further.
        if let Some(own) = root.directory(&self.namespace)? {
            own.remove_empty(&version())?;
        }
        root.remove_empty(&self.namespace)
    }

    fn clear_version(directory: &PinDirectory) -> Result<()> {
        if let Some(links) = directory.directory(LINKS)? {
            for link in links.names()? {
                attach::detach(&links, &link)?;
            }
        }
        egress_hook(directory).clear()?;
        let Dispatchers { ethernet, layer3 } = DISPATCHERS;
        for name in [LINKS, GENERATIONS, LISTENERS, ethernet, layer3, CURRENT] {
            directory.remove_all(name)?;
        }
        egress::remove_pins(directory)
    }

    /// The interfaces of this namespace that run the filter of another one.
    ///
    /// # Errors
    ///
    /// The kernel refuses to tell.
    pub fn strays(&self) -> Result<Vec<Stray>> {
        match &self.root {
            Some(root) => strays::strays(root, &self.namespace, DISPATCHERS),
            None => Ok(Vec::new()),
        }
    }

    /// Detaches the filter of another namespace from an interface of this one.
    ///
    /// # Errors
    ///
    /// It cannot be told what attaches it, or a pin cannot be removed.
    pub fn detach_stray(&self, stray: &Stray) -> Result<()> {
        stray.detach(LINKS, &egress_hook(stray.home()))
    }

    /// Removes what network namespaces left that are gone, and other versions in this one, unless
    /// an interface is still filtered by it.
    ///
    /// # Errors
    ///
    /// A pin cannot be removed.
    pub fn sweep(&self) -> Result<()> {
        let Some(root) = &self.root else {
            return Ok(());
        };
        strays::sweep(root, &self.namespace, LINKS)?;
        match root.directory(&self.namespace)? {
            Some(own) => sweep_other_versions(&own, LAYOUT),
            None => Ok(()),
        }
    }

    /// How many interfaces the filter is attached to that are in other network namespaces now.
    /// They are filtered until [`Self::clear`].
    ///
    /// # Errors
    ///
    /// The kernel refuses to tell.
    pub fn moved_away(&self) -> Result<usize> {
        let Some(links) = self.directory_of(LINKS)? else {
            return Ok(0);
        };
        let here = self.attached()?.len();
        Ok(strays::attached_pins(&links)?.len().saturating_sub(here))
    }

    /// Forgets links to interfaces that are gone.
    ///
    /// # Errors
    ///
    /// A pin cannot be removed.
    pub fn forget_gone(&self) -> Result<()> {
        if let Some(directory) = &self.directory {
            egress_hook(directory).forget_gone()?;
        }
        let attached = self.attached()?;
        let Some(links) = self.directory_of(LINKS)? else {
            return Ok(());
        };
        for link in links.names()? {
            let mut attached = attached.iter().map(|one| one.interface.index.to_string());
            if attached.all(|alive| alive != link) {
                attach::detach(&links, &link)?;
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

    /// A number above those of all generations.
    ///
    /// # Errors
    ///
    /// The directory cannot be read.
    pub fn next_number(&self) -> Result<u64> {
        let names = match self.directory_of(GENERATIONS)? {
            Some(generations) => generations.names()?,
            None => Vec::new(),
        };
        let numbers = names.iter().filter_map(|name| name.parse::<u64>().ok());
        Ok(numbers.max().unwrap_or_default() + 1)
    }

    /// Removes all generations but these.
    ///
    /// # Errors
    ///
    /// A pin cannot be removed.
    pub fn retain(&self, numbers: &[u64]) -> Result<()> {
        let Some(generations) = self.directory_of(GENERATIONS)? else {
            return Ok(());
        };
        for name in generations.names()? {
            if !numbers.iter().any(|number| number.to_string() == name) {
                generations.remove_all(&name)?;
            }
        }
        Ok(())
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
