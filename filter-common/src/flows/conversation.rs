//! Reads from a packet which conversation it belongs to.

use bytemuck::Zeroable as _;
use network_types::ip::{IpProto, Ipv4Hdr, Ipv6Hdr};

use super::{Carries, Packet};
use crate::{
    Transport,
    abi::{FlowKey, ProtocolKind},
    wire::{
        Frame, ethernet,
        icmp::{self, Message},
        ip::{self, Addresses, Ip},
        ipv4,
        ipv6::{self, extension},
        tcp::{self, Flags},
        udp,
    },
};

/// Protocols other than TCP and UDP whose headers begin with the ports (IANA protocol
/// numbers): RFC 4340, section 5.1; RFC 9260, section 3.1; RFC 3828, section 3.1.
mod with_ports {
    use network_types::ip::IpProto;

    pub(super) const DCCP: u8 = IpProto::Dccp as u8;
    pub(super) const SCTP: u8 = IpProto::Sctp as u8;
    pub(super) const UDP_LITE: u8 = IpProto::UdpLite as u8;
}

/// A packet that comes in, or the answer to one that leaves, as far as it tells to which
/// conversation it belongs.
#[derive(Clone, Copy, Debug)]
pub struct Conversation<'a> {
    /// Addresses.
    pub addresses: Addresses<'a>,
    /// Protocol number behind all extension headers.
    pub protocol: u8,
    /// The peer's port, host byte order; 0 for protocols without ports.
    pub remote: u16,
    /// This host's port, host byte order; the identifier of an ICMP echo; 0 for other
    /// protocols without ports.
    pub local: u16,
    /// What the packet carries. Of one that leaves it is this that it carries, and not its
    /// answer.
    pub carries: Carries,
    /// The control bits of a TCP segment; of others, [`Flags::NONE`].
    pub flags: Flags,
}

impl<'a> Conversation<'a> {
    /// That of a packet that comes in, and is neither TCP nor UDP; `message` is its ICMP
    /// header.
    #[inline(always)]
    pub fn of_other<F: Frame + ?Sized>(
        frame: &F,
        ip: &Ip<'a>,
        kind: ProtocolKind,
        message: Message,
    ) -> Self {
        let mut conversation = Self {
            addresses: ip.addresses,
            protocol: ip.protocol,
            remote: 0,
            local: 0,
            carries: Carries::Other,
            flags: Flags::NONE,
        };
        match kind {
            ProtocolKind::Icmp | ProtocolKind::Icmp6 => {
                conversation.carries = message.carries(kind);
                conversation.local = u16::from_be_bytes(message.identifier);
            }
            _ => {
                if has_ports(ip.protocol)
                    && ip.payload.len >= size_of::<[u8; 4]>()
                    && let Some(&[a, b, c, d]) = frame.read::<[u8; 4]>(ip.payload.offset)
                {
                    conversation.remote = u16::from_be_bytes([a, b]);
                    conversation.local = u16::from_be_bytes([c, d]);
                }
            }
        }
        conversation
    }

    /// That of the answer to a packet that leaves; `None` if it cannot be answered.
    #[inline(always)]
    pub fn of_outgoing<F: Frame + ?Sized>(frame: &'a F) -> Option<Self> {
        let payload = if frame.has_ethernet() {
            ethernet::payload(frame).ok()?
        } else {
            let start = frame.settle(0);
            match ip::version(frame, start)? {
                4 => ethernet::Payload::Ipv4(start),
                6 => ethernet::Payload::Ipv6(start),
                _ => return None,
            }
        };
        match payload {
            ethernet::Payload::Ipv4(offset) => {
                Self::of_outgoing_ip(frame, ipv4::parse(frame, offset).ok()?)
            }
            ethernet::Payload::Ipv6(offset) => {
                Self::of_outgoing_ip(frame, ipv6::parse(frame, offset).ok()?)
            }
            _ => None,
        }
    }

