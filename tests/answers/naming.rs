//! The ways in which a socket names its peer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use anyhow::Result;
use xdpfw_tests::{End, Family, Host, ifindex};

/// How the host's socket names its peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// An IPv4 socket.
    Ipv4,
    /// An IPv6 socket, by a global address.
    Ipv6,
    /// An IPv6 socket, by a link-local address.
    LinkLocal,
    /// An IPv6 socket, by an IPv4-mapped address: IPv4 on the wire.
    Mapped,
}

impl Naming {
    /// A port at one end of the lab's link, as a socket on `host` names it.
    pub(crate) fn at(self, host: &Host, end: &End, port: u16) -> Result<SocketAddr> {
        Ok(match self {
            Self::Ipv4 | Self::Ipv6 => self.on_wire(end, port),
            Self::LinkLocal => {
                let scope = ifindex(host, "eth0")?.try_into()?;
                SocketAddrV6::new(end.link_local, port, 0, scope).into()
            }
            Self::Mapped => SocketAddrV6::new(end.address.to_ipv6_mapped(), port, 0, 0).into(),
        })
    }

    /// The same on the wire.
    pub(crate) fn on_wire(self, end: &End, port: u16) -> SocketAddr {
        let address = match self {
            Self::Ipv4 | Self::Mapped => Family::Ipv4.address(end),
            Self::Ipv6 => Family::Ipv6.address(end),
            Self::LinkLocal => end.link_local.into(),
        };
        SocketAddr::new(address, port)
    }

    /// Another host in the same subnet, on the wire.
    pub(crate) fn stranger(self, port: u16) -> SocketAddr {
        let address: IpAddr = match self {
            Self::Ipv4 | Self::Mapped => Ipv4Addr::new(10, 0, 0, 77).into(),
            Self::Ipv6 => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77).into(),
            Self::LinkLocal => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x77).into(),
        };
        SocketAddr::new(address, port)
    }

    /// A port of all local addresses; for an IPv6 socket, of both families.
    pub(crate) const fn any(self, port: u16) -> SocketAddr {
        let address = match self {
            Self::Ipv4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::Ipv6 | Self::LinkLocal | Self::Mapped => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        SocketAddr::new(address, port)
    }
}
