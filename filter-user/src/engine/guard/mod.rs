//! Refuses a change that would cut the operator's SSH session. The generation that is about to
//! be in force judges the operator's packets itself; what the rules mean is not told twice.

mod before;
mod ending;
mod host;
mod stations;
mod words;

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;

pub use self::words::{Ending, LockOut};
pub(super) use self::{before::probe_of, host::asked};
use self::{
    before::{Before, is_served},
    host::Host,
    stations::Stations,
    words::explain,
};
use super::Error;
use crate::{
    analysis::{Knock, connection, tunnel},
    datapath::{Live, PacketProbe, Record},
    netlink::Interface,
    system::{Outside, Sessions, SshSession, outside_of},
};

/// The ways in of the operators who must not be cut off.
#[derive(Debug)]
pub(super) struct Guard {
    ways: Vec<Way>,
    /// Why a way in is not known.
    doubts: Vec<String>,
    /// Whether a way may be that of another connection than an operator's.
    is_guess: bool,
    /// Where the filter is to run.
    filtered: Vec<u32>,
}

/// Why another connection may have been taken for an operator's.
const GUESS: &str = "; which connections are SSH's takes CAP_SYS_PTRACE to tell, so any of the \
                     server's user counts";

/// What must get in for an operator, and where.
#[derive(Debug)]
struct Way {
    peer: IpAddr,
    /// The interfaces by which it may come in.
    interfaces: Vec<(u32, String)>,
    /// Who may hand its packets over.
    stations: Stations,
    knocks: Vec<Knock>,
}

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
            is_guess: false,
            filtered: filtered.to_vec(),
        };
        let sessions = Sessions::current()?;
        guard.is_guess = sessions.is_guess;
        if let Some(text) = sessions.unreadable {
            guard.doubts.push(format!(
                "SSH_CONNECTION is `{}`, which names no session",
                text.escape_debug()
            ));
        }
        if sessions.known.is_empty() {
            return Ok(guard);
        }
        let host = Host::of(filtered)?;
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
        let link = host.link(session);
        let carrier = match link {
            Some(zone) => host.tunnel(zone),
            None => host.tunnel_of(session)?,
        };
        let stations = match carrier {
            Some(_) => Stations::none(),
            None => Stations::of(peer)?,
        };
        let inside = match (carrier, link) {
            (Some(carrier), _) => {
                let outside = outside_of(&carrier.name, peer);
                self.protect_tunnel(peer, carrier, outside, host)?;
                let mut inside = host.filtered.clone();
                inside.retain(|(index, _)| *index == carrier.index);
                inside
            }
            (None, Some(zone)) => host.below(zone),
            (None, None) => host.filtered.clone(),
        };
        self.ways.push(Way {
            peer,
            interfaces: inside,
            stations,
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
                stations: Stations::of(endpoint.ip())?,
                knocks: tunnel(endpoint, SocketAddr::new(own, port))?,
            });
        }
        Ok(())
    }

    /// Checks the generation that `next` judges for, and tells which way in ends by itself under
    /// it.
    ///
    /// # Errors
    ///
    /// It would lock the operator out, or that cannot be told.
    pub(super) fn check(
        &self,
        next: &PacketProbe,
        record: &Record,
        in_force: Option<&Live>,
    ) -> Result<Option<Ending>> {
        self.refuse(next, record, in_force)?;
        self.ending(next, record)
    }

    /// Refuses the generation that `next` judges for, where what is in force (nothing, where
    /// an interface was not filtered) lets an operator in.
    ///
    /// # Errors
    ///
    /// It would lock the operator out, or that cannot be told.
    fn refuse(&self, next: &PacketProbe, record: &Record, in_force: Option<&Live>) -> Result<()> {
        let before = Before::of(in_force)?;
        for way in &self.ways {
            let policies = before.policy().into_iter().chain([&record.policy]);
            let policies: Vec<_> = policies.collect();
            let knocks = way.knocks.iter();
            for knock in knocks.flat_map(|knock| way.stations.frames(knock, &policies)) {
                let purpose = knock.purpose;
                let mut refused = None;
                let mut served = false;
                for (index, name) in &way.interfaces {
                    let judged = next.judge(&knock.frame, *index)?;
                    if is_served(purpose, &judged) {
                        served = true;
                    } else if before.lets_in(&knock, *index)? {
                        refused.get_or_insert((judged, name));
                    }
                }
                if let Some((judged, name)) = refused {
                    let mut lock_out = explain(purpose, &judged, record, |id| before.has(id));
                    if served {
                        lock_out.why +=
                            &format!(" on {name}, and which interface it uses is not known");
                    }
                    if self.is_guess {
                        lock_out.why += GUESS;
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
