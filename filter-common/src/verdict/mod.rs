//! Judges a packet, step by step. The same code runs in the kernel and in the tests.
//!
//! A packet that the default drops must pay for the parse and the test of one bit alone.
//! Hash maps and socket look-ups are for packets that a rule mentions or that may be a
//! reply. Code marked `cold` is neither slow nor rare: it comes after that test, and the
//! compiler lays it aside.

mod answers;
mod implicit;
mod outcome;
mod read;
mod rules;

use self::{
    answers::may_be_answer,
    implicit::{built_in, is_from_dhcp_server},
    rules::{Decision, first_match, first_match_of_fragment},
};
pub use self::{
    answers::{discovers, is_answer, is_discovery, is_established_only},
    outcome::{Fields, Outcome, Segment},
    read::{read, read_then},
    rules::{Lasting, admits},
};
use crate::{
    Reason, Transport,
    abi::{
        Config, EdgeKey, FlowKey, ICMP_ERRORS_PASS, LocalKey, Node, Note, ProtocolKind, Side,
        setting,
    },
    flows::{Conversation, Memory, kind_of},
    wire::{
        Frame, Malformation, ethernet,
        icmp::{self, Message},
        ip::{self, Addresses, Ip},
        ipv4, ipv6,
        tcp::{self, Flags, Tcp},
        udp::{self, Udp},
    },
};

/// What the verdict needs from the host it stands on, in parts: each step names the part
/// that it asks.
pub trait Host {
    /// The part that knows the compiled policy.
    type Tables: Tables;
    /// The part that knows the host's sockets.
    type Sockets: Sockets;
    /// The part that knows what left.
    type Memory: Memory;

    /// The compiled policy.
    fn tables(&self) -> &Self::Tables;

    /// The host's sockets.
    fn sockets(&self) -> &Self::Sockets;

    /// What left lately.
    fn memory(&self) -> &Self::Memory;

    /// Index of the interface that the packet came in by.
    fn interface(&self) -> u32;

