//! Where a bpffs is mounted, and who may pin there.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// A mounted bpffs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bpffs {
    /// Where it is mounted.
    pub path: PathBuf,
    /// The mode of its root directory, with the sticky bit.
    pub mode: u32,
    /// Who it belongs to.
    pub owner: u32,
}

impl Bpffs {
    /// What is mounted there, if it is a bpffs.
    pub fn at(path: &Path) -> Option<Self> {
        if !bpffs_mounts().iter().any(|mount| mount == path) {
            return None;
        }
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            path: path.to_owned(),
            mode: metadata.mode() & 0o7777,
            owner: metadata.uid(),
        })
    }

    /// Whether others than its owner may pin there.
    pub const fn is_open(&self) -> bool {
        self.mode & 0o022 != 0
    }
}

/// Where a bpffs is mounted, as this process sees it; in order, each once.
pub fn bpffs_mounts() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| {
        // Its fifth field, and the first behind the dash (proc_pid_mountinfo(5)).
        let (front, back) = line.split_once(" - ")?;
        let is_bpf = back.split(' ').next() == Some("bpf");
        is_bpf.then(|| front.split(' ').nth(4).map(PathBuf::from))?
    });
    let mut points: Vec<PathBuf> = points.collect();
    points.sort();
    points.dedup();
    points
}
