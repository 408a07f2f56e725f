//! Finds the rule that decides: goes through the diagram, a question at a time.

use crate::{
    abi::{
        ACTION_COOKIES, ACTION_DENY, ACTION_LIMIT, EdgeKey, LocalKey, NO_RULE, Node, ProtocolKind,
        Question, Side, setting,
    },
    flows::{Carries, Packet, kind_of},
    verdict::{Fields, Tables},
    wire::{
        Frame, ethernet,
        ip::{Addresses, Ip},
        tcp::Flags,
    },
};

/// The rule that decides, or that none does. Every field always has a value, for the reason
/// that an [`Outcome`](super::Outcome) gives.
#[derive(Clone, Copy)]
pub(super) struct Decision {
    /// Slot of its counters, or [`NO_RULE`].
    pub(super) slot: u32,
    /// What it does.
    pub(super) action: u32,
}

impl Decision {
    /// No rule decides.
    pub(super) const NONE: Self = Self {
        slot: NO_RULE,
        action: 0,
    };

    /// Whether there is a rule.
    #[inline(always)]
    pub(super) const fn is_some(&self) -> bool {
        self.slot != NO_RULE
    }

    /// Whether there is one, and the packet passes, if it is within the rule's limit.
    #[inline(always)]
    pub(super) const fn allows(&self) -> bool {
        self.is_some() && self.action != ACTION_DENY
    }

    /// Whether there is one that answers with cookies.
    #[inline(always)]
    pub(super) const fn has_cookies(&self) -> bool {
        self.is_some() && self.action == ACTION_COOKIES
    }

    /// Whether there is one that has a limit.
    #[inline(always)]
    pub(super) const fn limits(&self) -> bool {
        self.is_some() && self.action == ACTION_LIMIT
    }
}

/// How long rules must let in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// Now.
    ForNow,
    /// As long as its conversation may last: over TCP, where connections go on for days, also
    /// when rules have ended. What else is asked from here is recorded soon again.
    ForGood,
}

/// Whether a packet would be let in by a rule, or by the default. Where that depends on an
/// interface that is not known, or on the Ethernet address, which is not, it would not.
#[inline(always)]
pub fn admits<T: Tables>(tables: &T, packet: &Packet, lasting: Lasting) -> bool {
    let key = &packet.key;
    let addresses = key.addresses();
    let kind = kind_of(&addresses, key.protocol);
    let mut fields = Fields {
        kind,
        network: 0,
        local: u16::from(key.protocol),
        remote: 0,
        flags: Flags::NONE,
    };
    match (kind, packet.carries) {
        (ProtocolKind::Tcp | ProtocolKind::Udp, _) => {
            fields.local = u16::from_be_bytes(key.local_port);
            fields.remote = u16::from_be_bytes(key.remote_port);
        }
        // What answers an echo request.
        (_, Carries::EchoRequest | Carries::EchoReply) => fields.local = kind.echo_reply(),
        _ => {}
    }
    let first = first_node(tables, &fields);
    let is_for_good = lasting == Lasting::ForGood && kind == ProtocolKind::Tcp;
    let answers = Answers {
        knows_time: !is_for_good,
        ..Answers::new(None::<&[u8]>, tables, &addresses, &fields)
    };
    let node = answers.last_node(first);
    let unknown = Question::Interface.bit() | Question::Time.bit() | Question::Mac.bit();
    node.asks & unknown == 0
        && match node.slot {
            NO_RULE => setting(&tables.config().default_pass) != 0,
            // What is limited is no answer over TCP; of everything else, the next one may be over
            // the limit.
            _ if node.action == ACTION_LIMIT => {
                kind == ProtocolKind::Tcp || lasting == Lasting::ForNow
            }
            _ => node.action != ACTION_DENY,
        }
}

