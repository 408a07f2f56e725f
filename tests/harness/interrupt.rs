//! Handles Ctrl-C so that cleanup still runs: work that checks for it ends by the ordinary
//! way out, and leaves nothing behind.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use anyhow::{Context as _, Result, bail, ensure};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

/// Notes that the user wants the task to end. A second signal ends it at once.
#[derive(Debug)]
pub struct Interrupted(Arc<AtomicBool>);

impl Interrupted {
    /// Does `work`, the part of `task` that makes something; what it makes must go
    /// when it returns.
    pub fn watch<T>(task: &str, work: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        let interrupted = Self::register()?;
        match work(&interrupted) {
            // A signal reaches what we run, too: whatever failed, that is why.
            Err(_) if interrupted.check().is_err() => {
                bail!("interrupted; what the {task} made is removed")
            }
            outcome => outcome,
        }
    }

    fn register() -> Result<Self> {
        let seen = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            flag::register_conditional_shutdown(signal, 128 + signal, seen.clone())
                .and_then(|_| flag::register(signal, seen.clone()))
                .context("cannot handle signals")?;
        }
        Ok(Self(seen))
    }

    /// An error once a signal has come.
    pub fn check(&self) -> Result<()> {
        ensure!(!self.0.load(Ordering::SeqCst), "interrupted");
        Ok(())
    }
}
