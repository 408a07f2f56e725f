//! Makes veth pairs between hosts, and the usual lab: a filtered host and its peer.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6},
    path::Path,
    process::Command,
    sync::atomic::Ordering,
};

use anyhow::{Context as _, Result};

use crate::{Host, process::capture};

/// One end of a veth pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The interface's name on its host: `eth0`, `eth1` … in order of creation.
    pub interface: String,
    /// Its address, in a /24 with the other end.
    pub address: Ipv4Addr,
    /// Its IPv6 address once [`Lab::with_ipv6`] has given it one, in a /64 with the
    /// other end.
    pub address6: Ipv6Addr,
    /// The same, link-local.
    pub link_local: Ipv6Addr,
    /// Its Ethernet address.
    pub mac: [u8; 6],
}

impl End {
    /// A port at this end.
    pub const fn at(&self, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(self.address, port)
    }

    /// A port at this end, over IPv6.
    pub const fn at6(&self, port: u16) -> SocketAddrV6 {
        SocketAddrV6::new(self.address6, port, 0, 0)
    }

    /// The first (1) or second (2) end of the pair in 10.0.`subnet`.0/24.
    fn new(host: &Host, subnet: u8, end: u8) -> Self {
        Self {
            interface: host.next_interface(),
            address: Ipv4Addr::new(10, 0, subnet, end),
            address6: Ipv6Addr::new(0x2001, 0xdb8, 0, subnet.into(), 0, 0, 0, end.into()),
            link_local: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, subnet.into(), end.into()),
            // Locally administered, and telling which it is in a capture.
            mac: [0x02, 0, 10, 0, subnet, end],
        }
    }

    /// Its Ethernet address, as `ip` writes it.
    pub fn mac_text(&self) -> String {
        self.mac.map(|byte| format!("{byte:02x}")).join(":")
    }
}

/// A veth pair between two hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    ends: [End; 2],
}

impl Link {
    /// The end at the first host.
    pub const fn near(&self) -> &End {
        &self.ends[0]
    }

    /// The end at the second host.
    pub const fn far(&self) -> &End {
        &self.ends[1]
    }
}

/// Joins two hosts by another veth pair, up and with addresses: 10.0.N.1/24 at
/// `near`, 10.0.N.2/24 at `far`, N counting up from 0 on each host.
///
/// The ends know each other's Ethernet addresses for good, so that no ARP packet
/// disturbs an exact count; `ip neigh flush all nud permanent` makes them ask.
pub fn link(near: &Host, far: &Host) -> Result<Link> {
    let subnet = near
        .free_subnet
        .load(Ordering::Relaxed)
        .max(far.free_subnet.load(Ordering::Relaxed));
    let next = subnet.checked_add(1).context("too many links")?;
    near.free_subnet.store(next, Ordering::Relaxed);
    far.free_subnet.store(next, Ordering::Relaxed);

    let ends = [End::new(near, subnet, 1), End::new(far, subnet, 2)];
    let [a, b] = &ends;
    ip(
        near,
        &[
            "link",
            "add",
            &a.interface,
            "address",
            &a.mac_text(),
            "type",
            "veth", //
            "peer",
            "name",
            &b.interface,
            "address",
            &b.mac_text(),
            "netns",
            far.name(),
        ],
    )?;
    for (host, own, other) in [(near, a, b), (far, b, a)] {
        let interface = own.interface.as_str();
        ip(
            host,
            &[
                "address",
                "add",
                &format!("{}/24", own.address),
                "dev",
                interface,
            ],
        )?;
        ip(host, &["link", "set", interface, "up"])?;
        know_for_good(
            host,
            interface,
            &other.address.to_string(),
            &other.mac_text(),
        )?;
    }
    Ok(Link { ends })
}

/// Tells a host a neighbour's Ethernet address, which it then never asks for.
fn know_for_good(host: &Host, interface: &str, address: &str, mac: &str) -> Result<()> {
    let words = [
        "neigh",
        "replace",
        address,
        "lladdr",
        mac,
        "nud",
        "permanent",
        "dev",
        interface,
    ];
    ip(host, &words).map(drop)
}

