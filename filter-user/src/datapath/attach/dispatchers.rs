//! The dispatchers, which stay attached while generations come and go: one for each way in
//! which packets begin.

use anyhow::Result;

use crate::{
    datapath::{Error, pins::PinDirectory},
    netlink::{Interface, LinkLayer},
};

/// The pins of the two dispatchers of a hook.
#[derive(Clone, Copy, Debug)]
pub(in crate::datapath) struct Dispatchers {
    /// For packets with an Ethernet header.
    pub(in crate::datapath) ethernet: &'static str,
    /// For packets that begin with the IP header.
    pub(in crate::datapath) layer3: &'static str,
}

impl Dispatchers {
    /// The pin of the one for an interface.
    ///
    /// # Errors
    ///
    /// Packets of the interface begin with something else.
    pub(super) fn of(self, interface: &Interface) -> Result<&'static str, Error> {
        match interface.link_layer {
            LinkLayer::Ethernet => Ok(self.ethernet),
            LinkLayer::None => Ok(self.layer3),
            LinkLayer::Other(number) => {
                let interface = interface.name.clone();
                Err(Error::LinkLayer { interface, number })
            }
        }
    }

    /// The pin of one of them.
    pub(in crate::datapath) const fn pin(self, is_layer3: bool) -> &'static str {
        if is_layer3 {
            self.layer3
        } else {
            self.ethernet
        }
    }

    /// The kernel's number for the one for packets that begin with the IP header, if it is pinned.
    ///
    /// # Errors
    ///
    /// The kernel refuses to tell.
    pub(in crate::datapath) fn layer3_id(self, directory: &PinDirectory) -> Result<Option<u32>> {
        Ok(directory.program_id(self.layer3)?)
    }

    /// The kernel's numbers for those that are pinned.
    ///
    /// # Errors
    ///
    /// The kernel refuses to tell.
    pub(in crate::datapath) fn ids(self, directory: &PinDirectory) -> Result<Vec<u32>> {
        [self.ethernet, self.layer3]
            .into_iter()
            .filter_map(|pin| directory.program_id(pin).transpose())
            .map(|id| Ok(id?))
            .collect()
    }
}
