//! The address families, for tests that run over both.

use std::net::IpAddr;

use crate::End;

/// The family of a packet's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6; the addresses are global ones.
    Ipv6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ipv4, Self::Ipv6];

    /// The address of a link's end.
    pub const fn address(self, end: &End) -> IpAddr {
        match self {
            Self::Ipv4 => IpAddr::V4(end.address),
            Self::Ipv6 => IpAddr::V6(end.address6),
        }
    }
}
