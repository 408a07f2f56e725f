//! The egress half of the filter: its pins, and where it is attached.

use anyhow::Result;
use xdpfw_common::abi::names;

use super::Store;
use crate::{
    datapath::{
        Egress,
        attach::{Dispatchers, EgressHook},
        object::Object,
        pins::PinDirectory,
    },
    netlink::Interface,
};

/// Pin of the program array with the egress half of the generation in force.
pub(super) const CURRENT: &str = "current_egress";
/// Pins of the dispatchers.
pub(super) const DISPATCHERS: Dispatchers = Dispatchers {
    ethernet: "dispatcher_egress",
    layer3: "dispatcher_egress_l3",
};

impl Store {
    /// Attaches the egress half alone, unless it is: to an interface that is filtered
    /// already, or whose packets are only to be answered.
    ///
    /// # Errors
    ///
    /// The interface or the kernel refuses: an [`EgressRefusal`](crate::datapath::EgressRefusal).
    pub fn attach_egress(&self, interface: &Interface) -> Result<Egress> {
        egress_hook(self.existing()?).attach(interface)
    }

    /// How the egress half is attached to an interface, if it is.
    ///
    /// # Errors
    ///
    /// The kernel refuses to tell.
    pub fn egress_on(&self, index: u32) -> Result<Option<Egress>> {
        match &self.directory {
            Some(directory) => egress_hook(directory).on(index),
            None => Ok(None),
        }
    }

    /// Detaches the egress half alone from an interface, or does nothing.
    ///
    /// # Errors
    ///
    /// A pin or filter cannot be removed.
    pub fn detach_egress(&self, index: u32) -> Result<()> {
        match &self.directory {
            Some(directory) => egress_hook(directory).detach(index),
            None => Ok(()),
        }
    }

    /// What gets the packets that leave by an interface before the egress half does, in the
    /// operator's words.
    ///
    /// # Errors
    ///
    /// The kernel refuses to tell.
    pub fn egress_preceded_by(&self, index: u32) -> Result<Option<String>> {
        match &self.directory {
            Some(directory) => egress_hook(directory).preceded_by(index),
            None => Ok(None),
        }
    }
}

/// The egress hooks of the interfaces, with what is pinned in this version's directory.
pub(super) const fn egress_hook(directory: &PinDirectory) -> EgressHook<'_> {
    EgressHook::new(DISPATCHERS, directory)
}

/// Pins the slot, then the programs that read it.
pub(super) fn pin(object: &mut Object, directory: &PinDirectory) -> Result<()> {
    object.pin_map(names::CURRENT_EGRESS, &directory.pin(CURRENT))?;
    for (name, pin) in [
        (names::DISPATCHER_EGRESS_L3, DISPATCHERS.layer3),
        (names::DISPATCHER_EGRESS, DISPATCHERS.ethernet),
    ] {
        object.pin_classifier(name, &directory.pin(pin))?;
    }
    Ok(())
}

/// Removes these pins.
pub(super) fn remove_pins(directory: &PinDirectory) -> Result<()> {
    [DISPATCHERS.ethernet, DISPATCHERS.layer3, CURRENT]
        .iter()
        .try_for_each(|name| directory.remove_all(name))
}
