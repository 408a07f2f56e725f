//! Owns the making of frames: etherparse's truth, and lies told in it.

use anyhow::Result;
use etherparse::{
    EtherType, Ethernet2Header, IpFragOffset, IpNumber, Ipv4Header, SingleVlanHeader, TcpHeader,
    UdpHeader, VlanId,
};
use xdpfw_tests::packets::flags;

/// The peer's port where the case is about the local one.
pub(crate) const REMOTE: u16 = 40_000;
/// Length of the Ethernet header, in bytes.
pub(crate) const ETHERNET: usize = 14;
/// Length of the IPv4 header without options, in bytes.
pub(crate) const IPV4: usize = 20;
/// Shortest Ethernet frame, without the check sequence, in bytes.
pub(crate) const SHORTEST_FRAME: usize = 60;

/// An IPv4 packet in the making.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    header: Ipv4Header,
    payload: Vec<u8>,
}

/// A packet with this payload.
pub(crate) fn packet(protocol: IpNumber, payload: &[u8]) -> Packet {
    let mut header = Ipv4Header {
        protocol,
        time_to_live: 64,
        source: [10, 0, 0, 2],
        destination: [10, 0, 0, 1],
        dont_fragment: false,
        ..Ipv4Header::default()
    };
    header.total_len = (IPV4 + payload.len()) as u16;
    Packet {
        header,
        payload: payload.to_vec(),
    }
}

/// A segment that asks for a connection to a local port.
pub(crate) fn tcp(local: u16) -> Packet {
    tcp_from(REMOTE, local)
}

pub(crate) fn tcp_from(remote: u16, local: u16) -> Packet {
    packet(IpNumber::TCP, &segment(remote, local, flags::SYN))
}

/// A datagram to a local port.
pub(crate) fn udp(local: u16) -> Packet {
    udp_from(REMOTE, local)
}

pub(crate) fn udp_from(remote: u16, local: u16) -> Packet {
    packet(IpNumber::UDP, &datagram(remote, local))
}

pub(crate) fn segment(remote: u16, local: u16, bits: u8) -> Vec<u8> {
    let mut bytes = TcpHeader::new(remote, local, 1, 65_535).to_bytes().to_vec();
    bytes[13] = bits;
    bytes
}

pub(crate) fn datagram(remote: u16, local: u16) -> Vec<u8> {
    let header = UdpHeader {
        source_port: remote,
        destination_port: local,
        length: UdpHeader::LEN as u16,
        checksum: 0,
    };
    header.to_bytes().to_vec()
}

impl Packet {
    /// With so many bytes behind the transport header, of which UDP knows.
    pub(crate) fn data(mut self, len: usize) -> Self {
        self.payload.resize(self.payload.len() + len, 0x5a);
        self.header.total_len += len as u16;
        if self.header.protocol == IpNumber::UDP {
            let len = self.payload.len() as u16;
            return self.patched(4, &len.to_be_bytes());
        }
        self
    }

    /// With these bytes in the transport header.
    pub(crate) fn patched(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.payload[offset..][..bytes.len()].copy_from_slice(bytes);
        self
    }

    /// With these TCP flags.
    pub(crate) fn flags(self, bits: u8) -> Self {
        self.patched(13, &[bits])
    }

    /// With these IP options.
    pub(crate) fn options(mut self, options: &[u8]) -> Result<Self> {
        self.header.options = options.try_into()?;
        self.header.total_len += options.len() as u16;
        Ok(self)
    }

    /// As a fragment from this place on, in units of eight bytes.
    pub(crate) fn fragment(mut self, offset: u16, more: bool) -> Result<Self> {
        self.header.fragment_offset = IpFragOffset::try_new(offset)?;
        self.header.more_fragments = more;
        Ok(self)
    }

    /// With this total length, whatever its length.
    pub(crate) fn total_len(mut self, len: u16) -> Self {
        self.header.total_len = len;
        self
    }

    pub(crate) fn bytes(mut self) -> Vec<u8> {
        self.header.header_checksum = self.header.calc_header_checksum();
        [&self.header.to_bytes()[..], &self.payload].concat()
    }

    pub(crate) fn frame(self) -> Vec<u8> {
        ethernet(EtherType::IPV4, &self.bytes())
    }
}

/// A frame from the peer to the host.
pub(crate) fn ethernet(ether_type: EtherType, payload: &[u8]) -> Vec<u8> {
    let header = Ethernet2Header {
        source: [2, 0, 10, 0, 0, 2],
        destination: [2, 0, 10, 0, 0, 1],
        ether_type,
    };
    [&header.to_bytes()[..], payload].concat()
}

/// A frame with an IPv4 packet behind these tags.
pub(crate) fn tagged(tags: &[EtherType], packet: &[u8]) -> Vec<u8> {
    tagged_with(tags, EtherType::IPV4, packet)
}

pub(crate) fn tagged_with(tags: &[EtherType], inner: EtherType, payload: &[u8]) -> Vec<u8> {
    let (ether_type, payload) =
        tags.iter()
            .rev()
            .fold((inner, payload.to_vec()), |(ether_type, payload), &tag| {
                let header = SingleVlanHeader {
                    vlan_id: VlanId::ZERO,
                    ether_type,
                    ..SingleVlanHeader::default()
                };
                (tag, [&header.to_bytes()[..], &payload].concat())
            });
    ethernet(ether_type, &payload)
}
