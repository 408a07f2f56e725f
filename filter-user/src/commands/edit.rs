//! What every command does that changes the policy: file and kernel change
//! together or not at all.

use anyhow::Result;

use super::{Context, lockout};
use crate::{
    kernel::{Counters, Live, Lock, Store},
    policy::PolicyFile,
    view::Printer,
};

/// The policy file and the kernel's state, for one command alone.
pub(super) struct Edit {
    _lock: Lock,
    pub(super) file: PolicyFile,
    store: Store,
    live: Option<Live>,
}

/// Where a change took effect.
#[derive(Debug)]
pub(super) struct Effect {
    interfaces: Vec<String>,
    changed: bool,
}

impl Effect {
    /// As it follows what was changed: `live on eth0`.
    pub(super) fn describe(&self) -> String {
        if self.interfaces.is_empty() {
            "saved; not up (say `xdpfw up IFACE`)".to_owned()
        } else {
            format!("live on {}", self.interfaces.join(", "))
        }
    }

    /// Names of the interfaces it is live on.
    pub(super) fn interfaces(&self) -> &[String] {
        &self.interfaces
    }

    /// Whether the kernel or the file was touched.
    pub(super) const fn changed(&self) -> bool {
        self.changed
    }
}

impl Edit {
    /// Takes the lock, reads the file, asks the kernel.
    pub(super) fn begin(context: &Context) -> Result<Self> {
        super::require_root()?;
        let lock = Lock::exclusive()?;
        Self::of(lock, context.policy_file()?)
    }

    /// The same with another policy in place of the file's, which may be beyond
    /// reading.
    pub(super) fn replace(read: impl FnOnce() -> Result<PolicyFile>) -> Result<Self> {
        super::require_root()?;
        let lock = Lock::exclusive()?;
        Self::of(lock, read()?)
    }

    fn of(lock: Lock, file: PolicyFile) -> Result<Self> {
        let store = Store::open()?;
        Ok(Self {
            _lock: lock,
            file,
            live: store.live()?,
            store,
        })
    }

    /// Saves the file and puts its policy in force, if the filter is up.
    ///
    /// The generation is built first, then the file is replaced, then the
    /// generation put in force: whatever fails before the last step leaves the
    /// file as it was.
    pub(super) fn finish(&self, force: bool, printer: &mut Printer) -> Result<Effect> {
        let next = self.file.policy();
        let mut effect = Effect {
            interfaces: Vec::new(),
            changed: self.file.is_changed(),
        };
        let Some(live) = &self.live else {
            self.file.save_if_changed()?;
            return Ok(effect);
        };
        let names = live.attached.iter().map(|a| a.interface.name.clone());
        effect.interfaces = names.collect();
        // A swap costs something, and nothing is to be had for it here.
        let in_force = live.generation.record();
        if !in_force.traced && in_force.is_up_to_date(next)? {
            self.file.save_if_changed()?;
            return Ok(effect);
        }
        effect.changed = true;
        if !force {
            lockout::guard(next, Some(&in_force.policy), printer)?;
        }
        let change = self.store.prepare(next, Counters::Keep, false)?;
        let summary = change.describe();
        self.file.save_if_changed()?;
        if let Err(error) = change.make() {
            self.file.restore()?;
            return Err(error);
        }
        printer.detail(|| summary);
        Ok(effect)
    }
}
