//! What is known of interfaces that others are ports of: what tells a frame that is bridged
//! through this host, in the host's own name, from one that the host has translated and sent;
//! and which interfaces are one link.

use bytemuck::{Pod, Zeroable};

/// Names of the maps and globals.
pub mod names {
    /// Read-only global, a `u32`: 1 if there are ports of bridges.
    pub const HAS_BRIDGES: &str = "HAS_BRIDGES";
    /// Hash map (interface index → [`BridgePort`](super::BridgePort)) of the interfaces that
    /// are ports of bridges.
    pub const BRIDGE_PORTS: &str = "BRIDGE_PORTS";
    /// Hash map ([`OwnAddress`](super::OwnAddress) → 1) of this host's addresses; empty
    /// without bridges.
    pub const OWN_ADDRESSES: &str = "OWN_ADDRESSES";
    /// Read-only global, a `u32`: 1 if there are members of bonds.
    pub const HAS_MEMBERS: &str = "HAS_MEMBERS";
    /// Hash map (interface index → interface index) of the interfaces that are one link with
    /// others: members of bonds and teams, with the bond or team.
    pub const MEMBERS: &str = "MEMBERS";
}

/// An interface that is a port of a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct BridgePort {
    /// Index of the bridge.
    pub bridge: u32,
    /// The bridge's own address, from which this host sends.
    pub mac: [u8; 6],
    /// Always zero.
    pub padding: [u8; 2],
}

/// An address of this host, as a key of the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct OwnAddress {
    /// As in a [`FlowKey`](super::FlowKey).
    pub address: [u8; 16],
    /// Version of IP: 4 or 6.
    pub family: u32,
}

const _: () = assert!(size_of::<BridgePort>() == 12 && size_of::<OwnAddress>() == 20);
