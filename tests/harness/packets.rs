//! Builds packets and frames, for [`Sender`](crate::Sender) and for programs that are run on
//! them directly.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    EtherType, Ethernet2Header, IpHeaders, IpNumber, PacketBuilder, PacketBuilderStep, TcpHeader,
};

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
pub fn tcp(from: impl Into<SocketAddr>, to: impl Into<SocketAddr>, bits: u8) -> Vec<u8> {
    let (from, to) = (from.into(), to.into());
    let mut header = TcpHeader::new(from.port(), to.port(), 1, 65_535);
    let is_set = |flag| bits & flag != 0;
    header.fin = is_set(flags::FIN);
    header.syn = is_set(flags::SYN);
    header.rst = is_set(flags::RST);
    header.psh = is_set(flags::PSH);
    header.ack = is_set(flags::ACK);
    header.urg = is_set(flags::URG);
    segment(from, to, header)
}

/// A segment that opens a connection and has these bytes as its options, 40 at most. What is missing to
/// a multiple of four is zeros.
pub fn syn_with(from: impl Into<SocketAddr>, to: impl Into<SocketAddr>, options: &[u8]) -> Vec<u8> {
    let (from, to) = (from.into(), to.into());
    let mut header = TcpHeader::new(from.port(), to.port(), 1, 65_535);
    header.syn = true;
    written(header.set_options_raw(options));
    segment(from, to, header)
}

fn segment(from: SocketAddr, to: SocketAddr, header: TcpHeader) -> Vec<u8> {
    let builder = between(from.ip(), to.ip()).tcp_header(header);
    let mut packet = Vec::with_capacity(builder.size(0));
    written(builder.write(&mut packet, &[]));
    packet
}

/// A TCP segment that asks for a connection.
pub fn syn(from: impl Into<SocketAddr>, to: impl Into<SocketAddr>) -> Vec<u8> {
    tcp(from, to, flags::SYN)
}

/// A UDP datagram.
pub fn udp(from: impl Into<SocketAddr>, to: impl Into<SocketAddr>, payload: &[u8]) -> Vec<u8> {
    let (from, to) = (from.into(), to.into());
    let builder = between(from.ip(), to.ip()).udp(from.port(), to.port());
    let mut packet = Vec::with_capacity(builder.size(payload.len()));
    written(builder.write(&mut packet, payload));
    packet
}

/// An ICMP message of the addresses' family, without code and payload.
pub fn icmp(from: impl Into<IpAddr>, to: impl Into<IpAddr>, kind: u8) -> Vec<u8> {
    icmp_message(from.into(), to.into(), [kind, 0], [0; 4], &[])
}

/// An ICMP error of the addresses' family, of this type and code, about a packet.
pub fn icmp_error(
    from: impl Into<IpAddr>,
    to: impl Into<IpAddr>,
    kind: [u8; 2],
    about: &[u8],
) -> Vec<u8> {
    icmp_message(from.into(), to.into(), kind, [0; 4], about)
}

/// An ICMP message of this type that has an identifier: an echo request or reply.
pub fn echo(from: impl Into<IpAddr>, to: impl Into<IpAddr>, kind: u8, id: u16) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    icmp_message(from.into(), to.into(), [kind, 0], [high, low, 0, 1], &[])
}

/// A packet of any protocol.
pub fn ip(from: impl Into<IpAddr>, to: impl Into<IpAddr>, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let builder = between(from.into(), to.into());
    let mut packet = Vec::with_capacity(builder.size(payload.len()));
    written(builder.write(&mut packet, IpNumber(protocol), payload));
    packet
}

/// The Ethernet frame with a packet, as it travels from one end to another.
pub fn frame(from: &End, to: &End, packet: &[u8]) -> Vec<u8> {
    let header = Ethernet2Header {
        source: from.mac,
        destination: to.mac,
        ether_type: match packet.first() {
            Some(first) if first >> 4 == 6 => EtherType::IPV6,
            _ => EtherType::IPV4,
        },
    };
    [&header.to_bytes()[..], packet].concat()
}

/// A capture in the oldest form there is (draft-ietf-opsawg-pcap): frames of a link type, each with
/// the length that it had before it was cut, in bytes.
pub fn pcap<'a>(link_type: u32, frames: impl IntoIterator<Item = (&'a [u8], usize)>) -> Vec<u8> {
    /// Magic, version, two unused words, and the longest that a frame may be.
    const HEADER: [u32; 5] = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144];
    let bytes = |words: &[u32]| -> Vec<u8> {
        let words = words.iter();
        words.flat_map(|word| word.to_ne_bytes()).collect()
    };
    let mut capture = bytes(&[&HEADER[..], &[link_type]].concat());
    for (frame, original) in frames {
        // Seconds, microseconds, lengths.
        capture.extend(bytes(&[0, 0, frame.len() as u32, original as u32]));
        capture.extend_from_slice(frame);
    }
    capture
}

/// A frame with VLAN tags of these kinds, the outermost first.
pub fn tagged(frame: &[u8], tags: &[EtherType]) -> Vec<u8> {
    const VLAN: u16 = 100;
    let (addresses, rest) = frame.split_at(12);
    let tags = tags
        .iter()
        .flat_map(|kind| [kind.0.to_be_bytes(), VLAN.to_be_bytes()].concat());
    addresses
        .iter()
        .copied()
        .chain(tags)
        .chain(rest.iter().copied())
        .collect()
}

/// The beginning of a packet.
fn between(from: IpAddr, to: IpAddr) -> PacketBuilderStep<IpHeaders> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), TTL),
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), TTL),
        _ => panic!("{from} and {to} are of two families"),
    }
}

/// An ICMP message: type and code, the four bytes after the checksum, and what it carries.
fn icmp_message(
    from: IpAddr,
    to: IpAddr,
    [kind, code]: [u8; 2],
    rest: [u8; 4],
    payload: &[u8],
) -> Vec<u8> {
    let mut packet = Vec::new();
    let step = between(from, to);
    written(match from {
        IpAddr::V4(_) => step
            .icmpv4_raw(kind, code, rest)
            .write(&mut packet, payload),
        IpAddr::V6(_) => step
            .icmpv6_raw(kind, code, rest)
            .write(&mut packet, payload),
    });
    packet
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
    use std::net::SocketAddrV4;

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
            address6: std::net::Ipv6Addr::LOCALHOST,
            link_local: std::net::Ipv6Addr::LOCALHOST,
            mac: [mac; 6],
        };
        let frame = frame(&end(1), &end(2), &syn(FROM, TO));
        assert_eq!(frame[..14], [2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 8, 0]);
        assert!(SlicedPacket::from_ethernet(&frame).is_ok());
    }
}
