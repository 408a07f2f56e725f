//! Owns the writing of an initramfs: a cpio archive in the kernel's `newc` format, made
//! in memory, so that its files belong to root whoever builds it.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Comes first in each header.
const MAGIC: &str = "070701";
/// Headers, names and contents are padded to so many bytes.
const ALIGNMENT: usize = 4;
/// The name that ends an archive.
const TRAILER: &str = "TRAILER!!!";
/// Types of files, in the mode.
const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;

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
    pub(super) fn file(&mut self, path: &Path, permissions: u32, contents: &[u8]) {
        if self.contains(path) {
            return;
        }
        if let Some(parent) = path.parent() {
            self.directory(parent);
        }
        self.entry(path, REGULAR | permissions, contents);
    }

    /// Adds a directory at an absolute path, and those it lies in.
    pub(super) fn directory(&mut self, path: &Path) {
        for directory in path.ancestors().collect::<Vec<_>>().into_iter().rev() {
            if directory.parent().is_some() && !self.contains(directory) {
                self.entry(directory, DIRECTORY | 0o755, &[]);
            }
        }
    }

    pub(super) fn contains(&self, path: &Path) -> bool {
        self.paths.contains(path)
    }

    /// The whole archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.header(TRAILER, 0, 0, 0);
        self.bytes
    }

    fn entry(&mut self, path: &Path, mode: u32, contents: &[u8]) {
        self.paths.insert(path.to_owned());
        let name = path.to_string_lossy();
        let name = name.trim_start_matches('/');
        self.header(name, self.paths.len(), mode, contents.len());
        self.bytes.extend(contents);
        self.pad();
    }

    fn header(&mut self, name: &str, inode: usize, mode: u32, size: usize) {
        let name_size = name.len() + 1;
        // Inode, mode, owner, group, links, time, size, four device numbers, size of the
        // name with its final zero, checksum.
        let fields = [
            inode,
            mode as usize,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            0,
            0,
            name_size,
            0,
        ];
        self.bytes.extend(MAGIC.as_bytes());
        for field in fields {
            self.bytes.extend(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.pad();
    }

    fn pad(&mut self) {
        let len = self.bytes.len().next_multiple_of(ALIGNMENT);
        self.bytes.resize(len, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_bring_their_directories_once() {
        let mut archive = Archive::default();
        archive.file("/a/b/one".as_ref(), 0o644, b"12345");
        archive.file("/a/two".as_ref(), 0o755, b"");
        archive.file("/a/two".as_ref(), 0o755, b"again");
        let bytes = archive.finish();
        assert!(bytes.len().is_multiple_of(ALIGNMENT));
        assert_eq!(
            listed(&bytes),
            [
                ("a".into(), 0o040_755, vec![]),
                ("a/b".into(), 0o040_755, vec![]),
                ("a/b/one".into(), 0o100_644, b"12345".to_vec()),
                ("a/two".into(), 0o100_755, vec![]),
                (TRAILER.into(), 0, vec![]),
            ]
        );
    }

    /// Reads an archive as the kernel does.
    fn listed(mut bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        const HEADER: usize = 110;
        let mut files = Vec::new();
        while !bytes.is_empty() {
            assert_eq!(&bytes[..MAGIC.len()], MAGIC.as_bytes());
            let field = |index: usize| {
                let text = std::str::from_utf8(&bytes[6 + 8 * index..][..8]).unwrap();
                u32::from_str_radix(text, 16).unwrap()
            };
            let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
            let name = std::str::from_utf8(&bytes[HEADER..][..name_size - 1]).unwrap();
            let contents = (HEADER + name_size).next_multiple_of(ALIGNMENT);
            files.push((
                name.to_owned(),
                mode,
                bytes[contents..contents + size].to_vec(),
            ));
            bytes = &bytes[(contents + size).next_multiple_of(ALIGNMENT)..];
        }
        files
    }
}
