//! A generation on its way into force.

use std::time::Duration;

use anyhow::Result;
use xdpfw_common::abi::names;

use super::{CURRENT, DISPATCHERS, GENERATIONS, Store, egress};
use crate::datapath::{
    Bans, Deadline, FlowMaps, Generation, PacketProbe, Record, Unsaved, generation::Built, object,
};

/// A generation that is built, and not yet in force. Dropped before it is committed,
/// it is removed again.
#[must_use = "a candidate is nothing until it is committed"]
pub struct Candidate<'a> {
    store: &'a Store,
    built: Built,
    /// How long it is to be in force, if not for good.
    lasts: Option<Duration>,
    committed: bool,
}

impl<'a> Candidate<'a> {
    pub(super) const fn new(store: &'a Store, built: Built, lasts: Option<Duration>) -> Self {
        Self {
            store,
            built,
            lasts,
            committed: false,
        }
    }

    /// Puts the generation in force, for all interfaces at once.
    ///
    /// # Errors
    ///
    /// The kernel refuses; the previous generation is then still in force.
    pub fn commit(mut self) -> Result<Generation> {
        let directory = self.store.existing()?;
        if !directory.has(DISPATCHERS.ethernet) {
            // The first generation brings the dispatchers with it. The slot is
            // pinned before the programs that read it, and last the one that says
            // that all are there.
            directory.remove(CURRENT)?;
            directory.remove(DISPATCHERS.layer3)?;
            egress::remove_pins(directory)?;
            let frags = self.built.generation.record().frags;
            let object = &mut self.built.object;
            egress::pin(object, directory)?;
            object.pin_map(names::CURRENT, &directory.pin(CURRENT))?;
            for (name, pin) in [
                (names::DISPATCHER_L3, DISPATCHERS.layer3),
                (names::DISPATCHER, DISPATCHERS.ethernet),
            ] {
                object.pin_program(&object::flavour(name, frags), &directory.pin(pin))?;
            }
        }
        if let Some(lasts) = self.lasts {
            let deadline = Some(Deadline::after(lasts));
            self.built.generation.set_deadline(deadline)?;
        }
        self.store.enter(&self.built.entry)?;
        self.committed = true;
        // As it is now.
        self.built.generation.reopened()
    }

    /// Has what leaves recorded by it already: the flows of what it rehearses must be complete
    /// when it judges.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn record_ahead(&self) -> Result<()> {
        let slot = self.store.existing()?.pin(egress::CURRENT);
        object::store_program(&slot, 0, self.built.entry.recorder.as_ref())
    }

    /// It, to be filled.
    pub const fn generation(&self) -> &Generation {
        &self.built.generation
    }

    /// The candidate behind it, if it has one.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn shadow(&self) -> Result<Option<Generation>> {
        self.built.generation.shadow()
    }

    /// Notes what is to become of the policy file.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn set_unsaved(&self, unsaved: &Unsaved) -> Result<()> {
        self.built.generation.set_unsaved(unsaved)
    }

    /// Opens its flows.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn flows(&self) -> Result<FlowMaps> {
        self.built.generation.flows()
    }

    /// Opens its bans.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn bans(&self) -> Result<Bans> {
        self.built.generation.bans()
    }

    /// Loads what judges packets as it does, and counts nothing.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn probe(&mut self) -> Result<PacketProbe> {
        PacketProbe::of(&mut self.built.object)
    }

    /// What it is made from.
    pub const fn record(&self) -> &Record {
        self.built.generation.record()
    }

    /// Its size in a line, for those who want to know.
    pub fn summary(&self) -> &str {
        &self.built.summary
    }
}

impl Drop for Candidate<'_> {
    fn drop(&mut self) {
        if !self.committed {
            // What remains is removed by the next change.
            let name = self.built.generation.record().generation.to_string();
            if let Ok(Some(generations)) = self.store.directory_of(GENERATIONS) {
                drop(generations.remove_all(&name));
            }
        }
    }
}
