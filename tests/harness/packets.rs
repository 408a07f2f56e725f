//! Owns the making of packets: IPv4 ones for [`Sender`](crate::Sender), frames
//! for programs that are run on them directly.

use std::net::SocketAddrV4;

use etherparse::{EtherType, Ethernet2Header, PacketBuilder, TcpHeader};

use crate::End;

/// TCP control bits, to be combined.
pub mod flags {
    /// No more data from the sender.
    pub const FIN: u8 = 1 << 0;
    /// Opens a connection.
    pub const SYN: u8 = 1 << 1;
    /// Ends a connection at once.
    pub const RST: u8 = 1 << 2;
    /// Push.
    pub const PSH: u8 = 1 << 3;
    /// The acknowledgment number counts.
    pub const ACK: u8 = 1 << 4;
    /// The urgent pointer counts.
    pub const URG: u8 = 1 << 5;
}

/// Time to live of our packets, in hops.
const TTL: u8 = 64;

/// A TCP segment without options and payload.
pub fn tcp(from: SocketAddrV4, to: SocketAddrV4, bits: u8) -> Vec<u8> {
    let mut header = TcpHeader::new(from.port(), to.port(), 1, 65_535);
    let is_set = |flag| bits & flag != 0;
    header.fin = is_set(flags::FIN);
    header.syn = is_set(flags::SYN);
    header.rst = is_set(flags::RST);
    header.psh = is_set(flags::PSH);
    header.ack = is_set(flags::ACK);
    header.urg = is_set(flags::URG);
    let builder = PacketBuilder::ipv4(from.ip().octets(), to.ip().octets(), TTL).tcp_header(header);
    let mut packet = Vec::with_capacity(builder.size(0));
    written(builder.write(&mut packet, &[]));
    packet
}

/// A TCP segment that asks for a connection.
pub fn syn(from: SocketAddrV4, to: SocketAddrV4) -> Vec<u8> {
    tcp(from, to, flags::SYN)
}

/// A UDP datagram.
pub fn udp(from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let builder =
        PacketBuilder::ipv4(from.ip().octets(), to.ip().octets(), TTL).udp(from.port(), to.port());
    let mut packet = Vec::with_capacity(builder.size(payload.len()));
    written(builder.write(&mut packet, payload));
    packet
}

/// The Ethernet frame with an IPv4 packet, as it travels from one end to another.
pub fn frame(from: &End, to: &End, packet: &[u8]) -> Vec<u8> {
    let header = Ethernet2Header {
        source: from.mac,
        destination: to.mac,
        ether_type: EtherType::IPV4,
    };
    [&header.to_bytes()[..], packet].concat()
}

#[expect(
    clippy::expect_used,
    reason = "a vector takes everything; only a payload past 64 KiB fails, the test's own mistake"
)]
fn written<E: std::fmt::Debug>(result: Result<(), E>) {
    result.expect("the payload fits into a packet");
}

#[cfg(test)]
mod tests {
    use etherparse::{SlicedPacket, TransportSlice};

    use super::*;

    const FROM: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::new(10, 0, 0, 2), 40_000);
    const TO: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::new(10, 0, 0, 1), 443);

    #[test]
    fn packets_are_what_they_say() {
        let packet = tcp(FROM, TO, flags::FIN | flags::PSH | flags::URG);
        let Some(TransportSlice::Tcp(tcp)) = SlicedPacket::from_ip(&packet).unwrap().transport
        else {
            panic!("no TCP");
        };
        assert_eq!((tcp.source_port(), tcp.destination_port()), (40_000, 443));
        assert!(tcp.fin() && tcp.psh() && tcp.urg());
        assert!(!tcp.syn() && !tcp.ack() && !tcp.rst());

        let packet = udp(FROM, TO, b"hello");
        let Some(TransportSlice::Udp(udp)) = SlicedPacket::from_ip(&packet).unwrap().transport
        else {
            panic!("no UDP");
        };
        assert_eq!(
            (udp.destination_port(), udp.payload()),
            (443, &b"hello"[..])
        );
    }

    #[test]
    fn frame_goes_from_end_to_end() {
        let end = |mac| End {
            interface: "eth0".into(),
            address: *TO.ip(),
            mac: [mac; 6],
        };
        let frame = frame(&end(1), &end(2), &syn(FROM, TO));
        assert_eq!(frame[..14], [2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 8, 0]);
        assert!(SlicedPacket::from_ethernet(&frame).is_ok());
    }
}