/// Turns IPv6 on for both hosts and gives the link's ends their addresses of it:
/// 2001:db8:0:N::1/64 at `near`, ::2 at `far`, and link-local ones.
///
/// Nobody asks for routers, for doubles, or for anybody's Ethernet address. Reports to
/// multicast routers are all that the kernel still sends by itself.
pub fn add_ipv6(link: &Link, near: &Host, far: &Host) -> Result<()> {
    let ends = [
        (near, link.near(), link.far()),
        (far, link.far(), link.near()),
    ];
    for (host, own, other) in ends {
        let interface = own.interface.as_str();
        let mac = other.mac_text();
        for (knob, value) in [
            // No address of the kernel's making.
            ("addr_gen_mode", "1"),
            ("accept_ra", "0"),
            ("router_solicitations", "0"),
            ("accept_dad", "0"),
            ("disable_ipv6", "0"),
        ] {
            host.sysctl(&format!("net/ipv6/conf/{interface}/{knob}"), value)?;
        }
        for (own, other) in [
            (own.address6, other.address6),
            (own.link_local, other.link_local),
        ] {
            let prefix = format!("{own}/64");
            ip(
                host,
                &["address", "add", &prefix, "dev", interface, "nodad"],
            )?;
            know_for_good(host, interface, &other.to_string(), &mac)?;
        }
    }
    Ok(())
}

fn ip(host: &Host, arguments: &[&str]) -> Result<String> {
    capture(Command::new("ip").args(["-n", host.name()]).args(arguments))
}

/// A host that xdpfw is to protect, and a peer that tries it, joined by one veth
/// pair or more. The near ends are the host's.
#[derive(Debug)]
pub struct Lab {
    /// The host with the filter.
    pub host: Host,
    /// The other one.
    pub peer: Host,
    /// The pairs between them; there is at least one.
    pub links: Vec<Link>,
}

impl Lab {
    /// One veth pair.
    pub fn new() -> Result<Self> {
        Self::of(Host::new()?, Host::new()?, 1)
    }

    /// So many veth pairs.
    pub fn with_links(links: u8) -> Result<Self> {
        Self::of(Host::new()?, Host::new()?, links)
    }

    /// So many veth pairs, with IPv6 addresses too.
    pub fn with_ipv6(links: u8) -> Result<Self> {
        let lab = Self::with_links(links)?;
        for host in [&lab.host, &lab.peer] {
            // Of the loopback interface, which has been there before.
            host.sysctl("net/ipv6/conf/lo/disable_ipv6", "0")?;
        }
        for link in &lab.links {
            add_ipv6(link, &lab.host, &lab.peer)?;
        }
        Ok(lab)
    }

    /// One veth pair; the host runs this xdpfw binary.
    pub fn with_binary(binary: &Path) -> Result<Self> {
        Self::of(Host::with_binary(binary)?, Host::with_binary(binary)?, 1)
    }

    fn of(host: Host, peer: Host, links: u8) -> Result<Self> {
        let links = (0..links.max(1))
            .map(|_| link(&host, &peer))
            .collect::<Result<_>>()?;
        Ok(Self { host, peer, links })
    }

    /// Brings the filter up on all near ends, under this policy: TOML without `version` and
    /// `interfaces`.
    #[track_caller]
    pub fn filtered(self, policy: &str) -> Self {
        let names: Vec<&str> = self
            .links
            .iter()
            .map(|link| link.near().interface.as_str())
            .collect();
        self.host.xdpfw(["up"].iter().chain(&names)).ok();
        self.host
            .xdpfw(["apply", "-"])
            .stdin(format!("version = 1\ninterfaces = {names:?}\n{policy}"))
            .ok();
        self
    }

    /// The first veth pair.
    pub fn link(&self) -> &Link {
        &self.links[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_links_carry_packets() -> Result<()> {
        let lab = Lab::with_links(2)?;
        for link in &lab.links {
            let address = link.near().address.to_string();
            let socket = lab
                .host
                .enter(|| Ok(std::net::UdpSocket::bind(link.near().at(53))?))?;
            socket.set_read_timeout(Some(std::time::Duration::from_secs(2)))?;
            lab.peer.enter(|| {
                std::net::UdpSocket::bind(link.far().at(0))?.send_to(b"x", link.near().at(53))?;
                Ok(())
            })?;
            let (_, from) = socket.recv_from(&mut [0; 8])?;
            assert_eq!(from.ip(), link.far().address, "{address}");
        }
        let names: Vec<_> = lab
            .links
            .iter()
            .map(|link| &link.near().interface)
            .collect();
        assert_eq!(names, ["eth0", "eth1"]);
        Ok(())
    }

    #[test]
    fn three_hosts_share_no_subnet() -> Result<()> {
        let (a, b, c) = (Host::new()?, Host::new()?, Host::new()?);
        let links = [link(&a, &b)?, link(&b, &c)?, link(&a, &c)?];
        let subnets = links.map(|link| link.near().address.octets()[2]);
        assert_eq!(subnets, [0, 1, 2]);
        Ok(())
    }
}
