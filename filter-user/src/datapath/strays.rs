//! Filters of other network namespaces that came here with their interface, and what dead
//! namespaces left.
//!
//! A link keeps its program on an interface that moves to another namespace, or that goes
//! back to the first one when its namespace dies. Its pins stay where they were made.

use std::{collections::HashSet, path::Path};

use anyhow::{Context as _, Result};

use super::{
    Error,
    attach::{self, Dispatchers, EgressHook},
    pins::PinDirectory,
    syscall,
};
use crate::{
    netlink::{Interface, interfaces},
    system,
};

/// An interface of this network namespace that runs the filter of another one.
#[derive(Debug)]
pub struct Stray {
    /// The interface.
    pub interface: Interface,
    /// Whether no process and no name keeps the namespace that it came up in, as far as is known.
    pub is_orphan: bool,
    /// The directory of the version that attached it.
    home: PinDirectory,
}

/// The strays among the interfaces of this namespace.
///
/// # Errors
///
/// The kernel refuses to tell.
pub(super) fn strays(
    root: &PinDirectory,
    own: &str,
    dispatchers: Dispatchers,
) -> Result<Vec<Stray>> {
    let mut running: Vec<Interface> = interfaces()?;
    running.retain(|interface| interface.xdp.is_some());
    if running.is_empty() {
        return Ok(Vec::new());
    }
    let mut strays = Vec::new();
    let alive = Alive(system::network_namespaces());
    for (namespace, home) in homes(root, own)? {
        let ids = dispatchers.ids(&home)?;
        for interface in &running {
            if interface.xdp.is_some_and(|(id, _)| ids.contains(&id)) {
                strays.push(Stray {
                    interface: interface.clone(),
                    is_orphan: !alive.has(&namespace),
                    home: home.clone(),
                });
            }
        }
    }
    Ok(strays)
}

impl Stray {
    /// Detaches it, both halves.
    ///
    /// # Errors
    ///
    /// No link of ours, or more than one, may be what keeps it attached.
    pub(super) fn detach(&self, links: &str, egress: &EgressHook<'_>) -> Result<()> {
        let Interface {
            index, name, xdp, ..
        } = &self.interface;
        let missing = || {
            let interface = name.clone();
            Error::NoLinkOfStray { interface }
        };
        let pins = self.home.directory(links)?.with_context(missing)?;
        let mut of_interface = Vec::new();
        for pin in pins.names()? {
            let Some(link) = pins.open_pin(&pin)? else {
                continue;
            };
            let info = syscall::xdp_link(&link)?;
            if info.is_some_and(|(on, program)| {
                on == *index && xdp.is_some_and(|(id, _)| id == program)
            }) {
                of_interface.push(pin);
            }
        }
        // Numbers of interfaces are those of their namespaces: two may have the same one.
        let [pin] = of_interface.as_slice() else {
            return Err(missing().into());
        };
        attach::detach(&pins, pin)?;
        // What leaves was attached under the same number.
        match pin.parse() {
            Ok(pinned_as) => egress.detach(pinned_as),
            Err(_) => Ok(()),
        }
    }

    /// The directory of the version that attached it.
    pub(super) const fn home(&self) -> &PinDirectory {
        &self.home
    }
}

/// Removes the directories of network namespaces that are gone and whose filter is on no
/// interface any more.
///
/// # Errors
///
/// A pin cannot be removed.
pub(super) fn sweep(root: &PinDirectory, own: &str, links: &str) -> Result<()> {
    let mut others = root.names()?;
    others.retain(|name| name != own && name.bytes().all(|byte| byte.is_ascii_digit()));
    if others.is_empty() {
        return Ok(());
    }
    let alive = Alive(system::network_namespaces());
    for name in others {
        if alive.has(&name) {
            continue;
        }
        let Some(namespace) = root.directory(&name)? else {
            continue;
        };
        let mut is_attached = false;
        for version in namespace.names()? {
            if let Some(home) = namespace.directory(&version)? {
                is_attached |= has_attached(&home, links)?;
            }
        }
        if !is_attached {
            root.remove_all(&name)?;
        }
    }
    Ok(())
}

/// Whether a link is attached to an interface, wherever that is.
pub(super) fn has_attached(home: &PinDirectory, links: &str) -> Result<bool> {
    Ok(match home.directory(links)? {
        Some(pins) => !attached_pins(&pins)?.is_empty(),
        None => false,
    })
}

/// The pins of those links that are attached to an interface, wherever that is.
pub(super) fn attached_pins(links: &PinDirectory) -> Result<Vec<String>> {
    let mut attached = Vec::new();
    for pin in links.names()? {
        let Some(link) = links.open_pin(&pin)? else {
            continue;
        };
        if syscall::xdp_link(&link)?.is_some_and(|(on, _)| on != 0) {
            attached.push(pin);
        }
    }
    Ok(attached)
}

/// The network namespaces that are there; `None` if that is not known.
struct Alive(Option<HashSet<u64>>);

impl Alive {
    /// Whether the one with a directory of this name may be there.
    fn has(&self, name: &str) -> bool {
        let Some(numbers) = &self.0 else {
            return true;
        };
        name.parse().is_ok_and(|number| numbers.contains(&number))
    }
}

/// The directories of all versions in all namespaces but this one.
fn homes(root: &PinDirectory, own: &str) -> Result<Vec<(String, PinDirectory)>> {
    let mut homes = Vec::new();
    for name in root.names()? {
        if name == own {
            continue;
        }
        let Some(namespace) = root.directory(&name)? else {
            continue;
        };
        for version in namespace.names()? {
            let home = namespace.directory(&version)?;
            homes.extend(home.map(|home| (name.clone(), home)));
        }
    }
    Ok(homes)
}

/// Whether another file system hides the pins at a path in init's mounts: it is a mount point
/// more than once.
pub(super) fn is_mounted_over(path: &Path) -> bool {
    let mounts = std::fs::read_to_string("/proc/1/mountinfo").unwrap_or_default();
    // Its fifth field (proc_pid_mountinfo(5)).
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|point| Path::new(point) == path).count() > 1
}
