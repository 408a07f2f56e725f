//! Reads what a packet is, whatever becomes of it: it is judged under a policy that asks nothing
//! and lets everything pass.

use super::{Conclude, Host, Outcome, Sockets, Tables, judge, judge_then};
use crate::{
    Transport,
    abi::{
        Config, EdgeKey, FlowKey, ICMP_ERRORS_RELATED, LocalKey, Node, ProtocolKind, REPLIES_OFF,
        Side,
    },
    flows::{Conversation, NoFlows},
    wire::{Frame, ethernet, ip::Addresses},
};

/// What a frame is: the fields of its packet, or what is wrong with it, as every verdict on it has
/// them. The reason means nothing.
#[inline(always)]
pub fn read<F: Frame + ?Sized>(frame: &F) -> Outcome {
    judge(frame, &Nowhere)
}

/// The same, and goes on to `then` with it at the end of each path.
#[inline(always)]
pub fn read_then<F: Frame + ?Sized, R>(frame: &F, then: impl Conclude<R>) -> R {
    judge_then(frame, &Nowhere, then)
}

/// A host without rules, sockets or flows.
struct Nowhere;

static CONFIG: Config = Config {
    default_pass: 1,
    drop_fragments: 0,
    replies: REPLIES_OFF,
    dhcp_client: 0,
    icmp_errors: ICMP_ERRORS_RELATED,
    discovery: 0,
    drop_non_ip: 0,
    established_only: 0,
    syn_cookies: 0,
    cookie_options: 0,
    listed_kinds: 0,
    questions: 0,
    rest: [Node::NO_RULE; ProtocolKind::ALL.len()],
    fragments: [Node::NO_RULE; ProtocolKind::ALL.len()],
};

impl Host for Nowhere {
    type Tables = Self;
    type Sockets = Self;
    type Memory = NoFlows;

    #[inline(always)]
    fn tables(&self) -> &Self {
        self
    }

    #[inline(always)]
    fn sockets(&self) -> &Self {
        self
    }

    #[inline(always)]
    fn memory(&self) -> &NoFlows {
        &NoFlows
    }

    #[inline(always)]
    fn interface(&self) -> u32 {
        0
    }

    #[inline(always)]
    fn is_answer(&self, _: &Conversation<'_>, _: bool, _: bool) -> bool {
        false
    }

    #[inline(always)]
    fn admits(&self, _: &Conversation<'_>) -> bool {
        false
    }
}

impl Tables for Nowhere {
    #[inline(always)]
    fn config(&self) -> &Config {
        &CONFIG
    }

    #[inline(always)]
    fn is_closed(&self, _: Transport, _: u16) -> bool {
        false
    }

    #[inline(always)]
    fn is_listed(&self, _: Side, _: Transport, _: u16) -> bool {
        false
    }

    #[inline(always)]
    fn local(&self, _: LocalKey) -> Option<Node> {
        None
    }

    #[inline(always)]
    fn edge(&self, _: EdgeKey) -> Option<Node> {
        None
    }

    #[inline(always)]
    fn remote_port_class(&self, _: Transport, _: u16) -> u32 {
        0
    }

    #[inline(always)]
    fn interface_class(&self) -> Option<u32> {
        None
    }

    #[inline(always)]
    fn mac_class(&self, _: &ethernet::Mac) -> u32 {
        0
    }

    #[inline(always)]
    fn ends_ahead(&self) -> u32 {
        0
    }

    #[inline(always)]
    fn address_class(&self, _: Side, _: &Addresses<'_>) -> u32 {
        0
    }
}

impl Sockets for Nowhere {
    #[inline(always)]
    fn has_socket(&self, _: &FlowKey) -> bool {
        false
    }
}
