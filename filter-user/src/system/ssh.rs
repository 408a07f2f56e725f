//! The SSH session that a command runs in, or those that it may run in.

use std::{
    collections::{HashMap, HashSet},
    ffi::OsStr,
    io,
    net::{IpAddr, SocketAddr},
};

use anyhow::Result;
use procfs::process::{Process, Stat};
use xdpfw_common::Transport;

use super::{
    Socket, SocketState, hides_processes, holders::sockets_of, namespace_of, network_namespace,
    parent_of, sockets,
};

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

/// The operators' sessions that no command may cut.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sessions {
    /// Those that are known.
    pub known: Vec<SshSession>,
    /// What says that this command runs in a session, but not in which one.
    pub unreadable: Option<String>,
    /// Whether there are some among `known` that may be other connections than sessions.
    pub is_guess: bool,
}

impl Sessions {
    /// The session that this command runs in. Where that is not known, or is over, any session
    /// may be the operator's: jobs of at(1), run0 and the like are started by a daemon, and the
    /// environment of tmux is that of whoever started it.
    ///
    /// # Errors
    ///
    /// `/proc` cannot be read.
    pub fn current() -> Result<Self> {
        let (known, unreadable) = match of_this_command() {
            None => (None, None),
            Some(text) => match SshSession::parse(&text) {
                None => (None, Some(text)),
                known => (known, None),
            },
        };
        let sockets = sockets()?;
        if known.as_ref().is_some_and(|known| known.is_open(&sockets)) {
            return Ok(Self {
                known: known.into_iter().collect(),
                ..Self::default()
            });
        }
        let mut all: Vec<SshSession> = known.into_iter().collect();
        let servers = of_all_servers(&sockets)?;
        all.extend(servers.known);
        all.dedup();
        Ok(Self {
            unreadable: unreadable.filter(|_| all.is_empty()),
            known: all,
            is_guess: servers.is_guess,
        })
    }
}

/// What sshd has told this command.
///
/// sudo and others clear the environment, so the processes that led to this one are asked too,
/// as long as they live in the same network namespace.
fn of_this_command() -> Option<String> {
    if let Some(text) = std::env::var_os(VARIABLE) {
        return Some(text.to_string_lossy().into_owned());
    }
    let here = network_namespace().ok()?;
    let mut process = parent_of(&Process::myself().ok()?)?;
    while namespace_of(&process, "net") == Some(here) {
        let environ = process.environ().unwrap_or_default();
        if let Some(text) = environ.get(OsStr::new(VARIABLE)) {
            return Some(text.to_string_lossy().into_owned());
        }
        process = parent_of(&process)?;
    }
    None
}

/// The connections that programs have open which serve SSH. Whose descriptors this process may not
/// read, which takes CAP_SYS_PTRACE, may have any of its user's.
fn of_all_servers(sockets: &[Socket]) -> Result<Sessions> {
    let listening: Vec<u16> = sockets
        .iter()
        .filter(|socket| {
            socket.transport == Transport::Tcp && socket.state == SocketState::Listening
        })
        .map(|socket| socket.local.port())
        .collect();
    let accepted: Vec<&Socket> = sockets
        .iter()
        .filter(|socket| {
            socket.transport == Transport::Tcp
                && socket.state == SocketState::Connected
                && listening.contains(&socket.local.port())
        })
        .collect();
    if accepted.is_empty() {
        // Most hosts without a session need not look through all processes.
        return Ok(Sessions::default());
    }
    let servers = Servers::find()?;
    let mut found = Sessions::default();
    for socket in accepted {
        let is_guess = !servers.inodes.contains(&socket.inode);
        let Some(remote) = socket.remote else {
            continue;
        };
        if is_guess && !servers.may_have(socket) {
            continue;
        }
        found.is_guess |= is_guess;
        found.known.push(SshSession {
            peer: remote.ip(),
            server: socket.local.ip(),
            zone: None,
            remote: remote.port(),
            local: socket.local.port(),
        });
    }
    Ok(found)
}

