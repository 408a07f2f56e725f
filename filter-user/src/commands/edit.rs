//! Shared by the commands that change the policy: lock, file, commit.

use anyhow::Result;

use super::{Context, require_root};
use crate::{
    engine::{Applied, Engine, PolicyFile},
    output::Printer,
};

/// The policy file and the filter, for one command alone.
pub(super) struct Edit {
    pub(super) file: PolicyFile,
    engine: Engine,
}

impl Edit {
    /// Takes the lock, looks at the kernel, reads the policy file.
    pub(super) fn begin(context: &Context) -> Result<Self> {
        Self::replace(|| context.policy_file())
    }

    /// The same with another policy in place of the file's, which may be beyond
    /// reading.
    pub(super) fn replace(read: impl FnOnce() -> Result<PolicyFile>) -> Result<Self> {
        require_root()?;
        let engine = Engine::exclusive()?;
        Ok(Self {
            file: read()?,
            engine,
        })
    }

    /// Saves the file and puts its policy in force, if the filter is up.
    pub(super) fn commit(&self, force: bool, printer: &mut Printer) -> Result<Applied> {
        let change = self.engine.change(&self.file).guarded(!force);
        let applied = change.commit()?;
        if let Some(summary) = &applied.summary {
            printer.detail(|| summary.clone());
        }
        // Done, but for answers that may be lost in silence.
        for unrecorded in &applied.unrecorded {
            printer.warning(unrecorded);
        }
        Ok(applied)
    }
}

/// Where a change took effect, as it follows what was changed: `live on eth0`.
pub(super) fn describe(applied: &Applied) -> String {
    match applied.interfaces.as_slice() {
        [] => "saved; not up (say `xdpfw up IFACE`)".to_owned(),
        interfaces => format!("live on {}", interfaces.join(", ")),
    }
}
