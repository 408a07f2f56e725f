//! What has left a host so far, and what is known of its conversations by that.
//!
//! The tables of the program are not here: a conversation is a list of what happened in it,
//! and each question goes through that list from its beginning.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use crate::{
    conversation::{Conversation, Kind, Known, Past},
    packet::Flags,
};

/// How long a bare SYN may be answered.
pub const UNANSWERED_AGE: Duration = Duration::from_secs(120);
/// How long an open TCP connection may be silent.
pub const TCP_AGE: Duration = Duration::from_secs(5 * 24 * 3600);
/// The same of one that is over.
pub const CLOSED_AGE: Duration = Duration::from_secs(60);
/// How long a UDP datagram may be answered.
pub const UDP_AGE: Duration = Duration::from_secs(180);
/// The same of a ping.
pub const ECHO_AGE: Duration = Duration::from_secs(30);
/// The same of what is neither.
pub const OTHER_AGE: Duration = Duration::from_secs(600);
/// What leaves this soon after a packet of the same conversation changes nothing.
pub const REFRESH: Duration = Duration::from_secs(1);

/// Whose packet left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// A process of this host.
    Host,
    /// Another host, for which this one forwards.
    Another,
}

/// Which of a sender's conversations make room for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shelf {
    /// TCP connections that are not open yet, or over.
    Brief,
    /// Open TCP connections.
    Open,
    /// Everything else.
    Other,
}

/// What happened in a conversation.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A packet left; of TCP, with these flags.
    Out(Sender, Flags),
    /// The peer said that it has no more data.
    FinIn,
    /// It had to make room for another one.
    Forgotten(Sender, Shelf),
}

/// A conversation, whatever a packet does in it. What is link-local has the interface.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Identity {
    ends: (IpAddr, IpAddr),
    kind: Kind,
    interface: Option<String>,
}

impl Identity {
    fn of(conversation: &Conversation, interface: &str) -> Self {
        let Conversation {
            remote,
            local,
            kind,
        } = *conversation;
        let is_link_local = |address| match address {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        Self {
            ends: (remote, local),
            kind: match kind {
                Kind::Tcp { remote, local, .. } => Kind::Tcp {
                    remote,
                    local,
                    flags: Flags::NONE,
                },
                kind => kind,
            },
            interface: (is_link_local(remote) || is_link_local(local))
                .then(|| interface.to_owned()),
        }
    }
}

/// What has left a host, and what came of it.
#[derive(Clone, Debug, Default)]
pub struct History {
    events: HashMap<Identity, Vec<(Duration, Event)>>,
}

impl History {
    /// A packet leaves by an interface, so long after the beginning. What may answer it is
    /// its [`answer`](crate::Ip::answer).
    pub fn leaves(&mut self, answer: &Conversation, interface: &str, sender: Sender, at: Duration) {
        if sender == Sender::Host || !self.is_new_answer(answer, interface, at) {
            self.add(answer, interface, at, |flags| Event::Out(sender, flags));
        }
    }

    /// Whether what is forwarded answers something that was forwarded the other way, and
    /// begins no conversation by itself.
    fn is_new_answer(&self, answer: &Conversation, interface: &str, at: Duration) -> bool {
        let flags = answer.kind.flags();
        let moment = self.at(at, interface);
        let is_known = |conversation: &Conversation| {
            let events = self.events.get(&Identity::of(conversation, interface));
            events.is_some_and(|events| moment.is_known_of(events, Sender::Another, conversation))
        };
        let events = self.events.get(&Identity::of(answer, interface));
        !flags.is_some_and(|flags| flags.syn || flags.rst)
            && !events.is_some_and(|events| is_remembered(events, Sender::Another, answer.kind))
            && answer.turned().is_some_and(|turned| is_known(&turned))
    }

    /// A packet came in and was held against what is known of its conversation.
    pub fn comes_in(&mut self, conversation: &Conversation, interface: &str, at: Duration) {
        let is_known = !matches!(
            self.at(at, interface).known(conversation),
            Known::Nothing | Known::Sent
        );
        if is_known && conversation.kind.flags().is_some_and(|flags| flags.fin) {
            self.add(conversation, interface, at, |_| Event::FinIn);
        }
    }

    /// A conversation of this sender had to make room for another one.
    pub fn forgets(
        &mut self,
        conversation: &Conversation,
        interface: &str,
        (sender, shelf): (Sender, Shelf),
        at: Duration,
    ) {
        self.add(conversation, interface, at, |_| {
            Event::Forgotten(sender, shelf)
        });
    }

    fn add(
        &mut self,
        conversation: &Conversation,
        interface: &str,
        at: Duration,
        event: impl FnOnce(Flags) -> Event,
    ) {
        let flags = conversation.kind.flags().unwrap_or(Flags::NONE);
        let identity = Identity::of(conversation, interface);
        let events = self.events.entry(identity).or_default();
        events.push((at, event(flags)));
    }

    /// What is known at this time, of what comes in by an interface.
    pub fn at<'a>(&'a self, now: Duration, interface: &'a str) -> Moment<'a> {
        Moment {
            history: self,
            now,
            interface,
        }
    }
}

/// What is known at one time, of what comes in by one interface.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    history: &'a History,
    now: Duration,
    interface: &'a str,
}

