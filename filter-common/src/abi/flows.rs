//! Flows: what this host, or whom it forwards for, sent and may be answered.

use bytemuck::{Pod, Zeroable};

/// A flow, written as its answer will look: the remote end is where the answer comes from.
///
/// It has everything that tells one conversation from another, so that the same ports from
/// another peer are another flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct FlowKey {
    /// Where answers come from, in network byte order; IPv4 is in the first four bytes and
    /// zero behind.
    pub remote: [u8; 16],
    /// Where answers go to, in the same way.
    pub local: [u8; 16],
    /// Index of the interface, if one of the addresses is link-local and so means nothing
    /// without it; else 0.
    pub interface: u32,
    /// The peer's port, in network byte order; 0 for protocols without ports.
    pub remote_port: [u8; 2],
    /// The local port, in network byte order; the identifier of an ICMP echo; 0 for other
    /// protocols without ports.
    pub local_port: [u8; 2],
    /// Protocol number behind all extension headers.
    pub protocol: u8,
    /// Version of IP: 4 or 6.
    pub family: u8,
    /// Always zero.
    pub padding: [u8; 2],
}

/// What is remembered of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct FlowState {
    /// When the last packet left, in ticks of [`Memory::now`](crate::flows::Memory::now). It
    /// is up to a second behind.
    pub last_out: u64,
    /// [`FlowState::PICKED_UP`] and so on, or-ed together.
    pub flags: u32,
    /// Always zero.
    pub padding: u32,
}

impl FlowState {
    /// The first packet seen was not the one that opened the connection, so nobody knows
    /// which end did.
    pub const PICKED_UP: u32 = 1 << 0;
    /// A FIN has left.
    pub const FIN_OUT: u32 = 1 << 1;
    /// A FIN has come in.
    pub const FIN_IN: u32 = 1 << 2;

    /// A flow whose last packet leaves at this time.
    pub const fn new(last_out: u64, flags: u32) -> Self {
        Self {
            last_out,
            flags,
            padding: 0,
        }
    }

    /// Whether one of these flags is set.
    pub const fn has(&self, flags: u32) -> bool {
        self.flags & flags != 0
    }
}

const _: () = assert!(size_of::<FlowKey>() == 44 && align_of::<FlowKey>() == 4);
const _: () = assert!(size_of::<FlowState>() == 16);
