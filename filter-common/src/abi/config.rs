//! The configuration: what a policy asks for besides its rules, and the ports that have a
//! meaning of their own.

use bytemuck::{Pod, Zeroable};

#[cfg(doc)]
use super::tables::Question;
use super::tables::{Node, ProtocolKind};

/// Names of the globals that hold the configuration.
pub mod names {
    /// Read-only global, a [`Config`](super::Config).
    pub const CONFIG: &str = "CONFIG";
}

/// What a policy asks for besides its rules. It is read-only data of the program, so the
/// verifier removes the branches that the policy does not use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Config {
    /// 1: what no rule matches passes. 0: it is dropped.
    pub default_pass: u32,
    /// 1: non-initial fragments are dropped. 0: they pass.
    pub drop_fragments: u32,
    /// One of [`UDP_REPLIES_OFF`], [`UDP_REPLIES_CONNECTED`], [`UDP_REPLIES_BOUND`].
    pub udp_replies: u32,
    /// 1: answers to this host's DHCP client pass.
    pub dhcp_client: u32,
    /// First port of the host's ephemeral range, host byte order.
    pub ephemeral_first: u32,
    /// Last port of the host's ephemeral range, host byte order.
    pub ephemeral_last: u32,
    /// [`ProtocolKind::bit`]s of the kinds without ports that [`names::LOCAL`](super::names::LOCAL) has entries of.
    pub listed_kinds: u32,
    /// [`Question::bit`]s of the questions that some node asks.
    pub questions: u32,
    /// The first node for what no rule names, by [`ProtocolKind`].
    pub rest: [Node; ProtocolKind::ALL.len()],
}

/// [`Config::udp_replies`]: no UDP packet passes as a reply.
pub const UDP_REPLIES_OFF: u32 = 0;
/// [`Config::udp_replies`]: UDP passes to a socket that is connected to the sender.
pub const UDP_REPLIES_CONNECTED: u32 = 1;
/// [`Config::udp_replies`]: UDP passes to any socket that the kernel would deliver it to.
pub const UDP_REPLIES_BOUND: u32 = 2;

/// The ports of DHCP clients, over IPv4 (RFC 2131, section 4.1) and IPv6 (RFC 8415,
/// section 7.2).
pub const DHCP_CLIENTS: [u16; 2] = [68, 546];
/// The ports of DHCP servers, in the same order.
pub const DHCP_SERVERS: [u16; 2] = [67, 547];

const _: () = assert!(size_of::<Config>() == 32 + 5 * 16);
