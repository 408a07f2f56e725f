//! Attaches the filter to interfaces, a module for each kind of attachment.

mod dispatchers;
mod egress;
mod foreign;
mod link;
mod queues;
mod refusal;
mod xdp;

pub(super) use self::{
    dispatchers::Dispatchers,
    egress::{EgressHook, has_ingress},
    link::{hand_over, remove as detach},
    xdp::{attach, attached},
};
pub use self::{
    egress::{Egress, EgressRefusal},
    foreign::{Foreign, Replaced},
    queues::TakenQueues,
    refusal::Refusal,
};
use anyhow::Result;

use crate::netlink::{Interface, Mode};

/// What was changed at an interface for the filter.
#[derive(Debug, Default)]
pub struct Changes {
    /// The program of others that was taken off.
    pub replaced: Option<Replaced>,
    /// The queues that were put in use.
    pub queues: Option<TakenQueues>,
}

impl Changes {
    /// Takes them back. The filter must be off the interface.
    ///
    /// # Errors
    ///
    /// The kernel or the driver refuses.
    pub fn put_back(&self) -> Result<()> {
        // First: the driver refuses once there is a program again.
        let queues = self.queues.as_ref().map_or(Ok(()), TakenQueues::put_back);
        if let Some(replaced) = &self.replaced {
            replaced.put_back()?;
        }
        Ok(queues?)
    }
}

/// An interface that the filter is attached to.
#[derive(Clone, Debug)]
pub struct Attached {
    /// The interface.
    pub interface: Interface,
    /// Where its program runs.
    pub mode: Mode,
    /// How the egress half is attached; `None` if what leaves is not seen.
    pub egress: Option<Egress>,
}
