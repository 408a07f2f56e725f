//! TCP and UDP servers in threads that stop on drop, and clients, with ordinary sockets.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use socket2::{Domain, SockRef, Socket, Type};

use crate::Host;

/// How long one party waits for the other's data.
const PATIENCE: Duration = Duration::from_secs(5);
/// How soon a UDP server notices that it is to stop.
const NOTICE: Duration = Duration::from_millis(20);
/// The largest datagram.
const DATAGRAM: usize = 65_535;

/// What a server's thread and its owner share.
#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    served: AtomicU64,
}

/// A TCP server that answers each connection with a fixed text and closes it.
#[derive(Debug)]
pub struct TcpServer {
    listener: Arc<TcpListener>,
    state: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl TcpServer {
    /// Starts one on `port` of all the host's IPv4 addresses.
    pub fn start(host: &Host, port: u16, text: &str) -> Result<Self> {
        Self::start_at(host, (Ipv4Addr::UNSPECIFIED, port).into(), text)
    }

    /// Starts one on an address; `[::]` is all addresses of both families.
    pub fn start_at(host: &Host, address: SocketAddr, text: &str) -> Result<Self> {
        Self::answering(host, address, text, "")
    }

    /// Starts an HTTP server on an address, which has but one document.
    pub fn http(host: &Host, address: SocketAddr, document: &str) -> Result<Self> {
        let len = document.len();
        let text = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n{document}"
        );
        Self::answering(host, address, &text, "\r\n\r\n")
    }

    /// Starts one that answers what ends in `after`.
    fn answering(
        host: &Host,
        address: SocketAddr,
        text: &str,
        after: &'static str,
    ) -> Result<Self> {
        let listener = Arc::new(host.enter(|| {
            once_free(|| TcpListener::bind(address))
                .with_context(|| format!("cannot listen on tcp {address}"))
        })?);
        let state = Arc::new(Shared::default());
        let thread = thread::spawn({
            let (listener, state, text) = (listener.clone(), state.clone(), text.to_owned());
            move || {
                while !state.stopped.load(Ordering::SeqCst) {
                    if let Ok((stream, _)) = listener.accept() {
                        state.served.fetch_add(1, Ordering::SeqCst);
                        // A client that does not take its answer harms only itself.
                        let _ = answer(stream, &text, after);
                    }
                }
            }
        });
        Ok(Self {
            listener,
            state,
            thread: Some(thread),
        })
    }

    /// Connections that it has accepted.
    pub fn served(&self) -> u64 {
        self.state.served.load(Ordering::SeqCst)
    }
}

impl Drop for TcpServer {
    fn drop(&mut self) {
        // The flag first: what wakes the thread must find it set. On Linux, the end
        // of a listening socket wakes who waits for its next connection.
        self.state.stopped.store(true, Ordering::SeqCst);
        let _ = SockRef::from(&*self.listener).shutdown(Shutdown::Both);
        stop(&self.state, self.thread.take());
    }
}

fn answer(mut stream: TcpStream, text: &str, after: &str) -> std::io::Result<()> {
    let mut request = Vec::new();
    stream.set_read_timeout(Some(PATIENCE))?;
    while !request.ends_with(after.as_bytes()) {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        request.extend(byte);
    }
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(text.as_bytes())
}

