//! The lock that serialises commands.

use std::{
    fs::{self, TryLockError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{Error, runtime};

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
        let file = runtime::lock()?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match attempt(&file) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => {
                    let seconds = PATIENCE.as_secs();
                    return Err(Error::Busy { seconds }.into());
                }
                Err(TryLockError::Error(error)) => {
                    return Err(error).context("cannot lock /run/xdpfw/lock");
                }
            }
        }
    }
}