/// Finds the rule for a non-initial fragment, of which ports and ICMP types are not known.
/// Where these might lead to another decision, there is none.
#[inline(always)]
pub(super) fn first_match_of_fragment<F: Frame + ?Sized, T: Tables>(
    frame: &F,
    tables: &T,
    ip: &Ip<'_>,
) -> Decision {
    let fields = Fields {
        kind: ProtocolKind::Other,
        network: ip.header,
        local: u16::from(ip.protocol),
        remote: 0,
        flags: Flags::NONE,
    };
    let [tcp, udp, icmp, icmp6, unknown] = &tables.config().fragments;
    let first = match kind_of(&ip.addresses, ip.protocol) {
        ProtocolKind::Tcp => node(tcp),
        ProtocolKind::Udp => node(udp),
        ProtocolKind::Icmp => node(icmp),
        ProtocolKind::Icmp6 => node(icmp6),
        ProtocolKind::Other if ip.knows_protocol() => first_node(tables, &fields),
        ProtocolKind::Other => node(unknown),
    };
    let node = Answers::new(Some(frame), tables, &ip.addresses, &fields).last_node(first);
    Decision {
        slot: node.slot,
        action: node.action,
    }
}

/// Finds the rule for a packet.
#[inline(always)]
pub(super) fn first_match<F: Frame + ?Sized, T: Tables>(
    frame: &F,
    tables: &T,
    addresses: &Addresses<'_>,
    fields: &Fields,
) -> Decision {
    let first = first_node(tables, fields);
    let node = Answers::new(Some(frame), tables, addresses, fields).last_node(first);
    Decision {
        slot: node.slot,
        action: node.action,
    }
}

/// The first node for a packet, by its protocol and local port.
#[inline(always)]
fn first_node<T: Tables>(tables: &T, fields: &Fields) -> Node {
    let is_listed = match fields.kind.transport() {
        Some(transport) => tables.is_listed(Side::Local, transport, fields.local),
        None => setting(&tables.config().listed_kinds) & fields.kind.bit() != 0,
    };
    if is_listed && let Some(node) = tables.local(LocalKey::new(fields.kind, fields.local)) {
        return node;
    }
    node(&tables.config().rest[fields.kind as usize])
}

/// Reads a node of the configuration.
#[inline(always)]
fn node(field: &Node) -> Node {
    Node {
        number: setting(&field.number),
        asks: setting(&field.asks),
        slot: setting(&field.slot),
        action: setting(&field.action),
    }
}

/// What the questions about a packet are answered from.
struct Answers<'a, F: ?Sized, T> {
    frame: Option<&'a F>,
    tables: &'a T,
    addresses: &'a Addresses<'a>,
    fields: &'a Fields,
    /// [`Question::bit`]s of what some node asks.
    asked: u32,
    /// Whether what is judged happens now.
    knows_time: bool,
}

impl<'a, F: Frame + ?Sized, T: Tables> Answers<'a, F, T> {
    /// About a packet that is here now. Its frame may be unknown.
    #[inline(always)]
    fn new(
        frame: Option<&'a F>,
        tables: &'a T,
        addresses: &'a Addresses<'a>,
        fields: &'a Fields,
    ) -> Self {
        Self {
            frame,
            tables,
            addresses,
            fields,
            asked: setting(&tables.config().questions),
            knows_time: true,
        }
    }

    /// Goes on from the first node, through the questions that the policy asks.
    #[inline(always)]
    fn last_node(&self, node: Node) -> Node {
        // One after the other instead of in a loop, so that each has code of its own, which
        // the verifier removes where no node asks for it.
        let [first, second, third, fourth, fifth, sixth] = Question::ALL;
        let node = self.follow(node, first);
        let node = self.follow(node, second);
        let node = self.follow(node, third);
        let node = self.follow(node, fourth);
        let node = self.follow(node, fifth);
        self.follow(node, sixth)
    }

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

    /// The packet's class; `None` where the question does not apply to it, or nobody knows.
    #[inline(always)]
    fn class(&self, question: Question) -> Option<u32> {
        let Self { tables, fields, .. } = self;
        Some(match question {
            Question::Interface => tables.interface_class()?,
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
            Question::Time if !self.knows_time => return None,
            Question::Time => tables.ends_ahead(),
            Question::Mac => match ethernet::source(self.frame?) {
                Some(mac) => tables.mac_class(mac),
                None => 0,
            },
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
