//! Attaches the filter to interfaces, a module for each kind of attachment.

mod dispatchers;
mod egress;
mod foreign;
mod link;
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
    refusal::Refusal,
};
use crate::netlink::{Interface, Mode};

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
