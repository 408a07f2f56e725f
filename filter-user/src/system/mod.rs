//! Reads from `/proc`: ephemeral ports, namespaces, sockets, the SSH session that the command
//! runs in, who runs it; and asks other packet filters which ports they publish.

mod bpffs;
mod capabilities;
mod firewalls;
mod forwarding;
mod holders;
mod kernel;
mod listing;
mod operator;
mod place;
mod published;
mod resolvers;
mod services;
mod sockets;
mod ssh;
mod unit;
mod windows;
mod wireguard;

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use procfs::process::Process;

pub use self::{
    bpffs::{Bpffs, bpffs_mounts},
    capabilities::{Capability, Lacking},
    firewalls::{Chain, Condition, Program, TheirRule, Verdict, firewalls},
    forwarding::{Forwarding, forwarding},
    holders::{Holder, holders, user_name},
    kernel::{Kernel, Lockdown},
    listing::run,
    operator::{Operator, UNKNOWN},
    place::{Fault, Place, PlaceError, directory},
    published::published_ports,
    resolvers::resolvers,
    services::HostServices,
    sockets::{Socket, SocketState, sockets},
    ssh::{Sessions, SshSession, authenticated_peers},
    unit::{BootUnit, UNIT},
    windows::{have_own_windows, most_buffered},
    wireguard::{Outside, outside_of},
};
use crate::ports::PortRange;

/// Linux's own default, `ip_local_port_range` in
/// Documentation/networking/ip-sysctl.rst.
const EPHEMERAL: PortRange = PortRange {
    first: 32768,
    last: 60999,
};

/// In the directory of a process, a file that each network namespace has of its own. Everybody may
/// look at that; at the namespace itself, only who may trace the process.
const OWN_FILE: &str = "net/dev";

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
/// may be others, which something else keeps. `None` if this process may not know those of all
/// processes, which takes CAP_SYS_PTRACE.
pub fn network_namespaces() -> Option<HashSet<u64>> {
    if hides_processes() {
        return None;
    }
    let entries = |path: &str| fs::read_dir(path).into_iter().flatten().flatten();
    let number = |path: PathBuf| fs::metadata(path).map(|metadata| metadata.ino());
    let (mut numbers, mut known, mut denied) = (HashSet::new(), Vec::new(), Vec::new());
    for process in entries("/proc") {
        let process = process.path();
        match number(process.join("ns/net")) {
            Ok(namespace) => {
                // One process of each will do.
                if numbers.insert(namespace) {
                    known.push(process);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => denied.push(process),
            // Not a process, or one that has ended meanwhile.
            Err(_) => {}
        }
    }
    // Those may be in the namespace of another one.
    let files = |processes: Vec<PathBuf>| -> HashSet<u64> {
        let files = processes.into_iter().map(|process| process.join(OWN_FILE));
        files.filter_map(|file| number(file).ok()).collect()
    };
    if !files(denied).is_subset(&files(known)) {
        return None;
    }
    numbers.extend(entries("/run/netns").filter_map(|name| number(name.path()).ok()));
    Some(numbers)
}

/// Whether `/proc` shows only some of the processes (`hidepid` in proc(5)).
fn hides_processes() -> bool {
    !Path::new("/proc/1").exists()
}

/// The name that `ip netns` has for this process's network namespace; `None` in that of init,
/// and if it has none. Of several names, the first.
pub fn network_namespace_name() -> Option<OsString> {
    let number = |path: &str| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    if number(&format!("/proc/1/{OWN_FILE}")) == number(&format!("/proc/self/{OWN_FILE}")) {
        return None;
    }
    let own = number("/proc/self/ns/net")?;
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
