//! What every command does that changes the policy: file and kernel change
//! together or not at all.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{Context, lockout};
use crate::{
    kernel::{Attached, Counters, Lock, Record, Store},
    policy::{Policy, PolicyFile, write_whole},
    view::Printer,
};

/// The policy file and the kernel's state, for one command alone.
pub(super) struct Edit {
    _lock: Lock,
    pub(super) file: PolicyFile,
    saved: Saved,
    store: Store,
    in_force: Option<Record>,
    attached: Vec<Attached>,
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

    /// The same with another file in place of the saved one, which may be
    /// beyond reading.
    pub(super) fn replace(file: PolicyFile) -> Result<Self> {
        super::require_root()?;
        let lock = Lock::exclusive()?;
        Self::of(lock, file)
    }

    fn of(lock: Lock, file: PolicyFile) -> Result<Self> {
        let saved = Saved::read(file.path())?;
        let store = Store::open()?;
        let attached = store.attached()?;
        let in_force = if attached.is_empty() {
            None
        } else {
            store.current()?.map(|current| current.record().clone())
        };
        Ok(Self {
            _lock: lock,
            file,
            saved,
            store,
            in_force,
            attached,
        })
    }

    /// The policy that the kernel follows, if the filter is up.
    pub(super) fn in_force(&self) -> Option<&Policy> {
        self.in_force.as_ref().map(|record| &record.policy)
    }

    /// Saves the file and puts its policy in force, if the filter is up.
    ///
    /// The generation is built first, then the file is replaced, then the
    /// generation put in force: whatever fails before the last step leaves the
    /// file as it was.
    pub(super) fn finish(self, force: bool, printer: &mut Printer) -> Result<Effect> {
        let next = self.file.policy();
        let file_changed = self.saved.differs_from(&self.file);
        let Some(in_force) = &self.in_force else {
            if file_changed {
                self.file.save()?;
            }
            return Ok(Effect {
                interfaces: Vec::new(),
                changed: file_changed,
            });
        };
        let interfaces = self
            .attached
            .iter()
            .map(|attached| attached.interface.name.clone())
            .collect();
        // A swap costs something, and some drivers are disturbed by it: none
        // for nothing.
        let kernel_changes = in_force.traced || !next.same_verdicts(&in_force.policy);
        if kernel_changes {
            if !force {
                lockout::guard(next, Some(&in_force.policy), &lockout::remedy(), printer)?;
            }
            let change = self.store.prepare(next, Counters::Keep, false)?;
            printer.detail(|| change.describe());
            if file_changed && let Err(error) = self.file.save() {
                change.abandon();
                return Err(error);
            }
            if let Err(error) = change.make() {
                if file_changed {
                    self.saved.restore()?;
                }
                return Err(error);
            }
        } else if file_changed {
            self.file.save()?;
        }
        Ok(Effect {
            interfaces,
            changed: file_changed || kernel_changes,
        })
    }
}

/// The policy file as it was before.
struct Saved {
    path: PathBuf,
    contents: Option<Vec<u8>>,
}

impl Saved {
    fn read(path: &Path) -> Result<Self> {
        let contents = match fs::read(path) {
            Ok(contents) => Some(contents),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        Ok(Self {
            path: path.to_owned(),
            contents,
        })
    }

    fn differs_from(&self, file: &PolicyFile) -> bool {
        self.contents.as_deref() != Some(file.text().as_bytes())
    }

    fn restore(&self) -> Result<()> {
        match &self.contents {
            Some(contents) => write_whole(&self.path, contents),
            None => fs::remove_file(&self.path),
        }
        .with_context(|| format!("cannot restore {}", self.path.display()))
    }
}
