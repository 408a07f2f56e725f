//! The verdict on a packet, step by step; the same code in the kernel and in
//! `explain` and the tests.
//!
//! The steps are ordered so that a packet which the default policy drops pays
//! for nothing but the parse and the test of one bit: hash maps and socket
//! look-ups are for packets that a rule mentions or that may be a reply. What is
//! marked `cold` is not slow or rare, but behind that test: the compiler lays it
//! aside.

use network_types::ip::IpProto;

use crate::{
    Reason, Transport,
    abi::{
        ACTION_ALLOW, Config, DHCP_CLIENTS, DHCP_SERVERS, EdgeKey, Kind, LocalKey, NO_RULE, Node,
        Side, UDP_REPLIES_BOUND, UDP_REPLIES_OFF, dimension,
    },
    wire::{
        Frame, Malformation, ethernet, icmp,
        ip::{self, Addresses, Ip},
        ipv4, ipv6,
        tcp::{self, Tcp},
        udp::{self, Udp},
    },
};

/// What the verdict needs from the host it stands on: the compiled policy, and
/// the kernel's own knowledge of sockets.
pub trait Host {
    /// What the policy asks for besides its rules.
    fn config(&self) -> &Config;

    /// Whether this local port is closed: the default drops what comes to it, and
    /// nothing can change that but an answer from a server's port.
    fn is_closed(&self, transport: Transport, port: u16) -> bool;

    /// Whether rules tell this port from others.
    fn is_listed(&self, side: Side, transport: Transport, port: u16) -> bool;

    /// Where the way to a decision begins for what some rule names.
    fn local(&self, key: LocalKey) -> Option<Node>;

    /// The node that an edge leads to.
    fn edge(&self, key: EdgeKey) -> Option<Node>;

    /// The class of a listed remote port; 0 if it has none.
    fn remote_port_class(&self, transport: Transport, port: u16) -> u32;

    /// The class of the interface that the packet came in on; 0 if it has none.
    fn interface_class(&self) -> u32;

    /// The class of the source (remote) or destination (local) address; 0 if it has
    /// none.
    fn address_class(&self, side: Side, addresses: &Addresses<'_>) -> u32;

    /// Whether a socket of this host talks to the packet's sender. For TCP:
    /// one that is not a listener. For UDP: one that is connected to it, or
    /// with `bound` any that the kernel would deliver to.
    fn has_socket(&self, addresses: &Addresses<'_>, segment: &Segment, bound: bool) -> bool;
}

/// What a packet is, as far as rules can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Its kind.
    pub kind: Kind,
    /// Offset of the IP header from the start of the frame.
    pub network: usize,
    /// This host's port, host byte order; without ports, the ICMP type or the
    /// protocol number.
    pub local: u16,
    /// The peer's port, host byte order; without ports, 0.
    pub remote: u16,
}

impl Flow {
    /// Stands where nothing is known.
    const NONE: Self = Self {
        kind: Kind::Other,
        network: 0,
        local: 0,
        remote: 0,
    };
}

/// A TCP or UDP packet, as seen on ingress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The transport protocol.
    pub transport: Transport,
    /// Offset of the IP header from the start of the frame.
    pub network: usize,
    /// This host's port, host byte order.
    pub local: u16,
    /// The peer's port, host byte order.
    pub remote: u16,
    /// TCP only: the segment asks for a new connection.
    pub opens: bool,
}

impl From<Segment> for Flow {
    #[inline(always)]
    fn from(segment: Segment) -> Self {
        Self {
            kind: segment.transport.into(),
            network: segment.network,
            local: segment.local,
            remote: segment.remote,
        }
    }
}

/// The verdict, with all that is counted and reported about it.
///
/// Every field always has a value: were one left undefined where it means
/// nothing, the compiler would keep another value's register there, and the
/// verifier would see arithmetic on a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    reason: Reason,
    rule: u32,
    has_flow: bool,
    flow: Flow,
    malformation: Option<Malformation>,
}

