//! The host that frames come in on. Its policy has one rule at most, which asks for source
//! addresses alone.

use xdpfw_common::{
    Transport,
    abi::{
        ACTION_ALLOW, Config, EdgeKey, LocalKey, Node, ProtocolKind, Question, Side,
        UDP_REPLIES_BOUND, UDP_REPLIES_CONNECTED, UDP_REPLIES_OFF,
    },
    verdict::{Host, Segment, Sockets, Tables},
    wire::{Frame, Header, ip::Addresses},
};
use xdpfw_model::{Policy, Prefix, UdpReplies};

/// A frame with or without an Ethernet header.
pub struct Bytes<'a> {
    /// All of it.
    pub bytes: &'a [u8],
    /// Whether it begins with an Ethernet header.
    pub has_ethernet: bool,
}

impl Frame for Bytes<'_> {
    fn has_ethernet(&self) -> bool {
        self.has_ethernet
    }

    fn len(&self) -> usize {
        self.bytes.len()
    }

    fn read<T: Header>(&self, offset: usize) -> Option<&T> {
        self.bytes.read(offset)
    }
}

/// A host whose tables are made by hand.
pub struct Simple {
    config: Config,
    /// Sources that are allowed.
    allowed: Vec<Prefix>,
    has_socket: bool,
}

/// Class of the sources that are allowed.
const ALLOWED: u32 = 1;

impl Simple {
    /// A host under this policy, where either every socket is found or none.
    pub fn new(policy: &Policy, has_socket: bool) -> Self {
        let (first, last) = policy.ephemeral;
        let allowed = policy.rules.first().map(|rule| rule.from.clone());
        let allowed = allowed.unwrap_or_default();
        let asks = if allowed.is_empty() {
            0
        } else {
            Question::Source.bit()
        };
        let start = Node {
            asks,
            ..Node::NO_RULE
        };
        Self {
            config: Config {
                default_pass: policy.default_pass.into(),
                drop_fragments: (!policy.fragments_pass).into(),
                udp_replies: match policy.udp_replies {
                    UdpReplies::Off => UDP_REPLIES_OFF,
                    UdpReplies::Connected => UDP_REPLIES_CONNECTED,
                    UdpReplies::Bound => UDP_REPLIES_BOUND,
                },
                dhcp_client: policy.dhcp_client.into(),
                ephemeral_first: first.into(),
                ephemeral_last: last.into(),
                listed_kinds: 0,
                questions: asks,
                rest: [start; ProtocolKind::ALL.len()],
            },
            allowed,
            has_socket,
        }
    }
}

impl Host for Simple {
    type Tables = Self;
    type Sockets = Self;

    fn tables(&self) -> &Self {
        self
    }

    fn sockets(&self) -> &Self {
        self
    }
}

impl Tables for Simple {
    fn config(&self) -> &Config {
        &self.config
    }

    fn is_closed(&self, transport: Transport, port: u16) -> bool {
        // What a port's bit says is the compiler's to settle; this is what it settles.
        let clients = self.config.ephemeral_first..=self.config.ephemeral_last;
        self.config.default_pass == 0
            && self.allowed.is_empty()
            && !(transport == Transport::Udp && clients.contains(&port.into()))
    }

    fn is_listed(&self, _: Side, _: Transport, _: u16) -> bool {
        false
    }

    fn local(&self, _: LocalKey) -> Option<Node> {
        None
    }

    fn edge(&self, key: EdgeKey) -> Option<Node> {
        (key.class == ALLOWED).then_some(Node {
            number: 1,
            asks: 0,
            slot: 0,
            action: ACTION_ALLOW,
        })
    }

    fn remote_port_class(&self, _: Transport, _: u16) -> u32 {
        0
    }

    fn interface_class(&self) -> u32 {
        0
    }

    fn address_class(&self, side: Side, addresses: &Addresses<'_>) -> u32 {
        let address = match side {
            Side::Local => addresses.destination(),
            Side::Remote => addresses.source(),
        };
        let is_allowed = self.allowed.iter().any(|prefix| prefix.contains(address));
        if is_allowed { ALLOWED } else { 0 }
    }
}

impl Sockets for Simple {
    fn has_socket(&self, _: &Addresses<'_>, _: &Segment, _: bool) -> bool {
        self.has_socket
    }
}
