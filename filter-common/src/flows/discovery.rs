//! Answers to what this host asked a group, which come from whoever has something to say:
//! multicast DNS (RFC 6762) and SSDP (UPnP Device Architecture 2.0, section 1).
//!
//! A question is remembered as a flow with the group. An answer is held against the flow
//! that its receiver's question would have left.

use super::{Carries, Memory, Note, Origin, Packet, Table, is_alive, is_lately};
use crate::{
    abi::FlowKey,
    wire::ip::{Addresses, Ends},
};

/// The port of multicast DNS (RFC 6762, section 3).
const MDNS: u16 = 5353;
/// The port of SSDP.
const SSDP: u16 = 1900;

const MDNS_V4: [u8; 4] = [224, 0, 0, 251];
const MDNS_V6: [u8; 16] = group6(2, 0xfb);
const SSDP_V4: [u8; 4] = [239, 255, 255, 250];
/// Link-local and site-local: devices listen to both.
const SSDP_V6: [[u8; 16]; 2] = [group6(2, 0xc), group6(5, 0xc)];

/// A well-known group of this scope (RFC 4291, section 2.7).
const fn group6(scope: u8, id: u8) -> [u8; 16] {
    let mut group = [0; 16];
    group[0] = 0xff;
    group[1] = scope;
    group[15] = id;
    group
}

/// Whether a packet that leaves is a question to one of the groups.
#[inline(always)]
pub(super) fn is_question(packet: &Packet) -> bool {
    if !matches!(packet.carries, Carries::Udp) {
        return false;
    }
    match (
        u16::from_be_bytes(packet.key.remote_port),
        packet.key.addresses(),
    ) {
        (MDNS, Addresses::V4(ends)) => *ends.remote == MDNS_V4,
        (MDNS, Addresses::V6(ends)) => *ends.remote == MDNS_V6,
        (SSDP, Addresses::V4(ends)) => *ends.remote == SSDP_V4,
        (SSDP, Addresses::V6(ends)) => *ends.remote == SSDP_V6[0] || *ends.remote == SSDP_V6[1],
        _ => false,
    }
}

/// Whether a packet that comes in may answer such a question, by its ports alone.
#[inline(always)]
pub fn may_be_found(packet: &Packet) -> bool {
    matches!(packet.carries, Carries::Udp)
        && matches!(u16::from_be_bytes(packet.key.remote_port), MDNS | SSDP)
}

/// Whether a packet that comes in answers a question of this host.
#[inline(always)]
pub fn is_found<M: Memory>(packet: &Packet, memory: &M) -> bool {
    let key = &packet.key;
    if !may_be_found(packet) || !is_lately(memory, Note::Udp, key.local_port) {
        return false;
    }
    let asked = |group: Addresses<'_>| {
        let (local, remote) = (key.local_port, key.remote_port);
        let question = FlowKey::new(&group, key.protocol, remote, local, key.interface);
        let state = memory.get(Origin::Local, Table::Other, &question);
        state.is_some_and(|state| is_alive(memory, Table::Other, &state, key.protocol))
    };
    match (u16::from_be_bytes(key.remote_port), key.addresses()) {
        // Between those who take part, everything goes to the group and its port (RFC 6762,
        // section 6).
        (MDNS, Addresses::V4(Ends { local, .. })) if *local == MDNS_V4 => {
            key.local_port == MDNS.to_be_bytes()
        }
        (MDNS, Addresses::V6(Ends { local, .. })) if *local == MDNS_V6 => {
            key.local_port == MDNS.to_be_bytes()
        }
        (MDNS, Addresses::V4(Ends { local, .. })) => asked(Addresses::V4(Ends {
            remote: &MDNS_V4,
            local,
        })),
        (MDNS, Addresses::V6(Ends { local, .. })) => asked(Addresses::V6(Ends {
            remote: &MDNS_V6,
            local,
        })),
        (_, Addresses::V4(Ends { local, .. })) => asked(Addresses::V4(Ends {
            remote: &SSDP_V4,
            local,
        })),
        (_, Addresses::V6(Ends { local, .. })) => SSDP_V6
            .iter()
            .any(|remote| asked(Addresses::V6(Ends { remote, local }))),
    }
}
