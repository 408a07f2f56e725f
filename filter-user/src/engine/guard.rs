//! Refuses a change that would cut the operator's SSH session. The generation that is about to
//! be in force judges the operator's packets itself; what the rules mean is not told twice.

use std::{
    cell::OnceCell,
    net::{IpAddr, SocketAddr},
};

use anyhow::Result;
use xdpfw_common::{Reason, Transport, abi::Judged};

use super::Error;
use crate::{
    analysis::{Knock, Purpose, connection, takes_away, tunnel},
    compiler,
    datapath::{Live, PacketProbe, Record},
    netlink::{Interface, interfaces, own_addresses, route_to, tracked_connections},
    system::{Outside, Sessions, SshSession, outside_of},
};

/// How an SSH session would be cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockOut {
    /// What cuts it.
    pub why: String,
    /// What to do first.
    pub remedy: String,
}

/// The ways in of the operators who must not be cut off.
#[derive(Debug)]
pub(super) struct Guard {
    ways: Vec<Way>,
    /// Why a way in is not known.
    doubts: Vec<String>,
    /// Where the filter is to run.
    filtered: Vec<u32>,
}

/// What must get in for an operator, and where.
#[derive(Debug)]
struct Way {
    peer: IpAddr,
    /// The interfaces by which it may come in.
    interfaces: Vec<(u32, String)>,
    knocks: Vec<Knock>,
}

/// Kinds of interfaces whose packets come in others, which then do not look like the
/// operator's (`rtnl_link_ops` of the kernel's drivers).
const TUNNELS: [&str; 19] = [
    "bareudp",
    "erspan",
    "fou",
    "geneve",
    "gre",
    "gretap",
    "ip6gre",
    "ip6gretap",
    "ip6tnl",
    "ipip",
    "macsec",
    "ovpn",
    "sit",
    "tun",
    "vti",
    "vti6",
    "vxlan",
    "wireguard",
    "xfrm",
];

impl Guard {
    /// Finds the operators of a filter that is to run on these interfaces.
    ///
    /// # Errors
    ///
    /// Netlink does not answer, or `/proc` cannot be read.
    pub(super) fn of(filtered: &[u32]) -> Result<Self> {
        let mut guard = Self {
            ways: Vec::new(),
            doubts: Vec::new(),
            filtered: filtered.to_vec(),
        };
        let sessions = Sessions::current()?;
        if let Some(text) = sessions.unreadable {
            guard.doubts.push(format!(
                "SSH_CONNECTION is `{}`, which names no session",
                text.escape_debug()
            ));
        }
        if sessions.known.is_empty() {
            return Ok(guard);
        }
        let mut host = Host {
            interfaces: interfaces()?,
            addresses: own_addresses()?,
            filtered: Vec::new(),
        };
        let known = host.interfaces.iter();
        host.filtered = known
            .filter(|one| filtered.contains(&one.index))
            .map(|one| (one.index, one.name.clone()))
            .collect();
        for session in &sessions.known {
            guard.protect(session, &host)?;
        }
        Ok(guard)
    }

    /// Whether there is nobody to cut off.
    pub(super) fn is_idle(&self) -> bool {
        self.ways.is_empty() && self.doubts.is_empty()
    }

    fn protect(&mut self, session: &SshSession, host: &Host) -> Result<()> {
        let peer = session.peer;
        if peer.is_loopback() {
            self.doubts.push(format!(
                "it comes from {peer}, through a program of this host, and by which way that is \
                 reached is not known"
            ));
            return Ok(());
        }
        let from = SocketAddr::new(peer, session.remote);
        let to = asked(session)?;
        let mut inside = host.filtered.clone();
        if let Some(zone) = &session.zone {
            inside = host.below(zone);
        } else if let Some(carrier) = host.tunnel_of(session)? {
            inside.retain(|(index, _)| *index == carrier.index);
            let outside = outside_of(&carrier.name, peer);
            self.protect_tunnel(peer, carrier, outside, host)?;
        }
        self.ways.push(Way {
            peer,
            interfaces: inside,
            knocks: connection(from, to)?,
        });
        Ok(())
    }

