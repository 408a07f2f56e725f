//! The lock that serialises commands.

use std::{
    fs::{self, TryLockError},
    io::{self, IsTerminal as _},
    os::unix::fs::FileExt as _,
    process, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{Error, runtime};

/// How long to wait for one other command; the slowest take a second or two. A queue may take
/// longer: it moves.
const PATIENCE: Duration = Duration::from_secs(15);
/// After how long somebody at a terminal is told what is waited for. A program that reads
/// what a command says has no use for it.
const SILENCE: Duration = Duration::from_secs(2);
/// How long to sleep between two tries.
const PAUSE: Duration = Duration::from_millis(5);

/// Held until dropped, or until the process ends however it ends.
#[derive(Debug)]
pub struct Lock {
    file: fs::File,
}

impl Lock {
    /// Waits until no other command changes anything.
    ///
    /// # Errors
    ///
    /// Another command takes too long, or the lock's file cannot be made.
    pub fn shared() -> Result<Self> {
        Self::take(fs::File::try_lock_shared)
    }

    /// The same, if it is so already.
    ///
    /// # Errors
    ///
    /// The lock's file cannot be made.
    pub fn shared_at_once() -> Result<Option<Self>> {
        let file = runtime::lock()?;
        match file.try_lock_shared() {
            Ok(()) if runtime::is_lock(&file)? => Ok(Some(Self { file })),
            Ok(()) | Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error).context("cannot lock /run/xdpfw/lock"),
        }
    }

    /// Waits until no other command runs.
    ///
    /// # Errors
    ///
    /// As for [`Lock::shared`].
    pub fn exclusive() -> Result<Self> {
        Self::take(fs::File::try_lock)
    }

    fn take(attempt: impl Fn(&fs::File) -> Result<(), TryLockError>) -> Result<Self> {
        loop {
            let lock = Self::wait(runtime::lock()?, &attempt, PATIENCE)?;
            // Else it was removed meanwhile, and others take another one.
            if runtime::is_lock(&lock.file)? {
                return Ok(lock);
            }
        }
    }

    /// Gives it up, and removes the runtime directory if nothing is in it that anybody needs. The
    /// caller has none of it open.
    pub fn remove_unused(self) {
        runtime::remove_unused();
    }

    fn wait(
        file: fs::File,
        attempt: impl Fn(&fs::File) -> Result<(), TryLockError>,
        patience: Duration,
    ) -> Result<Self> {
        let begin = Instant::now();
        let (mut deadline, mut holder) = (begin + patience, holder(&file).ok());
        let mut is_said = false;
        loop {
            match attempt(&file) {
                Ok(()) => {
                    // By this, those who wait see that the queue moves. If it fails, they
                    // wait less long.
                    drop(file.write_all_at(&process::id().to_ne_bytes(), 0));
                    return Ok(Self { file });
                }
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    thread::sleep(PAUSE);
                    let now = self::holder(&file).ok();
                    if now != holder {
                        (deadline, holder) = (Instant::now() + patience, now);
                    }
                    if !is_said && begin.elapsed() > SILENCE && io::stderr().is_terminal() {
                        log::warn!("waiting for other xdpfw commands; see `fuser /run/xdpfw/lock`");
                        is_said = true;
                    }
                }
                Err(TryLockError::WouldBlock) => {
                    let seconds = patience.as_secs();
                    return Err(Error::Busy { seconds }.into());
                }
                Err(TryLockError::Error(error)) => {
                    return Err(error).context("cannot lock /run/xdpfw/lock");
                }
            }
        }
    }
}

/// The process that got the lock last.
fn holder(file: &fs::File) -> io::Result<[u8; 4]> {
    let mut process = [0; 4];
    file.read_exact_at(&mut process, 0)?;
    Ok(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long those who wait do so for one holder.
    const SHORT: Duration = Duration::from_millis(500);

    /// Takes the lock while another holds it for longer than anybody waits for one holder;
    /// whether that one `moves` as a queue does.
    fn take(moves: bool) -> Result<bool> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("lock");
        let open = || {
            let mut options = fs::File::options();
            options.read(true).write(true).create(true).truncate(false);
            options.open(&path)
        };
        let other = open()?;
        other.lock()?;
        let file = open()?;
        let waiting = thread::spawn(move || Lock::wait(file, fs::File::try_lock, SHORT).is_ok());
        for holder in 0..10_u32 {
            if moves {
                other.write_all_at(&holder.to_ne_bytes(), 0)?;
            }
            thread::sleep(SHORT / 5);
        }
        other.unlock()?;
        Ok(waiting.join().unwrap_or(false))
    }

    #[test]
    fn a_queue_that_moves_is_waited_for_and_one_holder_is_not() -> Result<()> {
        assert!(take(true)?);
        assert!(!take(false)?);
        Ok(())
    }
}
