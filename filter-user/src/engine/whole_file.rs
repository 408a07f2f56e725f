//! Replaces a file so that a power cut leaves the old one or the new one whole.

use std::{
    ffi::{OsStr, OsString},
    fs::{File, Permissions},
    io::{self, Write as _},
    os::{
        fd::OwnedFd,
        unix::fs::{PermissionsExt as _, fchown},
    },
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, Stat, fstat, fsync, openat, renameat, unlinkat},
    io::Errno,
};

use crate::system::Place;

/// Who may write any: its owner.
const WRITTEN_BY_OTHERS: u32 = 0o022;

/// A file that is written whole beside the one that it is to replace. Dropped, it is removed.
pub(super) struct Prepared {
    directory: OwnedFd,
    name: OsString,
    temporary: OsString,
}

impl Prepared {
    /// Writes it to the disk. `mode` is for a new one: an old one keeps its owner, and who may
    /// read it.
    ///
    /// It has one name, which the lock keeps to one command: what a killed command left is
    /// replaced by the next.
    pub(super) fn write(place: Place, contents: &[u8], mode: u32) -> io::Result<Self> {
        let (name, old) = (place.name().to_owned(), place.stat());
        let mut temporary = OsString::from(".");
        temporary.push(&name);
        temporary.push(".new");
        let prepared = Self {
            directory: place.directory()?,
            name,
            temporary,
        };
        write_new(
            &prepared.directory,
            &prepared.temporary,
            contents,
            old,
            mode,
        )?;
        Ok(prepared)
    }

    /// Replaces the file: rename, and fsync of the directory. On an error of the former, the
    /// old file is whole.
    pub(super) fn replace(self) -> io::Result<()> {
        renameat(
            &self.directory,
            &self.temporary,
            &self.directory,
            &self.name,
        )?;
        Ok(fsync(&self.directory)?)
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // Not there after a rename.
        let _ = unlinkat(&self.directory, &self.temporary, AtFlags::empty());
    }
}

/// Replaces a file at once.
pub(super) fn write(place: Place, contents: &[u8], mode: u32) -> io::Result<()> {
    Prepared::write(place, contents, mode)?.replace()
}

/// Removes a file.
pub(super) fn remove(place: Place) -> io::Result<()> {
    let name = place.name().to_owned();
    Ok(unlinkat(place.directory()?, name, AtFlags::empty())?)
}

/// Gives a file the owner and the group of an old one, if it has others.
fn keep_owner(file: &File, old: &Stat) -> io::Result<()> {
    let new = fstat(file)?;
    if (new.st_uid, new.st_gid) == (old.st_uid, old.st_gid) {
        return Ok(());
    }
    fchown(file, Some(old.st_uid), Some(old.st_gid)).map_err(|error| {
        let Stat { st_uid, st_gid, .. } = old;
        match error.kind() {
            io::ErrorKind::PermissionDenied => io::Error::new(
                error.kind(),
                format!("to keep its owner {st_uid} and group {st_gid} takes CAP_CHOWN"),
            ),
            _ => error,
        }
    })
}

/// Writes a file that must not exist, to the disk.
fn write_new(
    directory: &OwnedFd,
    name: &OsStr,
    contents: &[u8],
    old: Option<Stat>,
    mode: u32,
) -> io::Result<()> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    // Must not exist, and so is no link.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut file = File::from(openat(directory, name, flags, Mode::from(0o600))?);
    let mode = match old {
        Some(old) => {
            // Whose it is, and who may read it, is the administrator's decision.
            keep_owner(&file, &old)?;
            old.st_mode & 0o777 & !WRITTEN_BY_OTHERS
        }
        None => mode,
    };
    file.set_permissions(Permissions::from_mode(mode))?;
    file.write_all(contents)?;
    file.sync_all()
}