    /// Protects what carries the tunnel that a peer comes by.
    fn protect_tunnel(
        &mut self,
        peer: IpAddr,
        carrier: &Interface,
        outside: Option<Outside>,
        host: &Host,
    ) -> Result<()> {
        let name = &carrier.name;
        let mut others = host.filtered.clone();
        others.retain(|(index, _)| *index != carrier.index);
        if others.is_empty() {
            return Ok(());
        }
        let Some(Outside { endpoint, port }) = outside else {
            self.doubts.push(format!(
                "it comes from {peer} through the tunnel {name}, and what carries that is not known"
            ));
            return Ok(());
        };
        for own in host.own_addresses(&others, endpoint.ip()) {
            self.ways.push(Way {
                peer,
                interfaces: others.clone(),
                knocks: tunnel(endpoint, SocketAddr::new(own, port))?,
            });
        }
        Ok(())
    }

    /// Refuses the generation that `next` judges for, where what is in force (nothing, where
    /// an interface was not filtered) lets an operator in.
    ///
    /// # Errors
    ///
    /// It would lock the operator out, or that cannot be told.
    pub(super) fn check(
        &self,
        next: &PacketProbe,
        record: &Record,
        in_force: Option<&Live>,
    ) -> Result<()> {
        let before = Before {
            live: in_force,
            probe: OnceCell::new(),
        };
        for way in &self.ways {
            for knock in &way.knocks {
                let purpose = knock.purpose;
                let mut refused = None;
                let mut served = false;
                for (index, name) in &way.interfaces {
                    let judged = next.judge(&knock.frame, *index)?;
                    if is_served(purpose, &judged) {
                        served = true;
                    } else if before.lets_in(knock, *index)? {
                        refused.get_or_insert((judged, name));
                    }
                }
                if let Some((judged, name)) = refused {
                    let mut lock_out = explain(purpose, &judged, record);
                    if served {
                        lock_out.why +=
                            &format!(" on {name}, and which interface it uses is not known");
                    }
                    let peer = way.peer;
                    return Err(Error::LockedOut { peer, lock_out }.into());
                }
            }
        }
        match self.doubts.first() {
            Some(why) if before.may_lose(record, &self.filtered) => {
                Err(Error::PerhapsLockedOut { why: why.clone() }.into())
            }
            _ => Ok(()),
        }
    }
}

/// This host, as far as a way in depends on it.
struct Host {
    interfaces: Vec<Interface>,
    addresses: Vec<(IpAddr, u32)>,
    /// Those that are to be filtered.
    filtered: Vec<(u32, String)>,
}

impl Host {
    /// The interfaces to be filtered by which packets come in for this one: itself, the ports
    /// of a bridge or bond, what a VLAN or macvlan is on.
    fn below(&self, name: &str) -> Vec<(u32, String)> {
        let Some(upper) = self.interfaces.iter().find(|one| one.name == name) else {
            return self.filtered.clone();
        };
        let carries = |index: u32| {
            upper.index == index
                || upper.lower == Some(index)
                || self.interfaces.iter().any(|port| {
                    port.index == index
                        && port
                            .master
                            .is_some_and(|master| master.index == upper.index)
                })
        };
        let mut filtered = self.filtered.clone();
        filtered.retain(|(index, _)| carries(*index));
        filtered
    }

    /// The tunnel by which a session comes: the one that its address is on, or by which its
    /// answers leave.
    fn tunnel_of(&self, session: &SshSession) -> Result<Option<&Interface>> {
        let mut candidates: Vec<u32> = self
            .addresses
            .iter()
            .filter(|(address, _)| *address == session.server)
            .map(|(_, index)| *index)
            .collect();
        candidates.extend(route_to(session.peer)?);
        Ok(self.interfaces.iter().find(|one| {
            candidates.contains(&one.index)
                && one
                    .driver
                    .as_ref()
                    .is_some_and(|kind| TUNNELS.contains(&kind.as_str()))
        }))
    }

    /// The addresses on these interfaces to which somebody from there may send; any of the
    /// family's, if they have none.
    fn own_addresses(&self, on: &[(u32, String)], from: IpAddr) -> Vec<IpAddr> {
        let fits = |address: &IpAddr| {
            address.is_ipv4() == from.is_ipv4()
                && match (address, from) {
                    (IpAddr::V6(own), IpAddr::V6(from)) => {
                        own.is_unicast_link_local() == from.is_unicast_link_local()
                    }
                    _ => true,
                }
        };
        let mut own: Vec<IpAddr> = self
            .addresses
            .iter()
            .filter(|(address, index)| {
                fits(address) && on.iter().any(|(filtered, _)| filtered == index)
            })
            .map(|(address, _)| *address)
            .collect();
        own.sort_unstable();
        own.dedup();
        if own.is_empty() {
            own.extend(
                self.addresses
                    .iter()
                    .map(|(own, _)| *own)
                    .find(|own| fits(own) && !own.is_loopback()),
            );
        }
        own
    }
}

