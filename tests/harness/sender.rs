//! Sends packets at full speed without losing one.
//!
//! A veth end with an XDP program queues at most 256 packets and silently
//! discards the rest; one without has the CPU's backlog of 1,000. So only a small
//! batch is ever on the way, and the next one waits until the other end has taken
//! it. The kernel tells both ends' doings at the sending end: what the other end
//! has processed counts as transmitted, what did not fit as dropped.

use std::{
    mem,
    net::{Ipv4Addr, SocketAddrV4},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

use crate::{Counters, End, Host, device::Device, kernel};

/// Packets on the way at once; a quarter of the shortest queue there is, the rest
/// is for whatever else the host sends.
const BATCH: u64 = 64;
/// How long a batch may take to arrive.
const PATIENCE: Duration = Duration::from_secs(2);
/// `IPPROTO_RAW`: whole packets, headers included.
const RAW: i32 = 255;

/// Sends packets from a host, any source address and any flags included.
#[derive(Debug)]
pub struct Sender {
    socket: Socket,
    /// Whether what is sent begins with an Ethernet header.
    frames: bool,
    device: Device,
    /// The device's counters when `sent` was 0.
    before: Counters,
    sent: u64,
    /// How many of those were known to have arrived.
    arrived: u64,
}

impl Sender {
    /// A sender of IPv4 packets on `host` that leave through `end`. The kernel fills in
    /// total length and header checksum.
    pub fn new(host: &Host, end: &End) -> Result<Self> {
        let socket = host.enter(|| {
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(RAW)))
                .context("cannot open a raw socket")?;
            socket.set_header_included_v4(true)?;
            socket.set_send_buffer_size(1 << 20)?;
            socket.bind_device(Some(end.interface.as_bytes()))?;
            Ok(socket)
        })?;
        Self::over(socket, false, host, end)
    }

    /// A sender of Ethernet frames, sent as they are.
    ///
    /// Where IPv6 is on, the kernel's own packets count as arrived, too: the last of
    /// ours may still be on the way when this says that all have arrived.
    pub fn of_frames(host: &Host, end: &End) -> Result<Self> {
        // No protocol: it receives nothing.
        let socket = packet_socket(host, &end.interface, 0)?;
        Self::over(socket, true, host, end)
    }

    fn over(socket: Socket, frames: bool, host: &Host, end: &End) -> Result<Self> {
        let device = Device::of(host, &end.interface)?;
        let before = device.counters()?;
        Ok(Self {
            socket,
            frames,
            device,
            before,
            sent: 0,
            arrived: 0,
        })
    }

    /// Sends a packet. It may still be on the way on return: see [`settle`](Self::settle).
    pub fn send(&mut self, packet: &[u8]) -> Result<()> {
        let written = if self.frames {
            self.socket.send(packet).context("cannot send a frame")?
        } else {
            let Some(&[a, b, c, d]) = packet.get(16..20) else {
                bail!("a packet of {} bytes has no IPv4 header", packet.len());
            };
            let destination = SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), 0);
            self.socket
                .send_to(packet, &destination.into())
                .with_context(|| format!("cannot send a packet to {}", destination.ip()))?
        };
        ensure!(written == packet.len(), "a packet was sent in part");
        self.sent += 1;
        if self.sent - self.arrived >= BATCH {
            self.settle()?;
        }
        Ok(())
    }

    /// Waits until the other end has taken all packets; an error if one was lost.
    pub fn settle(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.device.counters()?;
            let lost = now.tx_dropped - self.before.tx_dropped;
            ensure!(
                lost == 0,
                "{lost} of {} packets were lost on the way",
                self.sent
            );
            let arrived = now.tx_packets - self.before.tx_packets;
            if arrived >= self.sent {
                self.arrived = self.sent;
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("only {arrived} of {} packets arrived", self.sent);
            }
            thread::sleep(Duration::from_micros(50));
        }
    }

    /// Sends packets as fast as they arrive, and waits for the last; how many.
    pub fn send_all(&mut self, packets: impl IntoIterator<Item: AsRef<[u8]>>) -> Result<u64> {
        let before = self.sent;
        for packet in packets {
            self.send(packet.as_ref())?;
        }
        self.settle()?;
        Ok(self.sent - before)
    }
}

/// A socket that sends the frames that are written to it through an interface, and receives those
/// with this ethertype: none (0), or every one (`ETH_P_ALL`), those that are sent included.
pub fn packet_socket(host: &Host, interface: &str, ethertype: u16) -> Result<Socket> {
    let address = packet_address(kernel::ifindex(host, interface)?.try_into()?, ethertype)?;
    host.enter(|| {
        let socket =
            Socket::new(Domain::PACKET, Type::RAW, None).context("cannot open a packet socket")?;
        socket.set_send_buffer_size(1 << 20)?;
        socket.bind(&address)?;
        Ok(socket)
    })
}

/// An interface as the address of a packet socket.
fn packet_address(ifindex: i32, ethertype: u16) -> Result<SockAddr> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: ethertype.to_be(),
        sll_ifindex: ifindex,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: a packet address is a socket address, and fits into the room for any.
    unsafe { *storage.view_as::<libc::sockaddr_ll>() = address };
    // SAFETY: the address stands at the beginning, in this length.
    Ok(unsafe { SockAddr::new(storage, mem::size_of::<libc::sockaddr_ll>() as u32) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Lab, packets};

    #[test]
    fn every_packet_arrives() -> Result<()> {
        let lab = Lab::new()?;
        let (near, far) = (lab.link().near(), lab.link().far());
        // No answers: nothing but our packets goes through the interface.
        lab.host
            .run("ip", ["route", "add", "blackhole", "10.0.0.2/32"])?;
        let before = lab.host.counters(&near.interface)?;
        let mut sender = Sender::new(&lab.peer, far)?;
        let syns = (1..=u16::MAX).map(|port| packets::syn(far.at(40_000), near.at(port)));
        assert_eq!(sender.send_all(syns)?, 65_535);
        let after = lab.host.counters(&near.interface)?;
        assert_eq!(after.rx_packets - before.rx_packets, 65_535);
        assert_eq!(after.rx_dropped, before.rx_dropped);
        Ok(())
    }

    #[test]
    fn lost_packets_are_noticed() -> Result<()> {
        let lab = Lab::new()?;
        let (near, far) = (lab.link().near(), lab.link().far());
        let mut sender = Sender::new(&lab.peer, far)?;
        lab.host
            .run("ip", ["link", "set", &near.interface, "down"])?;
        let packet = packets::syn(far.at(40_000), near.at(1));
        assert!(sender.send_all([packet]).is_err());
        Ok(())
    }
}
