//! The rule that decides: the way through the diagram, a question at a time.

use crate::{
    abi::{EdgeKey, LocalKey, NO_RULE, Node, Side, dimension},
    verdict::{Flow, Host, setting},
    wire::ip::Addresses,
};

/// The rule that decides.
#[derive(Clone, Copy)]
pub(super) struct Decision {
    /// Slot of its counters.
    pub(super) slot: u32,
    /// What it does.
    pub(super) action: u32,
}

/// Finds the rule for a packet: from the node of its kind and local port on, through
/// the dimensions that the policy uses.
#[inline(always)]
pub(super) fn first_match<H: Host>(
    host: &H,
    addresses: &Addresses<'_>,
    flow: &Flow,
) -> Option<Decision> {
    let mut node = first_node(host, flow);
    let used = setting(&host.config().dimensions);
    if used & dimension::INTERFACE != 0 && node.asks & dimension::INTERFACE != 0 {
        node = go_on(host, &node, host.interface_class());
    }
    if used & dimension::REMOTE_PORT != 0
        && node.asks & dimension::REMOTE_PORT != 0
        && let Some(transport) = flow.kind.transport()
    {
        let class = if host.is_listed(Side::Remote, transport, flow.remote) {
            host.remote_port_class(transport, flow.remote)
        } else {
            0
        };
        node = go_on(host, &node, class);
    }
    if used & dimension::DESTINATION != 0 && node.asks & dimension::DESTINATION != 0 {
        node = go_on(host, &node, host.address_class(Side::Local, addresses));
    }
    if used & dimension::SOURCE != 0 && node.asks & dimension::SOURCE != 0 {
        node = go_on(host, &node, host.address_class(Side::Remote, addresses));
    }
    (node.slot != NO_RULE).then_some(Decision {
        slot: node.slot,
        action: node.action,
    })
}

/// The node where the way to a packet's decision begins.
#[inline(always)]
fn first_node<H: Host>(host: &H, flow: &Flow) -> Node {
    let is_listed = match flow.kind.transport() {
        Some(transport) => host.is_listed(Side::Local, transport, flow.local),
        None => setting(&host.config().listed_kinds) & flow.kind.bit() != 0,
    };
    if is_listed && let Some(node) = host.local(LocalKey::new(flow.kind, flow.local)) {
        return node;
    }
    let rest = &host.config().rest[flow.kind as usize];
    Node {
        number: setting(&rest.number),
        asks: setting(&rest.asks),
        slot: setting(&rest.slot),
        action: setting(&rest.action),
    }
}

/// The node to which a packet of this class goes on from `node`.
#[inline(always)]
fn go_on<H: Host>(host: &H, node: &Node, class: u32) -> Node {
    let edge = |class| {
        host.edge(EdgeKey {
            node: node.number,
            class,
        })
    };
    if class != 0
        && let Some(next) = edge(class)
    {
        return next;
    }
    if node.asks & dimension::MORE != 0
        && let Some(next) = edge(0)
    {
        return next;
    }
    Node { asks: 0, ..*node }
}
