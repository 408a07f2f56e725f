//! The tables of a compiled policy: the protocols that rules tell apart, and the diagram
//! that leads from a packet to the rule that decides.

use bytemuck::{Pod, Zeroable};

use crate::wire::{Transport, icmp};

/// Names of the maps and globals that hold the tables.
pub mod names {
    /// Hash map ([`LocalKey`](super::LocalKey) → [`Node`](super::Node)): the first node
    /// for each local port, ICMP type and protocol that rules name.
    pub const LOCAL: &str = "LOCAL";
    /// Hash map ([`EdgeKey`](super::EdgeKey) → [`Node`](super::Node)): the node that each
    /// edge leads to.
    pub const EDGES: &str = "EDGES";
    /// Hash map ([`LocalKey`](super::LocalKey) → class) of the remote ports that
    /// rules name.
    pub const REMOTE_PORTS: &str = "REMOTE_PORTS";
    /// Hash map (source MAC → class) of the Ethernet addresses that rules name.
    pub const MACS: &str = "MACS";
    /// Hash map (interface index → class) of the interfaces that rules name.
    pub const INTERFACES: &str = "INTERFACES";
    /// Tries (prefix → class) of the source addresses that rules name, IPv4 and IPv6.
    pub const SOURCES: [&str; 2] = ["SOURCES4", "SOURCES6"];
    /// The same for destination addresses.
    pub const DESTINATIONS: [&str; 2] = ["DESTINATIONS4", "DESTINATIONS6"];
    /// Read-only global, [`Ends`](super::Ends).
    pub const ENDS: &str = "ENDS";
}

/// Rules a policy may have.
pub const MAX_RULES: usize = 1 << 14;

/// The protocols that rules tell apart, and what of a packet stands in the place of its
/// local port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum ProtocolKind {
    /// TCP; the local port.
    Tcp = 0,
    /// UDP; the local port.
    Udp = 1,
    /// ICMP over IPv4; the type.
    Icmp = 2,
    /// ICMP over IPv6; the type.
    Icmp6 = 3,
    /// Any other protocol; its number.
    Other = 4,
}

impl ProtocolKind {
    /// Every kind, in order.
    pub const ALL: [Self; 5] = [Self::Tcp, Self::Udp, Self::Icmp, Self::Icmp6, Self::Other];

    /// The user's word for it.
    #[inline(always)]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Icmp6 => "icmp6",
            Self::Other => "proto",
        }
    }

    /// The transport, for those that have ports.
    #[inline(always)]
    pub const fn transport(self) -> Option<Transport> {
        match self {
            Self::Tcp => Some(Transport::Tcp),
            Self::Udp => Some(Transport::Udp),
            Self::Icmp | Self::Icmp6 | Self::Other => None,
        }
    }

    /// Of the two kinds of ICMP: what stands in the place of an echo reply's local port.
    #[inline(always)]
    pub const fn echo_reply(self) -> u16 {
        match self {
            Self::Icmp6 => icmp::ECHO_REPLY6 as u16,
            _ => icmp::ECHO_REPLY as u16,
        }
    }

    /// Its bit in [`Config::listed_kinds`](super::Config::listed_kinds).
    #[inline(always)]
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }
}

impl From<Transport> for ProtocolKind {
    #[inline(always)]
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Tcp => Self::Tcp,
            Transport::Udp => Self::Udp,
        }
    }
}

/// A port, ICMP type or protocol number as a key of the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct LocalKey {
    /// The [`ProtocolKind`].
    pub kind: u8,
    /// Always zero.
    pub zero: u8,
    /// What stands in the port's place, in network byte order.
    pub value: [u8; 2],
}

impl LocalKey {
    /// The key of `value`, given in host byte order.
    #[inline(always)]
    pub const fn new(kind: ProtocolKind, value: u16) -> Self {
        Self {
            kind: kind as u8,
            zero: 0,
            value: value.to_be_bytes(),
        }
    }
}

/// A node of the decision diagram: a question about the packet, or the decision.
///
/// The rules are compiled to a diagram of such nodes. A packet's protocol and local port
/// lead to the first node. Each node asks one question; the answer is the packet's class,
/// which leads to the next node. A class of 0, or one that the node has no edge for, leads
/// *otherwise*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct Node {
    /// Its number, in the keys of its edges.
    pub number: u32,
    /// What it asks: the bit of a [`Question`], or 0 when the decision is reached.
    /// With [`Node::MORE`], the edge of class 0 leads otherwise; without, the decision
    /// below holds.
    pub asks: u32,
    /// The decision: slot of the rule's counters, below
    /// [`RULE_SLOTS`](super::RULE_SLOTS), or [`NO_RULE`].
    pub slot: u32,
    /// What that rule does: [`ACTION_ALLOW`], [`ACTION_DENY`], [`ACTION_LIMIT`] or
    /// [`ACTION_COOKIES`].
    pub action: u32,
}

