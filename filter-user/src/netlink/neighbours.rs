//! Which station of a link has an address.

use std::net::IpAddr;

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use xdpfw_common::wire::ethernet::Mac;

use super::request;

/// The Ethernet addresses that neighbours with this address are known by, on whatever link.
///
/// # Errors
///
/// Netlink does not answer.
pub fn stations_of(address: IpAddr) -> Result<Vec<Mac>> {
    request(async |handle| {
        let all: Vec<NeighbourMessage> = handle.neighbours().get().execute().try_collect().await?;
        Ok(all.iter().filter_map(|one| station(one, address)).collect())
    })
    .context("cannot list the neighbours")
}

/// The Ethernet address of a neighbour, if it has this address and the kernel knows both.
fn station(neighbour: &NeighbourMessage, address: IpAddr) -> Option<Mac> {
    let mut has_address = false;
    let mut station = None;
    for attribute in &neighbour.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(own)) => {
                has_address = address == IpAddr::from(*own);
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(own)) => {
                has_address = address == IpAddr::from(*own);
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                station = bytes.as_slice().try_into().ok();
            }
            _ => {}
        }
    }
    station.filter(|_| has_address)
}