    #[inline(always)]
    fn of_outgoing_ip<F: Frame + ?Sized>(frame: &'a F, ip: Ip<'a>) -> Option<Self> {
        if ip.non_initial_fragment {
            return None;
        }
        let conversation = if ip.protocol == Transport::Tcp.protocol() {
            let tcp = tcp::parse(frame, &ip.payload).ok()?;
            Self {
                addresses: ip.addresses,
                protocol: ip.protocol,
                remote: tcp.source(),
                local: tcp.destination(),
                carries: Carries::Tcp,
                flags: tcp.flags(),
            }
        } else if ip.protocol == Transport::Udp.protocol() {
            let udp = udp::parse(frame, &ip.payload).ok()?;
            Self {
                addresses: ip.addresses,
                protocol: ip.protocol,
                remote: udp.source(),
                local: udp.destination(),
                carries: Carries::Udp,
                flags: Flags::NONE,
            }
        } else {
            let kind = kind_of(&ip.addresses, ip.protocol);
            let message = match kind {
                ProtocolKind::Other => Message::NONE,
                _ => icmp::parse(frame, &ip.payload).ok()?,
            };
            Self::of_other(frame, &ip, kind, message)
        };
        Some(conversation.turned())
    }

    /// That of the packet that an ICMP error quotes, which left from here: its IP header and
    /// at least eight bytes behind it (RFC 792; RFC 4443, section 3). What the error is about
    /// is an answer to that packet. `error` is what carries it, over the same version of IP.
    #[inline(always)]
    pub fn quoted<F: Frame + ?Sized>(frame: &'a F, error: &Ip<'_>) -> Option<Self> {
        let start = frame.settle(error.payload.offset + icmp::LEN);
        let (addresses, protocol, offset) = match (ip::version(frame, start)?, &error.addresses) {
            (4, Addresses::V4(_)) => {
                let header: &Ipv4Hdr = frame.read(start)?;
                let is_first = u16::from_be_bytes(header.frags) & 0x1fff == 0;
                if !is_first || usize::from(header.ihl()) < Ipv4Hdr::LEN {
                    return None;
                }
                let offset = start + usize::from(header.ihl());
                (Addresses::of_ipv4(header), header.proto, offset)
            }
            (6, Addresses::V6(_)) => {
                let header: &Ipv6Hdr = frame.read(start)?;
                let (protocol, offset) =
                    behind_extensions(frame, header.next_hdr, start + Ipv6Hdr::LEN)?;
                (Addresses::of_ipv6(header), protocol, offset)
            }
            _ => return None,
        };
        // What lies behind the packet in its frame is nobody's quote.
        if icmp::LEN + (offset - start) + 8 > error.payload.len {
            return None;
        }
        let &[a, b, c, d, e, f, _, _] = frame.read::<[u8; 8]>(frame.settle(offset))?;
        let kind = kind_of(&addresses, protocol);
        let mut conversation = Self {
            addresses,
            protocol,
            remote: u16::from_be_bytes([a, b]),
            local: u16::from_be_bytes([c, d]),
            carries: Carries::Other,
            flags: Flags::NONE,
        };
        match kind {
            // Whatever segment it was, what would answer it is no new connection.
            ProtocolKind::Tcp => {
                conversation.carries = Carries::Tcp;
                conversation.flags = Flags::new(Flags::ACK);
            }
            ProtocolKind::Udp => conversation.carries = Carries::Udp,
            ProtocolKind::Icmp | ProtocolKind::Icmp6 => {
                let message = Message {
                    kind: a,
                    identifier: [e, f],
                };
                if message.carries(kind) != Carries::EchoRequest {
                    return None;
                }
                conversation.carries = Carries::EchoReply;
                conversation.remote = 0;
                conversation.local = u16::from_be_bytes(message.identifier);
                return Some(Self {
                    addresses: addresses.turned(),
                    ..conversation
                });
            }
            ProtocolKind::Other if has_ports(protocol) => {}
            ProtocolKind::Other => {
                conversation.remote = 0;
                conversation.local = 0;
            }
        }
        Some(conversation.turned())
    }

