//! The addresses of this host, and the interfaces they are on.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};

use super::{Interface, request};

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
            .filter(|message| {
                // Of a point-to-point link, `Address` is the other end's.
                let local = message.attributes.iter().find_map(|a| match a {
                    AddressAttribute::Local(local) => Some(*local),
                    _ => None,
                });
                local.map_or_else(
                    || {
                        let own = AddressAttribute::Address(address);
                        message.attributes.contains(&own)
                    },
                    |local| local == address,
                )
            })
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