impl Past for Moment<'_> {
    fn known(&self, conversation: &Conversation) -> Known {
        let identity = Identity::of(conversation, self.interface);
        let Some(events) = self.history.events.get(&identity) else {
            return Known::Sent;
        };
        // What left counts, whoever sent it; a connection before a SYN.
        let senders = [Sender::Host, Sender::Another].map(|sender| match conversation.kind {
            Kind::Tcp { flags, .. } => self.known_connection(events, sender, flags),
            _ => (self.known_other(events, sender, conversation.kind), false),
        });
        let mut known = senders
            .into_iter()
            .filter(|(known, _)| *known != Known::Sent);
        let first = known.clone().find(|&(_, is_connection)| is_connection);
        first
            .or_else(|| known.next())
            .map_or(Known::Sent, |(known, _)| known)
    }
}

/// Whether a conversation of this sender is remembered, be it for too long.
fn is_remembered(events: &[(Duration, Event)], sender: Sender, kind: Kind) -> bool {
    if matches!(kind, Kind::Tcp { .. }) {
        !matches!(Connection::of(events, sender), Connection::Unknown)
    } else {
        last_written(events, sender).is_some()
    }
}

/// When a packet of this sender's left last, as far as it was written down; of all but TCP.
fn last_written(events: &[(Duration, Event)], sender: Sender) -> Option<Duration> {
    events
        .iter()
        .fold(None, |written, &(at, event)| match event {
            Event::Forgotten(whose, Shelf::Other) if whose == sender => None,
            Event::Out(whose, _) if whose == sender => match written {
                Some(written) if at - written <= REFRESH => Some(written),
                _ => Some(at),
            },
            _ => written,
        })
}

impl Moment<'_> {
    /// Whether something of a conversation was sent by this sender, and may be answered.
    fn is_known_of(
        &self,
        events: &[(Duration, Event)],
        sender: Sender,
        conversation: &Conversation,
    ) -> bool {
        let known = match conversation.kind {
            Kind::Tcp { .. } => self.known_connection(events, sender, Flags::NONE).0,
            kind => self.known_other(events, sender, kind),
        };
        known != Known::Sent
    }

    const fn is_within(&self, age: Duration, written: Duration) -> bool {
        self.now.saturating_sub(written).as_nanos() <= age.as_nanos()
    }

    fn known_other(&self, events: &[(Duration, Event)], sender: Sender, kind: Kind) -> Known {
        let age = match kind {
            Kind::Udp { .. } => UDP_AGE,
            Kind::Ping(_) => ECHO_AGE,
            Kind::Tcp { .. } | Kind::Other { .. } => OTHER_AGE,
        };
        match last_written(events, sender) {
            Some(written) if self.is_within(age, written) => Known::Opened,
            _ => Known::Sent,
        }
    }

    /// The same of TCP, and whether it is known as a connection, rather than as a SYN.
    fn known_connection(
        &self,
        events: &[(Duration, Event)],
        sender: Sender,
        inbound: Flags,
    ) -> (Known, bool) {
        match Connection::of(events, sender) {
            Connection::Asked(at) if self.is_within(UNANSWERED_AGE, at) => (Known::Opened, false),
            Connection::Known(open) if !inbound.open() => {
                let age = if open.fin_out && open.fin_in {
                    CLOSED_AGE
                } else {
                    TCP_AGE
                };
                match open.picked_up {
                    _ if !self.is_within(age, open.written) => (Known::Sent, false),
                    true => (Known::PickedUp, true),
                    false => (Known::Opened, true),
                }
            }
            _ => (Known::Sent, false),
        }
    }
}

/// What is known of a connection.
#[derive(Clone, Copy)]
enum Connection {
    Unknown,
    /// A bare SYN left last, at this time.
    Asked(Duration),
    Known(Open),
}

/// What is known of a connection that is open, or over.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "any of them may go together")]
struct Open {
    /// When a packet left last, as far as it was written down.
    written: Duration,
    /// It was going on when its first packet left.
    picked_up: bool,
    fin_out: bool,
    fin_in: bool,
    /// It was over when a segment left.
    over: bool,
}

impl Connection {
    /// That of a sender, after all that has happened.
    fn of(events: &[(Duration, Event)], sender: Sender) -> Self {
        events
            .iter()
            .fold(Self::Unknown, |connection, &(at, event)| {
                connection.after(at, event, sender)
            })
    }

    fn after(self, at: Duration, event: Event, sender: Sender) -> Self {
        match (self, event) {
            (_, Event::Out(whose, flags)) if whose == sender => self.after_segment(at, flags),
            (Self::Known(open), Event::FinIn) => Self::Known(Open {
                fin_in: true,
                ..open
            }),
            (
                Self::Asked(_) | Self::Known(Open { over: true, .. }),
                Event::Forgotten(whose, Shelf::Brief),
            )
            | (Self::Known(Open { over: false, .. }), Event::Forgotten(whose, Shelf::Open))
                if whose == sender =>
            {
                Self::Unknown
            }
            _ => self,
        }
    }

    /// After a segment with these flags left.
    fn after_segment(self, at: Duration, flags: Flags) -> Self {
        match self {
            _ if flags.rst => Self::Unknown,
            _ if flags.syn && flags.ack => self,
            _ if flags.open() => Self::Asked(at),
            Self::Unknown | Self::Asked(_) => Self::Known(Open {
                written: at,
                picked_up: matches!(self, Self::Unknown),
                fin_out: flags.fin,
                fin_in: false,
                over: false,
            }),
            Self::Known(open) => {
                let is_over_now = !open.over && open.fin_in && (flags.fin || open.fin_out);
                let is_news = !open.over && flags.fin && !open.fin_out;
                let is_written = is_over_now || is_news || at - open.written > REFRESH;
                Self::Known(Open {
                    written: if is_written { at } else { open.written },
                    fin_out: open.fin_out || flags.fin,
                    over: open.over || is_over_now,
                    ..open
                })
            }
        }
    }
}