/// A UDP server that sends each datagram back.
#[derive(Debug)]
pub struct UdpEcho {
    state: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl UdpEcho {
    /// Starts one on `port` of all the host's IPv4 addresses.
    pub fn start(host: &Host, port: u16) -> Result<Self> {
        Self::start_at(host, (Ipv4Addr::UNSPECIFIED, port).into())
    }

    /// Starts one on an address; `[::]` is all addresses of both families.
    pub fn start_at(host: &Host, address: SocketAddr) -> Result<Self> {
        let socket = host.enter(|| {
            once_free(|| UdpSocket::bind(address))
                .with_context(|| format!("cannot bind udp {address}"))
        })?;
        socket.set_read_timeout(Some(NOTICE))?;
        let state = Arc::new(Shared::default());
        let thread = thread::spawn({
            let state = state.clone();
            move || {
                let mut datagram = vec![0; DATAGRAM];
                while !state.stopped.load(Ordering::SeqCst) {
                    if let Ok((len, from)) = socket.recv_from(&mut datagram) {
                        state.served.fetch_add(1, Ordering::SeqCst);
                        let _ = socket.send_to(&datagram[..len], from);
                    }
                }
            }
        });
        Ok(Self {
            state,
            thread: Some(thread),
        })
    }

    /// Datagrams that it has received.
    pub fn served(&self) -> u64 {
        self.state.served.load(Ordering::SeqCst)
    }
}

impl Drop for UdpEcho {
    fn drop(&mut self) {
        stop(&self.state, self.thread.take());
    }
}

/// Ends a server's thread.
fn stop(state: &Shared, thread: Option<JoinHandle<()>>) {
    state.stopped.store(true, Ordering::SeqCst);
    if let Some(thread) = thread
        && thread.join().is_err()
        && !thread::panicking()
    {
        panic!("a server has panicked");
    }
}

/// Connects from `host` and returns all that the server says.
pub fn fetch(host: &Host, server: impl Into<SocketAddr>, timeout: Duration) -> Result<String> {
    fetch_from(host, 0, server, timeout)
}

/// The same from a local port of choice; 0 is any.
pub fn fetch_from(
    host: &Host,
    port: u16,
    server: impl Into<SocketAddr>,
    timeout: Duration,
) -> Result<String> {
    let server = server.into();
    let mut stream = connect(host, port, server, timeout)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = String::new();
    stream
        .read_to_string(&mut text)
        .with_context(|| format!("no answer from {server}"))?;
    Ok(text)
}

/// Connects from `host` and a local port of choice; 0 is any.
pub fn connect(
    host: &Host,
    port: u16,
    server: impl Into<SocketAddr>,
    timeout: Duration,
) -> Result<TcpStream> {
    let server = server.into();
    host.enter(|| {
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket
            .bind(&SocketAddr::new(any_address(server), port).into())
            .with_context(|| format!("cannot bind tcp {port}"))?;
        socket
            .connect_timeout(&server.into(), timeout)
            .with_context(|| format!("cannot connect to {server}"))?;
        Ok(socket.into())
    })
}

/// A connection from one host to a port of another, both ends of it.
pub fn connection(client: &Host, server: &Host, to: SocketAddr) -> Result<(TcpStream, TcpStream)> {
    let listener = server.enter(|| Ok(TcpListener::bind(to)?))?;
    let client = connect(client, 0, to, PATIENCE)?;
    Ok((client, listener.accept()?.0))
}

/// Claims that both ends of a connection still hear each other, to its end.
#[track_caller]
pub fn assert_alive(client: TcpStream, server: TcpStream) -> Result<()> {
    for (mut from, mut to) in [(&client, &server), (&server, &client)] {
        from.write_all(b"still here")?;
        to.set_read_timeout(Some(PATIENCE))?;
        let mut text = [0; 10];
        to.read_exact(&mut text)?;
        assert_eq!(&text, b"still here");
    }
    drop(client);
    assert_eq!((&server).read(&mut [0])?, 0);
    Ok(())
}

/// A UDP socket of `host`, which waits some time for what is to come.
pub fn bind(host: &Host, address: impl Into<SocketAddr>) -> Result<UdpSocket> {
    let address = address.into();
    let socket = host.enter(|| {
        once_free(|| UdpSocket::bind(address)).with_context(|| format!("cannot bind udp {address}"))
    })?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// The next datagram, as text.
pub fn received(socket: &UdpSocket) -> Result<String> {
    let mut datagram = vec![0; DATAGRAM];
    let len = socket.recv(&mut datagram).context("nothing received")?;
    Ok(String::from_utf8_lossy(&datagram[..len]).into_owned())
}

/// Whether nothing comes in within this time, which must not be 0.
pub fn is_silent(socket: &UdpSocket, patience: Duration) -> Result<bool> {
    socket.set_read_timeout(Some(patience))?;
    loop {
        return match socket.recv(&mut [0; 64]) {
            Ok(_) => Ok(false),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
            // The kernel does not go on by itself where there is a time limit.
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => Err(error).context("cannot receive"),
        };
    }
}

/// Sends a datagram from a socket that is connected to `server`, as a DNS client
/// does, and returns the answer; `port` 0 is any local port.
pub fn exchange(
    host: &Host,
    port: u16,
    server: impl Into<SocketAddr>,
    text: &str,
    timeout: Duration,
) -> Result<String> {
    let server = server.into();
    host.enter(|| {
        let socket = once_free(|| UdpSocket::bind((any_address(server), port)))
            .with_context(|| format!("cannot bind udp {port}"))?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(timeout))?;
        socket.send(text.as_bytes())?;
        let mut datagram = vec![0; DATAGRAM];
        let len = socket
            .recv(&mut datagram)
            .with_context(|| format!("no answer from {server}"))?;
        Ok(String::from_utf8_lossy(&datagram[..len]).into_owned())
    })
}

/// Binds a socket, once nobody has its address any more. What was closed here a moment ago may be
/// open still, in a program that another test has just forked and that is not executed yet.
fn once_free<T>(bind: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let begin = Instant::now();
    loop {
        match bind() {
            Err(error) if error.kind() == ErrorKind::AddrInUse && begin.elapsed() < PATIENCE => {
                thread::sleep(NOTICE);
            }
            bound => return bound,
        }
    }
}

/// Any address of the server's family.
fn any_address(server: SocketAddr) -> IpAddr {
    match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Lab;

    #[test]
    fn servers_answer_and_stop() -> Result<()> {
        const WAIT: Duration = Duration::from_secs(2);
        let lab = Lab::new()?;
        let (tcp, udp) = (lab.link().near().at(443), lab.link().near().at(53));
        for _restarted_at_once in 0..2 {
            let server = TcpServer::start(&lab.host, 443, "hello")?;
            let echo = UdpEcho::start(&lab.host, 53)?;
            assert_eq!(fetch(&lab.peer, tcp, WAIT)?, "hello");
            assert_eq!(exchange(&lab.peer, 0, udp, "query", WAIT)?, "query");
            assert_eq!((server.served(), echo.served()), (1, 1));
        }
        assert!(fetch(&lab.peer, tcp, WAIT).is_err());
        Ok(())
    }
}
