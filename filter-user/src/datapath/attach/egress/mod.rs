//! Attaches the egress half of the filter to what leaves by an interface: as a TCX link
//! where the kernel has TCX (Linux 6.6), else as a filter in a clsact qdisc.
//!
//! The programs of others stay as they are, and so does what becomes of packets.

mod clsact;
mod refusal;
mod tcx;

use std::fmt;

use anyhow::{Context as _, Result};

pub use self::refusal::EgressRefusal;
pub(in crate::datapath) use self::tcx::has_ingress;
use self::{clsact::Clsact, tcx::Tcx};
use super::Dispatchers;
use crate::{
    datapath::{pins::PinDirectory, syscall},
    netlink::{Interface, interfaces},
};

/// How the egress half is attached to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Egress {
    /// By a TCX link.
    Tcx,
    /// As a filter in the clsact qdisc.
    Clsact,
}

impl Egress {
    /// The user's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

impl fmt::Display for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The egress hooks of the interfaces, and what is pinned for them.
#[derive(Clone, Copy, Debug)]
pub(in crate::datapath) struct EgressHook<'a> {
    dispatchers: Dispatchers,
    /// This version's directory.
    directory: &'a PinDirectory,
}

impl<'a> EgressHook<'a> {
    /// Those whose dispatchers are pinned in this directory.
    pub(in crate::datapath) const fn new(
        dispatchers: Dispatchers,
        directory: &'a PinDirectory,
    ) -> Self {
        Self {
            dispatchers,
            directory,
        }
    }

    /// Attaches the egress half to an interface, unless it is.
    ///
    /// # Errors
    ///
    /// The interface or the kernel refuses: an [`EgressRefusal`].
    pub(in crate::datapath) fn attach(self, interface: &Interface) -> Result<Egress> {
        let pin = self.dispatchers.of(interface)?;
        if let Some(egress) = self.on(interface.index)? {
            return Ok(egress);
        }
        let program = syscall::open_pin(&self.directory.pin(pin))
            .with_context(|| format!("cannot open {}", self.directory.shown(pin).display()))?;
        if Tcx::make(self.directory)?.attach(interface, &program)? {
            return Ok(Egress::Tcx);
        }
        Clsact::make(self.directory, self.ids()?)?.attach(interface, &program)?;
        Ok(Egress::Clsact)
    }

    /// How the egress half is attached to an interface, if it is.
    ///
    /// # Errors
    ///
    /// The kernel refuses to tell.
    pub(in crate::datapath) fn on(self, index: u32) -> Result<Option<Egress>> {
        if let Some(tcx) = self.tcx()?
            && tcx.is_on(index)
        {
            return Ok(Some(Egress::Tcx));
        }
        match self.clsact()? {
            Some(clsact) if clsact.is_on(index)? => Ok(Some(Egress::Clsact)),
            _ => Ok(None),
        }
    }

    /// What gets packets before the egress half of an interface does, and may keep them from
    /// it, in the operator's words.
    ///
    /// # Errors
    ///
    /// The kernel refuses to tell.
    pub(in crate::datapath) fn preceded_by(self, index: u32) -> Result<Option<String>> {
        match self.on(index)? {
            Some(Egress::Tcx) => tcx::preceded_by(index, &self.ids()?),
            Some(Egress::Clsact) => match self.clsact()? {
                Some(clsact) => clsact.preceded_by(index),
                None => Ok(None),
            },
            None => Ok(None),
        }
    }

    /// Detaches the egress half from an interface, or does nothing.
    ///
    /// # Errors
    ///
    /// A pin or filter cannot be removed.
    pub(in crate::datapath) fn detach(self, index: u32) -> Result<()> {
        if let Some(tcx) = self.tcx()? {
            tcx.detach(&index.to_string())?;
        }
        match self.clsact()? {
            Some(clsact) => clsact.detach(index),
            None => Ok(()),
        }
    }

    /// Detaches the egress half from all interfaces, and forgets what is pinned for them.
    ///
    /// # Errors
    ///
    /// A pin or filter cannot be removed.
    pub(in crate::datapath) fn clear(self) -> Result<()> {
        if let Some(tcx) = self.tcx()? {
            for name in tcx.names()? {
                tcx.detach(&name)?;
            }
        }
        if let Some(clsact) = self.clsact()? {
            for index in Clsact::interfaces()? {
                clsact.detach(index)?;
            }
        }
        [tcx::LINKS, clsact::MADE]
            .iter()
            .try_for_each(|name| self.directory.remove_all(name))
    }

    /// Has the interfaces run the dispatchers that are pinned in another directory, and moves there
    /// what is pinned for them. Packets that leave meanwhile are recorded by one or the other.
    ///
    /// # Errors
    ///
    /// The kernel refuses; some interfaces are handed over then.
    pub(in crate::datapath) fn hand_over(self, new: &PinDirectory) -> Result<()> {
        let to = EgressHook::new(self.dispatchers, new);
        if let Some(tcx) = self.tcx()? {
            let layer3 = self.dispatchers.layer3_id(self.directory)?;
            let pin = |program| self.dispatchers.pin(layer3 == Some(program));
            tcx.hand_over(&Tcx::make(new)?, new, pin)?;
        }
        if let Some(clsact) = self.clsact()? {
            let known = interfaces()?;
            for interface in &known {
                if clsact.is_on(interface.index)? {
                    clsact.hand_over(interface.index, new)?;
                    to.attach(interface)?;
                }
            }
        }
        Ok(())
    }

    /// Forgets interfaces that are gone.
    ///
    /// # Errors
    ///
    /// A pin cannot be removed.
    pub(in crate::datapath) fn forget_gone(self) -> Result<()> {
        if let Some(tcx) = self.tcx()? {
            for name in tcx.names()? {
                if !name.parse().is_ok_and(|index| tcx.is_on(index)) {
                    tcx.detach(&name)?;
                }
            }
        }
        match self.clsact()? {
            Some(clsact) => clsact.forget_all_but(&interfaces()?),
            None => Ok(()),
        }
    }

    fn tcx(self) -> Result<Option<Tcx>> {
        Tcx::open(self.directory)
    }

    fn clsact(self) -> Result<Option<Clsact>> {
        // Without its directory there never was a filter of ours, and netlink need not be
        // asked.
        match self.directory.directory(clsact::MADE)? {
            Some(made) => Ok(Some(Clsact::new(made, self.ids()?))),
            None => Ok(None),
        }
    }

    fn ids(self) -> Result<Vec<u32>> {
        self.dispatchers.ids(self.directory)
    }
}
