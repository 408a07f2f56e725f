//! Fetches a list from a server. What a server answers is read by a process of its own, which may do
//! nothing but that: this program once more, as nobody, without capabilities, and with limits. It
//! writes the answer to a pipe, and what it has to complain of to another one.

mod address;
mod child;
mod client;

use std::{
    io::{self, Write as _},
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::process::CommandExt as _,
    },
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::geteuid,
};
use serde::{Deserialize, Serialize};

pub use self::child::answer;

/// Bytes that a server may answer.
const MAX_FETCHED: u64 = 64 << 20;
/// Bytes of what the child may complain of.
const MAX_COMPLAINT: u64 = 1 << 10;
/// What the child is called.
const NAME: &str = "xdpfw-fetch";
/// The user that it runs as: nobody.
const NOBODY: u32 = 65534;
/// How much longer than the child the parent waits, which gives up by itself.
const GRACE: Duration = Duration::from_secs(5);
/// The variables of the environment that say whose certificates are trusted.
const CERTIFICATES: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

/// What the child is asked for.
#[derive(Debug, Serialize, Deserialize)]
struct Request {
    url: String,
    /// Whether plain HTTP will do.
    insecure: bool,
    /// In how many milliseconds.
    milliseconds: u64,
}

/// Why nothing is fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// What the child says.
    #[error("{0}")]
    Refused(String),
    /// It takes too long.
    #[error("not fetched within {}s (see --timeout)", .0.as_secs())]
    Late(Duration),
    /// It is more than is wanted.
    #[error("it is longer than {} MiB", MAX_FETCHED >> 20)]
    Long,
    /// The child cannot be started, or ends by a signal.
    #[error("cannot fetch it as an unprivileged process")]
    Child(#[from] io::Error),
}

/// Fetches what a URL leads to.
///
/// # Errors
///
/// The server does not answer as it should, not in time, or too much.
pub fn fetch(url: &str, insecure: bool, timeout: Duration) -> Result<Vec<u8>, FetchError> {
    let request = Request {
        url: url.to_owned(),
        insecure,
        milliseconds: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
    };
    let mut child = Running(spawn()?);
    if let Some(mut input) = child.0.stdin.take() {
        // Of a child that is gone, its end tells more.
        let _ = serde_json::to_writer(&mut input, &request);
        let _ = input.flush();
    }
    let deadline = Instant::now() + timeout + GRACE;
    let body = child.read(deadline, timeout)?;
    let (body, complaint) = body;
    let status = child.0.wait()?;
    match status.code() {
        Some(0) => Ok(body),
        Some(_) if !complaint.trim().is_empty() => Err(FetchError::Refused(
            complaint.trim().escape_debug().to_string(),
        )),
        _ => Err(io::Error::other(status.to_string()).into()),
    }
}

fn spawn() -> io::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0(NAME)
        .current_dir("/")
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for name in CERTIFICATES {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    if geteuid().is_root() {
        // Takes all groups and capabilities from it, too.
        command.uid(NOBODY).gid(NOBODY);
    }
    command.spawn()
}

/// A child, which ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// Reads the answer and the complaint, to the end of both.
    fn read(
        &mut self,
        deadline: Instant,
        timeout: Duration,
    ) -> Result<(Vec<u8>, String), FetchError> {
        let (Some(mut out), Some(mut err)) = (self.0.stdout.take(), self.0.stderr.take()) else {
            return Err(io::Error::other("no pipe").into());
        };
        let (mut body, mut complaint) = (Vec::new(), Vec::new());
        let (mut body_ended, mut complaint_ended) = (false, false);
        while !(body_ended && complaint_ended) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(FetchError::Late(timeout));
            }
            let [body_is_there, complaint_is_there] = readable(
                (!body_ended).then(|| out.as_fd()),
                (!complaint_ended).then(|| err.as_fd()),
                left,
            )?;
            if body_is_there {
                body_ended = read_some(&mut out, &mut body)?;
            }
            if complaint_is_there {
                complaint_ended = read_some(&mut err, &mut complaint)?;
            }
            if body.len() as u64 > MAX_FETCHED {
                return Err(FetchError::Long);
            }
            complaint.truncate(MAX_COMPLAINT as usize);
        }
        Ok((body, String::from_utf8_lossy(&complaint).into_owned()))
    }
}

/// Which of two pipes can be read from, or have ended.
fn readable(
    one: Option<BorrowedFd<'_>>,
    other: Option<BorrowedFd<'_>>,
    left: Duration,
) -> io::Result<[bool; 2]> {
    let mut fds: Vec<PollFd<'_>> = [&one, &other]
        .into_iter()
        .flatten()
        .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
        .collect();
    let left = Timespec::try_from(left).map_err(io::Error::other)?;
    match poll(&mut fds, Some(&left)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let mut is_there = fds.iter().map(|fd| !fd.revents().is_empty());
    let mut of = |fd: &Option<BorrowedFd<'_>>| fd.is_some() && is_there.next().unwrap_or(false);
    Ok([of(&one), of(&other)])
}

/// Reads what is there; whether that was the end.
fn read_some(from: &mut impl io::Read, to: &mut Vec<u8>) -> io::Result<bool> {
    const CHUNK: usize = 1 << 16;
    let mut chunk = vec![0; CHUNK];
    let count = from.read(&mut chunk)?;
    to.extend(&chunk[..count]);
    Ok(count == 0)
}
