//! What the kernel program and userspace agree on: names, sizes, keys and values of every
//! map and global, in a module for each subject.
//!
//! All structs are `repr(C)` without implicit padding. Ports and addresses are in network
//! byte order, as the packet has them, wherever they are arrays of bytes; everything else
//! is in the host's byte order.

mod config;
mod counters;
mod event;
mod flows;
mod ports;
mod programs;
mod tables;

pub use self::{
    config::{
        Config, DHCP_CLIENTS, DHCP_SERVERS, UDP_REPLIES_BOUND, UDP_REPLIES_CONNECTED,
        UDP_REPLIES_OFF,
    },
    counters::{
        BLOCKS, Block, COUNTERS, Counter, OVERFLOWS, Overflows, PER_OVERFLOW, PORTS_PER_BLOCK,
        RULE_HITS, RULE_SLOTS, port_counter,
    },
    event::Event,
    flows::{FlowKey, FlowState},
    ports::{PORTS, PortBitmaps, Side},
    programs::BARE_MARK,
    tables::{
        ACTION_ALLOW, ACTION_DENY, EdgeKey, LocalKey, MAX_RULES, NO_RULE, Node, ProtocolKind,
        Question,
    },
};

/// Version of everything in this module. Pins of another version are never reused.
pub const ABI_VERSION: u32 = 4;

/// Names of the programs, of the globals, and of the maps that each generation has for
/// itself. Those that generations share are in [`SHARED_MAPS`].
pub mod names {
    pub use super::{
        config::names::*, event::names::*, ports::names::*, programs::names::*, tables::names::*,
    };
}

/// A map that a new generation takes over from the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedMap {
    /// Its name in the object, at most 15 bytes, so that the kernel shows all of it.
    pub name: &'static str,
    /// The name of its pin in a generation's directory.
    pub pin: &'static str,
}

/// Every map that generations share.
pub const SHARED_MAPS: &[SharedMap] = &[COUNTERS, OVERFLOWS, RULE_HITS];
