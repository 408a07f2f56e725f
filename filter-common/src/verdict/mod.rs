//! Judges a packet, step by step. The same code runs in the kernel and in the tests.
//!
//! A packet that the default drops must pay for the parse and the test of one bit alone.
//! Hash maps and socket look-ups are for packets that a rule mentions or that may be a
//! reply. Code marked `cold` is neither slow nor rare: it comes after that test, and the
//! compiler lays it aside.

mod implicit;
mod outcome;
mod rules;

use network_types::ip::IpProto;

pub use self::outcome::{Fields, Outcome, Segment};
use self::{
    implicit::{answer, built_in, is_from_server},
    rules::first_match,
};
use crate::{
    Reason, Transport,
    abi::{Config, EdgeKey, LocalKey, Node, ProtocolKind, Side},
    wire::{
        Frame, Malformation, ethernet, icmp,
        ip::{self, Addresses, Ip},
        ipv4, ipv6,
        tcp::{self, Tcp},
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

    /// The compiled policy.
    fn tables(&self) -> &Self::Tables;

    /// The host's sockets.
    fn sockets(&self) -> &Self::Sockets;
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

    /// The class of the interface that the packet came in on; 0 if it has none.
    fn interface_class(&self) -> u32;

    /// The class of the source (remote) or destination (local) address; 0 if it has
    /// none.
    fn address_class(&self, side: Side, addresses: &Addresses<'_>) -> u32;
}

/// The sockets of this host.
pub trait Sockets {
    /// Whether a socket of this host talks to the packet's sender. For TCP:
    /// one that is not a listener. For UDP: one that is connected to it, or
    /// with `bound` any that the kernel would deliver to.
    fn has_socket(&self, addresses: &Addresses<'_>, segment: &Segment, bound: bool) -> bool;
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
        if ip.non_initial_fragment {
            return then(judge_fragment(host));
        }
        match tcp::parse(frame, &ip.payload) {
            Ok(tcp) => judge_tcp(host, &ip, tcp, then),
            Err(malformation) => then(Outcome::malformed(malformation)),
        }
    } else if ip.protocol == Transport::Udp.protocol() {
        if ip.non_initial_fragment {
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
    if ip.non_initial_fragment {
        return judge_fragment(host);
    }
    // ICMP belongs to one version of IP: in the other's packets, its number is that
    // of just any protocol.
    let kind = match ip.addresses {
        Addresses::V4(_) if ip.protocol == IpProto::Icmp as u8 => ProtocolKind::Icmp,
        Addresses::V6(_) if ip.protocol == IpProto::Ipv6Icmp as u8 => ProtocolKind::Icmp6,
        _ => ProtocolKind::Other,
    };
    let local = match kind {
        ProtocolKind::Other => ip.protocol,
        _ => match icmp::parse(frame, &ip.payload) {
            Ok(message) => message,
            Err(malformation) => return Outcome::malformed(malformation),
        },
    };
    let fields = Fields {
        kind,
        network: ip.header,
        local: u16::from(local),
        remote: 0,
    };
    let outcome = match first_match(host.tables(), &ip.addresses, &fields) {
        Some(decision) => Outcome::decided(decision),
        None if setting(&host.tables().config().default_pass) != 0 => {
            Outcome::of(Reason::DefaultPass)
        }
        None => Outcome::of(built_in(kind, local).unwrap_or(Reason::DefaultDrop)),
    };
    outcome.with(fields)
}

/// Judges a fragment that does not hold the transport header.
#[cold]
#[inline(always)]
fn judge_fragment<H: Host>(host: &H) -> Outcome {
    Outcome::of(if setting(&host.tables().config().drop_fragments) != 0 {
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
    let is_closed = host.tables().is_closed(Transport::Tcp, local);
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
    let is_closed = host.tables().is_closed(Transport::Udp, local);
    let segment = Segment {
        transport: Transport::Udp,
        network: ip.header,
        local,
        remote: udp.source(),
        opens: false,
    };
    if is_closed && !is_from_server(host.tables().config(), segment.remote) {
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
        if let Some(decision) = first_match(host.tables(), &ip.addresses, &segment.into()) {
            return then(Outcome::decided(decision).with(segment));
        }
        if setting(&host.tables().config().default_pass) != 0 {
            return then(Outcome::of(Reason::DefaultPass).with(segment));
        }
    }
    match answer(host, ip, &segment) {
        Some(reason) => then(Outcome::of(reason).with(segment)),
        None => then(Outcome::of(Reason::DefaultDrop).with(segment)),
    }
}

/// Reads a field of the configuration. Volatile, because in the kernel program
/// the value is written after compilation.
#[inline(always)]
fn setting(field: &u32) -> u32 {
    // SAFETY: a reference, so aligned and initialised.
    unsafe { core::ptr::read_volatile(field) }
}
