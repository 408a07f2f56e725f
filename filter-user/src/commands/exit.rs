//! The exit codes, and which one an error calls for.

use std::{fmt, io};

use rustix::io::Errno;

use crate::{
    datapath,
    engine::{self, FileError, HistoryError, NoCookies, ReviewError},
    system::PlaceError,
};

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or already so.
    Done = 0,
    /// Failed for a reason without a code of its own.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// The policy is invalid.
    Policy = 3,
    /// A privilege is missing.
    Privilege = 4,
    /// The kernel, a driver or an interface refused.
    Kernel = 5,
    /// Refused, because it would lock the operator out.
    Lockout = 6,
    /// A change was not confirmed in time, and is not in force any more.
    WentBack = 7,
    /// A negative answer to a question.
    Negative = 8,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command fails that got no further than its words, with the code that it calls for.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    /// An error with this code and message (one line, lower case, with the remedy).
    pub fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
        }
    }

    /// The command line makes no sense.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// The code that an error calls for. Only here are errors of the layers below given codes.
pub fn code_of(error: &anyhow::Error) -> Exit {
    error
        .chain()
        .find_map(code_of_cause)
        .unwrap_or(Exit::Failed)
}

fn code_of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if let Some(failure) = cause.downcast_ref::<Failure>() {
        return Some(failure.exit);
    }
    if cause.is::<NoCookies>() {
        return Some(Exit::Kernel);
    }
    if let Some(error) = cause.downcast_ref::<engine::Error>() {
        return Some(match error {
            engine::Error::NotUp
            | engine::Error::OtherMode { .. }
            | engine::Error::Swapped { .. }
            | engine::Error::Temporary { .. }
            | engine::Error::NothingPending
            | engine::Error::UnreadList { .. }
            | engine::Error::NothingRehearsed => Exit::Failed,
            engine::Error::NothingToConfirm => Exit::Usage,
            engine::Error::WentBack { .. } => Exit::WentBack,
            engine::Error::NoInterface | engine::Error::Loopback => Exit::Usage,
            engine::Error::UnknownInterface { .. }
            | engine::Error::Unseen { .. }
            | engine::Error::Refused(_)
            | engine::Error::EgressRefused(_)
            | engine::Error::Unfiltered { .. } => Exit::Kernel,
            engine::Error::LockedOut { .. } | engine::Error::PerhapsLockedOut { .. } => {
                Exit::Lockout
            }
            engine::Error::TooComplex(_) => Exit::Policy,
        });
    }
    if let Some(error) = cause.downcast_ref::<datapath::Error>() {
        return Some(match error {
            datapath::Error::NotPermitted
            | datapath::Error::TakesAdmin { .. }
            | datapath::Error::MountTakesAdmin { .. } => Exit::Privilege,
            datapath::Error::Busy { .. } | datapath::Error::TooManyListeners => Exit::Failed,
            _ => Exit::Kernel,
        });
    }
    if let Some(PlaceError::Unreadable { error, .. }) = place_error(cause)
        && error.kind() == io::ErrorKind::PermissionDenied
    {
        return Some(Exit::Privilege);
    }
    if let Some(FileError::Place(_) | FileError::Invalid { .. }) = cause.downcast_ref() {
        return Some(Exit::Policy);
    }
    let kind = match cause.downcast_ref::<Errno>() {
        Some(errno) => errno.kind(),
        None => cause.downcast_ref::<io::Error>()?.kind(),
    };
    (kind == io::ErrorKind::PermissionDenied).then_some(Exit::Privilege)
}

/// Why a file is not to be had, if that is what an error says.
pub(super) fn place_error<'a>(
    cause: &'a (dyn std::error::Error + 'static),
) -> Option<&'a PlaceError> {
    if let Some(FileError::Place(place)) = cause.downcast_ref() {
        return Some(place);
    }
    if let Some(HistoryError::Place(place)) = cause.downcast_ref() {
        return Some(place);
    }
    match cause.downcast_ref() {
        Some(ReviewError::Place(place)) => Some(place),
        _ => cause.downcast_ref(),
    }
}

/// Whether the error is that whoever read our output has seen enough.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|io| io.kind() == io::ErrorKind::BrokenPipe)
    })
}
