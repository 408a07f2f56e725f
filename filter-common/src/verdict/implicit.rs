//! Decides what passes although no rule allows it and it answers nothing: what IP itself
//! needs.

use network_types::ip::{IpProto, Ipv4Hdr};

use crate::{
    Reason, Transport,
    abi::{Config, DHCP_CLIENTS, DHCP_SERVER, ProtocolKind, setting},
    verdict::Segment,
    wire::{
        Frame,
        icmp::{self, Message},
        ip::{Addresses, Ip},
    },
};

/// Why a packet without ports passes that no rule matches: IP needs it.
#[inline(always)]
pub(super) fn built_in<F: Frame + ?Sized>(
    frame: &F,
    ip: &Ip<'_>,
    kind: ProtocolKind,
    message: Message,
) -> Option<Reason> {
    match kind {
        ProtocolKind::Icmp6 if icmp::is_neighbour_discovery(message.kind) => {
            Some(Reason::NeighbourDiscovery)
        }
        ProtocolKind::Icmp6 if icmp::is_mld(message.kind) => Some(Reason::Mld),
        ProtocolKind::Other if is_igmp(frame, ip) => Some(Reason::Igmp),
        _ => None,
    }
}

/// Whether a packet keeps this host in its multicast groups: IGMP to a group, which no
/// router has forwarded (RFC 3376, section 4: the TTL is 1).
#[inline(always)]
fn is_igmp<F: Frame + ?Sized>(frame: &F, ip: &Ip<'_>) -> bool {
    let Addresses::V4(ends) = ip.addresses else {
        return false;
    };
    ip.protocol == IpProto::Igmp as u8
        && ends.local[0] >> 4 == 0xe
        && frame
            .read::<Ipv4Hdr>(frame.settle(ip.header))
            .is_some_and(|header| header.ttl == 1)
}

/// Whether a packet answers this host's DHCP client, which listens on a raw socket and asks
/// everybody. A server over IPv6 may send from any port, to a link-local address (RFC 8415,
/// section 7.2).
#[inline(always)]
pub(super) fn is_from_dhcp_server(config: &Config, ip: &Ip<'_>, segment: &Segment) -> bool {
    let [client, client6] = DHCP_CLIENTS;
    segment.transport == Transport::Udp
        && setting(&config.dhcp_client) != 0
        && match ip.addresses {
            Addresses::V4(_) => segment.local == client && segment.remote == DHCP_SERVER,
            Addresses::V6(ends) => {
                segment.local == client6 && ends.local[0] == 0xfe && ends.local[1] & 0xc0 == 0x80
            }
        }
}
