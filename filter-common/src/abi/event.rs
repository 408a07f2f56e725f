//! The event: what a traced generation reports about each packet that its reader wants.

use core::net::{IpAddr, Ipv6Addr};

use bytemuck::{Pod, Zeroable};

use super::tables::{NO_RULE, ProtocolKind};
use crate::{
    reason::Reason,
    wire::{Malformation, ethernet::MAX_VLAN_TAGS, tcp::Flags},
};

/// Names of the map that holds events, and of the global that asks for them.
pub mod names {
    /// Ring buffer of [`Event`](super::Event)s.
    pub const EVENTS: &str = "EVENTS";
    /// Array of one element, a [`Wanted`](super::Wanted): which packets are reported.
    pub const WANTED: &str = "WANTED";
    /// Per-CPU array of one element, a `u64`: how many packets are not reported, since too
    /// many events wait to be read.
    pub const UNREPORTED: &str = "UNREPORTED";
    /// Read-only global, a `u32`. 1: the program reports packets. 0: it reports none, and the
    /// verifier removes all that would.
    pub const TRACED: &str = "TRACED";
}

/// A packet, the verdict on it, and why.
///
/// The kernel program writes it, so no reader may rely on its values: the methods check
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Event {
    /// The source address, in network byte order; IPv4 is mapped into IPv6 (RFC 4291,
    /// section 2.5.5.2). Zero without a family.
    pub source: [u8; 16],
    /// The destination address, in the same way.
    pub destination: [u8; 16],
    /// Slot of the counters of the rule that decided, or [`NO_RULE`].
    pub slot: u32,
    /// Index of the interface that the packet came in on.
    pub interface: u32,
    /// Length of the packet in bytes, as it is counted.
    pub len: u32,
    /// The peer's port, in network byte order; zero for a packet without ports.
    pub remote: [u8; 2],
    /// This host's port, in network byte order; for a packet without ports the ICMP type,
    /// or the protocol number.
    pub local: [u8; 2],
    /// [`Reason::slot`] of the reason for the verdict.
    pub reason: u8,
    /// The [`ProtocolKind`]. Means nothing without a family.
    pub kind: u8,
    /// Version of IP: 4 or 6. 0: the packet's addresses and ports are not known.
    pub family: u8,
    /// What is wrong with the packet: [`Malformation::code`], or 0 for nothing.
    pub malformation: u8,
    /// Identifiers of the VLANs, the outer one first, in network byte order. Places without
    /// one are zero.
    pub vlans: [[u8; 2]; MAX_VLAN_TAGS],
    /// How many there are.
    pub vlan_count: u8,
    /// The control bits of TCP, as [`Flags::bits`] has them; zero for all else.
    pub flags: u8,
    /// Zero.
    pub padding: [u8; 2],
}

/// Which packets a traced generation reports: those to which all of it applies. Zero, it is
/// none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Wanted {
    /// Bits of the reasons, by [`Reason::slot`].
    pub reasons: u32,
    /// Slot of the rule that decides, or [`NO_RULE`] for any and none.
    pub slot: u32,
    /// What is left of the source under `mask`, in the form of [`Event::source`].
    pub source: [u8; 16],
    /// The bits of the source that matter. Zero: a packet without known addresses will do,
    /// too.
    pub mask: [u8; 16],
    /// One of so many of these packets, at random; 0 like 1: all.
    pub sample: u32,
    /// This host's port over TCP or UDP, in network byte order; 0 for any and none.
    pub port: [u8; 2],
    /// Zero.
    pub padding: [u8; 2],
}

impl Event {
    /// Why the packet passed or was dropped.
    pub fn reason(&self) -> Option<Reason> {
        Reason::ALL.get(usize::from(self.reason)).copied()
    }

    /// What is wrong with the packet.
    pub fn malformation(&self) -> Option<Malformation> {
        Malformation::from_code(self.malformation)
    }

    /// The kind of the packet's protocol.
    pub fn kind(&self) -> Option<ProtocolKind> {
        ProtocolKind::ALL.get(usize::from(self.kind)).copied()
    }

    /// Source and destination address.
    pub fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        let address = |bytes| {
            let address = Ipv6Addr::from(bytes);
            match self.family {
                4 => address.to_ipv4_mapped().map(IpAddr::V4),
                6 => Some(IpAddr::V6(address)),
                _ => None,
            }
        };
        Some((address(self.source)?, address(self.destination)?))
    }

    /// The peer's port, in host byte order; 0 for a packet without ports.
    pub const fn remote(&self) -> u16 {
        u16::from_be_bytes(self.remote)
    }

    /// This host's port, in host byte order, or what stands in its place.
    pub const fn local(&self) -> u16 {
        u16::from_be_bytes(self.local)
    }

    /// The identifiers of the packet's VLANs, the outer one first.
    pub fn vlans(&self) -> impl Iterator<Item = u16> {
        let vlans = self.vlans.into_iter().map(u16::from_be_bytes);
        vlans.take(usize::from(self.vlan_count))
    }

    /// The control bits of a TCP segment.
    pub fn flags(&self) -> Option<Flags> {
        let is_tcp = self.family != 0 && self.kind() == Some(ProtocolKind::Tcp);
        is_tcp.then_some(Flags::new(self.flags))
    }

    /// Slot of the counters of the rule that decided.
    pub const fn rule(&self) -> Option<u32> {
        match self.slot {
            NO_RULE => None,
            slot => Some(slot),
        }
    }
}

const _: () = {
    assert!(size_of::<Event>() == 60);
    assert!(size_of::<Wanted>() == 48);
    assert!(Reason::SLOTS <= u32::BITS as usize);
};
