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
        ACTION_ALLOW, Config, DHCP_CLIENT, DHCP_SERVER, Decision, Side, UDP_REPLIES_BOUND,
        UDP_REPLIES_OFF, unlisted_class,
    },
    wire::{
        Frame, Malformation,
        ethernet::{self, Payload},
        ipv4::{self, Addresses, Ipv4},
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

    /// Whether rules tell this port from others, or match any port at all.
    fn is_listed(&self, side: Side, transport: Transport, port: u16) -> bool;

    /// The class of a port that some rule names.
    fn class_of(&self, side: Side, transport: Transport, port: u16) -> Option<u32>;

    /// The rule that decides for this pair of classes, if one does.
    fn decision(&self, local: u32, remote: u32) -> Option<Decision>;

    /// Whether a socket of this host talks to the segment's sender. For TCP:
    /// one that is not a listener. For UDP: one that is connected to it, or
    /// with `bound` any that the kernel would deliver to.
    fn has_socket(&self, addresses: &Addresses, segment: &Segment, bound: bool) -> bool;
}

/// A TCP or UDP packet over IPv4, as seen on ingress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The transport protocol.
    pub transport: Transport,
    /// Offset of the IPv4 header from the start of the frame.
    pub network: usize,
    /// This host's port, host byte order.
    pub local: u16,
    /// The peer's port, host byte order.
    pub remote: u16,
    /// TCP only: the segment asks for a new connection.
    pub opens: bool,
}

impl Segment {
    /// Stands where there is no segment.
    const NONE: Self = Self {
        transport: Transport::Tcp,
        network: 0,
        local: 0,
        remote: 0,
        opens: false,
    };
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
    has_ports: bool,
    segment: Segment,
    malformation: Option<Malformation>,
}

impl Outcome {
    const NO_RULE: u32 = u32::MAX;

