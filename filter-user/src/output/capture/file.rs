//! The files of a capture: made new, and whole whatever fails.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Write as _},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow};
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, ftruncate, open, openat, statat, unlinkat},
    io::Errno,
    process::{Resource, getrlimit},
};

/// How many names are tried for the next file.
const TRIES: usize = 100_000;

/// Where the files of a capture are, and the one that is written.
#[derive(Debug)]
pub(super) struct Place {
    /// It stays the same one, even if it is moved meanwhile.
    directory: OwnedFd,
    path: PathBuf,
    /// The number of the file: 0 for the first one.
    number: u32,
    file: Growing,
}

/// A file that grows by whole pieces.
#[derive(Debug)]
struct Growing {
    file: File,
    shown: String,
    /// Its bytes.
    length: u64,
}

impl Place {
    /// Makes the first file, for root alone, which begins with this.
    pub(super) fn create(path: &Path, header: &[u8]) -> Result<Self> {
        let name = path
            .file_name()
            .filter(|_| !path.as_os_str().as_encoded_bytes().ends_with(b"/"))
            .with_context(|| format!("{}: no name of a file", shown(path)))?;
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = open(parent, flags, Mode::empty())
            .with_context(|| format!("cannot open the directory of {}", shown(path)))?;
        let file = create(&directory, name)
            .map_err(|errno| refusal(&directory, name, errno, &shown(path)))?;
        let file = Growing::begin(file, path, header).inspect_err(|_| remove(&directory, name))?;
        Ok(Self {
            directory,
            path: path.to_owned(),
            number: 0,
            file,
        })
    }

    /// How many bytes the file has.
    pub(super) const fn length(&self) -> u64 {
        self.file.length
    }

    /// Goes on in another file, which begins with this: the one with the next number that no
    /// file has.
    pub(super) fn next(&mut self, header: &[u8]) -> Result<()> {
        let first = self.path.file_name().unwrap_or_default();
        for number in (self.number + 1..).take(TRIES) {
            let name = numbered(first, number);
            let path = self.path.with_file_name(&name);
            let file = match create(&self.directory, &name) {
                Ok(file) => file,
                // That of an earlier capture.
                Err(Errno::EXIST) => continue,
                Err(errno) => return Err(refusal(&self.directory, &name, errno, &shown(&path))),
            };
            self.file = Growing::begin(file, &path, header)
                .inspect_err(|_| remove(&self.directory, &name))?;
            self.number = number;
            return Ok(());
        }
        Err(anyhow!("{}: no number is free", shown(&self.path)))
    }

    /// Writes all of this behind what is there, or nothing.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.append(bytes)
    }
}

impl Growing {
    fn begin(file: File, path: &Path, header: &[u8]) -> Result<Self> {
        let mut new = Self {
            file,
            shown: shown(path),
            length: 0,
        };
        new.append(header)?;
        Ok(new)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let end = self.length + bytes.len() as u64;
        self.write(bytes, end).map_err(|error| {
            // Part of it may be there.
            let state = match ftruncate(&self.file, self.length) {
                Ok(()) => "what was captured before is whole",
                Err(_) => "it breaks off in the middle of a packet",
            };
            anyhow!("cannot write {}: {error}; {state}", self.shown)
        })?;
        self.length = end;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8], end: u64) -> io::Result<()> {
        // Whoever writes beyond it is killed, in the middle.
        let limit = getrlimit(Resource::Fsize).current;
        if limit.is_some_and(|limit| limit < end) {
            return Err(Errno::FBIG.into());
        }
        self.file.write_all(bytes)
    }
}

/// Removes a file that could not even be begun.
fn remove(directory: &OwnedFd, name: &OsStr) {
    // What is wrong is said already.
    let _ = unlinkat(directory, name, AtFlags::empty());
}

/// Makes a file that nothing else may have been: no link is followed, nothing is overwritten.
fn create(directory: &OwnedFd, name: &OsStr) -> Result<File, Errno> {
    let flags = OFlags::WRONLY
        | OFlags::APPEND
        | OFlags::CREATE
        | OFlags::EXCL
        | OFlags::NOFOLLOW
        | OFlags::CLOEXEC;
    openat(directory, name, flags, Mode::from(0o600)).map(File::from)
}

/// The name of the file with this number: `drops.pcapng`, `drops.1.pcapng`, `drops.2.pcapng`.
fn numbered(name: &OsStr, number: u32) -> OsString {
    if number == 0 {
        return name.to_owned();
    }
    let name = Path::new(name);
    let mut numbered = name.file_stem().unwrap_or_default().to_owned();
    numbered.push(format!(".{number}"));
    if let Some(extension) = name.extension() {
        numbered.push(".");
        numbered.push(extension);
    }
    numbered
}

/// Why a file cannot be made, and what to do.
fn refusal(directory: &OwnedFd, name: &OsStr, errno: Errno, shown: &str) -> anyhow::Error {
    if errno != Errno::EXIST {
        return anyhow!(io::Error::from(errno)).context(format!("cannot make {shown}"));
    }
    let there = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
    let kind = there.map(|stat| FileType::from_raw_mode(stat.st_mode));
    match kind {
        Ok(FileType::Directory) => anyhow!("{shown}: is a directory (name a file in it)"),
        Ok(FileType::Symlink) => {
            anyhow!("{shown}: is a symbolic link, which is not followed (name another file)")
        }
        Ok(FileType::RegularFile) => {
            anyhow!("{shown}: is there already, and nothing is overwritten (name another file)")
        }
        _ => anyhow!("{shown}: is there already, and no file (name another one)"),
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string().escape_debug().to_string()
}
