//! What the kernel sizes the windows of TCP by, and whether a program has set it for its listener: nobody
//! but who has the socket open is told, so this process opens it, too.

use std::{
    collections::HashSet,
    io,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::net::UnixDatagram,
    },
};

use rustix::{
    net::sockopt::{set_socket_recv_buffer_size, socket_recv_buffer_size},
    process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open},
};

use super::{
    holders::{descriptors_of, holders},
    sockets::Socket,
};

/// Of `SO_BUF_LOCK` (Linux 5.14): the program has set how much is buffered of what comes in
/// (`SOCK_RCVBUF_LOCK` in linux/socket.h).
const RECEIVE_BUFFER: i32 = 2;

/// Whether a program has set how large the windows of one of these sockets may be: how much is buffered
/// of what comes in (`SO_RCVBUF`), or the windows themselves (`TCP_WINDOW_CLAMP`).
///
/// # Errors
///
/// This process may not know, which takes `CAP_SYS_PTRACE`, or nobody has one of them open.
pub fn have_own_windows(sockets: &[Socket]) -> io::Result<bool> {
    let wanted: HashSet<u64> = sockets.iter().map(|socket| socket.inode).collect();
    let holders = holders(&wanted);
    for inode in wanted {
        let holder = holders.get(&inode).ok_or(io::ErrorKind::NotFound)?;
        let socket = copy(holder.pid, inode)?;
        if option(&socket, libc::SOL_SOCKET, libc::SO_BUF_LOCK)? & RECEIVE_BUFFER != 0
            || option(&socket, libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP)? != 0
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The socket with this number, which a process has open.
fn copy(process: i32, inode: u64) -> io::Result<OwnedFd> {
    let descriptors = descriptors_of(process)?;
    let descriptor = descriptors.iter().find(|(_, socket)| *socket == inode);
    let (descriptor, _) = descriptor.ok_or(io::ErrorKind::NotFound)?;
    let pid = Pid::from_raw(process).ok_or(io::ErrorKind::NotFound)?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    Ok(pidfd_getfd(
        &process,
        *descriptor,
        PidfdGetfdFlags::empty(),
    )?)
}

/// An option of a socket that is a number.
fn option(socket: &OwnedFd, level: i32, name: i32) -> io::Result<i32> {
    let mut value = 0_i32;
    let mut len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the kernel writes no more than `len` bytes, and both places live through the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw mut value).cast(),
            &raw mut len,
        )
    };
    match result {
        0 => Ok(value),
        _ => Err(io::Error::last_os_error()),
    }
}

/// How many bytes a program may have its sockets buffer of what comes in (`net.core.rmem_max`). Linux 6.1
/// shows the setting in the first network namespace alone, and keeps to it in all.
///
/// # Errors
///
/// The kernel refuses a socket.
pub fn most_buffered() -> io::Result<u32> {
    let socket = UnixDatagram::unbound()?;
    set_socket_recv_buffer_size(&socket, i32::MAX as usize)?;
    // It takes twice what it is asked for, for what it costs to keep it (socket(7)).
    u32::try_from(socket_recv_buffer_size(&socket)? / 2).map_err(io::Error::other)
}
