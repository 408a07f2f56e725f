//! The exit codes, and the error that carries one of them up to `main`.

use std::{fmt, io};

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
    /// A negative answer to a question.
    Negative = 8,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error with the exit code that it calls for.
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

    /// The policy is invalid.
    pub fn policy(message: impl fmt::Display) -> Self {
        Self::new(Exit::Policy, message)
    }

    /// The kernel, a driver or an interface refused.
    pub fn kernel(message: impl fmt::Display) -> Self {
        Self::new(Exit::Kernel, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// The code that an error calls for: its own, or what the system said.
pub fn code_of(error: &anyhow::Error) -> Exit {
    for cause in error.chain() {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return failure.exit;
        }
        if let Some(io) = cause.downcast_ref::<io::Error>()
            && io.kind() == io::ErrorKind::PermissionDenied
        {
            return Exit::Privilege;
        }
    }
    Exit::Failed
}

/// Whether the error is that whoever read our output has seen enough.
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|io| io.kind() == io::ErrorKind::BrokenPipe)
    })
}
