//! The bridges of this host, whose guests must open nothing in the host's name, and its bonds.

use std::net::IpAddr;

use anyhow::Result;
use xdpfw_common::abi::{BridgePort, OwnAddress};

use crate::netlink::{MasterKind, interfaces, own_addresses};

/// The ports of bridges, this host's addresses, and the members of bonds, as the programs ask
/// for them.
#[derive(Clone, Debug, Default)]
pub struct Bridges {
    pub(super) ports: Vec<(u32, BridgePort)>,
    /// Empty where there is no bridge.
    pub(super) own: Vec<(OwnAddress, u32)>,
    /// The members of bonds and teams, each with what it is a member of.
    pub(super) members: Vec<(u32, u32)>,
}

impl Bridges {
    /// Those of this network namespace.
    ///
    /// # Errors
    ///
    /// Netlink does not answer.
    pub fn of_host() -> Result<Self> {
        let known = interfaces()?;
        let ports: Vec<(u32, BridgePort)> = known
            .iter()
            .filter_map(|port| {
                let master = port
                    .master
                    .filter(|master| master.kind == MasterKind::Bridge)?;
                let bridge = known.iter().find(|one| one.index == master.index)?;
                let of = BridgePort {
                    bridge: master.index,
                    mac: bridge.mac?,
                    padding: [0; 2],
                };
                Some((port.index, of))
            })
            .collect();
        let members = known
            .iter()
            .filter_map(|one| {
                let master = one.master?;
                (master.kind == MasterKind::Aggregate).then_some((one.index, master.index))
            })
            .collect();
        if ports.is_empty() {
            return Ok(Self {
                members,
                ..Self::default()
            });
        }
        let mut own: Vec<(OwnAddress, u32)> = own_addresses()?
            .into_iter()
            .map(|(address, _)| (own_address(address), 1))
            .collect();
        own.sort_unstable_by_key(|(own, _)| (own.family, own.address));
        // The same link-local address may be on several interfaces.
        own.dedup();
        Ok(Self {
            ports,
            own,
            members,
        })
    }
}

fn own_address(address: IpAddr) -> OwnAddress {
    match address {
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            OwnAddress {
                address: bytes,
                family: 4,
            }
        }
        IpAddr::V6(address) => OwnAddress {
            address: address.octets(),
            family: 6,
        },
    }
}
