//! Directories that only we can write. Whatever else has the name is moved aside: neither
//! obeyed nor in the way.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use anyhow::{Context as _, Result};
use rustix::{
    fs::{Mode, OFlags, RenameFlags, fstat, mkdirat, openat, renameat_with},
    io::Errno,
};

use crate::system::Fault;

/// How to open a directory that must not be anything else, or elsewhere.
pub(super) const DIRECTORY: OFlags = OFlags::DIRECTORY
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Opens a directory that only we can write, which it makes if there is none. Whatever else
/// has the name is moved aside. Its path is for messages alone.
///
/// # Errors
///
/// It cannot be made.
pub(super) fn own_directory(parent: impl AsFd, name: &str, path: &Path) -> Result<OwnedFd> {
    let make = || -> rustix::io::Result<OwnedFd> {
        // Once more if there was something to move.
        for _ in 0..2 {
            match mkdirat(&parent, name, Mode::from(0o700)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
            match openat(&parent, name, DIRECTORY, Mode::empty()) {
                Ok(directory) if is_own(&directory)? => return Ok(directory),
                Ok(_) | Err(Errno::LOOP | Errno::NOTDIR) => {
                    let aside = move_aside(&parent, name)?;
                    log::warn!(
                        "{}: not a directory that only root can write; moved aside, to {aside}",
                        path.display()
                    );
                }
                Err(error) => return Err(error),
            }
        }
        Err(Errno::EXIST)
    };
    make().with_context(|| format!("cannot make {}", path.display()))
}

/// Whether only we can write a directory.
pub(super) fn is_own(directory: &OwnedFd) -> rustix::io::Result<bool> {
    Ok(Fault::of(&fstat(directory)?).is_none())
}

/// Gives what is not ours another name, so that it is neither obeyed nor in the way.
fn move_aside(parent: &impl AsFd, name: &str) -> rustix::io::Result<String> {
    for number in 1..1000 {
        // bpffs wants no dot in a name.
        let aside = format!("{name}-foreign-{number}");
        match renameat_with(parent, name, parent, &aside, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(aside),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Errno::EXIST)
}
