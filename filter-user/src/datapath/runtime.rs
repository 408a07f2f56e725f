//! The runtime directory, `/run/xdpfw`: the lock, and a bpffs of our own for the pins.
//!
//! The pins are not in the shared bpffs at `/sys/fs/bpf`: everybody may write there by the
//! kernel's default, `ip netns exec` hides it, and whoever unmounts it or mounts another
//! over it would take the filter off.
//!
//! All of it lives in the mount namespace of init, whatever namespace the command runs in:
//! a mount made in a private one would end with it, and the filter with the mount.

use std::{
    fs::{self, File},
    os::{
        fd::{AsFd, AsRawFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use rustix::{
    fs::{AtFlags, Mode, OFlags, fstat, fstatfs, openat, unlinkat},
    io::Errno,
    mount::{MountFlags, UnmountFlags, mount, unmount},
    thread::{
        CapabilitySet, LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe,
    },
};

use super::{
    Error,
    own_directory::{DIRECTORY, is_own, own_directory},
    pins::PinDirectory,
};
use crate::{
    own_thread::in_own_thread,
    system::{self, Lacking},
};

/// Where the runtime directory is made. Only root may write here, or it is sticky.
const PARENT: &str = "/run";
/// The runtime directory.
const NAME: &str = "xdpfw";
/// The mount point of our bpffs, in the runtime directory.
const PINS: &str = "bpf";
/// The lock's file, in the runtime directory.
const LOCK: &str = "lock";
/// What the kernel puts into each bpffs (`bpf_preload`, kernel/bpf/preload).
const KERNELS: [&str; 2] = ["maps.debug", "progs.debug"];
/// How often the lock is opened where a `down` removes its directory each time.
const TRIES: u32 = 100;
/// `BPF_FS_MAGIC` in linux/magic.h.
const BPFFS: u64 = 0xcafe_4a11;

/// Opens the lock's file.
///
/// # Errors
///
/// The runtime directory cannot be made.
pub(super) fn lock() -> Result<File> {
    in_lasting_mounts(|_| {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut opened = openat(runtime_directory()?, LOCK, flags, Mode::from(0o600));
        for _ in 0..TRIES {
            // A `down` removes the directory in between.
            match opened {
                Err(Errno::NOENT) => {
                    opened = openat(runtime_directory()?, LOCK, flags, Mode::from(0o600));
                }
                _ => break,
            }
        }
        opened
            .map(File::from)
            .with_context(|| format!("cannot open the lock {}", shown(LOCK)))
    })
}

/// Whether a lock's file is the one that others open, too: a `down` may have removed it.
///
/// # Errors
///
/// It cannot be examined.
pub(super) fn is_lock(file: &File) -> Result<bool> {
    let known = file.metadata().context("cannot examine the lock")?;
    let now = in_lasting_mounts(|_| Ok(fs::symlink_metadata(shown(LOCK))))?;
    Ok(now.is_ok_and(|now| (now.dev(), now.ino()) == (known.dev(), known.ino())))
}

/// Removes all that is ours, if no network namespace has pins any more: for whoever holds the lock,
/// and has nothing of it open. What cannot be removed is in nobody's way.
pub(super) fn remove_unused() {
    let removed = in_lasting_mounts(|lasts| {
        let runtime = runtime_directory()?;
        if let Some(pins) = mounted(&runtime)? {
            let pins = PinDirectory::new(pins, shown(PINS).into());
            if !lasts
                || !pins
                    .names()?
                    .iter()
                    .all(|name| KERNELS.contains(&name.as_str()))
            {
                return Ok(());
            }
            drop(pins);
            unmount(shown(PINS), UnmountFlags::NOFOLLOW)?;
        }
        match unlinkat(&runtime, PINS, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        unlinkat(&runtime, LOCK, AtFlags::empty())?;
        let parent = system::directory(PARENT.as_ref())?;
        Ok(unlinkat(parent, NAME, AtFlags::REMOVEDIR)?)
    });
    if let Err(error) = removed {
        log::debug!("{PARENT}/{NAME} stays: {error:#}");
    }
}

/// Opens our bpffs; `None` if it is not mounted.
///
/// # Errors
///
/// The runtime directory cannot be made.
pub(super) fn pins() -> Result<Option<PinDirectory>> {
    let pins = in_lasting_mounts(|_| mounted(&runtime_directory()?))?;
    Ok(pins.map(|pins| PinDirectory::new(pins, shown(PINS).into())))
}

/// Opens our bpffs, which it mounts if need be.
///
/// # Errors
///
/// It cannot be mounted, or would not last.
pub(super) fn mounted_pins() -> Result<PinDirectory> {
    let pins = in_lasting_mounts(|lasts| {
        let runtime = runtime_directory()?;
        if let Some(pins) = mounted(&runtime)? {
            return Ok(pins);
        }
        let path = shown(PINS).into();
        if !Lacking::of(CapabilitySet::SYS_ADMIN).is_nothing() {
            return Err(Error::MountTakesAdmin { path }.into());
        }
        if !lasts {
            return Err(Error::MountWouldEnd { path }.into());
        }
        mount_over(&runtime)
    })?;
    Ok(PinDirectory::new(pins, shown(PINS).into()))
}

/// Whether a file is in a bpffs.
///
/// # Errors
///
/// The kernel refuses to tell.
pub(super) fn is_bpffs(file: &Path) -> Result<bool> {
    Ok(rustix::fs::statfs(file)?.f_type as u64 == BPFFS)
}

/// Whether a file is in our bpffs.
///
/// # Errors
///
/// The kernel refuses to tell.
pub(super) fn is_ours(file: &Path) -> Result<bool> {
    let pins = in_lasting_mounts(|_| mounted(&runtime_directory()?))?;
    let Some(pins) = pins else {
        return Ok(false);
    };
    Ok(fstat(&pins)?.st_dev == rustix::fs::stat(file)?.st_dev)
}

/// Whether our bpffs is mounted, as far as this command sees without a look at anything else.
/// Nothing is made.
pub fn is_mounted() -> bool {
    is_bpffs(&pins_path()).unwrap_or(false)
}

/// Where our bpffs belongs, for messages and to compare.
pub(super) fn pins_path() -> PathBuf {
    shown(PINS).into()
}

fn shown(name: &str) -> String {
    format!("{PARENT}/{NAME}/{name}")
}

/// Opens the runtime directory, which it makes if need be.
fn runtime_directory() -> Result<OwnedFd> {
    let parent = system::directory(PARENT.as_ref())?;
    own_directory(&parent, NAME, &Path::new(PARENT).join(NAME))
}

/// Our bpffs in the runtime directory, if it is mounted.
fn mounted(runtime: &OwnedFd) -> Result<Option<OwnedFd>> {
    match openat(runtime, PINS, DIRECTORY, Mode::empty()) {
        Ok(pins) if fstatfs(&pins)?.f_type as u64 == BPFFS && is_own(&pins)? => Ok(Some(pins)),
        Ok(_) | Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot open {}", shown(PINS))),
    }
}

/// Mounts a bpffs, over whatever is there, and opens it.
fn mount_over(runtime: &OwnedFd) -> Result<OwnedFd> {
    let place = match openat(runtime, PINS, DIRECTORY, Mode::empty()) {
        // A mount point cannot be moved aside, but another file system fits over it.
        Ok(other) if fstatfs(&other)?.f_type as u64 == BPFFS => {
            log::warn!(
                "{}: a bpffs that others may write was mounted there; hidden by our own",
                shown(PINS)
            );
            other
        }
        _ => own_directory(runtime, PINS, shown(PINS).as_ref())?,
    };
    let refused = |errno: Errno| Error::Mount {
        path: shown(PINS).into(),
        errno,
    };
    mount(
        "bpf",
        // The directory itself, wherever its name leads by now.
        format!("/proc/self/fd/{}", place.as_raw_fd()),
        "bpf",
        MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RELATIME,
        Some(c"mode=0700"),
    )
    .map_err(refused)?;
    mounted(runtime)?.with_context(|| format!("{} does not show the new bpffs", shown(PINS)))
}

/// Runs `work` where mounts last: in the mount namespace of init, or of the outermost
/// process that led to this one where init's is hidden. `work` gets whether such a
/// namespace was found.
fn in_lasting_mounts<T: Send>(work: impl FnOnce(bool) -> Result<T> + Send) -> Result<T> {
    let own = namespace_of("self");
    let lasting = [1]
        .into_iter()
        .chain(system::ancestors().into_iter().rev())
        .find_map(|pid| namespace_of(&pid.to_string()));
    let Some((namespace, lasting)) = lasting else {
        return work(false);
    };
    if own.is_some_and(|(_, own)| own == lasting) {
        return work(true);
    }
    let inside = || {
        // SAFETY: what this thread no longer shares with the others is its working
        // directory and its like, which nobody here relies on.
        let entered = unsafe { unshare_unsafe(UnshareFlags::FS) }.and_then(|()| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))
        });
        match entered {
            Ok(()) => work(true),
            // It takes CAP_SYS_ADMIN; what is mounted in init's may well be seen from here.
            Err(Errno::PERM) => work(false),
            Err(error) => Err(error).context("cannot enter init's mount namespace"),
        }
    };
    in_own_thread(inside)
}

/// The mount namespace of a process, and what tells it from others.
fn namespace_of(pid: &str) -> Option<(File, (u64, u64))> {
    let file = File::open(Path::new("/proc").join(pid).join("ns/mnt")).ok()?;
    let metadata = file.metadata().ok()?;
    Some((file, (metadata.dev(), metadata.ino())))
}
