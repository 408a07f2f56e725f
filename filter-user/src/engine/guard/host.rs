//! What this host knows about the way of a session's packets.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use xdpfw_common::Transport;

use crate::{
    netlink::{
        Interface, carriers, interfaces, own_addresses, route_to, tracked_connections,
        with_all_below,
    },
    system::SshSession,
};

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

/// This host, as far as a way in depends on it.
pub(super) struct Host {
    interfaces: Vec<Interface>,
    addresses: Vec<(IpAddr, u32)>,
    /// Those that are to be filtered, and those whose numbers their packets may carry.
    pub(super) filtered: Vec<(u32, String)>,
}

impl Host {
    /// This host, where the filter is to run on these interfaces.
    ///
    /// # Errors
    ///
    /// Netlink does not answer.
    pub(super) fn of(filtered: &[u32]) -> Result<Self> {
        let interfaces = interfaces()?;
        let filtered = carriers_of(filtered, &interfaces);
        let filtered = interfaces
            .iter()
            .filter(|one| filtered.contains(&one.index))
            .map(|one| (one.index, one.name.clone()))
            .collect();
        Ok(Self {
            interfaces,
            addresses: own_addresses()?,
            filtered,
        })
    }

    /// The interfaces to be filtered by which packets come in for this one: itself, and what
    /// carries it, however far below.
    pub(super) fn below(&self, name: &str) -> Vec<(u32, String)> {
        let Some(top) = self.named(name) else {
            return self.filtered.clone();
        };
        let carriers = with_all_below(top, &self.interfaces);
        let mut filtered = self.filtered.clone();
        filtered.retain(|(index, _)| carriers.iter().any(|one| one.index == *index));
        filtered
    }

    /// The link of a session with link-local addresses: the one that has the session's address,
    /// for the name may be another one's by now; by its name where that does not tell.
    pub(super) fn link<'a>(&'a self, session: &'a SshSession) -> Option<&'a str> {
        let zone = session.zone.as_deref()?;
        let of_address = self.addresses.iter();
        let of_address = of_address.filter(|(address, _)| *address == session.server);
        let holders: Vec<u32> = of_address.map(|(_, index)| *index).collect();
        let [holder] = holders.as_slice() else {
            return Some(zone);
        };
        let holder = self.interfaces.iter().find(|one| one.index == *holder);
        Some(holder.map_or(zone, |one| &one.name))
    }

    /// The tunnel that has this name.
    pub(super) fn tunnel(&self, name: &str) -> Option<&Interface> {
        self.named(name).filter(|one| is_tunnel(one))
    }

    fn named(&self, name: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|one| one.name == name)
    }

    /// The tunnel by which a session comes: the one that its address is on, or by which its
    /// answers leave.
    pub(super) fn tunnel_of(&self, session: &SshSession) -> Result<Option<&Interface>> {
        let mut candidates: Vec<u32> = self
            .addresses
            .iter()
            .filter(|(address, _)| *address == session.server)
            .map(|(_, index)| *index)
            .collect();
        candidates.extend(route_to(session.peer)?);
        let mut interfaces = self.interfaces.iter();
        Ok(interfaces.find(|one| candidates.contains(&one.index) && is_tunnel(one)))
    }

    /// The addresses on these interfaces to which somebody from there may send; any of the
    /// family's, if they have none.
    pub(super) fn own_addresses(&self, on: &[(u32, String)], from: IpAddr) -> Vec<IpAddr> {
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

/// The numbers that packets may carry that come in by one of these interfaces.
pub(super) fn carriers_of(filtered: &[u32], known: &[Interface]) -> Vec<u32> {
    let filtered = filtered.iter();
    filtered.flat_map(|index| carriers(*index, known)).collect()
}

fn is_tunnel(interface: &Interface) -> bool {
    let kind = interface.driver.as_deref();
    kind.is_some_and(|kind| TUNNELS.contains(&kind))
}

/// What the operator's packets went to, where the host redirects them.
pub(in crate::engine) fn asked(session: &SshSession) -> Result<SocketAddr> {
    let own = SocketAddr::new(session.server, session.local);
    let peer = SocketAddr::new(session.peer, session.remote);
    let tracked = tracked_connections()?;
    let redirected = tracked.into_iter().find(|tracked| {
        tracked.transport == Transport::Tcp && tracked.remote == own && tracked.local == peer
    });
    Ok(redirected.map_or(own, |tracked| tracked.asked))
}