impl Outcome {
    #[inline(always)]
    const fn of(reason: Reason) -> Self {
        Self {
            reason,
            rule: NO_RULE,
            has_flow: false,
            flow: Flow::NONE,
            malformation: None,
        }
    }

    #[inline(always)]
    const fn malformed(malformation: Malformation) -> Self {
        Self {
            malformation: Some(malformation),
            ..Self::of(Reason::Malformed)
        }
    }

    #[inline(always)]
    const fn decided(decision: Decision) -> Self {
        Self {
            rule: decision.slot,
            ..Self::of(if decision.action == ACTION_ALLOW {
                Reason::RuleAllow
            } else {
                Reason::RuleDeny
            })
        }
    }

    #[inline(always)]
    fn with(self, flow: impl Into<Flow>) -> Self {
        Self {
            has_flow: true,
            flow: flow.into(),
            ..self
        }
    }

    /// Why; the verdict itself follows from it.
    #[inline(always)]
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// Slot of the rule that decided.
    #[inline(always)]
    pub const fn rule(&self) -> Option<u32> {
        if self.rule == NO_RULE {
            None
        } else {
            Some(self.rule)
        }
    }

    /// What the packet is, when the judgement got as far as knowing.
    #[inline(always)]
    pub const fn flow(&self) -> Option<&Flow> {
        if self.has_flow {
            Some(&self.flow)
        } else {
            None
        }
    }

    /// The local port, when the judgement got as far as having one.
    #[inline(always)]
    pub const fn local_port(&self) -> Option<(Transport, u16)> {
        match (self.has_flow, self.flow.kind.transport()) {
            (true, Some(transport)) => Some((transport, self.flow.local)),
            _ => None,
        }
    }

    /// For [`Reason::Malformed`]: what is wrong.
    #[inline(always)]
    pub const fn malformation(&self) -> Option<Malformation> {
        self.malformation
    }
}

/// The rule that decides.
#[derive(Clone, Copy)]
struct Decision {
    slot: u32,
    action: u32,
}

/// Judges a frame.
#[inline(always)]
pub fn judge<F: Frame + ?Sized, H: Host>(frame: &F, host: &H) -> Outcome {
    judge_then(frame, host, |outcome| outcome)
}

/// Judges a frame, and goes on to `then` with the outcome.
///
/// The kernel program counts in `then`: compiled into the end of each path, it
/// keeps there only what that path's outcome needs, where a common end would
/// make every path carry all fields of every outcome.
#[inline(always)]
pub fn judge_then<F: Frame + ?Sized, H: Host, R>(
    frame: &F,
    host: &H,
    then: impl FnOnce(Outcome) -> R,
) -> R {
    let payload = if frame.has_ethernet() {
        ethernet::payload(frame)
    } else {
        bare_payload(frame)
    };
    let reason = match payload {
        Ok(ethernet::Payload::Ipv4(offset)) => {
            return match ipv4::parse(frame, offset) {
                Ok(ip) => judge_ip(frame, host, ip, then),
                Err(malformation) => then(Outcome::malformed(malformation)),
            };
        }
        Ok(ethernet::Payload::Ipv6(offset)) => {
            return match ipv6::parse(frame, offset) {
                Ok(ip) => judge_ip(frame, host, ip, then),
                Err(malformation) => then(Outcome::malformed(malformation)),
            };
        }
        Err(malformation) => return then(Outcome::malformed(malformation)),
        Ok(ethernet::Payload::Arp) => Reason::Arp,
        Ok(ethernet::Payload::TooManyTags) => Reason::VlanDepth,
        Ok(ethernet::Payload::Other) => Reason::NonIp,
    };
    then(Outcome::of(reason))
}

/// What a frame without a link-layer header carries: its first bits tell.
#[cold]
#[inline(always)]
fn bare_payload<F: Frame + ?Sized>(frame: &F) -> Result<ethernet::Payload, Malformation> {
    let start = frame.settle(0);
    match ip::version(frame, start) {
        Some(4) => Ok(ethernet::Payload::Ipv4(start)),
        Some(6) => Ok(ethernet::Payload::Ipv6(start)),
        _ => Err(Malformation::IpVersion),
    }
}

