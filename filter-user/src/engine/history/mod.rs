//! The policies that were in force or saved lately, with who changed what: files that root
//! alone may read, below `/var/lib/xdpfw`.
//!
//! It is written when a change is made, under the same lock, and decides nothing.

mod entry;
mod recording;

use std::{
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Dir, Mode, OFlags, fchmod, fstat, openat},
    io::Errno,
};

pub use self::entry::Entry;
use super::whole_file;
pub use crate::datapath::Change;
use crate::system::{Place, PlaceError, directory, network_namespace_name};

/// Where the histories of all network namespaces are.
const BASE: &str = "/var/lib/xdpfw";
/// Policies that are kept.
const KEPT: usize = 50;
/// Who may use the directory: root.
const DIRECTORY_MODE: u32 = 0o700;
/// Who may read a file in it: root.
pub(super) const MODE: u32 = 0o600;
/// How the names of the files end; in front of it is the number.
const EXTENSION: &str = ".toml";

/// The history of one network namespace.
#[derive(Clone, Debug)]
pub struct History {
    directory: PathBuf,
}

/// Why a policy of the history is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// No change was made yet.
    #[error("no policy is in the history (each change puts one there)")]
    Empty,
    /// There is none of that number.
    #[error("no policy {number} in the history (there are {first} to {last}; see `xdpfw history`)")]
    Unknown {
        /// The number.
        number: u64,
        /// The oldest that there is.
        first: u64,
        /// The newest.
        last: u64,
    },
    /// There is none in front of the first.
    #[error("policy {0} is the first in the history: there is none to go back to")]
    First(u64),
    /// It is something else.
    #[error("{}: no policy of the history (remove the file)", .0.display())]
    Damaged(PathBuf),
    /// It cannot be read, or others may write it.
    #[error(transparent)]
    Place(#[from] PlaceError),
}

impl History {
    /// That of the network namespace that `ip netns` has this name for, or of all without one.
    pub fn of(namespace: Option<&OsStr>) -> Self {
        let base = Path::new(BASE);
        let directory = match namespace {
            Some(name) => base.join("netns").join(name),
            None => base.to_owned(),
        };
        Self { directory }
    }

    /// One in a directory of a test's.
    #[cfg(test)]
    pub(in crate::engine) fn in_directory(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
        }
    }

    /// That of this network namespace: as with policies, one that has a name has its own.
    pub fn own() -> Self {
        Self::of(network_namespace_name().as_deref())
    }

    /// The numbers that there are, the oldest first.
    ///
    /// # Errors
    ///
    /// The directory cannot be read, or others may write it.
    pub fn numbers(&self) -> Result<Vec<u64>, HistoryError> {
        let unreadable = |error: Errno| PlaceError::Unreadable {
            path: self.directory.clone(),
            error: error.into(),
        };
        let opened = match directory(&self.directory) {
            Err(PlaceError::Unreadable { error, .. })
                if error.kind() == io::ErrorKind::NotFound =>
            {
                return Ok(Vec::new());
            }
            opened => opened?,
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = openat(&opened, ".", flags, Mode::empty()).map_err(unreadable)?;
        let mut numbers = Vec::new();
        for entry in Dir::new(opened).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            numbers.extend(entry.file_name().to_str().ok().and_then(number_of));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The policy of this number.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be read.
    pub fn read(&self, number: u64) -> Result<Entry, HistoryError> {
        let path = self.path(number);
        match Place::find(&path)?.read()? {
            Some(bytes) => Entry::from_bytes(number, bytes).ok_or(HistoryError::Damaged(path)),
            None => Err(self.unknown(number)),
        }
    }

    /// Why there is no policy of this number.
    fn unknown(&self, number: u64) -> HistoryError {
        match self.numbers().as_deref() {
            Ok(&[first, .., last] | &[first @ last]) => HistoryError::Unknown {
                number,
                first,
                last,
            },
            Ok([]) => HistoryError::Empty,
            Err(_) => HistoryError::Damaged(self.path(number)),
        }
    }

    /// Writes a policy, whole or not at all, and removes those that are too old. To write the
    /// same once more makes no difference.
    ///
    /// # Errors
    ///
    /// Others may write the directory, or the disk fails.
    pub fn write(&self, entry: &Entry) -> anyhow::Result<()> {
        let path = self.path(entry.number);
        self.prepare()?;
        whole_file::write(Place::find(&path)?, &entry.to_bytes()?, MODE)?;
        let numbers = self.numbers()?;
        let (old, _) = numbers.split_at(numbers.len().saturating_sub(KEPT));
        for &number in old {
            whole_file::remove(Place::find(&self.path(number))?)?;
        }
        Ok(())
    }

    /// Where a file of this network namespace is that is no policy.
    pub(in crate::engine) fn beside(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Makes the directory, and shuts it to all but root.
    ///
    /// # Errors
    ///
    /// Others may write it, or the disk fails.
    pub(in crate::engine) fn prepare(&self) -> anyhow::Result<()> {
        [Path::new(BASE), &self.directory]
            .into_iter()
            .try_for_each(make_private)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number}{EXTENSION}"))
    }
}

/// Makes a directory, and shuts it to all but root.
fn make_private(directory: &Path) -> anyhow::Result<()> {
    // The place of any file in it.
    let opened = Place::find(&directory.join(OsString::from(EXTENSION)))?.directory()?;
    if fstat(&opened)?.st_mode & 0o777 != DIRECTORY_MODE {
        fchmod(&opened, Mode::from(DIRECTORY_MODE))?;
    }
    Ok(())
}

/// The number of the policy whose file has this name.
fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(EXTENSION)?;
    let number = digits.parse().ok()?;
    // There is one name for a number.
    (number > 0 && digits == u64::to_string(&number)).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_number() {
        assert_eq!(number_of("12.toml"), Some(12));
        for name in [
            "012.toml",
            "+1.toml",
            "0.toml",
            ".12.toml.new",
            "12",
            "netns",
        ] {
            assert_eq!(number_of(name), None, "{name}");
        }
    }
}
