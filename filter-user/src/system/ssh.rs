//! The SSH session that a command runs in.

use std::{ffi::OsStr, net::IpAddr};

use procfs::process::Process;

use super::{namespace_of, network_namespace, parent_of};

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
