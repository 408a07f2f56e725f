//! Finds a file by a way that only root can change.
//!
//! What root obeys or writes must be root's own. Whoever may write a directory on the way to a
//! file may put another one there, so the way is walked one directory at a time: each component
//! is opened, checked, and gone on from by its descriptor. Links are followed step by step, and
//! must be root's, too.
//!
//! Others obey what they like: nothing is checked unless root asks.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    fs::File,
    io::{self, Read as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::ffi::OsStringExt as _,
    },
    path::{self, Component, Path, PathBuf},
};

use rustix::{
    fs::{
        FileType, Mode, OFlags, ResolveFlags, Stat, fstat, mkdirat, open, openat, openat2,
        readlinkat,
    },
    io::Errno,
    process::geteuid,
};

/// Links that are followed on one way; the kernel's own limit (`MAXSYMLINKS`).
const MAX_LINKS: u32 = 40;
/// How to look at what has a name, without opening what it leads to.
const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// Directories that a file needs: all may look, root alone writes, whatever the umask.
const DIRECTORY_MODE: u32 = 0o755;

/// How others than root may write something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It belongs to another user, of this number.
    Owner(u32),
    /// Its mode lets its group or everybody write.
    Mode,
}

impl Fault {
    /// How others may write what has this owner and mode; `None` if root alone may.
    pub fn of(stat: &Stat) -> Option<Self> {
        match (stat.st_uid, stat.st_mode & 0o022) {
            (0, 0) => None,
            (0, _) => Some(Self::Mode),
            (owner, _) => Some(Self::Owner(owner)),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner(owner) => write!(f, "belongs to user {owner}, not to root"),
            Self::Mode => f.write_str("others than root may write it"),
        }
    }
}

/// Why a file is not to be had by a way that only root can change.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// Others may write a component of the way.
    #[error("{}: {fault}; {} {0}`", path.display(), remedy(*fault, *kind))]
    NotRoots {
        /// The component.
        path: PathBuf,
        /// How.
        fault: Fault,
        /// What it is.
        kind: FileType,
    },
    /// It is a directory, a pipe, a device …
    #[error("{}: not a regular file", path.display())]
    NotAFile {
        /// What it is not.
        path: PathBuf,
    },
    /// A component cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    Unreadable {
        /// The component.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

const fn remedy(fault: Fault, kind: FileType) -> &'static str {
    match (fault, kind) {
        // It may be somebody's home.
        (Fault::Owner(_), FileType::Directory) => "keep the file elsewhere, or say `chown root",
        (Fault::Owner(_), FileType::Symlink) => "say `chown -h root",
        (Fault::Owner(_), _) => "say `chown root",
        (Fault::Mode, _) => "say `chmod go-w",
    }
}

/// Where a file is, or would be.
#[derive(Debug)]
pub struct Place {
    way: Way,
    /// Directories that there are not, behind the way's.
    missing: Vec<OsString>,
    name: OsString,
    /// What is there, not opened for reading; `None` if there is nothing.
    entry: Option<OwnedFd>,
}

impl Place {
    /// Finds it.
    ///
    /// # Errors
    ///
    /// Others than root may write a component, or something is there that is no regular file.
    pub fn find(path: &Path) -> Result<Self, PlaceError> {
        let mut way = Way::begin()?;
        let last = way.walk(path)?;
        match last {
            Last::Directory => Err(PlaceError::NotAFile { path: path.into() }),
            Last::Other { name, entry } => Ok(Self {
                way,
                missing: Vec::new(),
                name,
                entry: Some(entry),
            }),
            Last::Missing { mut names } => {
                let name = names.pop().unwrap_or_default();
                Ok(Self {
                    way,
                    missing: names,
                    name,
                    entry: None,
                })
            }
        }
    }

    /// Its path, without links.
    pub fn path(&self) -> PathBuf {
        let mut path = self.way.path.clone();
        path.extend(&self.missing);
        path.join(&self.name)
    }

    /// Its name in its directory.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// What the file that is there is like; `None` if there is none.
    pub fn stat(&self) -> Option<Stat> {
        fstat(self.entry.as_ref()?).ok()
    }

    /// A path to the very file that was checked, whatever has its name by now; `None` if there
    /// is none. It holds as long as `self`.
    pub fn handle(&self) -> Option<PathBuf> {
        let entry = self.entry.as_ref()?;
        Some(format!("/proc/self/fd/{}", entry.as_raw_fd()).into())
    }

