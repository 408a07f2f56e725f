//! What a command may do, found out before it begins; and which capability is missing where the
//! kernel refuses.

use std::io;

use anyhow::Result;
use rustix::{io::Errno, process::geteuid, thread::CapabilitySet};

use super::{Exit, Failure, code_of, exit::place_error};
use crate::{
    datapath,
    system::{Lacking, PlaceError},
};

/// What the kernel asks of whoever loads programs and attaches them: maps and programs, XDP and
/// traffic control, and that the verifier believes arithmetic on pointers.
const ALL: CapabilitySet = CapabilitySet::BPF
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::PERFMON);
/// What it asks of whoever takes programs off. Linux 5.19 and later open pins for anybody who may
/// read them.
const TO_DETACH: CapabilitySet = CapabilitySet::BPF.union(CapabilitySet::NET_ADMIN);

/// Refuses whoever may not read the state of the filter. Which capability that takes depends on
/// the kernel, so [`named`] says it.
///
/// # Errors
///
/// Not root.
pub(super) fn require_to_read() -> Result<()> {
    require(CapabilitySet::empty())
}

/// Refuses whoever may not take the filter off.
///
/// # Errors
///
/// Not root, or without a capability.
pub(super) fn require_to_detach() -> Result<()> {
    require(TO_DETACH)
}

/// Refuses whoever may not change what is in force.
///
/// # Errors
///
/// Not root, or without a capability.
pub(super) fn require_to_change() -> Result<()> {
    require(ALL)
}

fn require(needed: CapabilitySet) -> Result<()> {
    let user = geteuid();
    let lacking = match is_plain_user() {
        true => Lacking::of(ALL),
        false => Lacking::of(needed),
    };
    if !lacking.is_nothing() {
        return Err(refusal(&missing(lacking)));
    }
    if !user.is_root() {
        // Whatever it may do to files, what it makes would be its own.
        let user = user.as_raw();
        return Err(refusal(&format!(
            "/run/xdpfw and /var/lib/xdpfw belong to root, and this is user {user}; say `sudo xdpfw …`"
        )));
    }
    Ok(())
}

/// Whether this is a user without any of the capabilities.
fn is_plain_user() -> bool {
    !geteuid().is_root() && Lacking::of(ALL).is_all_of(ALL)
}

/// What is missing, and how one gets it.
fn missing(lacking: Lacking) -> String {
    match geteuid().is_root() {
        true => format!(
            "this needs {lacking}, which root lacks here; run it outside of this service or container"
        ),
        false if is_plain_user() => "this needs root; say `sudo xdpfw …`".to_owned(),
        false => format!("this needs {lacking}; say `sudo xdpfw …`"),
    }
}

/// An error with what is missing, where the kernel said no more than that something is not
/// permitted.
pub(super) fn named(error: anyhow::Error) -> anyhow::Error {
    if code_of(&error) != Exit::Privilege || error.is::<Failure>() {
        return error;
    }
    let has = |kind| error.chain().any(|cause| errno(cause) == Some(kind));
    if let Some(datapath::Error::NotPermitted) = error.downcast_ref() {
        return match Lacking::of(ALL) {
            lacking if lacking.is_nothing() => error,
            lacking => refusal(&missing(lacking)),
        };
    }
    let lacking = match has(Errno::PERM) {
        true => Lacking::of(ALL),
        // Root obeys the modes of files without it, and others obey their owners.
        false if has(Errno::ACCESS) => Lacking::of(CapabilitySet::DAC_OVERRIDE),
        false => return error,
    };
    match lacking.is_nothing() {
        true => error,
        false => refusal(&format!("{error:#}; {}", missing(lacking))),
    }
}

fn refusal(message: &str) -> anyhow::Error {
    Failure::new(Exit::Privilege, message).into()
}

/// What the system says, if that is all that an error is.
fn errno(cause: &(dyn std::error::Error + 'static)) -> Option<Errno> {
    if let Some(place) = place_error(cause) {
        return match place {
            PlaceError::Unreadable { error, .. } => Errno::from_io_error(error),
            _ => None,
        };
    }
    match cause.downcast_ref::<io::Error>() {
        Some(error) => Errno::from_io_error(error),
        None => cause.downcast_ref().copied(),
    }
}