#[inline(always)]
fn judge_ip<F: Frame + ?Sized, H: Host, R>(
    frame: &F,
    host: &H,
    ip: Ip<'_>,
    then: impl FnOnce(Outcome) -> R,
) -> R {
    if ip.protocol == Transport::Tcp.protocol() {
        if ip.later_fragment {
            return then(judge_fragment(host));
        }
        match tcp::parse(frame, &ip.payload) {
            Ok(tcp) => judge_tcp(host, &ip, tcp, then),
            Err(malformation) => then(Outcome::malformed(malformation)),
        }
    } else if ip.protocol == Transport::Udp.protocol() {
        if ip.later_fragment {
            return then(judge_fragment(host));
        }
        match udp::parse(frame, &ip.payload) {
            Ok(udp) => judge_udp(host, &ip, udp, then),
            Err(malformation) => then(Outcome::malformed(malformation)),
        }
    } else {
        then(judge_other(frame, host, &ip))
    }
}

/// Judges a packet of a protocol without ports.
#[cold]
#[inline(always)]
fn judge_other<F: Frame + ?Sized, H: Host>(frame: &F, host: &H, ip: &Ip<'_>) -> Outcome {
    if ip.later_fragment {
        return judge_fragment(host);
    }
    // ICMP belongs to one version of IP: in the other's packets, its number is that
    // of just any protocol.
    let kind = match ip.addresses {
        Addresses::V4(_) if ip.protocol == IpProto::Icmp as u8 => Kind::Icmp,
        Addresses::V6(_) if ip.protocol == IpProto::Ipv6Icmp as u8 => Kind::Icmp6,
        _ => Kind::Other,
    };
    let local = match kind {
        Kind::Other => ip.protocol,
        _ => match icmp::parse(frame, &ip.payload) {
            Ok(message) => message,
            Err(malformation) => return Outcome::malformed(malformation),
        },
    };
    let flow = Flow {
        kind,
        network: ip.header,
        local: u16::from(local),
        remote: 0,
    };
    let outcome = match classify(host, &ip.addresses, &flow) {
        Some(decision) => Outcome::decided(decision),
        None if setting(&host.config().default_pass) != 0 => Outcome::of(Reason::DefaultPass),
        None => Outcome::of(built_in(kind, local).unwrap_or(Reason::DefaultDrop)),
    };
    outcome.with(flow)
}

/// Why a message that no rule matches passes nevertheless: IP needs it.
#[inline(always)]
const fn built_in(kind: Kind, message: u8) -> Option<Reason> {
    match kind {
        Kind::Icmp if icmp::is_error(message) => Some(Reason::IcmpError),
        Kind::Icmp6 if icmp::is_error6(message) => Some(Reason::IcmpError),
        Kind::Icmp6 if icmp::is_neighbour_discovery(message) => Some(Reason::NeighbourDiscovery),
        Kind::Icmp6 if icmp::is_mld(message) => Some(Reason::Mld),
        _ => None,
    }
}

/// Judges a fragment that does not hold the transport header.
#[cold]
#[inline(always)]
fn judge_fragment<H: Host>(host: &H) -> Outcome {
    Outcome::of(if setting(&host.config().drop_fragments) != 0 {
        Reason::FragmentDrop
    } else {
        Reason::FragmentPass
    })
}

/// Judges a TCP segment.
#[inline(always)]
fn judge_tcp<H: Host, R>(
    host: &H,
    ip: &Ip<'_>,
    tcp: Tcp<'_>,
    then: impl FnOnce(Outcome) -> R,
) -> R {
    let local = tcp.destination();
    let is_closed = host.is_closed(Transport::Tcp, local);
    let flags = tcp.flags();
    let opens = flags.open_connection();
    // Reads the source port, which the drop of a bare SYN goes without.
    let segment = || Segment {
        transport: Transport::Tcp,
        network: ip.header,
        local,
        remote: tcp.source(),
        opens,
    };
    if opens {
        // A bare SYN is possible, and answers nothing.
        if is_closed {
            return then(Outcome::of(Reason::DefaultDrop).with(segment()));
        }
    } else if flags.are_impossible() {
        return then(Outcome::of(Reason::BadFlags).with(segment()));
    }
    judge_segment(host, ip, segment(), is_closed, then)
}

