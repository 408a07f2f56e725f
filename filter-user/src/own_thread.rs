//! Runs work in a thread of its own, to its end.

use std::thread;

use anyhow::{Context as _, Result};

/// Runs `work` in a thread of its own and returns what that does.
///
/// # Errors
///
/// The system has no room for a thread, or `work` fails.
pub(crate) fn in_own_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .spawn_scoped(scope, work)
            .context("cannot start a thread")?;
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