    /// Reads the file; `None` if there is none.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn read(&self) -> Result<Option<Vec<u8>>, PlaceError> {
        self.read_start(usize::MAX)
    }

    /// Reads so many bytes of the file at most; `None` if there is none.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn read_start(&self, most: usize) -> Result<Option<Vec<u8>>, PlaceError> {
        let Some(handle) = self.handle() else {
            return Ok(None);
        };
        let read = || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            File::open(&handle)?
                .take(most as u64)
                .read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map(Some).map_err(|error| PlaceError::Unreadable {
            path: self.path(),
            error,
        })
    }

    /// Opens its directory, which it makes if there is none.
    ///
    /// # Errors
    ///
    /// It cannot be made, or others got there first.
    pub fn directory(mut self) -> io::Result<OwnedFd> {
        for name in &self.missing {
            match mkdirat(&self.way.directory, name, Mode::from(DIRECTORY_MODE)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            if !matches!(self.way.step(name), Ok(Step::Into)) {
                return Err(Errno::NOTDIR.into());
            }
        }
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(openat(&self.way.directory, ".", flags, Mode::empty())?)
    }
}

/// Opens a directory that only root can change, or move.
///
/// # Errors
///
/// Others may write a component, or there is no such directory.
pub fn directory(path: &Path) -> Result<OwnedFd, PlaceError> {
    let mut way = Way::begin()?;
    match way.walk(path)? {
        Last::Directory => Ok(way.directory),
        Last::Other { .. } => Err(unreadable(path, Errno::NOTDIR)),
        Last::Missing { .. } => Err(unreadable(path, Errno::NOENT)),
    }
}

/// A way from the root directory, as far as it has been walked.
#[derive(Debug)]
struct Way {
    directory: OwnedFd,
    /// Its path, without links.
    path: PathBuf,
    is_checked: bool,
}

/// What a step leads to.
enum Step {
    /// A directory: the way has gone on.
    Into,
    /// A link to elsewhere.
    Link(PathBuf),
    /// Something else.
    Other(OwnedFd),
    /// Nothing.
    Missing,
}

/// What is at the end of a way.
enum Last {
    Directory,
    Other {
        name: OsString,
        entry: OwnedFd,
    },
    /// Nothing: these names are not there, each in the one before.
    Missing {
        names: Vec<OsString>,
    },
}

impl Way {
    fn begin() -> Result<Self, PlaceError> {
        let root = Path::new("/");
        let flags = LOOK | OFlags::DIRECTORY;
        let directory =
            open(root, flags, Mode::empty()).map_err(|error| unreadable(root, error))?;
        let way = Self {
            directory,
            path: root.to_owned(),
            is_checked: geteuid().is_root(),
        };
        way.check(&way.directory, root)?;
        Ok(way)
    }

