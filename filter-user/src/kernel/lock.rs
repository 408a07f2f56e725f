//! The lock that commands take turns with.

use std::{
    fs::{self, TryLockError},
    os::unix::fs::OpenOptionsExt as _,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::exit::{Exit, Failure};

/// Outside bpffs, because mounting bpffs is among the things it guards.
const PATH: &str = "/run/xdpfw.lock";
/// How long to wait for another command; the slowest take a second or two.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long to sleep between two tries.
const PAUSE: Duration = Duration::from_millis(5);

/// Held until dropped, or until the process ends however it ends.
#[derive(Debug)]
pub struct Lock {
    _file: fs::File,
}

impl Lock {
    /// Waits until no other command changes anything.
    ///
    /// # Errors
    ///
    /// Another command takes too long, or the lock's file cannot be made.
    pub fn shared() -> Result<Self> {
        Self::wait(fs::File::try_lock_shared)
    }

    /// Waits until no other command runs.
    ///
    /// # Errors
    ///
    /// As for [`Lock::shared`].
    pub fn exclusive() -> Result<Self> {
        Self::wait(fs::File::try_lock)
    }

    fn wait(attempt: impl Fn(&fs::File) -> Result<(), TryLockError>) -> Result<Self> {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(PATH)
            .with_context(|| format!("cannot open the lock {PATH}"))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match attempt(&file) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => {
                    return Err(Failure::new(
                        Exit::Failed,
                        format!(
                            "another xdpfw command has held {PATH} for {} s; see `fuser {PATH}`",
                            PATIENCE.as_secs()
                        ),
                    )
                    .into());
                }
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("cannot lock {PATH}"));
                }
            }
        }
    }
}
