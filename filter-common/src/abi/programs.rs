//! The programs: one that stays attached to the interfaces, and one for each generation.

/// Names of the programs, and of the map that leads from one to the other.
pub mod names {
    /// Program attached to an interface; jumps to the generation in force.
    pub const DISPATCHER: &str = "dispatcher";
    /// The same for interfaces whose packets come without a link-layer header.
    pub const DISPATCHER_L3: &str = "dispatcher_l3";
    /// Program of a generation.
    pub const FILTER: &str = "filter";
    /// Behind the name of each of these programs, for the flavour that takes packets
    /// in several buffers (Linux 5.18), as drivers deliver them above a page.
    pub const FRAGS: &str = "_frags";
    /// Program array with one element: the generation in force.
    pub const CURRENT: &str = "CURRENT";
}

/// XDP metadata that the dispatcher of an interface without a link layer puts in front of
/// a packet, in the host's byte order: the packet begins with its IP header.
pub const BARE_MARK: u32 = u32::from_be_bytes(*b"bare");
