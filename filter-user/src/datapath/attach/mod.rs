//! Attaches the filter to interfaces, a module for each kind of attachment.

mod link;
mod refusal;
mod xdp;

pub use self::refusal::Refusal;
pub(super) use self::{
    link::remove as detach,
    xdp::{Dispatchers, attach},
};
use crate::netlink::{Interface, Mode};

/// An interface that the filter is attached to.
#[derive(Clone, Debug)]
pub struct Attached {
    /// The interface.
    pub interface: Interface,
    /// Where its program runs.
    pub mode: Mode,
}
