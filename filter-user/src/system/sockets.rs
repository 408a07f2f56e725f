//! The TCP and UDP sockets of this network namespace, from `/proc`. The kernel's faster way to
//! ask, `sock_diag`, is in modules that not every kernel has.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result};
use procfs::{
    FromReadSI, ProcError, ProcResult, current_system_info,
    net::{TcpNetEntries, TcpState, UdpNetEntries, UdpState},
};
use xdpfw_common::Transport;

/// A socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Socket {
    /// Its protocol.
    pub transport: Transport,
    /// Where it is bound. IPv4 where a socket for both families uses IPv4; a link-local
    /// address comes without its interface.
    pub local: SocketAddr,
    /// Its peer, if it has one.
    pub remote: Option<SocketAddr>,
    /// What it is doing.
    pub state: SocketState,
    /// The user it belongs to; 0 also where nobody has it open any more.
    pub uid: u32,
    /// The number by which the processes that have it open can be found; 0 if there are none.
    pub inode: u64,
}

/// What a socket is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketState {
    /// It takes what comes from anybody: a TCP listener, or a UDP socket without a peer.
    Listening,
    /// A SYN has left and is not answered yet.
    Connecting,
    /// A SYN has come in, and the connection is not complete yet.
    Accepting,
    /// It has a peer.
    Connected,
    /// This end has sent its FIN, or the connection is over.
    Closing,
}

/// All TCP and UDP sockets of this network namespace.
///
/// # Errors
///
/// `/proc` is not mounted, or cannot be read.
pub fn sockets() -> Result<Vec<Socket>> {
    // A thread can be in another namespace than its process, which `/proc/net` shows.
    let tables = || -> ProcResult<Vec<Socket>> {
        let mut sockets = tcp("/proc/thread-self/net/tcp")?;
        sockets.extend(or_none(tcp("/proc/thread-self/net/tcp6"))?);
        sockets.extend(udp("/proc/thread-self/net/udp")?);
        sockets.extend(or_none(udp("/proc/thread-self/net/udp6"))?);
        Ok(sockets)
    };
    tables().context("cannot list the sockets")
}

fn tcp(path: &str) -> ProcResult<Vec<Socket>> {
    let entries = TcpNetEntries::from_file(path, current_system_info())?.0;
    let sockets = entries.into_iter().filter_map(|entry| {
        Some(Socket {
            transport: Transport::Tcp,
            local: canonical(entry.local_address),
            remote: peer(entry.remote_address),
            state: tcp_state(&entry.state)?,
            uid: entry.uid,
            inode: entry.inode,
        })
    });
    Ok(sockets.collect())
}

fn udp(path: &str) -> ProcResult<Vec<Socket>> {
    let entries = UdpNetEntries::from_file(path, current_system_info())?.0;
    let sockets = entries.into_iter().map(|entry| Socket {
        transport: Transport::Udp,
        local: canonical(entry.local_address),
        remote: peer(entry.remote_address),
        state: match entry.state {
            UdpState::Established => SocketState::Connected,
            UdpState::Close => SocketState::Listening,
        },
        uid: entry.uid,
        inode: entry.inode,
    });
    Ok(sockets.collect())
}

/// A kernel without IPv6 has no tables for it.
fn or_none(sockets: ProcResult<Vec<Socket>>) -> ProcResult<Vec<Socket>> {
    match sockets {
        Err(ProcError::NotFound(_)) => Ok(Vec::new()),
        sockets => sockets,
    }
}

/// What a TCP socket is doing; `None` if it is closed and just about to vanish.
fn tcp_state(state: &TcpState) -> Option<SocketState> {
    Some(match state {
        TcpState::Listen => SocketState::Listening,
        TcpState::SynSent => SocketState::Connecting,
        TcpState::SynRecv | TcpState::NewSynRecv => SocketState::Accepting,
        // After the peer's FIN this end may go on sending.
        TcpState::Established | TcpState::CloseWait => SocketState::Connected,
        TcpState::FinWait1
        | TcpState::FinWait2
        | TcpState::Closing
        | TcpState::LastAck
        | TcpState::TimeWait => SocketState::Closing,
        TcpState::Close => return None,
    })
}

fn peer(remote: SocketAddr) -> Option<SocketAddr> {
    let is_none = remote.ip().is_unspecified() && remote.port() == 0;
    (!is_none).then(|| canonical(remote))
}

/// An address as it is on the wire, IPv4 where a socket for both families shows it as IPv6.
fn canonical(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = address.ip().to_canonical();
    SocketAddr::new(ip, address.port())
}
