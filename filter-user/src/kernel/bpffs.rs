//! The eBPF file system: mounted, and our directory in it, for root's eyes only.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use rustix::{
    fs::statfs,
    mount::{MountFlags, mount},
};
use xdpfw_common::abi::ABI_VERSION;

use crate::{exit::Failure, host};

/// Where bpffs belongs (systemd mounts it there).
const MOUNT_POINT: &str = "/sys/fs/bpf";
/// `BPF_FS_MAGIC` in linux/magic.h.
const MAGIC: u64 = 0xcafe_4a11;

/// The directory of this network namespace, whether it exists or not.
///
/// Each namespace has its own interfaces and sockets, and so its own filter.
pub(super) fn directory() -> Result<PathBuf> {
    Ok(namespace_directory()?.join(format!("abi-{ABI_VERSION}")))
}

fn namespace_directory() -> Result<PathBuf> {
    let namespace = host::network_namespace()?;
    Ok(Path::new(MOUNT_POINT)
        .join("xdpfw")
        .join(namespace.to_string()))
}

/// Makes the directory, mounting bpffs first where it is not.
///
/// # Errors
///
/// bpffs cannot be mounted or would not last, the directory belongs to another
/// user, or another version of xdpfw left its filter in it.
pub(super) fn create() -> Result<PathBuf> {
    if !is_mounted() {
        mount_here()?;
    }
    let directory = directory()?;
    let base = Path::new(MOUNT_POINT).join("xdpfw");
    make(&base)?;
    let metadata = fs::metadata(&base).context("cannot read the pins' directory")?;
    if metadata.uid() != 0 || metadata.mode() & 0o077 != 0 {
        return Err(Failure::kernel(format!(
            "{} is open to other users; remove it, or say `chown 0:0` and `chmod 0700`",
            base.display()
        ))
        .into());
    }
    let namespace = namespace_directory()?;
    make(&namespace)?;
    refuse_other_versions(&namespace, &directory)?;
    make(&directory)?;
    Ok(directory)
}

/// Removes the directory of this namespace, which must have no pins left.
pub(super) fn remove(directory: &Path) -> Result<()> {
    for directory in [Some(directory), directory.parent()].into_iter().flatten() {
        remove_directory(directory)?;
    }
    Ok(())
}

/// Makes a directory that only root may enter.
pub(super) fn make(path: &Path) -> Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("cannot make {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Removes a file or does nothing.
pub(super) fn remove_file(path: &Path) -> Result<()> {
    ignore_missing(fs::remove_file(path), path)
}

/// Removes an empty directory or does nothing.
pub(super) fn remove_directory(path: &Path) -> Result<()> {
    ignore_missing(fs::remove_dir(path), path)
}

/// The entries of a directory, none if it does not exist.
pub(super) fn entries(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", path.display()));
        }
    };
    entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()
        .with_context(|| format!("cannot read {}", path.display()))
}

fn ignore_missing(result: std::io::Result<()>, path: &Path) -> Result<()> {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Whether bpffs is where it belongs, as this process sees it.
pub(super) fn is_mounted() -> bool {
    statfs(MOUNT_POINT).is_ok_and(|fs| fs.f_type as u64 == MAGIC)
}

fn mount_here() -> Result<()> {
    if host::mounts_end_with_this_process() {
        return Err(Failure::kernel(format!(
            "no bpffs at {MOUNT_POINT}, and one mounted in this private mount namespace would end \
             with this command, and the filter with it; say `nsenter --net=/run/netns/NAME` \
             instead of `ip netns exec NAME`"
        ))
        .into());
    }
    mount(
        "bpf",
        MOUNT_POINT,
        "bpf",
        MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RELATIME,
        Some(c"mode=0700"),
    )
    .map_err(|error| {
        Failure::kernel(format!(
            "no bpffs at {MOUNT_POINT}, and it cannot be mounted: {error}"
        ))
        .into()
    })
}

fn refuse_other_versions(namespace: &Path, own: &Path) -> Result<()> {
    for entry in entries(namespace)? {
        if entry != own {
            return Err(Failure::kernel(format!(
                "another version of xdpfw filters this host ({}); say `down` with that version first",
                entry.display()
            ))
            .into());
        }
    }
    Ok(())
}