impl Node {
    /// The end where no rule matches.
    pub const NO_RULE: Self = Self {
        number: 0,
        asks: 0,
        slot: NO_RULE,
        action: 0,
    };

    /// In [`Node::asks`]: another question follows even where the packet's class has no
    /// edge.
    pub const MORE: u32 = 1 << 8;
}

/// What a [`Node`] can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Question {
    /// The interface the packet came in on.
    Interface = 0,
    /// The remote port.
    RemotePort = 1,
    /// The destination address.
    Destination = 2,
    /// The source address.
    Source = 3,
    /// Which rules have ended: how many of the policy's [`Ends`] are ahead. Late, so that few
    /// packets pay for a clock.
    Time = 4,
    /// The source of the Ethernet frame. The last, so that who does not know it is asked only
    /// where everything depends on it.
    Mac = 5,
}

impl Question {
    /// Every question, in the order in which they are asked.
    pub const ALL: [Self; 6] = [
        Self::Interface,
        Self::RemotePort,
        Self::Destination,
        Self::Source,
        Self::Time,
        Self::Mac,
    ];

    /// Its bit in [`Node::asks`] and [`Config::questions`](super::Config::questions).
    #[inline(always)]
    pub const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// An edge of the diagram, as the key of the node it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(C)]
pub struct EdgeKey {
    /// [`Node::number`] of the node it leads from.
    pub node: u32,
    /// The class; 0 where the packet's has no edge of its own.
    pub class: u32,
}

/// Moments at which rules of a policy end that it may have.
pub const MAX_ENDS: usize = 64;

/// The moments at which rules end, in ascending order, in nanoseconds of `CLOCK_BOOTTIME`: it goes
/// on while the machine sleeps, and nobody sets it.
///
/// A packet's class is how many of them are ahead, so 0 when every rule that ends has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct Ends {
    /// How many there are, at most [`MAX_ENDS`].
    pub count: u64,
    /// As many; the rest is zero.
    pub moments: [u64; MAX_ENDS],
}

impl Ends {
    /// Of a policy whose rules stay.
    pub const NONE: Self = Self {
        count: 0,
        moments: [0; MAX_ENDS],
    };

    /// How many are ahead at a moment. The reads are volatile: in the kernel program the moments
    /// are filled in after compilation. There is no branch on the time, which would make the
    /// verifier go through the rest once for each outcome.
    #[inline(always)]
    pub fn ahead(&self, now: u64) -> u32 {
        // SAFETY: a reference, so aligned and initialised.
        let count = unsafe { core::ptr::read_volatile(&raw const self.count) };
        let mut ahead = 0;
        for (place, moment) in (0..).zip(&self.moments) {
            if place >= count {
                break;
            }
            // SAFETY: as above.
            let moment = unsafe { core::ptr::read_volatile(moment) };
            // The highest bit, since no clock counts so far: 1 if the moment is later.
            ahead += now.wrapping_sub(moment) >> (u64::BITS - 1);
        }
        ahead as u32
    }
}

/// [`Node::slot`]: no rule matches.
pub const NO_RULE: u32 = u32::MAX;
/// [`Node::action`]: the packet passes.
pub const ACTION_ALLOW: u32 = 0;
/// [`Node::action`]: the packet is dropped.
pub const ACTION_DENY: u32 = 1;
/// [`Node::action`]: the packet passes, unless there are too many of them: see
/// [`Limit`](super::Limit).
pub const ACTION_LIMIT: u32 = 2;
/// [`Node::action`]: the packet passes; where many come, new connections are answered with SYN cookies.
pub const ACTION_COOKIES: u32 = 3;

const _: () = {
    assert!(size_of::<LocalKey>() == 4);
    assert!(size_of::<EdgeKey>() == 8);
    assert!(size_of::<Node>() == 16);
    assert!(size_of::<Ends>() == 8 + 8 * MAX_ENDS);
    let mut place = 0;
    while place < Question::ALL.len() {
        // A question's number is its place in the order.
        assert!(Question::ALL[place] as usize == place);
        assert!(Question::ALL[place].bit() < Node::MORE);
        place += 1;
    }
};