/// Where the operators sit who have proved who they are: at the other end of this command's session,
/// and of all others. Whoever is still asked for a password is none: whoever guesses it is not to be
/// protected from being banned for that. Nor is one whose session cannot be told from such.
///
/// # Errors
///
/// `/proc` cannot be read.
pub fn authenticated_peers() -> Result<Vec<IpAddr>> {
    let mut peers: Vec<IpAddr> = Vec::new();
    peers.extend(SshSession::of_this_command().map(|session| session.peer));
    let mut inodes = HashSet::new();
    for process in procfs::process::all_processes()?.flatten() {
        // Processes come and go meanwhile.
        if process.stat().is_ok_and(|stat| is_ssh_server(&stat))
            && let Ok(title) = process.cmdline()
            && is_past_authentication(&title.join(" "))
        {
            inodes.extend(sockets_of(process.pid).unwrap_or_default());
        }
    }
    if !inodes.is_empty() {
        let sessions = sockets()?.into_iter().filter(|socket| {
            socket.transport == Transport::Tcp
                && socket.state == SocketState::Connected
                && inodes.contains(&socket.inode)
        });
        peers.extend(sessions.filter_map(|socket| Some(socket.remote?.ip())));
    }
    peers.sort_unstable();
    peers.dedup();
    Ok(peers)
}

/// Whether OpenSSH's server calls itself so for a user who is in: `sshd: root@pts/0`. Before, it
/// says `[accepted]`, `[net]` or `[preauth]`, and the process that watches it says `[priv]`.
fn is_past_authentication(title: &str) -> bool {
    let words = title.trim_end().split_once(": ");
    words.is_some_and(|(name, words)| {
        let last = words.rsplit(' ').next().unwrap_or_default();
        name.starts_with("sshd") && !name.contains(' ') && last.contains('@')
    })
}

/// What the programs that serve SSH have open.
#[derive(Default)]
struct Servers {
    /// Their sockets.
    inodes: HashSet<u64>,
    /// The users of those whose sockets this process may not know.
    closed: HashSet<u32>,
}

impl Servers {
    fn find() -> Result<Self> {
        let mut found = Self::default();
        if hides_processes() {
            found.closed.insert(ROOT);
        }
        // Processes come and go meanwhile.
        let processes = procfs::process::all_processes()?.flatten();
        let servers: HashMap<i32, (Process, Stat)> = processes
            .filter_map(|process| {
                let stat = process.stat().ok().filter(is_ssh_server)?;
                Some((process.pid, (process, stat)))
            })
            .collect();
        for (process, stat) in servers.values() {
            match sockets_of(process.pid) {
                Ok(inodes) => found.inodes.extend(inodes),
                // The sockets of a session are those of the server that it comes from.
                Err(error)
                    if error.kind() == io::ErrorKind::PermissionDenied
                        && !servers.contains_key(&stat.ppid) =>
                {
                    found.closed.extend(process.uid().ok());
                }
                Err(_) => {}
            }
        }
        Ok(found)
    }

    /// Whether a connection may be of one whose sockets are not known. Of those within this host
    /// there are many; a session that another program hands on goes to SSH's own port.
    fn may_have(&self, socket: &Socket) -> bool {
        let is_local = socket
            .remote
            .is_some_and(|remote| remote.ip().is_loopback());
        self.closed.contains(&socket.uid) && (!is_local || socket.local.port() == SSH)
    }
}

/// Whether a process is one of OpenSSH's (`sshd`, `sshd-session`) or dropbear's.
fn is_ssh_server(stat: &Stat) -> bool {
    ["sshd", "dropbear"]
        .iter()
        .any(|name| stat.comm.starts_with(name))
}

impl SshSession {
    /// The session that this command runs in, as sshd says, be its connection open or not.
    pub(super) fn of_this_command() -> Option<Self> {
        Self::parse(&of_this_command()?)
    }

    /// Whether its connection is open.
    fn is_open(&self, sockets: &[Socket]) -> bool {
        sockets.iter().any(|socket| {
            socket.transport == Transport::Tcp
                && socket.state == SocketState::Connected
                && socket.local == SocketAddr::new(self.server, self.local)
                && socket.remote == Some(SocketAddr::new(self.peer, self.remote))
        })
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
/// The user who runs most servers.
const ROOT: u32 = 0;
/// The port of SSH (RFC 4253).
const SSH: u16 = 22;

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
    fn a_guesser_is_no_operator() {
        for title in [
            "sshd: root@pts/0",
            "sshd: a@b.example@notty",
            "sshd-session: me@notty ",
        ] {
            assert!(is_past_authentication(title), "{title}");
        }
        for title in [
            "sshd: /usr/sbin/sshd -D [listener] 1 of 10-100 startups",
            "sshd: [accepted]",
            "sshd: root [net]",
            "sshd: a@b.example [priv]",
            "sshd-auth: unknown [preauth]",
            "/usr/sbin/sshd -D -R",
        ] {
            assert!(!is_past_authentication(title), "{title}");
        }
    }

    #[test]
    fn a_mapped_address_is_ipv4() {
        let session = SshSession::parse("::ffff:203.0.113.5 51000 ::ffff:192.0.2.1 22").unwrap();
        assert!(session.peer.is_ipv4() && session.server.is_ipv4());
    }
}
