//! Reads from `/proc`: ephemeral ports, namespaces, sockets, the SSH session that the command
//! runs in, who runs it; and asks other packet filters which ports they publish.

mod bpffs;
mod firewalls;
mod forwarding;
mod kernel;
mod listing;
mod operator;
mod place;
mod published;
mod sockets;
mod ssh;
mod unit;
mod wireguard;

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    fs,
    os::unix::fs::MetadataExt as _,
};

use anyhow::{Context as _, Result};
use procfs::process::Process;

pub use self::{
    bpffs::{Bpffs, bpffs_mounts},
    firewalls::{Chain, Condition, Program, TheirRule, Verdict, firewalls},
    forwarding::{Forwarding, forwarding},
    kernel::{Capability, Kernel, Lockdown},
    listing::run,
    operator::{Operator, UNKNOWN},
    place::{Fault, Place, PlaceError, directory},
    published::published_ports,
    sockets::{Socket, SocketState, sockets},
    ssh::{Sessions, SshSession},
    unit::{BootUnit, UNIT},
    wireguard::{Outside, outside_of},
};
use crate::ports::PortRange;

/// Linux's own default, `ip_local_port_range` in
/// Documentation/networking/ip-sysctl.rst.
const EPHEMERAL: PortRange = PortRange {
    first: 32768,
    last: 60999,
};

/// The ports that this network namespace hands out to clients.
pub fn ephemeral_ports() -> PortRange {
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|text| {
            let mut ports = text.split_whitespace().map(str::parse);
            match (ports.next()?, ports.next()?) {
                (Ok(first), Ok(last)) => Some(PortRange { first, last }),
                _ => None,
            }
        })
        .unwrap_or(EPHEMERAL)
}

/// The number of this process's network namespace, unique while it exists.
///
/// # Errors
///
/// `/proc` is not mounted.
pub fn network_namespace() -> Result<u64> {
    let own = Process::myself().context("cannot read /proc")?;
    namespace_of(&own, "net").context("cannot tell the network namespace")
}

/// The numbers of the network namespaces that processes are in or that `ip netns` keeps. There
/// may be others, which something else keeps.
pub fn network_namespaces() -> HashSet<u64> {
    let in_directory = |path: &str, below: &str| -> Vec<u64> {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        let paths = entries.map(|entry| match below {
            "" => entry.path(),
            below => entry.path().join(below),
        });
        paths
            .filter_map(|path| Some(fs::metadata(path).ok()?.ino()))
            .collect()
    };
    let mut numbers: HashSet<u64> = in_directory("/proc", "ns/net").into_iter().collect();
    numbers.extend(in_directory("/run/netns", ""));
    numbers
}

/// The name that `ip netns` has for this process's network namespace; `None` in that of init,
/// and if it has none. Of several names, the first.
pub fn network_namespace_name() -> Option<OsString> {
    let number = |path: &str| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    let own = number("/proc/self/ns/net")?;
    if number("/proc/1/ns/net") == Some(own) {
        return None;
    }
    let names = fs::read_dir("/run/netns").ok()?.flatten();
    let named = names.filter(|entry| {
        // Not the entry's own metadata: that is of what the namespace is mounted over.
        fs::metadata(entry.path()).is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == own)
    });
    named.map(|entry| entry.file_name()).min()
}

/// The processes that led to this one, its parent first.
pub fn ancestors() -> Vec<i32> {
    let parents = std::iter::successors(Process::myself().ok(), parent_of);
    parents.skip(1).map(|process| process.pid).collect()
}

fn namespace_of(process: &Process, kind: &str) -> Option<u64> {
    let namespaces = process.namespaces().ok()?;
    Some(namespaces.0.get(OsStr::new(kind))?.identifier)
}

fn parent_of(process: &Process) -> Option<Process> {
    Process::new(process.stat().ok()?.ppid).ok()
}
