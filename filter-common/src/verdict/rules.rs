//! Finds the rule that decides: goes through the diagram, a question at a time.

use crate::{
    abi::{EdgeKey, LocalKey, NO_RULE, Node, Question, Side},
    verdict::{Fields, Tables, setting},
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

/// Finds the rule for a packet: from the node of its protocol and local port on, through
/// the questions that the policy asks.
#[inline(always)]
pub(super) fn first_match<T: Tables>(
    tables: &T,
    addresses: &Addresses<'_>,
    fields: &Fields,
) -> Option<Decision> {
    let answers = Answers {
        tables,
        addresses,
        fields,
        asked: setting(&tables.config().questions),
    };
    // One after the other instead of in a loop, so that each has code of its own, which
    // the verifier removes where no node asks for it.
    let [first, second, third, fourth] = Question::ALL;
    let node = first_node(tables, fields);
    let node = answers.follow(node, first);
    let node = answers.follow(node, second);
    let node = answers.follow(node, third);
    let node = answers.follow(node, fourth);
    (node.slot != NO_RULE).then_some(Decision {
        slot: node.slot,
        action: node.action,
    })
}

/// The first node for a packet.
#[inline(always)]
fn first_node<T: Tables>(tables: &T, fields: &Fields) -> Node {
    let is_listed = match fields.kind.transport() {
        Some(transport) => tables.is_listed(Side::Local, transport, fields.local),
        None => setting(&tables.config().listed_kinds) & fields.kind.bit() != 0,
    };
    if is_listed && let Some(node) = tables.local(LocalKey::new(fields.kind, fields.local)) {
        return node;
    }
    let rest = &tables.config().rest[fields.kind as usize];
    Node {
        number: setting(&rest.number),
        asks: setting(&rest.asks),
        slot: setting(&rest.slot),
        action: setting(&rest.action),
    }
}

/// What the questions about a packet are answered from.
struct Answers<'a, T> {
    tables: &'a T,
    addresses: &'a Addresses<'a>,
    fields: &'a Fields,
    /// [`Question::bit`]s of what some node asks.
    asked: u32,
}

impl<T: Tables> Answers<'_, T> {
    /// The node behind `node` if that asks this question, else `node` itself.
    #[inline(always)]
    fn follow(&self, node: Node, question: Question) -> Node {
        if self.asked & question.bit() != 0
            && node.asks & question.bit() != 0
            && let Some(class) = self.class(question)
        {
            go_on(self.tables, &node, class)
        } else {
            node
        }
    }

    /// The packet's class; `None` where the question does not apply to it.
    #[inline(always)]
    fn class(&self, question: Question) -> Option<u32> {
        let Self { tables, fields, .. } = self;
        Some(match question {
            Question::Interface => tables.interface_class(),
            Question::RemotePort => {
                let transport = fields.kind.transport()?;
                if tables.is_listed(Side::Remote, transport, fields.remote) {
                    tables.remote_port_class(transport, fields.remote)
                } else {
                    0
                }
            }
            Question::Destination => tables.address_class(Side::Local, self.addresses),
            Question::Source => tables.address_class(Side::Remote, self.addresses),
        })
    }
}

/// The node to which a packet of this class goes on from `node`.
#[inline(always)]
fn go_on<T: Tables>(tables: &T, node: &Node, class: u32) -> Node {
    let edge = |class| {
        tables.edge(EdgeKey {
            node: node.number,
            class,
        })
    };
    if class != 0
        && let Some(next) = edge(class)
    {
        return next;
    }
    if node.asks & Node::MORE != 0
        && let Some(next) = edge(0)
    {
        return next;
    }
    Node { asks: 0, ..*node }
}
