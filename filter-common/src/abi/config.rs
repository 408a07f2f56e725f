//! The configuration: what a policy asks for besides its rules, and the ports that have a
//! meaning of their own.

use bytemuck::{Pod, Zeroable};

use super::tables::{Node, ProtocolKind};
#[cfg(doc)]
use super::{COOKIE_SACK, COOKIE_SCALE, COOKIE_TIMESTAMPS, tables::Question};

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
    /// 1: non-initial fragments are dropped for which no rule decides. 0: they pass.
    pub drop_fragments: u32,
    /// What tells the answers to this host's own packets: one of [`REPLIES_OFF`],
    /// [`REPLIES_SOCKETS`], [`REPLIES_FLOWS`].
    pub replies: u32,
    /// 1: answers to this host's DHCP client pass.
    pub dhcp_client: u32,
    /// Which ICMP errors pass: one of [`ICMP_ERRORS_RELATED`], [`ICMP_ERRORS_PASS`].
    pub icmp_errors: u32,
    /// 1: answers pass to what this host asked by multicast DNS and SSDP.
    pub discovery: u32,
    /// 1: frames that are neither IP nor ARP are dropped, but for those without which the link
    /// ends. 0: they pass.
    pub drop_non_ip: u32,
    /// 1: answers pass to flows that are known, and none are added.
    pub established_only: u32,
    /// 1: some rule answers with SYN cookies.
    pub syn_cookies: u32,
    /// What these answers offer besides the size of segments: [`COOKIE_TIMESTAMPS`], and with it
    /// [`COOKIE_SACK`] and a [`COOKIE_SCALE`]. 0: nothing.
    pub cookie_options: u32,
    /// [`ProtocolKind::bit`]s of the kinds without ports that [`names::LOCAL`](super::names::LOCAL) has entries of.
    pub listed_kinds: u32,
    /// [`Question::bit`]s of the questions that some node asks.
    pub questions: u32,
    /// The first node for what no rule names, by [`ProtocolKind`].
    pub rest: [Node; ProtocolKind::ALL.len()],
    /// The first node for a non-initial fragment, by [`ProtocolKind`]: it asks nothing about
    /// ports or ICMP types, and leads to no rule where those would decide. In the place of
    /// [`ProtocolKind::Other`] is the node for IPv6 fragments whose protocol nobody knows; all
    /// others of this kind go where whole packets go.
    pub fragments: [Node; ProtocolKind::ALL.len()],
}

/// [`Config::replies`]: nothing passes as an answer.
pub const REPLIES_OFF: u32 = 0;
/// [`Config::replies`]: what belongs to a socket of this host passes: for TCP, one that is
/// not a listener; for UDP, one that is connected to the sender.
pub const REPLIES_SOCKETS: u32 = 1;
/// [`Config::replies`]: what answers a packet that left passes.
pub const REPLIES_FLOWS: u32 = 2;

/// [`Config::icmp_errors`]: those pass that are about a packet of this host's, or of one
/// that it forwards for.
pub const ICMP_ERRORS_RELATED: u32 = 0;
/// [`Config::icmp_errors`]: all pass.
pub const ICMP_ERRORS_PASS: u32 = 1;

/// The ports of DHCP clients, over IPv4 (RFC 2131, section 4.1) and IPv6 (RFC 8415,
/// section 7.2).
pub const DHCP_CLIENTS: [u16; 2] = [68, 546];
/// The port of DHCP servers over IPv4 (RFC 2131, section 4.1).
pub const DHCP_SERVER: u16 = 67;

const _: () = assert!(size_of::<Config>() == 48 + 2 * 5 * 16);
