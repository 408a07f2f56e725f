//! Filters of other versions of xdpfw, or of other containers, which must not be taken for
//! none.

use std::io;

use anyhow::Result;
use xdpfw_common::abi::{ABI_VERSION, names};

use super::{
    Error, Stray,
    attach::Dispatchers,
    pins::PinDirectory,
    runtime,
    strays::{has_attached, is_mounted_over},
    syscall,
};
use crate::netlink::interfaces;

/// What the names of versions' directories begin with.
const VERSION: &str = "abi-";

/// Where a version keeps what tells whether it is in force.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// The directory of the links.
    pub(super) links: &'static str,
    /// The programs that they attach.
    pub(super) dispatchers: Dispatchers,
}

/// The name of this version's directory.
pub(super) fn version() -> String {
    version_name(ABI_VERSION)
}

/// The name of a version's directory.
pub(super) fn version_name(version: u32) -> String {
    format!("{VERSION}{version}")
}

/// The version whose directory has this name, if it is older than this one.
pub(super) fn is_older(name: &str) -> Option<u32> {
    let version: u32 = name.strip_prefix(VERSION)?.parse().ok()?;
    (version < ABI_VERSION).then_some(version)
}

/// Refuses to do anything beside the filter of another version.
///
/// # Errors
///
/// The filter of another version is in force, or it cannot be told whether it is.
pub(super) fn refuse_other_versions(namespace: &PinDirectory, layout: Layout) -> Result<()> {
    for (name, home) in other_versions(namespace)? {
        if is_in_force(&home, layout)? {
            let path = namespace.shown(&name);
            return Err(match is_older(&name) {
                Some(_) => Error::OlderVersion { path },
                None => Error::OtherVersion { path },
            }
            .into());
        }
    }
    Ok(())
}

/// Removes the directories of other versions whose filter is on no interface any more: theirs
/// are gone, or they were those of a namespace that had this one's number before.
///
/// # Errors
///
/// A directory cannot be read, or a pin cannot be removed.
pub(super) fn sweep_other_versions(namespace: &PinDirectory, layout: Layout) -> Result<()> {
    for (name, home) in other_versions(namespace)? {
        if !is_in_force(&home, layout)? {
            namespace.remove_all(&name)?;
        }
    }
    Ok(())
}

/// Whether the filter of a version is on some interface, wherever that is.
pub(super) fn is_in_force(home: &PinDirectory, layout: Layout) -> Result<bool> {
    if home.directory(layout.links)?.is_some() {
        return has_attached(home, layout.links);
    }
    // Its links are gone, or elsewhere: then an interface runs its program.
    let programs = layout.dispatchers.ids(home)?;
    let mut running = interfaces()?
        .into_iter()
        .filter_map(|interface| interface.xdp);
    Ok(running.any(|(program, _)| programs.contains(&program)))
}

/// The directories of other versions in a namespace's.
fn other_versions(namespace: &PinDirectory) -> Result<Vec<(String, PinDirectory)>> {
    let mut others = Vec::new();
    for name in namespace.names()? {
        if name.starts_with(VERSION)
            && name != version()
            && let Some(home) = namespace.directory(&name)?
        {
            others.push((name, home));
        }
    }
    Ok(others)
}

/// Refuses to take a filter for none whose pins are elsewhere; warns where that cannot be told.
/// `found` are those that were.
///
/// # Errors
///
/// An interface runs our program.
pub(super) fn refuse_hidden_filter(found: &[Stray]) -> Result<()> {
    let is_found = |index: u32| found.iter().any(|stray| stray.interface.index == index);
    for interface in interfaces()? {
        if is_found(interface.index) {
            continue;
        }
        let Some((id, _)) = interface.xdp else {
            continue;
        };
        let interface = interface.name;
        let ours = match syscall::program_name(id) {
            Ok(name) => name.starts_with(names::DISPATCHER),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                log::warn!(
                    "{}: runs an XDP program (id {id}) that may be a filter of xdpfw's which is out \
                     of sight here; its name takes CAP_SYS_ADMIN to read",
                    interface.escape_debug()
                );
                false
            }
            // It is gone.
            Err(_) => false,
        };
        if ours {
            let path = runtime::pins_path();
            if is_mounted_over(&path) {
                return Err(Error::MountedOver { interface, path }.into());
            }
            return Err(Error::FilteredElsewhere { interface }.into());
        }
    }
    Ok(())
}
