//! Decides what passes although no rule allows it: answers to this host's requests, and
//! what IP itself needs.

use crate::{
    Reason, Transport,
    abi::{Config, DHCP_CLIENTS, DHCP_SERVERS, ProtocolKind, UDP_REPLIES_BOUND, UDP_REPLIES_OFF},
    verdict::{Host, Segment, Sockets as _, Tables as _, setting},
    wire::{
        icmp,
        ip::{Addresses, Ip},
    },
};

/// Why a message that no rule matches passes nevertheless: IP needs it.
#[inline(always)]
pub(super) const fn built_in(kind: ProtocolKind, message: u8) -> Option<Reason> {
    match kind {
        ProtocolKind::Icmp if icmp::is_error(message) => Some(Reason::IcmpError),
        ProtocolKind::Icmp6 if icmp::is_error6(message) => Some(Reason::IcmpError),
        ProtocolKind::Icmp6 if icmp::is_neighbour_discovery(message) => {
            Some(Reason::NeighbourDiscovery)
        }
        ProtocolKind::Icmp6 if icmp::is_mld(message) => Some(Reason::Mld),
        _ => None,
    }
}

/// Why a segment that the default would drop passes nevertheless: as the answer
/// to a request of this host.
#[inline(always)]
pub(super) fn answer<H: Host>(host: &H, ip: &Ip<'_>, segment: &Segment) -> Option<Reason> {
    let config = host.tables().config();
    let answered = match segment.transport {
        Transport::Tcp => {
            !segment.opens && host.sockets().has_socket(&ip.addresses, segment, false)
        }
        Transport::Udp => {
            let version = match ip.addresses {
                Addresses::V4(_) => 0,
                Addresses::V6(_) => 1,
            };
            if segment.local == DHCP_CLIENTS[version]
                && segment.remote == DHCP_SERVERS[version]
                && setting(&config.dhcp_client) != 0
            {
                return Some(Reason::DhcpClient);
            }
            // Probes of this host's service ports from ephemeral ones are neither,
            // and are spared the socket look-up.
            (is_from_server(config, segment.remote) || is_to_client(config, segment.local)) && {
                let replies = setting(&config.udp_replies);
                replies != UDP_REPLIES_OFF
                    && host.sockets().has_socket(
                        &ip.addresses,
                        segment,
                        replies == UDP_REPLIES_BOUND,
                    )
            }
        }
    };
    answered.then_some(Reason::Reply)
}

/// Whether a UDP packet comes from a port that the kernel does not hand out to
/// clients, a server's.
#[inline(always)]
pub(super) fn is_from_server(config: &Config, remote: u16) -> bool {
    u32::from(remote) < setting(&config.ephemeral_first)
}

/// Whether a UDP packet comes to a port that the kernel hands out to clients.
#[inline(always)]
fn is_to_client(config: &Config, local: u16) -> bool {
    let local = u32::from(local);
    setting(&config.ephemeral_first) <= local && local <= setting(&config.ephemeral_last)
}
