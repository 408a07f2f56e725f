//! The traced generation's own words, through aya-log.

use anyhow::{Context as _, Result};
use aya_log::EbpfLogger;
use tokio::io::{Interest, unix::AsyncFd};

/// Hands each line that the program writes to `logger`, until dropped.
///
/// # Errors
///
/// The program is not a traced one, or is gone.
pub async fn follow(program_id: u32, logger: impl log::Log + 'static) -> Result<()> {
    let records = EbpfLogger::init_from_id_with_logger(program_id, logger)
        .context("cannot follow the program's log")?;
    // SAFETY: the logger owns its ring buffer's descriptor and never changes it.
    let mut records = unsafe { AsyncFd::register_with_interest(records, Interest::READABLE) }?;
    loop {
        let mut guard = records.readable_mut().await?;
        guard.get_inner_mut().flush();
        guard.clear_ready();
    }
}
