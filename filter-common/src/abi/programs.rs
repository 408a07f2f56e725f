//! The programs: one that stays attached to the interfaces, and one for each generation.

use super::{Holds, SharedMap};

/// Names of the programs, and of the map that leads from one to the other.
pub mod names {
    /// Program attached to an interface; jumps to the generation in force.
    pub const DISPATCHER: &str = "dispatcher";
    /// The same for interfaces whose packets come without a link-layer header.
    pub const DISPATCHER_L3: &str = "dispatcher_l3";
    /// Program of a generation.
    pub const FILTER: &str = "filter";
    /// Between the name of a generation's program and [`FRAGS`], for the flavour that hands what
    /// passes on to another program.
    pub const THEN: &str = "_then";
    /// The egress half of a generation: records what leaves.
    pub const RECORDER: &str = "recorder";
    /// Program that the loader runs to learn the time.
    pub const CLOCK: &str = "clock";
    /// Behind the name of each of these programs, for the flavour that takes packets
    /// in several buffers (Linux 5.18), as drivers deliver them above a page.
    pub const FRAGS: &str = "_frags";
    /// Program array with one element: the generation in force.
    pub const CURRENT: &str = "CURRENT";
    /// Program attached to what leaves by an interface; jumps to the egress half of the
    /// generation in force.
    pub const DISPATCHER_EGRESS: &str = "dispatcher_egress";
    /// The same for interfaces whose packets go without a link-layer header.
    pub const DISPATCHER_EGRESS_L3: &str = "dispatcher_egress_l3";
    /// Program array with one element: the egress half of the generation in force.
    pub const CURRENT_EGRESS: &str = "CURRENT_EGRESS";
}

/// Program array with one element: the program that what passes goes on to, if there is one.
pub const NEXT: SharedMap = SharedMap {
    name: "NEXT",
    pin: "next",
    holds: Holds::Next,
    since: 8,
};

/// XDP metadata that the dispatcher of an interface without a link layer puts in front of
/// a packet, in the host's byte order: the packet begins with its IP header.
pub const BARE_MARK: u32 = u32::from_be_bytes(*b"bare");

/// The word of a leaving packet's control buffer (`cb` of `struct __sk_buff`) in which the
/// egress dispatchers write [`BARE_MARK`], or 0 for a packet with an Ethernet header.
pub const BARE_MARK_CB: usize = 4;