/// Judges a UDP packet.
#[inline(always)]
fn judge_udp<H: Host, R>(
    host: &H,
    ip: &Ip<'_>,
    udp: Udp<'_>,
    then: impl FnOnce(Outcome) -> R,
) -> R {
    let local = udp.destination();
    let is_closed = host.is_closed(Transport::Udp, local);
    let segment = Segment {
        transport: Transport::Udp,
        network: ip.header,
        local,
        remote: udp.source(),
        opens: false,
    };
    if is_closed && !is_from_server(host.config(), segment.remote) {
        return then(Outcome::of(Reason::DefaultDrop).with(segment));
    }
    judge_segment(host, ip, segment, is_closed, then)
}

/// Judges a segment by the rules, if its port is not closed, then by the default,
/// unless it is an answer.
#[cold]
#[inline(always)]
fn judge_segment<H: Host, R>(
    host: &H,
    ip: &Ip<'_>,
    segment: Segment,
    is_closed: bool,
    then: impl FnOnce(Outcome) -> R,
) -> R {
    if !is_closed {
        if let Some(decision) = classify(host, &ip.addresses, &segment.into()) {
            return then(Outcome::decided(decision).with(segment));
        }
        if setting(&host.config().default_pass) != 0 {
            return then(Outcome::of(Reason::DefaultPass).with(segment));
        }
    }
    match answer(host, ip, &segment) {
        Some(reason) => then(Outcome::of(reason).with(segment)),
        None => then(Outcome::of(Reason::DefaultDrop).with(segment)),
    }
}

/// Finds the rule for a packet: from the node of its kind and local port on, through
/// the dimensions that the policy uses.
#[inline(always)]
fn classify<H: Host>(host: &H, addresses: &Addresses<'_>, flow: &Flow) -> Option<Decision> {
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

/// Why a segment that the default would drop passes nevertheless: as the answer
/// to a request of this host.
#[inline(always)]
fn answer<H: Host>(host: &H, ip: &Ip<'_>, segment: &Segment) -> Option<Reason> {
    let config = host.config();
    let answered = match segment.transport {
        Transport::Tcp => !segment.opens && host.has_socket(&ip.addresses, segment, false),
        Transport::Udp => {
            let version = match ip.addresses {
                Addresses::V4(_) => 0,
                Addresses::V6(_) => 1,
            };
            if segment.local == DHCP_CLIENTS[version]
                && segment.remote == DHCP_SERVERS[version]
                && setting(&config.dhcp_client) != 0
            {
                return Some(Reason::DhcpClient);
            }
            // Probes of this host's service ports from ephemeral ones are neither,
            // and are spared the socket look-up.
            (is_from_server(config, segment.remote) || is_to_client(config, segment.local)) && {
                let replies = setting(&config.udp_replies);
                replies != UDP_REPLIES_OFF
                    && host.has_socket(&ip.addresses, segment, replies == UDP_REPLIES_BOUND)
            }
        }
    };
    answered.then_some(Reason::Reply)
}

/// Whether a UDP packet comes from a port that the kernel does not hand out to
/// clients, a server's.
#[inline(always)]
fn is_from_server(config: &Config, remote: u16) -> bool {
    u32::from(remote) < setting(&config.ephemeral_first)
}

/// Whether a UDP packet comes to a port that the kernel hands out to clients.
#[inline(always)]
fn is_to_client(config: &Config, local: u16) -> bool {
    let local = u32::from(local);
    setting(&config.ephemeral_first) <= local && local <= setting(&config.ephemeral_last)
}

/// Reads a field of the configuration. Volatile, because in the kernel program
/// the value is written after compilation.
#[inline(always)]
fn setting(field: &u32) -> u32 {
    // SAFETY: a reference, so aligned and initialised.
    unsafe { core::ptr::read_volatile(field) }
}