    /// The same, as its answer has it. An echo's identifier is its own local port.
    #[inline(always)]
    const fn turned(self) -> Self {
        let (remote, local) = match self.carries {
            Carries::EchoRequest | Carries::EchoReply | Carries::OtherIcmp => (0, self.local),
            _ => (self.local, self.remote),
        };
        Self {
            addresses: self.addresses.turned(),
            remote,
            local,
            ..self
        }
    }

    /// The packet as flows see it, which comes in or leaves by an interface with this index.
    #[inline(always)]
    pub fn packet(&self, interface: u32) -> Packet {
        let mut packet = Packet {
            key: FlowKey::zeroed(),
            carries: self.carries,
            flags: self.flags,
            padding: [0; 2],
        };
        self.write(interface, &mut packet);
        packet
    }

    /// The same, in the place of another packet.
    #[inline(always)]
    pub fn write(&self, interface: u32, packet: &mut Packet) {
        let Packet {
            key,
            carries,
            flags,
            padding,
        } = packet;
        key.set_addresses(&self.addresses, interface);
        key.remote_port = self.remote.to_be_bytes();
        key.local_port = self.local.to_be_bytes();
        key.protocol = self.protocol;
        key.padding = [0; 2];
        *carries = self.carries;
        *flags = self.flags;
        *padding = [0; 2];
    }
}

/// Protocol and offset behind the extension headers that hosts put into what they send: one
/// at most in front of that of a fragment (RFC 8200, section 4.1). `None` for a fragment
/// without the transport header.
#[inline(always)]
fn behind_extensions<F: Frame + ?Sized>(
    frame: &F,
    protocol: u8,
    offset: usize,
) -> Option<(u8, usize)> {
    let (mut protocol, mut offset) = (protocol, offset);
    if matches!(protocol, extension::HOP_BY_HOP | extension::DESTINATION) {
        let &[next, length, ..] = frame.read::<[u8; 8]>(frame.settle(offset))?;
        protocol = next;
        offset += (usize::from(length) + 1) * 8;
    }
    if protocol == extension::FRAGMENT {
        let &[next, _, high, low, ..] = frame.read::<[u8; 8]>(frame.settle(offset))?;
        if u16::from_be_bytes([high, low]) & ipv6::FRAGMENT_OFFSET != 0 {
            return None;
        }
        protocol = next;
        offset += 8;
    }
    Some((protocol, offset))
}

/// The kind of a protocol. ICMP belongs to one version of IP: in the other's packets, its
/// number is that of just any protocol.
#[inline(always)]
pub(crate) const fn kind_of(addresses: &Addresses<'_>, protocol: u8) -> ProtocolKind {
    const TCP: u8 = Transport::Tcp.protocol();
    const UDP: u8 = Transport::Udp.protocol();
    const ICMP: u8 = IpProto::Icmp as u8;
    const ICMP6: u8 = IpProto::Ipv6Icmp as u8;
    match (addresses, protocol) {
        (_, TCP) => ProtocolKind::Tcp,
        (_, UDP) => ProtocolKind::Udp,
        (Addresses::V4(_), ICMP) => ProtocolKind::Icmp,
        (Addresses::V6(_), ICMP6) => ProtocolKind::Icmp6,
        _ => ProtocolKind::Other,
    }
}

#[inline(always)]
const fn has_ports(protocol: u8) -> bool {
    use with_ports::{DCCP, SCTP, UDP_LITE};
    matches!(protocol, DCCP | SCTP | UDP_LITE)
}

impl Message {
    /// What flows see of a message.
    #[inline(always)]
    const fn carries(self, kind: ProtocolKind) -> Carries {
        match (kind, self.kind) {
            (ProtocolKind::Icmp, icmp::ECHO_REQUEST)
            | (ProtocolKind::Icmp6, icmp::ECHO_REQUEST6) => Carries::EchoRequest,
            (ProtocolKind::Icmp, icmp::ECHO_REPLY) | (ProtocolKind::Icmp6, icmp::ECHO_REPLY6) => {
                Carries::EchoReply
            }
            _ => Carries::OtherIcmp,
        }
    }
}
