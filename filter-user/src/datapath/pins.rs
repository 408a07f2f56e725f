//! Directories of pins. Each is opened once and used by its descriptor, and links in it are
//! never followed. So what others do to paths changes nothing.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    path::PathBuf,
    sync::Arc,
};

use anyhow::{Context as _, Result};
use rustix::{
    fs::{
        AtFlags, Dir, FileType, FlockOperation, Mode, StatxFlags, flock, openat, statat, statx,
        unlinkat,
    },
    io::Errno,
};

use super::{
    own_directory::{DIRECTORY, is_own, own_directory},
    syscall,
};

/// Pin of a generation's program.
pub(super) const PROGRAM: &str = "program";
/// Pin of its egress half, if it has one.
pub(super) const RECORDER: &str = "recorder";
/// Pin of what the generation was made from.
pub(super) const RECORD: &str = "record";
/// Directory of the candidate, in that of the generation in front of it.
pub(super) const SHADOW: &str = "shadow";

/// A directory in our bpffs that only we can write.
#[derive(Clone, Debug)]
pub(super) struct PinDirectory {
    directory: Arc<OwnedFd>,
    /// Its path, for messages alone.
    path: PathBuf,
}

impl PinDirectory {
    /// A directory that was just opened.
    pub(super) fn new(directory: OwnedFd, path: PathBuf) -> Self {
        Self {
            directory: Arc::new(directory),
            path,
        }
    }

    /// Where the kernel finds a pin, or puts it. It holds as long as `self`.
    pub(super) fn pin(&self, name: &str) -> PathBuf {
        format!("/proc/self/fd/{}/{name}", self.directory.as_raw_fd()).into()
    }

    /// The path of what has this name, for messages alone.
    pub(super) fn shown(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether there is a pin of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        statat(&*self.directory, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
    }

    /// Opens a pin; `None` if there is none. It may go at any time where the directory is another
    /// network namespace's, whose commands do not wait for ours.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub(super) fn open_pin(&self, name: &str) -> io::Result<Option<OwnedFd>> {
        // A link is somebody else's, wherever it leads.
        if !self.has(name) {
            return Ok(None);
        }
        match syscall::open_pin(&self.pin(name)) {
            Ok(pin) => Ok(Some(pin)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The kernel's number for the program of a pin, if there is one.
    ///
    /// # Errors
    ///
    /// The kernel refuses, or what is pinned is no program.
    pub(super) fn program_id(&self, name: &str) -> io::Result<Option<u32>> {
        self.open_pin(name)?
            .map(|program| syscall::program_id(&program))
            .transpose()
    }

    /// Marks the directory until the result is dropped, or the process ends however it ends;
    /// `None` if it is marked already. The mark is a lock that nobody waits for.
    ///
    /// # Errors
    ///
    /// It cannot be opened.
    pub(super) fn mark(&self) -> Result<Option<OwnedFd>> {
        self.try_lock(FlockOperation::NonBlockingLockExclusive)
    }

    fn try_lock(&self, operation: FlockOperation) -> Result<Option<OwnedFd>> {
        let lock = || {
            // Locks belong to what was opened: a copy of our descriptor would be the same one.
            let opened = openat(&*self.directory, ".", DIRECTORY, Mode::empty())?;
            match flock(&opened, operation) {
                Ok(()) => Ok(Some(opened)),
                Err(Errno::WOULDBLOCK) => Ok(None),
                Err(error) => Err(error),
            }
        };
        lock().with_context(|| format!("cannot lock {}", self.path.display()))
    }

    /// The names of all that is in it.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        let read = || -> rustix::io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in Dir::read_from(&*self.directory)? {
                let entry = match entry {
                    // The directory itself was removed since it was opened.
                    Err(Errno::NOENT) => break,
                    entry => entry?,
                };
                let name = entry.file_name().to_string_lossy().into_owned();
                if name != "." && name != ".." {
                    names.push(name);
                }
            }
            Ok(names)
        };
        read().with_context(|| format!("cannot read {}", self.path.display()))
    }

    /// The directory of this name, if there is one that only we can write.
    ///
    /// # Errors
    ///
    /// It cannot be opened.
    pub(super) fn directory(&self, name: &str) -> Result<Option<Self>> {
        match self.open(name) {
            Ok(directory) if is_own(&directory)? => {
                Ok(Some(Self::new(directory, self.shown(name))))
            }
            Ok(_) | Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::XDEV) => Ok(None),
            Err(error) => {
                Err(error).with_context(|| format!("cannot open {}", self.shown(name).display()))
            }
        }
    }

    /// The directory of this name, which it makes if need be.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub(super) fn make_directory(&self, name: &str) -> Result<Self> {
        let path = self.shown(name);
        let directory = own_directory(&*self.directory, name, &path)?;
        Ok(Self::new(directory, path))
    }

    /// Removes a pin, or a link to one; does nothing if there is none.
    ///
    /// # Errors
    ///
    /// It cannot be removed.
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        self.unlink(name, AtFlags::empty())
    }

    /// Removes a directory and all that is in it, or whatever else has the name; does
    /// nothing if there is nothing.
    ///
    /// # Errors
    ///
    /// Something in it cannot be removed.
    pub(super) fn remove_all(&self, name: &str) -> Result<()> {
        let directory = match self.open(name) {
            Ok(directory) => Self::new(directory, self.shown(name)),
            Err(Errno::NOENT) => return Ok(()),
            Err(_) => return self.remove(name),
        };
        directory
            .names()?
            .iter()
            .try_for_each(|inner| directory.remove_all(inner))?;
        self.unlink(name, AtFlags::REMOVEDIR)
    }

    /// Removes a directory that is empty; does nothing if it is none.
    ///
    /// # Errors
    ///
    /// It cannot be removed, other than because something is in it.
    pub(super) fn remove_empty(&self, name: &str) -> Result<()> {
        match unlinkat(&*self.directory, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR | Errno::NOTEMPTY) => Ok(()),
            Err(error) => self.not_removed(name, error),
        }
    }

    /// Opens a directory that is here, not where a link leads, nor what is mounted over it.
    ///
    /// Not by `openat2`, which services have to do without that may not set the set-user-ID bit
    /// (`RestrictSUIDSGID=` of systemd), those of udev among them.
    fn open(&self, name: &str) -> rustix::io::Result<OwnedFd> {
        let directory = openat(&*self.directory, name, DIRECTORY, Mode::empty())?;
        match mount_of(&directory)? == mount_of(&self.directory)? {
            true => Ok(directory),
            false => Err(Errno::XDEV),
        }
    }

    fn unlink(&self, name: &str, flags: AtFlags) -> Result<()> {
        match unlinkat(&*self.directory, name, flags) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => self.not_removed(name, error),
        }
    }

    fn not_removed(&self, name: &str, error: Errno) -> Result<()> {
        Err(error).with_context(|| format!("cannot remove {}", self.shown(name).display()))
    }
}

/// The number of the mount that a file was opened in; two mounts of a file system have two.
fn mount_of(file: &OwnedFd) -> rustix::io::Result<u64> {
    Ok(statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?.stx_mnt_id)
}
