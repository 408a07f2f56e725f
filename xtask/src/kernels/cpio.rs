//! Makes an initramfs in memory: a cpio archive whose files belong to root, whoever builds
//! it.

use std::{
    collections::BTreeSet,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use cpio::newc::{Builder, ModeFileType, trailer};

/// An archive in the making.
#[derive(Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    /// What is in it.
    paths: BTreeSet<PathBuf>,
}

impl Archive {
    /// Adds a file at an absolute path, and the directories it lies in. What is there
    /// already stays.
    pub(super) fn file(
        &mut self,
        path: &Path,
        permissions: u32,
        contents: &[u8],
    ) -> io::Result<()> {
        if self.contains(path) {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.directory(parent)?;
        }
        self.entry(path, ModeFileType::Regular, permissions, contents)
    }

    /// Adds a directory at an absolute path, and those it lies in.
    pub(super) fn directory(&mut self, path: &Path) -> io::Result<()> {
        for directory in path.ancestors().collect::<Vec<_>>().into_iter().rev() {
            if directory.parent().is_some() && !self.contains(directory) {
                self.entry(directory, ModeFileType::Directory, 0o755, &[])?;
            }
        }
        Ok(())
    }

    pub(super) fn contains(&self, path: &Path) -> bool {
        self.paths.contains(path)
    }

    /// The whole archive.
    pub(super) fn finish(self) -> io::Result<Vec<u8>> {
        trailer(self.bytes)
    }

    fn entry(
        &mut self,
        path: &Path,
        kind: ModeFileType,
        permissions: u32,
        contents: &[u8],
    ) -> io::Result<()> {
        self.paths.insert(path.to_owned());
        let name = path.to_string_lossy();
        let too_large = |_| io::Error::from(io::ErrorKind::FileTooLarge);
        let mut writer = Builder::new(name.trim_start_matches('/'))
            // Files with one number would be links to the same file.
            .ino(u32::try_from(self.paths.len()).map_err(too_large)?)
            .mode(permissions)
            .set_mode_file_type(kind)
            .write(
                &mut self.bytes,
                u32::try_from(contents.len()).map_err(too_large)?,
            );
        writer.write_all(contents)?;
        writer.finish().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use cpio::newc::Reader;

    use super::*;

    #[test]
    fn files_bring_their_directories_once() -> io::Result<()> {
        let mut archive = Archive::default();
        archive.file("/a/b/one".as_ref(), 0o644, b"12345")?;
        archive.file("/a/two".as_ref(), 0o755, b"")?;
        archive.file("/a/two".as_ref(), 0o755, b"again")?;
        let bytes = archive.finish()?;
        let mut rest = bytes.as_slice();
        let mut files = Vec::new();
        loop {
            let mut file = Reader::new(rest)?;
            if file.entry().is_trailer() {
                break;
            }
            let mut contents = String::new();
            file.read_to_string(&mut contents)?;
            let entry = file.entry();
            files.push((entry.name().to_owned(), entry.mode(), contents));
            rest = file.finish()?;
        }
        let file = |name: &str, mode, contents: &str| (name.to_owned(), mode, contents.to_owned());
        assert_eq!(
            files,
            [
                file("a", 0o040_755, ""),
                file("a/b", 0o040_755, ""),
                file("a/b/one", 0o100_644, "12345"),
                file("a/two", 0o100_755, ""),
            ]
        );
        Ok(())
    }
}