    /// Whether a packet of this conversation answers something, as [`is_answer`] and
    /// [`is_discovery`] say. The kernel program has both once for all its paths.
    #[inline(always)]
    fn is_answer(&self, conversation: &Conversation<'_>, denied: bool, is_noted: bool) -> bool
    where
        Self: Sized,
    {
        let packet = conversation.packet(self.interface());
        is_answer(
            self.tables(),
            self.sockets(),
            self.memory(),
            &packet,
            denied,
            is_noted,
        ) || is_discovery(self.tables(), self.memory(), &packet)
    }

    /// Whether a packet's source may be banned: a quick look, which is wrong now and then. By
    /// default, nobody is.
    #[inline(always)]
    fn may_be_banned(&self, _: &Addresses<'_>) -> bool {
        false
    }

    /// Whether anybody may be banned who may open nothing. By default, nobody is.
    #[inline(always)]
    fn has_banned_openers(&self) -> bool {
        false
    }

    /// What becomes of a packet of this conversation that a rule or the default lets in, by the
    /// defences that there are against it: the reason why it does not pass as it is, if so. By
    /// default, there are none.
    #[inline(always)]
    fn defend(&self, _: &Conversation<'_>, _: &Defences) -> Option<Reason> {
        None
    }

    /// Whether a packet of this conversation is banned that answers something.
    #[inline(always)]
    fn is_banned_hard(&self, _: &Conversation<'_>) -> bool {
        false
    }

    /// Whether rules let in a packet of this conversation, as [`admits`] says; once, too.
    #[inline(always)]
    fn admits(&self, conversation: &Conversation<'_>) -> bool
    where
        Self: Sized,
    {
        admits(
            self.tables(),
            &conversation.packet(self.interface()),
            Lasting::ForNow,
        )
    }
}

/// What there may be against a packet that a rule or the default lets in.
#[derive(Clone, Copy, Debug)]
pub struct Defences {
    /// Bits: [`Defences::BANS`] and those behind it.
    pub against: u32,
    /// Slot of the rule's counters, or [`NO_RULE`](crate::abi::NO_RULE).
    pub slot: u32,
    /// Offset of its IP header in the frame.
    pub network: u32,
    /// Offset of what the IP packet carries.
    pub transport: u32,
}

impl Defences {
    /// Its source may be banned.
    pub const BANS: u32 = 1 << 0;
    /// Its source may be banned from opening anything, and it may do so.
    pub const OPENERS: u32 = 1 << 1;
    /// The rule has a limit for it.
    pub const LIMIT: u32 = 1 << 2;
    /// The rule answers with SYN cookies.
    pub const COOKIES: u32 = 1 << 3;
}

/// `bit` if it is so.
#[inline(always)]
const fn bit_if(is_so: bool, bit: u32) -> u32 {
    if is_so { bit } else { 0 }
}

/// The compiled policy.
pub trait Tables {
    /// What the policy asks for besides its rules.
    fn config(&self) -> &Config;

    /// Whether this local port is closed: the default drops what comes to it, and
    /// nothing can change that but an answer from a server's port.
    fn is_closed(&self, transport: Transport, port: u16) -> bool;

    /// Whether rules tell this port from others.
    fn is_listed(&self, side: Side, transport: Transport, port: u16) -> bool;

    /// The first node for what some rule names.
    fn local(&self, key: LocalKey) -> Option<Node>;

    /// The node that an edge leads to.
    fn edge(&self, key: EdgeKey) -> Option<Node>;

    /// The class of a listed remote port; 0 if it has none.
    fn remote_port_class(&self, transport: Transport, port: u16) -> u32;

    /// The class of the interface that the packet came in on, 0 if it has none; `None` where
    /// it is not known.
    fn interface_class(&self) -> Option<u32>;

    /// The class of the source of an Ethernet frame; 0 if it has none.
    fn mac_class(&self, mac: &ethernet::Mac) -> u32;

    /// The class of now: how many ends of rules are ahead.
    fn ends_ahead(&self) -> u32;

    /// The class of the source (remote) or destination (local) address; 0 if it has
    /// none.
    fn address_class(&self, side: Side, addresses: &Addresses<'_>) -> u32;
}

/// The sockets of this host.
pub trait Sockets {
    /// Whether a socket of this host talks to the peer, over TCP or UDP: for TCP, one that
    /// is not a listener; for UDP, one that is connected to it.
    fn has_socket(&self, key: &FlowKey) -> bool;
}

/// Judges a frame.
#[inline(always)]
pub fn judge<F: Frame + ?Sized, H: Host>(frame: &F, host: &H) -> Outcome {
    judge_then(frame, host, AsItIs)
}

/// What is done at the end of each path of the verdict. A trait and no closure: a closure cannot
/// insist on being compiled into each.
pub trait Conclude<R> {
    /// Goes on with the outcome.
    fn conclude(self, outcome: Outcome) -> R;
}

/// Hands on the outcome.
struct AsItIs;

impl Conclude<Outcome> for AsItIs {
    #[inline(always)]
    fn conclude(self, outcome: Outcome) -> Outcome {
        outcome
    }
}

/// Judges a frame, and goes on to `then` with the outcome.
///
/// The kernel program counts in `then`: compiled into the end of each path, it
/// keeps there only what that path's outcome needs, where a common end would
/// make every path carry all fields of every outcome.
#[inline(always)]
pub fn judge_then<F: Frame + ?Sized, H: Host, R>(frame: &F, host: &H, then: impl Conclude<R>) -> R {
    let payload = if frame.has_ethernet() {
        ethernet::payload(frame)
    } else {
        bare_payload(frame)
    };
    let reason = match payload {
        Ok(ethernet::Payload::Ipv4(offset)) => {
            return match ipv4::parse(frame, offset) {
                Ok(ip) => judge_ip(frame, host, ip, then),
                Err(malformation) => then.conclude(Outcome::malformed(malformation)),
            };
        }
        Ok(ethernet::Payload::Ipv6(offset)) => {
            return match ipv6::parse(frame, offset) {
                Ok(ip) => judge_ip(frame, host, ip, then),
                Err(malformation) => then.conclude(Outcome::malformed(malformation)),
            };
        }
        Err(malformation) => return then.conclude(Outcome::malformed(malformation)),
        Ok(ethernet::Payload::Arp) => Reason::Arp,
        Ok(ethernet::Payload::TooManyTags) => Reason::VlanDepth,
        Ok(ethernet::Payload::LinkControl) => Reason::NonIpPass,
        Ok(ethernet::Payload::Other) => non_ip(host),
    };
    then.conclude(Outcome::of(reason))
}

/// Why a frame passes or not that carries neither IP nor what the link needs.
#[cold]
#[inline(always)]
fn non_ip<H: Host>(host: &H) -> Reason {
    match setting(&host.tables().config().drop_non_ip) {
        0 => Reason::NonIpPass,
        _ => Reason::NonIpDrop,
    }
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
    then: impl Conclude<R>,
) -> R {
    if ip.non_initial_fragment {
        return then.conclude(judge_fragment(frame, host, &ip));
    }
    if ip.protocol == Transport::Tcp.protocol() {
        match tcp::parse(frame, &ip.payload) {
            Ok(tcp) => judge_tcp(frame, host, &ip, tcp, then),
            Err(malformation) => then.conclude(Outcome::malformed(malformation)),
        }
    } else if ip.protocol == Transport::Udp.protocol() {
        match udp::parse(frame, &ip.payload) {
            Ok(udp) => judge_udp(frame, host, &ip, udp, then),
            Err(malformation) => then.conclude(Outcome::malformed(malformation)),
        }
    } else {
        then.conclude(judge_other(frame, host, &ip))
    }
}

/// Judges a packet of a protocol without ports.
#[cold]
#[inline(always)]
fn judge_other<F: Frame + ?Sized, H: Host>(frame: &F, host: &H, ip: &Ip<'_>) -> Outcome {
    let kind = kind_of(&ip.addresses, ip.protocol);
    let message = match kind {
        ProtocolKind::Icmp | ProtocolKind::Icmp6 => match icmp::parse(frame, &ip.payload) {
            Ok(message) => message,
            Err(malformation) => return Outcome::malformed(malformation),
        },
        _ => Message::NONE,
    };
    let fields = Fields {
        kind,
        network: ip.header,
        local: u16::from(match kind {
            ProtocolKind::Icmp | ProtocolKind::Icmp6 => message.kind,
            _ => ip.protocol,
        }),
        remote: 0,
        flags: Flags::NONE,
    };
    let decision = first_match(frame, host.tables(), &ip.addresses, &fields);
    let passes_by_default =
        !decision.is_some() && setting(&host.tables().config().default_pass) != 0;
    let outcome = if decision.allows() || passes_by_default {
        let against = bit_if(host.may_be_banned(&ip.addresses), Defences::BANS)
            | bit_if(decision.limits(), Defences::LIMIT);
        if against != 0 {
            let conversation = Conversation::of_other(frame, ip, kind, message);
            defend(host, &conversation, decision, against, ip)
        } else {
            Outcome::passed(decision)
        }
    } else {
        match passes(frame, host, ip, kind, message, decision.is_some()) {
            Some(reason) => Outcome::of(reason),
            None => Outcome::dropped(decision),
        }
    };
    outcome.with(fields)
}

/// Why a packet without ports passes that a rule denies, or the default would drop; [`Reason::Ban`] if
/// it answers, and its source may not even do that.
#[inline(always)]
fn passes<F: Frame + ?Sized, H: Host>(
    frame: &F,
    host: &H,
    ip: &Ip<'_>,
    kind: ProtocolKind,
    message: Message,
    denied: bool,
) -> Option<Reason> {
    if !denied && let Some(reason) = built_in(frame, ip, kind, message) {
        return Some(reason);
    }
    let is_error = match kind {
        ProtocolKind::Icmp => icmp::is_error(message.kind),
        ProtocolKind::Icmp6 => icmp::is_error6(message.kind),
        _ => false,
    };
    let (conversation, reason) = if is_error {
        if !denied && setting(&host.tables().config().icmp_errors) == ICMP_ERRORS_PASS {
            return Some(Reason::IcmpError);
        }
        let quoted = Conversation::quoted(frame, ip)?;
        (quoted, Reason::IcmpError)
    } else {
        let own = Conversation::of_other(frame, ip, kind, message);
        (own, Reason::Reply)
    };
    let passes = host.is_answer(&conversation, denied, false)
        // What rules let in may hear of errors on the way of its answers.
        || is_error && !denied && host.admits(&conversation);
    if passes && matches!(reason, Reason::Reply) && host.is_banned_hard(&conversation) {
        return Some(Reason::Ban);
    }
    passes.then_some(reason)
}

/// Judges a fragment that does not hold the transport header: by the rules, as far as they ask
/// for what is known of it.
#[cold]
#[inline(always)]
fn judge_fragment<F: Frame + ?Sized, H: Host>(frame: &F, host: &H, ip: &Ip<'_>) -> Outcome {
    let decision = first_match_of_fragment(frame, host.tables(), ip);
    if decision.is_some() {
        return Outcome::decided(decision);
    }
    Outcome::of(if setting(&host.tables().config().drop_fragments) != 0 {
        Reason::FragmentDrop
    } else {
        Reason::FragmentPass
    })
}

/// Judges a TCP segment.
#[inline(always)]
fn judge_tcp<F: Frame + ?Sized, H: Host, R>(
    frame: &F,
    host: &H,
    ip: &Ip<'_>,
    tcp: Tcp<'_>,
    then: impl Conclude<R>,
) -> R {
    let local = tcp.destination();
    let is_closed = host.tables().is_closed(Transport::Tcp, local);
    let flags = tcp.flags();
    // Reads the source port, which the drop of most packets goes without.
    let segment = || Segment {
        transport: Transport::Tcp,
        network: ip.header,
        local,
        remote: tcp.source(),
        flags,
    };
    let note = if flags.open_connection() {
        // A bare SYN is possible.
        Note::Syn
    } else if flags.are_impossible() {
        return then.conclude(Outcome::of(Reason::BadFlags).with(segment()));
    } else {
        Note::Tcp
    };
    if is_closed && !may_be_answer(host, note, local) {
        return then.conclude(Outcome::of(Reason::DefaultDrop).with(segment()));
    }
    judge_segment(frame, host, ip, segment(), is_closed, then)
}

/// Judges a UDP packet.
#[inline(always)]
fn judge_udp<F: Frame + ?Sized, H: Host, R>(
    frame: &F,
    host: &H,
    ip: &Ip<'_>,
    udp: Udp<'_>,
    then: impl Conclude<R>,
) -> R {
    let local = udp.destination();
    let is_closed = host.tables().is_closed(Transport::Udp, local);
    let segment = Segment {
        transport: Transport::Udp,
        network: ip.header,
        local,
        remote: udp.source(),
        flags: Flags::NONE,
    };
    if is_closed && !may_be_answer(host, Note::Udp, local) {
        return then.conclude(Outcome::of(Reason::DefaultDrop).with(segment));
    }
    judge_segment(frame, host, ip, segment, is_closed, then)
}

/// What becomes of a packet that a rule or the default lets in, against which there may be something.
#[cold]
#[inline(always)]
fn defend<H: Host>(
    host: &H,
    conversation: &Conversation<'_>,
    decision: Decision,
    against: u32,
    ip: &Ip<'_>,
) -> Outcome {
    let defences = Defences {
        against,
        slot: decision.slot,
        network: ip.header as u32,
        transport: ip.payload.offset as u32,
    };
    match host.defend(conversation, &defences) {
        None => Outcome::passed(decision),
        // No rule is why these are what they are.
        Some(reason @ (Reason::Ban | Reason::Reply)) => Outcome::of(reason),
        Some(reason) => Outcome::ruled(decision, reason),
    }
}

/// Judges a segment: what a rule allows passes; what else answers something passes, whatever
/// the rules; the rest is for the rule that denies it, or for the default. What comes to a
/// closed port may be an answer, as its caller knows.
#[cold]
#[inline(always)]
fn judge_segment<F: Frame + ?Sized, H: Host, R>(
    frame: &F,
    host: &H,
    ip: &Ip<'_>,
    segment: Segment,
    is_closed: bool,
    then: impl Conclude<R>,
) -> R {
    let mut decision = Decision::NONE;
    if !is_closed {
        decision = first_match(frame, host.tables(), &ip.addresses, &segment.into());
        let passes_by_default =
            !decision.is_some() && setting(&host.tables().config().default_pass) != 0;
        if decision.allows() || passes_by_default {
            let opens = may_open(&segment);
            let has_cookies = decision.has_cookies()
                && setting(&host.tables().config().syn_cookies) != 0
                && segment.transport == Transport::Tcp;
            let against = bit_if(host.may_be_banned(&ip.addresses), Defences::BANS)
                | bit_if(opens && host.has_banned_openers(), Defences::OPENERS)
                | bit_if(opens && decision.limits(), Defences::LIMIT)
                | bit_if(has_cookies, Defences::COOKIES);
            if against != 0 {
                let conversation = segment.conversation(ip);
                let outcome = defend(host, &conversation, decision, against, ip);
                return then.conclude(outcome.with(segment));
            }
            if passes_by_default {
                return then.conclude(Outcome::of(Reason::DefaultPass).with(segment));
            }
            return then.conclude(Outcome::decided(decision).with(segment));
        }
    }
    let denied = decision.is_some();
    if !denied && is_from_dhcp_server(host.tables().config(), ip, &segment) {
        return then.conclude(Outcome::of(Reason::DhcpClient).with(segment));
    }
    let conversation = segment.conversation(ip);
    if host.is_answer(&conversation, denied, is_closed) {
        let reason = match host.is_banned_hard(&conversation) {
            true => Reason::Ban,
            false => Reason::Reply,
        };
        return then.conclude(Outcome::of(reason).with(segment));
    }
    then.conclude(Outcome::dropped(decision).with(segment))
}

/// Whether a segment may open a conversation: a bare SYN, and any datagram.
#[inline(always)]
const fn may_open(segment: &Segment) -> bool {
    match segment.transport {
        Transport::Tcp => segment.flags.open_connection(),
        Transport::Udp => true,
    }
}