/// What is in force before a change.
struct Before<'a> {
    live: Option<&'a Live>,
    /// Loaded only if it is asked.
    probe: OnceCell<PacketProbe>,
}

impl Before<'_> {
    /// Whether a packet gets in by an interface.
    fn lets_in(&self, knock: &Knock, index: u32) -> Result<bool> {
        let Some(live) = self.live.filter(|live| is_filtered(live, index)) else {
            return Ok(true);
        };
        let probe = match self.probe.get() {
            Some(probe) => probe,
            None => {
                let probe = probe_of(live.generation.record())?;
                self.probe.get_or_init(|| probe)
            }
        };
        Ok(is_served(knock.purpose, &probe.judge(&knock.frame, index)?))
    }

    /// Whether what is next may keep out what got in.
    fn may_lose(&self, next: &Record, filtered: &[u32]) -> bool {
        let Some(live) = self.live else {
            return true;
        };
        filtered.iter().any(|index| !is_filtered(live, *index))
            || takes_away(&live.generation.record().policy, &next.policy)
    }
}

/// A probe of a generation that is pinned already.
///
/// # Errors
///
/// The kernel refuses it.
pub(super) fn probe_of(record: &Record) -> Result<PacketProbe> {
    let Record {
        policy,
        environment,
        slots,
        ..
    } = record;
    let tables = compiler::compile(policy, environment, slots)
        .map_err(|error| Error::TooComplex(error.message(policy)))?;
    PacketProbe::load(record, &tables)
}

fn is_filtered(live: &Live, index: u32) -> bool {
    let mut attached = live.attached.iter();
    attached.any(|one| one.interface.index == index)
}

/// What the operator's packets went to, where the host redirects them.
fn asked(session: &SshSession) -> Result<SocketAddr> {
    let own = SocketAddr::new(session.server, session.local);
    let peer = SocketAddr::new(session.peer, session.remote);
    let tracked = tracked_connections()?;
    let redirected = tracked.into_iter().find(|tracked| {
        tracked.transport == Transport::Tcp && tracked.remote == own && tracked.local == peer
    });
    Ok(redirected.map_or(own, |tracked| tracked.asked))
}

fn is_served(purpose: Purpose, judged: &Judged) -> bool {
    judged
        .reason()
        .is_some_and(|reason| purpose.is_served_by(reason))
}

/// Says in words why a packet does not get in.
fn explain(purpose: Purpose, judged: &Judged, record: &Record) -> LockOut {
    let rule = judged
        .rule()
        .and_then(|slot| record.slots.iter().position(|of_rule| *of_rule == slot))
        .and_then(|place| record.policy.rules.get(place))
        .map(|rule| rule.id);
    let allow = |transport: &str, port: u16| match (transport, port) {
        ("tcp", 22) => "add `xdpfw allow ssh` first".to_owned(),
        _ => format!("add `xdpfw allow {transport} {port}` first"),
    };
    let what = match purpose {
        Purpose::Connection(port) => format!("tcp {port}"),
        Purpose::Tunnel(port) => format!("udp {port}"),
        Purpose::Discovery(number) => format!("icmp6 {number}"),
    };
    let mut why = match (rule, judged.reason()) {
        (Some(id), _) => format!("{id} denies {what}"),
        (None, Some(Reason::DefaultDrop | Reason::Reply) | None) => {
            format!("no rule allows {what}")
        }
        (None, Some(reason)) => format!("{what} is dropped: {reason}"),
    };
    let remedy = match (purpose, rule) {
        (Purpose::Connection(port), _) => allow("tcp", port),
        (Purpose::Tunnel(port), _) => {
            why += ", which carries the tunnel that it comes by";
            allow("udp", port)
        }
        (Purpose::Discovery(_), rule) => {
            why += ", by which the peer and this host find each other";
            let place = rule.map_or_else(String::new, |id| format!(" in front of {id}"));
            format!("put `allow icmp6 133-137`{place} first")
        }
    };
    LockOut { why, remedy }
}