    /// Goes on to the end of a path.
    fn walk(&mut self, path: &Path) -> Result<Last, PlaceError> {
        let absolute = path::absolute(path).map_err(|error| PlaceError::Unreadable {
            path: path.to_owned(),
            error,
        })?;
        // The next one last.
        let mut ahead = Vec::new();
        self.turn(&absolute, &mut ahead)?;
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            match self.step(&name)? {
                Step::Into => {}
                Step::Link(_) if links == MAX_LINKS => return Err(unreadable(path, Errno::LOOP)),
                Step::Link(target) => {
                    links += 1;
                    self.turn(&target, &mut ahead)?;
                }
                Step::Other(entry) if ahead.is_empty() => {
                    let stat = fstat(&entry).map_err(|error| unreadable(path, error))?;
                    if !FileType::from_raw_mode(stat.st_mode).is_file() {
                        return Err(PlaceError::NotAFile { path: path.into() });
                    }
                    return Ok(Last::Other { name, entry });
                }
                Step::Other(_) => return Err(unreadable(&self.path.join(name), Errno::NOTDIR)),
                Step::Missing => {
                    let mut names = vec![name];
                    names.extend(ahead.into_iter().rev());
                    if names.iter().any(|name| name == "..") {
                        return Err(unreadable(&self.path.join(&names[0]), Errno::NOENT));
                    }
                    return Ok(Last::Missing { names });
                }
            }
        }
        Ok(Last::Directory)
    }

    /// Puts the components of a path, or of a link's target, in front of what is ahead.
    fn turn(&mut self, path: &Path, ahead: &mut Vec<OsString>) -> Result<(), PlaceError> {
        for component in path.components().rev() {
            match component {
                Component::RootDir => *self = Self::begin()?,
                Component::CurDir | Component::Prefix(_) => {}
                Component::ParentDir | Component::Normal(_) => {
                    ahead.push(component.as_os_str().to_owned());
                }
            }
        }
        Ok(())
    }

    fn step(&mut self, name: &OsStr) -> Result<Step, PlaceError> {
        let mut path = self.path.clone();
        if name == ".." {
            path.pop();
        } else {
            path.push(name);
        }
        let refused = |error| unreadable(&path, error);
        // As a directory first: this mounts what is mounted when it is asked for.
        match openat(
            &self.directory,
            name,
            LOOK | OFlags::DIRECTORY,
            Mode::empty(),
        ) {
            Ok(directory) => {
                self.check(&directory, &path)?;
                (self.directory, self.path) = (directory, path);
                return Ok(Step::Into);
            }
            Err(Errno::NOENT) => return Ok(Step::Missing),
            Err(Errno::NOTDIR) => {}
            Err(error) => return Err(refused(error)),
        }
        let entry = openat(&self.directory, name, LOOK, Mode::empty()).map_err(refused)?;
        let stat = fstat(&entry).map_err(refused)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        // Those that all may write are meant so.
        if kind.is_char_device() || kind.is_block_device() {
            return Err(PlaceError::NotAFile { path });
        }
        self.check(&entry, &path)?;
        if !kind.is_symlink() {
            return Ok(Step::Other(entry));
        }
        // Some links of /proc lead to what no path does: to a pipe, say.
        if let Err(Errno::LOOP) = openat2(
            &self.directory,
            name,
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::NO_MAGICLINKS,
        ) {
            return Err(PlaceError::NotAFile { path });
        }
        let target = readlinkat(&entry, "", Vec::new()).map_err(refused)?;
        let target = OsString::from_vec(target.into_bytes());
        Ok(Step::Link(target.into()))
    }

    /// Refuses what others may write. In a sticky directory they may write, but not touch what
    /// is root's; and what comes next must be.
    fn check(&self, file: &OwnedFd, path: &Path) -> Result<(), PlaceError> {
        if !self.is_checked {
            return Ok(());
        }
        let stat = fstat(file).map_err(|error| unreadable(path, error))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let is_sticky = Mode::from_raw_mode(stat.st_mode).contains(Mode::SVTX);
        match Fault::of(&stat) {
            None => Ok(()),
            // A link's mode means nothing.
            Some(Fault::Mode) if kind.is_symlink() || (kind.is_dir() && is_sticky) => Ok(()),
            Some(fault) => Err(PlaceError::NotRoots {
                path: path.to_owned(),
                fault,
                kind,
            }),
        }
    }
}

fn unreadable(path: &Path, error: Errno) -> PlaceError {
    PlaceError::Unreadable {
        path: path.to_owned(),
        error: error.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use anyhow::Result;

    use super::*;

    #[test]
    fn a_way_has_one_end_whatever_it_is_called() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let top = fs::canonicalize(directory.path())?;
        fs::create_dir(top.join("a"))?;
        fs::write(top.join("a/file"), "text")?;
        symlink("a", top.join("to-a"))?;
        symlink(top.join("to-a/./file"), top.join("a/to-file"))?;
        symlink("not-there", top.join("dangling"))?;
        for (path, end, text) in [
            ("a/file", "a/file", Some("text")),
            ("to-a/../to-a/to-file", "a/file", Some("text")),
            ("a/../a/./../a/file", "a/file", Some("text")),
            ("dangling", "not-there", None),
            ("to-a/new/er/file", "a/new/er/file", None),
        ] {
            let place = Place::find(&top.join(path))?;
            assert_eq!(place.path(), top.join(end), "{path}");
            let read = place.read()?;
            assert_eq!(read.as_deref(), text.map(str::as_bytes), "{path}");
        }
        // From above the root, too.
        let place = Place::find(Path::new("/../../etc/../not-there"))?;
        assert_eq!(place.path(), Path::new("/not-there"));
        Ok(())
    }

    #[test]
    fn what_is_no_file_has_no_place() -> Result<()> {
        let directory = tempfile::tempdir()?;
        let top = directory.path();
        symlink("loop", top.join("loop"))?;
        fs::write(top.join("file"), "")?;
        let (pipe, _writer) = io::pipe()?;
        let pipe = format!("/proc/self/fd/{}", pipe.as_raw_fd());
        for path in [top, &top.join("loop"), "/dev/null".as_ref(), pipe.as_ref()] {
            let found = Place::find(path);
            assert!(
                matches!(found, Err(PlaceError::NotAFile { .. })),
                "{found:?}"
            );
        }
        for path in ["file/below", "not-there/../file", ""] {
            let path = match path {
                "" => PathBuf::new(),
                path => top.join(path),
            };
            let found = Place::find(&path);
            assert!(
                matches!(found, Err(PlaceError::Unreadable { .. })),
                "{found:?}"
            );
        }
        Ok(())
    }
}
