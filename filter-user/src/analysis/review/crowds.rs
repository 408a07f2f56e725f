//! The ports of clients: how many are taken, and by connections to whom.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
};

use xdpfw_common::Transport;

use super::{Facts, Finding};
use crate::{
    policy::Policy,
    ports::{NamedRange, PortRange, PortWord},
    system::{Socket, SocketState},
    text::thousands,
};

/// From so many of a hundred ports on, it is time to do something.
const FULL: u64 = 80;
/// Wider ranges: one above most services, whose ports clients would take while they restart; and
/// all ports that take no privilege.
const WIDER: [PortRange; 2] = [
    PortRange {
        first: 16384,
        last: u16::MAX,
    },
    PortRange {
        first: 1024,
        last: u16::MAX,
    },
];

/// The connections of one address of this host's to one port of one peer: each takes another port
/// of this host's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowd {
    /// Their protocol.
    pub transport: Transport,
    /// Their peer.
    pub remote: SocketAddr,
    /// Ports that they take.
    pub in_use: u64,
}

/// Whether a socket took its port of those for clients: it has a peer, and nobody listens there.
fn takes<'a>(sockets: &'a [Socket], ephemeral: PortRange) -> impl Fn(&&Socket) -> bool + 'a {
    let listening: HashSet<(Transport, u16)> = sockets
        .iter()
        .filter(|socket| {
            socket.transport == Transport::Tcp && socket.state == SocketState::Listening
        })
        .map(|socket| (socket.transport, socket.local.port()))
        .collect();
    move |socket| {
        let port = socket.local.port();
        ephemeral.contains(port) && !listening.contains(&(socket.transport, port))
    }
}

/// The ports of clients that are in use, each of each protocol once.
pub fn in_use(sockets: &[Socket], ephemeral: PortRange) -> u64 {
    let taken = sockets.iter().filter(takes(sockets, ephemeral));
    let taken: HashSet<_> = taken
        .map(|socket| (socket.transport, socket.local.port()))
        .collect();
    taken.len() as u64
}

/// Who takes them, the most first.
pub fn crowds(sockets: &[Socket], ephemeral: PortRange) -> Vec<Crowd> {
    let mut ports: HashMap<(Transport, IpAddr, SocketAddr), HashSet<u16>> = HashMap::new();
    for socket in sockets.iter().filter(takes(sockets, ephemeral)) {
        if let Some(remote) = socket.remote {
            let key = (socket.transport, socket.local.ip(), remote);
            ports.entry(key).or_default().insert(socket.local.port());
        }
    }
    let crowd = |((transport, _, remote), ports): (_, HashSet<u16>)| Crowd {
        transport,
        remote,
        in_use: ports.len() as u64,
    };
    let mut crowds: Vec<Crowd> = ports.into_iter().map(crowd).collect();
    crowds.sort_unstable_by_key(|crowd| {
        (
            std::cmp::Reverse(crowd.in_use),
            crowd.transport,
            crowd.remote,
        )
    });
    crowds
}

/// Destinations to which there will soon be no more connections.
pub(super) fn findings(facts: &Facts<'_>) -> Vec<Finding> {
    let range = facts.ephemeral;
    let crowds = facts.crowds.iter();
    let full = crowds.take_while(|crowd| fills(range, crowd.in_use));
    full.map(|crowd| {
        let Crowd {
            transport,
            remote,
            in_use,
        } = crowd;
        let text = format!(
            "{} of {} ephemeral ports ({range}) are taken by connections to it; after the last \
             one, no new one can be opened",
            thousands(*in_use),
            thousands(size(range)),
        );
        let finding = Finding::new(
            "ephemeral-exhaustion",
            format!("{transport} {remote}"),
            text,
        );
        let wider = WIDER.into_iter().find(|wider| {
            wider.first < range.first && wider.last >= range.last && !fills(*wider, *in_use)
        });
        Finding {
            remedy: wider.map(|wider| remedy(wider, facts.policy)),
            ..finding
        }
    })
    .collect()
}

fn size(range: PortRange) -> u64 {
    u64::from(range.last.saturating_sub(range.first)) + 1
}

fn fills(range: PortRange, in_use: u64) -> bool {
    in_use * 100 >= size(range) * FULL
}

fn remedy(wider: PortRange, policy: &Policy) -> String {
    let PortRange { first, last } = wider;
    let set = format!("sysctl -w net.ipv4.ip_local_port_range='{first} {last}'");
    let ephemeral = PortWord::Named(NamedRange::Ephemeral);
    let names = policy.rules.iter().any(|rule| {
        let matching = &rule.matches;
        matching.local.words().contains(&ephemeral) || matching.remote.words().contains(&ephemeral)
    });
    match names {
        // Rules go by what it was when they were put in force.
        true => format!("{set} && xdpfw apply"),
        false => set,
    }
}
