//! clsact: a qdisc that has filters of what leaves, for kernels before 6.6. Ours is known by
//! its handle, its name and its program.
//!
//! The qdisc is made if there is none, and removed again only by whoever made it, and only
//! while nobody has a filter in it. A pin says that it was us: the pin is there before the
//! qdisc, so that none is left behind whenever a command is killed.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};

use super::EgressRefusal;
use crate::{
    datapath::{pins::PinDirectory, syscall},
    netlink::{
        Interface,
        traffic::{
            CLSACT, Filter, add_clsact, add_egress_program, egress_filters, filtering_qdisc,
            filtering_qdiscs, first_priority, has_filters, remove_clsact, remove_egress_program,
        },
    },
};

/// Directory of the pins that say whose clsact we made, by number of their interface.
pub(super) const MADE: &str = "clsact";
/// Our filters' handle: "xdpf".
const HANDLE: u32 = u32::from_be_bytes(*b"xdpf");
/// Our filters' name.
const NAME: &str = "xdpfw";

/// Our filters.
pub(super) struct Clsact {
    made: PinDirectory,
    /// The kernel's numbers for the dispatchers.
    programs: Vec<u32>,
}

impl Clsact {
    /// The filters that run one of these programs.
    pub(super) const fn new(made: PinDirectory, programs: Vec<u32>) -> Self {
        Self { made, programs }
    }

    /// The same, where there may be none yet.
    pub(super) fn make(directory: &PinDirectory, programs: Vec<u32>) -> Result<Self> {
        Ok(Self::new(directory.make_directory(MADE)?, programs))
    }

    /// Adds a filter that runs the program, in front of the others. If it cannot be, nothing
    /// is left of the attempt.
    pub(super) fn attach(&self, interface: &Interface, program: &OwnedFd) -> Result<()> {
        let added = self
            .provide_qdisc(interface, program)
            .and_then(|()| add(interface, program));
        if added.is_err() {
            self.detach(interface.index)?;
        }
        added
    }

    /// Whether an interface has our filter.
    pub(super) fn is_on(&self, index: u32) -> Result<bool> {
        let filters = filters(index)?;
        Ok(filters.iter().any(|filter| self.is_ours(filter)))
    }

    /// A filter that gets packets before ours does, in the operator's words.
    pub(super) fn preceded_by(&self, index: u32) -> Result<Option<String>> {
        let filters = filters(index)?;
        let mut before = filters.iter().take_while(|filter| !self.is_ours(filter));
        let first = before.find(|filter| filter.handle != 0);
        Ok(first.map(|filter| format!("a filter of priority {}", filter.priority)))
    }

    /// The interfaces that may have our filter.
    pub(super) fn interfaces() -> Result<Vec<u32>> {
        Ok(filtering_qdiscs()?
            .into_iter()
            .filter(|(_, kind)| kind == CLSACT)
            .map(|(index, _)| index)
            .collect())
    }

    /// Removes our filter, and the qdisc if we made it and it has no other.
    pub(super) fn detach(&self, index: u32) -> Result<()> {
        for filter in filters(index)?.iter().filter(|one| self.is_ours(one)) {
            remove(index, filter)?;
        }
        let pin = index.to_string();
        if !self.made.has(&pin) {
            return Ok(());
        }
        if is_clsact(index)? && !has_filters(index)? {
            match remove_clsact(index) {
                Err(error) if !is_gone(&error) => {
                    return Err(error).context("cannot remove the clsact qdisc");
                }
                _ => {}
            }
        }
        self.made.remove(&pin)
    }

    /// Hands over that we made a qdisc, if we did.
    pub(super) fn hand_over(&self, index: u32, new: &PinDirectory) -> Result<()> {
        let made = new.make_directory(MADE)?;
        let pin = index.to_string();
        if !self.made.has(&pin) {
            return Ok(());
        }
        if !made.has(&pin) {
            // Which program it is does not matter.
            let program = syscall::open_pin(&self.made.pin(&pin))?;
            syscall::pin(program.as_fd(), &made.pin(&pin))?;
        }
        self.made.remove(&pin)
    }

    /// Forgets the qdiscs of interfaces that are gone.
    pub(super) fn forget_all_but(&self, interfaces: &[Interface]) -> Result<()> {
        for name in self.made.names()? {
            if interfaces.iter().all(|one| one.index.to_string() != name) {
                self.made.remove_all(&name)?;
            }
        }
        Ok(())
    }

    /// Makes the clsact qdisc, unless there is one.
    fn provide_qdisc(&self, interface: &Interface, program: &OwnedFd) -> Result<()> {
        let &Interface {
            index, ref name, ..
        } = interface;
        match filtering_qdisc(index)?.as_deref() {
            Some(CLSACT) => return Ok(()),
            Some(other) => return Err(EgressRefusal::of_qdisc(name, other).into()),
            None => {}
        }
        let pin = index.to_string();
        // Left by an interface that had the number before.
        self.made.remove_all(&pin)?;
        syscall::pin(program.as_fd(), &self.made.pin(&pin))
            .with_context(|| format!("cannot pin {}", self.made.shown(&pin).display()))?;
        add_clsact(index).or_else(|error| {
            self.made.remove(&pin)?;
            match error.raw_os_error() {
                // Somebody was faster.
                Some(libc::EEXIST) if is_clsact(index)? => Ok(()),
                _ => Err(EgressRefusal::of_kernel(name, &error).into()),
            }
        })
    }

    fn is_ours(&self, filter: &Filter) -> bool {
        has_our_name(filter)
            && filter
                .program
                .is_some_and(|program| self.programs.contains(&program))
    }
}

/// Adds our filter to a clsact qdisc.
fn add(interface: &Interface, program: &OwnedFd) -> Result<()> {
    let &Interface {
        index, ref name, ..
    } = interface;
    // Unlike links, filters outlive their pins: whoever unmounts our bpffs leaves one.
    for orphan in filters(index)?.iter().filter(|one| has_our_name(one)) {
        remove(index, orphan)?;
    }
    let priority = first_priority(&filters(index)?).unwrap_or(u16::MAX);
    add_egress_program(index, priority, HANDLE, NAME, program.as_fd())
        .map_err(|error| EgressRefusal::of_kernel(name, &error).into())
}

fn remove(index: u32, filter: &Filter) -> Result<()> {
    match remove_egress_program(index, filter.priority, filter.handle) {
        Err(error) if !is_gone(&error) => Err(error).context("cannot remove our filter"),
        _ => Ok(()),
    }
}

fn has_our_name(filter: &Filter) -> bool {
    filter.handle == HANDLE && filter.name.as_deref() == Some(NAME)
}

/// The filters of what leaves; none if another qdisc is where clsact belongs.
fn filters(index: u32) -> Result<Vec<Filter>> {
    match is_clsact(index)? {
        true => egress_filters(index),
        false => Ok(Vec::new()),
    }
}

fn is_clsact(index: u32) -> Result<bool> {
    Ok(filtering_qdisc(index)?.as_deref() == Some(CLSACT))
}

/// Whether the interface is gone, or what was to be removed from it.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENOENT))
}
