//! Says to which conversation a packet belongs, and what a host may know of one.

use std::net::IpAddr;

use crate::packet::{Content, Flags, Ip, Message, Quote};

/// A conversation, as a packet that comes in belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conversation {
    /// The other end.
    pub remote: IpAddr,
    /// This end.
    pub local: IpAddr,
    /// What goes on.
    pub kind: Kind,
}

/// What goes on in a conversation, and what this packet does in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A TCP connection.
    Tcp {
        /// The peer's port.
        remote: u16,
        /// This host's port.
        local: u16,
        /// The segment's flags.
        flags: Flags,
    },
    /// UDP between two ports.
    Udp {
        /// The peer's port.
        remote: u16,
        /// This host's port.
        local: u16,
    },
    /// A ping: its identifier.
    Ping(u16),
    /// Anything else.
    Other {
        /// The protocol number.
        protocol: u8,
        /// The peer's port and this host's, where there are any.
        ports: Option<(u16, u16)>,
    },
}

/// What is known of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Its local port has sent nothing lately.
    Nothing,
    /// Its local port has sent something, to somebody else.
    Sent,
    /// It was going on when the first packet of it left.
    PickedUp,
    /// It was opened from here.
    Opened,
}

/// What has left so far.
pub trait Past {
    /// What is known of a conversation when a packet of it comes in.
    fn known(&self, conversation: &Conversation) -> Known;
}

/// The same is known of all.
impl Past for Known {
    fn known(&self, _: &Conversation) -> Known {
        *self
    }
}

impl Conversation {
    /// That of a packet that comes in, if it may answer anything at all.
    pub fn of(ip: &Ip) -> Option<Self> {
        let kind = match ip.content {
            Content::Tcp {
                source,
                destination,
                flags,
            } => Kind::Tcp {
                remote: source,
                local: destination,
                flags,
            },
            Content::Udp {
                source,
                destination,
            } => Kind::Udp {
                remote: source,
                local: destination,
            },
            Content::Icmp(message) if message.number == ECHO_REPLY => {
                Kind::Ping(message.identifier)
            }
            Content::Icmp6(message) if message.number == ECHO_REPLY6 => {
                Kind::Ping(message.identifier)
            }
            Content::Other { protocol, ports } => Kind::Other { protocol, ports },
            Content::Icmp(_) | Content::Icmp6(_) | Content::LaterFragment { .. } => return None,
        };
        Some(Self {
            remote: ip.source,
            local: ip.destination,
            kind,
        })
    }

    /// The same, as the other end would have it; `None` of a ping, which is another one there.
    pub(crate) fn turned(&self) -> Option<Self> {
        let kind = match self.kind {
            Kind::Tcp {
                remote,
                local,
                flags,
            } => Kind::Tcp {
                remote: local,
                local: remote,
                flags,
            },
            Kind::Udp { remote, local } => Kind::Udp {
                remote: local,
                local: remote,
            },
            Kind::Other { protocol, ports } => Kind::Other {
                protocol,
                ports: ports.map(|(remote, local)| (local, remote)),
            },
            Kind::Ping(_) => return None,
        };
        Some(Self {
            remote: self.local,
            local: self.remote,
            kind,
        })
    }

    /// Whether a socket can tell: not of a segment that opens a connection, which is for
    /// listeners.
    pub fn may_have_socket(&self) -> bool {
        match self.kind {
            Kind::Tcp { flags, .. } => !flags.open(),
            Kind::Udp { .. } => true,
            Kind::Ping(_) | Kind::Other { .. } => false,
        }
    }
}

impl Kind {
    /// The flags of a TCP segment.
    pub(crate) const fn flags(self) -> Option<Flags> {
        match self {
            Self::Tcp { flags, .. } => Some(flags),
            _ => None,
        }
    }
}

impl Message {
    /// What answers an echo request.
    const fn reply(self, number: u8) -> Self {
        Self { number, ..self }
    }
}

impl Ip {
    /// The answer to a packet that leaves, if anything may answer it: not a group, which
    /// nobody is. The flags are those of the packet itself.
    pub fn answer(&self) -> Option<Self> {
        let is_group = match self.destination {
            IpAddr::V4(group) => group.octets()[0] >= 224,
            IpAddr::V6(group) => group.is_multicast(),
        };
        let content = match self.content {
            _ if is_group => return None,
            Content::Tcp {
                source,
                destination,
                flags,
            } => Content::Tcp {
                source: destination,
                destination: source,
                flags,
            },
            Content::Udp {
                source,
                destination,
            } => Content::Udp {
                source: destination,
                destination: source,
            },
            Content::Icmp(message) if message.number == ECHO_REQUEST => {
                Content::Icmp(message.reply(ECHO_REPLY))
            }
            Content::Icmp6(message) if message.number == ECHO_REQUEST6 => {
                Content::Icmp6(message.reply(ECHO_REPLY6))
            }
            Content::Other { protocol, ports } => Content::Other {
                protocol,
                ports: ports.map(|(source, destination)| (destination, source)),
            },
            Content::Icmp(_) | Content::Icmp6(_) | Content::LaterFragment { .. } => return None,
        };
        Some(Self {
            source: self.destination,
            destination: self.source,
            hops: self.hops,
            content,
        })
    }
}

const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY6: u8 = 129;
const ECHO_REQUEST6: u8 = 128;

impl Quote {
    /// A packet that would answer the quoted one, if anything does.
    pub fn answer(&self) -> Option<Ip> {
        let [a, b, c, d, e, f, _, _] = self.start;
        let (ours, theirs) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let reply = |number| Message {
            number,
            identifier: u16::from_be_bytes([e, f]),
            quote: None,
        };
        let content = match (self.protocol, self.source) {
            (6, _) => Content::Tcp {
                source: theirs,
                destination: ours,
                flags: Flags {
                    ack: true,
                    ..Flags::NONE
                },
            },
            (17, _) => Content::Udp {
                source: theirs,
                destination: ours,
            },
            (1, IpAddr::V4(_)) => match a {
                ECHO_REQUEST => Content::Icmp(reply(ECHO_REPLY)),
                _ => return None,
            },
            (58, IpAddr::V6(_)) => match a {
                ECHO_REQUEST6 => Content::Icmp6(reply(ECHO_REPLY6)),
                _ => return None,
            },
            (protocol, _) => Content::Other {
                protocol,
                ports: matches!(protocol, 33 | 132 | 136).then_some((theirs, ours)),
            },
        };
        Some(Ip {
            source: self.destination,
            destination: self.source,
            hops: 64,
            content,
        })
    }
}
