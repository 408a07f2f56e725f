//! The filter of an older version of xdpfw, which this one takes the place of without a gap.

use anyhow::Result;

use super::{DISPATCHERS, LAYOUT, LINKS, Store, egress};
use crate::{
    datapath::{
        Error, Generation,
        attach::{self, EgressHook},
        foreign::{is_in_force, is_older, version, version_name},
        pins::PinDirectory,
        runtime, syscall,
    },
    system,
};

/// What an older version left in force in this network namespace.
#[derive(Debug)]
pub struct Older {
    directory: PinDirectory,
    version: u32,
}

impl Store {
    /// What an older version left in force here.
    ///
    /// # Errors
    ///
    /// The pins cannot be read.
    pub fn older() -> Result<Option<Older>> {
        let Some(root) = runtime::pins()? else {
            return Ok(None);
        };
        let Some(own) = root.directory(&system::network_namespace()?.to_string())? else {
            return Ok(None);
        };
        for name in own.names()? {
            let Some(version) = is_older(&name) else {
                continue;
            };
            let Some(directory) = own.directory(&name)? else {
                continue;
            };
            if directory.directory(LINKS)?.is_none() && is_in_force(&directory, LAYOUT)? {
                let path = own.shown(&name);
                return Err(Error::OldVersion { path }.into());
            }
            return Ok(Some(Older::new(directory, version)));
        }
        Ok(None)
    }

    /// The state that an older version keeps in this directory.
    const fn of_older(directory: PinDirectory) -> Self {
        Self {
            root: None,
            namespace: String::new(),
            directory: Some(directory),
        }
    }

    /// A directory for this version beside that of an older one.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub fn beside_older() -> Result<Self> {
        let root = runtime::mounted_pins()?;
        let namespace = system::network_namespace()?.to_string();
        let own = root.make_directory(&namespace)?;
        Ok(Self {
            directory: Some(own.make_directory(&version())?),
            root: Some(root),
            namespace,
        })
    }

    /// Removes the pins of an older version, and with them what runs nowhere else.
    ///
    /// # Errors
    ///
    /// A pin cannot be removed.
    fn forget(&self, older: u32) -> Result<()> {
        let Some(root) = &self.root else {
            return Ok(());
        };
        if let Some(own) = root.directory(&self.namespace)? {
            own.remove_all(&version_name(older))?;
        }
        root.remove_empty(&self.namespace)
    }
}

impl Older {
    /// The one whose pins are in a directory.
    const fn new(directory: PinDirectory, version: u32) -> Self {
        Self { directory, version }
    }

    /// The version of its state.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// Whether it is on some interface.
    ///
    /// # Errors
    ///
    /// The kernel refuses to tell.
    pub fn is_in_force(&self) -> Result<bool> {
        is_in_force(&self.directory, LAYOUT)
    }

    /// The generation in force, if there is one.
    ///
    /// # Errors
    ///
    /// This version cannot read what that one wrote.
    pub fn generation(&self) -> Result<Option<Generation>> {
        Store::of_older(self.directory.clone())
            .current()
            .map(|current| current.map(|generation| generation.of_version(self.version)))
    }

    /// Has the interfaces run this version's dispatchers instead of its own: each by one store in
    /// its link, so that no packet is unfiltered. What is done already is not done again.
    ///
    /// # Errors
    ///
    /// The kernel refuses; some interfaces are handed over then, and the others are not.
    pub fn hand_over(&self, store: &Store) -> Result<()> {
        let new = store.existing()?;
        // What leaves first, as everywhere.
        EgressHook::new(egress::DISPATCHERS, &self.directory).hand_over(new)?;
        let Some(links) = self.directory.directory(LINKS)? else {
            return Ok(());
        };
        let new_links = new.make_directory(LINKS)?;
        let layer3 = DISPATCHERS.layer3_id(&self.directory)?;
        for name in links.names()? {
            let Some(link) = links.open_pin(&name)? else {
                continue;
            };
            let Some((_, program)) = syscall::xdp_link(&link)? else {
                continue;
            };
            let pin = DISPATCHERS.pin(layer3 == Some(program));
            attach::hand_over(&link, &name, &new.pin(pin), (&links, &new_links))?;
        }
        Ok(())
    }

    /// Takes it off all interfaces, and forgets it.
    ///
    /// # Errors
    ///
    /// A pin cannot be removed.
    pub fn clear(&self, store: &Store) -> Result<()> {
        if let Some(links) = self.directory.directory(LINKS)? {
            for link in links.names()? {
                attach::detach(&links, &link)?;
            }
        }
        EgressHook::new(egress::DISPATCHERS, &self.directory).clear()?;
        store.forget(self.version)
    }

    /// Forgets it, when nothing runs it any more.
    ///
    /// # Errors
    ///
    /// A pin cannot be removed.
    pub fn forget(&self, store: &Store) -> Result<()> {
        store.forget(self.version)
    }
}
