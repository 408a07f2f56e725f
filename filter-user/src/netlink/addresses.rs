//! The addresses of this host, and the interfaces they are on.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};

use super::{Interface, request};

/// The addresses of this host in this network namespace, each with the number of the interface
/// it is on. Link-local ones can be on several.
///
/// # Errors
///
/// Netlink does not answer.
pub fn own_addresses() -> Result<Vec<(IpAddr, u32)>> {
    request(async |handle| {
        let all: Vec<AddressMessage> = handle.address().get().execute().try_collect().await?;
        let own = |message: &AddressMessage| Some((own_address(message)?, message.header.index));
        Ok(all.iter().filter_map(own).collect())
    })
    .context("cannot list the addresses")
}

/// The interface that an address of this host's is on; `None` if it is on none, or on
/// several, as link-local addresses can be.
///
/// # Errors
///
/// Netlink does not answer.
pub fn interface_with(address: IpAddr) -> Result<Option<String>> {
    request(async |handle| {
        let all: Vec<AddressMessage> = handle.address().get().execute().try_collect().await?;
        let mut owners: Vec<u32> = all
            .iter()
            .filter(|message| own_address(message) == Some(address))
            .map(|message| message.header.index)
            .collect();
        owners.sort_unstable();
        owners.dedup();
        let &[owner] = owners.as_slice() else {
            return Ok(None);
        };
        let mut link = handle.link().get().match_index(owner).execute();
        let link = link.try_next().await?.map(Interface::from);
        Ok(link.map(|interface| interface.name))
    })
    .context("cannot list the addresses")
}

/// The address of a message that is this host's.
fn own_address(message: &AddressMessage) -> Option<IpAddr> {
    // Of a point-to-point link, `Address` is the other end's.
    let local = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Local(local) => Some(*local),
            _ => None,
        });
    local.or_else(|| {
        message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                AddressAttribute::Address(address) => Some(*address),
                _ => None,
            })
    })
}
