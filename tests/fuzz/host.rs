//! The host that frames come in on. Its policy has one rule at most, which asks for source
//! addresses, of IP or else of Ethernet, alone.

use xdpfw_common::{
    Transport,
    abi::{
        ACTION_ALLOW, ACTION_DENY, Config, DHCP_CLIENTS, EdgeKey, FlowKey, FlowState,
        ICMP_ERRORS_PASS, ICMP_ERRORS_RELATED, LocalKey, Node, ProtocolKind, Question,
        REPLIES_FLOWS, REPLIES_OFF, REPLIES_SOCKETS, Side,
    },
    flows::{Memory, Note, Origin, Table, note_time},
    verdict::{Host, Sockets, Tables},
    wire::{Frame, Header, ethernet::Mac, ip::Addresses},
};
use xdpfw_model::{Action, Known, Policy, Prefix, Replies};

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
    /// Sources that the rule is for.
    named: Vec<Prefix>,
    /// Ethernet addresses that it is for.
    macs: Vec<Mac>,
    /// What it does.
    action: u32,
    has_socket: bool,
    known: Known,
}

/// Class of the sources that the rule is for.
const NAMED: u32 = 1;

impl Simple {
    /// A host under this policy, where either every socket is found or none, and as much is
    /// known of every conversation.
    pub fn new(policy: &Policy, has_socket: bool, known: Known) -> Self {
        let rule = policy.rules.first();
        let named = rule.map(|rule| rule.from.clone()).unwrap_or_default();
        let macs = rule.map(|rule| rule.mac.clone()).unwrap_or_default();
        let asks = match (named.is_empty(), macs.is_empty()) {
            (false, _) => Question::Source.bit(),
            (true, false) => Question::Mac.bit(),
            (true, true) => 0,
        };
        let start = Node {
            asks,
            ..Node::NO_RULE
        };
        Self {
            config: Config {
                default_pass: policy.default_pass.into(),
                drop_fragments: (!policy.fragments_pass).into(),
                replies: match policy.replies {
                    Replies::Off => REPLIES_OFF,
                    Replies::Sockets => REPLIES_SOCKETS,
                    Replies::Flows => REPLIES_FLOWS,
                },
                dhcp_client: policy.dhcp_client.into(),
                icmp_errors: if policy.icmp_errors_pass {
                    ICMP_ERRORS_PASS
                } else {
                    ICMP_ERRORS_RELATED
                },
                discovery: 0,
                drop_non_ip: (!policy.non_ip_pass).into(),
                established_only: 0,
                syn_cookies: 0,
                cookie_options: 0,
                listed_kinds: 0,
                questions: asks,
                rest: [start; ProtocolKind::ALL.len()],
                fragments: [start; ProtocolKind::ALL.len()],
            },
            named,
            macs,
            action: match rule.map(|rule| rule.action) {
                Some(Action::Deny) => ACTION_DENY,
                _ => ACTION_ALLOW,
            },
            has_socket,
            known,
        }
    }
}

impl Host for Simple {
    type Tables = Self;
    type Sockets = Self;
    type Memory = Self;

    fn tables(&self) -> &Self {
        self
    }

    fn sockets(&self) -> &Self {
        self
    }

    fn memory(&self) -> &Self {
        self
    }

    fn interface(&self) -> u32 {
        1
    }
}

impl Tables for Simple {
    fn config(&self) -> &Config {
        &self.config
    }

    fn is_closed(&self, transport: Transport, port: u16) -> bool {
        // What a port's bit says is the compiler's to settle; this is what it settles.
        let is_dhcp_client = self.config.dhcp_client != 0
            && transport == Transport::Udp
            && DHCP_CLIENTS.contains(&port);
        self.config.default_pass == 0 && self.config.questions == 0 && !is_dhcp_client
    }

    fn is_listed(&self, _: Side, _: Transport, _: u16) -> bool {
        false
    }

    fn local(&self, _: LocalKey) -> Option<Node> {
        None
    }

    fn edge(&self, key: EdgeKey) -> Option<Node> {
        (key.class == NAMED).then_some(Node {
            number: 1,
            asks: 0,
            slot: 0,
            action: self.action,
        })
    }

    fn remote_port_class(&self, _: Transport, _: u16) -> u32 {
        0
    }

    fn interface_class(&self) -> Option<u32> {
        Some(0)
    }

    fn mac_class(&self, mac: &Mac) -> u32 {
        if self.macs.contains(mac) { NAMED } else { 0 }
    }

    fn ends_ahead(&self) -> u32 {
        0
    }

    fn address_class(&self, side: Side, addresses: &Addresses<'_>) -> u32 {
        let address = match side {
            Side::Local => addresses.local(),
            Side::Remote => addresses.remote(),
        };
        let is_named = self.named.iter().any(|prefix| prefix.contains(address));
        if is_named { NAMED } else { 0 }
    }
}

impl Sockets for Simple {
    fn has_socket(&self, _: &FlowKey) -> bool {
        self.has_socket
    }
}

/// One that knows as much of every conversation, in a flow of any kind.
impl Memory for Simple {
    fn now(&self) -> u64 {
        1 << 20
    }

    fn ticks_per_second(&self) -> u64 {
        250
    }

    fn get(&self, _: Origin, table: Table, _: &FlowKey) -> Option<FlowState> {
        let mut state = FlowState::new(self.now());
        match self.known {
            Known::Opened => {}
            Known::PickedUp if table == Table::Tcp => state.picked_up = 1,
            Known::PickedUp | Known::Sent | Known::Nothing => return None,
        }
        Some(state)
    }

    fn set_fin_in(&self, _: Origin, _: &FlowKey) {}

    fn note(&self, _: Note, _: [u8; 2]) -> u32 {
        match self.known {
            Known::Nothing => 0,
            _ => note_time(self.now()),
        }
    }
}
