//! The socket of a log.

use std::{
    io::ErrorKind,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};

use super::Log;

/// How long a log that has no room is waited for.
const PATIENCE: Duration = Duration::from_millis(250);

/// Sends messages to a path, whoever listens there by then.
#[derive(Debug)]
pub(super) struct Socket {
    socket: UnixDatagram,
    path: PathBuf,
    /// The log had no room: it is waited for no more until it has.
    is_full: bool,
}

impl Socket {
    pub(super) fn open(log: Log, path: &Path) -> Result<Self> {
        let socket = UnixDatagram::unbound().context("cannot make a socket")?;
        socket
            .set_write_timeout(Some(PATIENCE))
            .context("cannot make a socket")?;
        // Only to see that somebody listens: it would end with a restart.
        let tried = UnixDatagram::unbound().and_then(|probe| probe.connect(path));
        tried.map_err(|error| {
            let path = path.display();
            let other = match log {
                Log::Journald => "journald is not running (try --to syslog)",
                Log::Syslog => "no syslog daemon is running (try --to journald)",
            };
            match error.kind() {
                ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                    anyhow!("{path}: nobody listens; {other}")
                }
                _ => anyhow!("cannot send to {path}: {error}"),
            }
        })?;
        Ok(Self {
            socket,
            path: path.to_owned(),
            is_full: false,
        })
    }

    /// Sends a message; `false` if it is not taken.
    pub(super) fn send(&mut self, message: &[u8]) -> bool {
        if self.socket.set_nonblocking(self.is_full).is_err() {
            return false;
        }
        match self.socket.send_to(message, &self.path) {
            Ok(_) => {
                self.is_full = false;
                true
            }
            Err(error) => {
                self.is_full = error.kind() == ErrorKind::WouldBlock;
                false
            }
        }
    }
}