    #[inline(always)]
    const fn of(reason: Reason) -> Self {
        Self {
            reason,
            rule: Self::NO_RULE,
            has_ports: false,
            segment: Segment::NONE,
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
    const fn with(self, segment: Segment) -> Self {
        Self {
            has_ports: true,
            segment,
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
        if self.rule == Self::NO_RULE {
            None
        } else {
            Some(self.rule)
        }
    }

    /// The ports, when the packet got as far as having any.
    #[inline(always)]
    pub const fn segment(&self) -> Option<&Segment> {
        if self.has_ports {
            Some(&self.segment)
        } else {
            None
        }
    }

    /// For [`Reason::Malformed`]: what is wrong.
    #[inline(always)]
    pub const fn malformation(&self) -> Option<Malformation> {
        self.malformation
    }
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
    let reason = match ethernet::payload(frame) {
        Ok(Payload::Ipv4(offset)) => {
            return match ipv4::parse(frame, offset) {
                Ok(packet) => judge_ipv4(frame, host, packet, then),
                Err(malformation) => then(Outcome::malformed(malformation)),
            };
        }
        Err(malformation) => return then(Outcome::malformed(malformation)),
        Ok(Payload::Ipv6) => Reason::Ipv6,
        Ok(Payload::Arp) => Reason::Arp,
        Ok(Payload::TooManyTags) => Reason::VlanDepth,
        Ok(Payload::Other) => Reason::NonIp,
    };
    then(Outcome::of(reason))
}

#[inline(always)]
fn judge_ipv4<F: Frame + ?Sized, H: Host, R>(
    frame: &F,
    host: &H,
    packet: Ipv4<'_>,
    then: impl FnOnce(Outcome) -> R,
) -> R {
    if packet.protocol == Transport::Tcp.protocol() {
        if packet.later_fragment {
            return then(judge_fragment(host));
        }
        match tcp::parse(frame, &packet.payload) {
            Ok(tcp) => judge_tcp(host, &packet, tcp, then),
            Err(malformation) => then(Outcome::malformed(malformation)),
        }
    } else if packet.protocol == Transport::Udp.protocol() {
        if packet.later_fragment {
            return then(judge_fragment(host));
        }
        match udp::parse(frame, &packet.payload) {
            Ok(udp) => judge_udp(host, &packet, udp, then),
            Err(malformation) => then(Outcome::malformed(malformation)),
        }
    } else {
        then(judge_other(host, &packet))
    }
}

/// Judges a packet of a protocol without ports.
#[cold]
#[inline(always)]
fn judge_other<H: Host>(host: &H, packet: &Ipv4<'_>) -> Outcome {
    if packet.protocol == IpProto::Icmp as u8 {
        Outcome::of(Reason::Icmp)
    } else if packet.later_fragment {
        judge_fragment(host)
    } else {
        judge_portless(host)
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

/// Judges a packet of a protocol without ports: only rules for `any` match it.
#[inline(always)]
fn judge_portless<H: Host>(host: &H) -> Outcome {
    let class = unlisted_class(None);
    if setting(&host.config().portless_rules) != 0
        && let Some(decision) = host.decision(class, class)
    {
        return Outcome::decided(decision);
    }
    Outcome::of(if setting(&host.config().default_pass) != 0 {
        Reason::DefaultPass
    } else {
        Reason::DefaultDrop
    })
}

/// Judges a TCP segment.
#[inline(always)]
fn judge_tcp<H: Host, R>(
    host: &H,
    packet: &Ipv4<'_>,
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
        network: packet.header,
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
    judge_segment(host, packet, segment(), is_closed, then)
}

/// Judges a UDP packet.
#[inline(always)]
fn judge_udp<H: Host, R>(
    host: &H,
    packet: &Ipv4<'_>,
    udp: Udp<'_>,
    then: impl FnOnce(Outcome) -> R,
) -> R {
    let local = udp.destination();
    let is_closed = host.is_closed(Transport::Udp, local);
    let segment = Segment {
        transport: Transport::Udp,
        network: packet.header,
        local,
        remote: udp.source(),
        opens: false,
    };
    if is_closed && !is_from_server(host.config(), segment.remote) {
        return then(Outcome::of(Reason::DefaultDrop).with(segment));
    }
    judge_segment(host, packet, segment, is_closed, then)
}

/// Judges a segment by the rules, if its port is not closed, then by the default,
/// unless it is an answer.
#[cold]
#[inline(always)]
fn judge_segment<H: Host, R>(
    host: &H,
    packet: &Ipv4<'_>,
    segment: Segment,
    is_closed: bool,
    then: impl FnOnce(Outcome) -> R,
) -> R {
    if !is_closed {
        if let Some(decision) = classify(host, &segment) {
            return then(Outcome::decided(decision).with(segment));
        }
        if setting(&host.config().default_pass) != 0 {
            return then(Outcome::of(Reason::DefaultPass).with(segment));
        }
    }
    match answer(host, packet, &segment) {
        Some(reason) => then(Outcome::of(reason).with(segment)),
        None => then(Outcome::of(Reason::DefaultDrop).with(segment)),
    }
}

/// Finds the rule for a segment: bits first, then the port maps, then the
/// decision for the pair of classes.
#[inline(always)]
fn classify<H: Host>(host: &H, segment: &Segment) -> Option<Decision> {
    let transport = segment.transport;
    let local_listed = host.is_listed(Side::Local, transport, segment.local);
    let remote_listed = setting(&host.config().remote_rules) != 0
        && host.is_listed(Side::Remote, transport, segment.remote);
    if !local_listed && !remote_listed {
        return None;
    }
    let class = |side, listed, port| {
        let class = if listed {
            host.class_of(side, transport, port)
        } else {
            None
        };
        class.unwrap_or(unlisted_class(Some(transport)))
    };
    host.decision(
        class(Side::Local, local_listed, segment.local),
        class(Side::Remote, remote_listed, segment.remote),
    )
}

/// Why a segment that the default would drop passes nevertheless: as the answer
/// to a request of this host.
#[inline(always)]
fn answer<H: Host>(host: &H, packet: &Ipv4<'_>, segment: &Segment) -> Option<Reason> {
    let config = host.config();
    let answered = match segment.transport {
        Transport::Tcp => !segment.opens && host.has_socket(&packet.addresses(), segment, false),
        Transport::Udp => {
            if segment.local == DHCP_CLIENT
                && segment.remote == DHCP_SERVER
                && setting(&config.dhcp_client) != 0
            {
                return Some(Reason::DhcpClient);
            }
            // Probes of this host's service ports from ephemeral ones are neither,
            // and are spared the socket look-up.
            (is_from_server(config, segment.remote) || is_to_client(config, segment.local)) && {
                let replies = setting(&config.udp_replies);
                replies != UDP_REPLIES_OFF
                    && host.has_socket(&packet.addresses(), segment, replies == UDP_REPLIES_BOUND)
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
