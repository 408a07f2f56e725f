//! What the host itself has to say: its ephemeral ports, its network namespace,
//! and the SSH session that the command may be running in.

use std::{ffi::OsStr, fs, net::IpAddr};

use anyhow::{Context as _, Result};
use procfs::process::Process;

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

/// An SSH session, from the host's point of view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshSession {
    /// Where the operator sits.
    pub peer: IpAddr,
    /// The address of this host's that the operator came to.
    pub server: IpAddr,
    /// The interface, where the addresses mean nothing without it: link-local ones.
    pub zone: Option<String>,
    /// The operator's port.
    pub remote: u16,
    /// The port of this host's SSH server.
    pub local: u16,
}

impl SshSession {
    /// The session this command runs in, if it does.
    ///
    /// sudo and others clear the environment, so the processes that led to this
    /// one are asked too, as long as they live in the same network namespace.
    pub fn current() -> Option<Self> {
        if let Ok(text) = std::env::var(VARIABLE) {
            return Self::parse(&text);
        }
        let here = network_namespace().ok()?;
        let mut process = parent_of(&Process::myself().ok()?)?;
        while namespace_of(&process, "net") == Some(here) {
            let session = process
                .environ()
                .ok()
                .and_then(|environ| Self::parse(environ.get(OsStr::new(VARIABLE))?.to_str()?));
            if session.is_some() {
                return session;
            }
            process = parent_of(&process)?;
        }
        None
    }

    /// Reads "client address, client port, server address, server port" (sshd(8)).
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let (peer, _) = address(words.next()?)?;
        let remote = words.next()?.parse().ok()?;
        let (server, zone) = address(words.next()?)?;
        let local = words.next()?.parse().ok()?;
        Some(Self {
            peer,
            server,
            zone,
            remote,
            local,
        })
    }
}

/// An address as it is on the wire, IPv4 where a socket for both families wrote it as
/// IPv6; and its zone (`fe80::1%eth0`).
fn address(text: &str) -> Option<(IpAddr, Option<String>)> {
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone.to_owned())),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    Some((address.to_canonical(), zone))
}

/// Set by sshd for the session's processes.
const VARIABLE: &str = "SSH_CONNECTION";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ssh_session_is_read_as_sshd_writes_it() {
        assert_eq!(
            SshSession::parse("203.0.113.5 51000 192.0.2.1 2222"),
            Some(SshSession {
                peer: "203.0.113.5".parse().unwrap(),
                server: "192.0.2.1".parse().unwrap(),
                zone: None,
                remote: 51000,
                local: 2222,
            })
        );
        let session = SshSession::parse("fe80::2%eth0 51000 fe80::1%eth0 22").unwrap();
        assert_eq!(session.peer.to_string(), "fe80::2");
        assert_eq!(session.server.to_string(), "fe80::1");
        assert_eq!(session.zone.as_deref(), Some("eth0"));
        assert_eq!(SshSession::parse("203.0.113.5 51000"), None);
    }

    #[test]
    fn a_mapped_address_is_ipv4() {
        let session = SshSession::parse("::ffff:203.0.113.5 51000 ::ffff:192.0.2.1 22").unwrap();
        assert!(session.peer.is_ipv4() && session.server.is_ipv4());
    }
}
