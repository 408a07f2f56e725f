//! Replaces a file so that a power cut leaves the old one or the new one whole.

use std::{
    fs, io,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::{self, Path, PathBuf},
};

use rustix::process::geteuid;

/// Who may read a new policy: root, and its group.
const MODE: u32 = 0o640;
/// Who may write any: its owner.
const WRITTEN_BY_OTHERS: u32 = 0o022;
/// Links to links that are followed; the kernel's own limit (`MAXSYMLINKS`).
const MAX_LINKS: u32 = 40;

/// Replaces a file: temporary file beside it, fsync, rename, fsync of the
/// directory. On an error the old file is whole.
///
/// The temporary file has one name, which the lock keeps to one command: what a
/// killed command left is replaced by the next.
pub(super) fn write(path: &Path, contents: &[u8]) -> io::Result<()> {
    // Through a link, so that the link stays and its target is replaced, or made.
    let path = real_path(path);
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(directory)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = directory.join(format!(".{name}.new"));
    let written = write_new(&temporary, contents, fs::metadata(&path).ok())
        .and_then(|()| fs::rename(&temporary, &path));
    if written.is_err() {
        // The first error is returned.
        drop(fs::remove_file(&temporary));
    }
    written?;
    fs::File::open(directory)?.sync_all()
}

/// The one path of a file, whatever links lead to it; it need not exist.
pub(super) fn real_path(path: &Path) -> PathBuf {
    let mut path = path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for _ in 0..MAX_LINKS {
        if let Ok(path) = fs::canonicalize(&path) {
            return path;
        }
        // A link may lead to what is not there yet, if it is ours: another's would have us
        // make files wherever they like.
        let is_ours = fs::symlink_metadata(&path)
            .is_ok_and(|link| link.uid() == 0 || link.uid() == geteuid().as_raw());
        let Some(target) = fs::read_link(&path).ok().filter(|_| is_ours) else {
            break;
        };
        path = match path.parent() {
            Some(parent) => parent.join(target),
            None => target,
        };
    }
    match (path.parent().map(fs::canonicalize), path.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => path,
    }
}

/// Writes a file that must not exist, to the disk.
fn write_new(path: &Path, contents: &[u8], old: Option<fs::Metadata>) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let mode = match old {
        Some(old) => {
            // Whose it is, and who may read it, is the administrator's decision.
            fchown(&file, Some(old.uid()), Some(old.gid()))?;
            old.mode() & 0o777 & !WRITTEN_BY_OTHERS
        }
        None => MODE,
    };
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(contents)?;
    file.sync_all()
}
