//! Where packets leave.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};
use futures_util::TryStreamExt as _;
use rtnetlink::{
    RouteMessageBuilder,
    packet_route::{
        AddressFamily,
        route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia},
    },
};

use super::request;

/// The interfaces by which default routes leave, of both families and all tables, each once.
///
/// # Errors
///
/// Netlink does not answer.
pub fn default_route_interfaces() -> Result<Vec<u32>> {
    let mut interfaces = default_routes(interfaces_of)?;
    interfaces.sort_unstable();
    interfaces.dedup();
    Ok(interfaces)
}

/// The routers that default routes lead to, of both families and all tables, each once.
///
/// # Errors
///
/// Netlink does not answer.
pub fn default_gateways() -> Result<Vec<IpAddr>> {
    let mut gateways: Vec<IpAddr> = default_routes(gateways_of)?;
    gateways.sort_unstable();
    gateways.dedup();
    Ok(gateways)
}

/// What `find` finds in the default routes.
fn default_routes<T: Send>(find: fn(&RouteMessage) -> Vec<T>) -> Result<Vec<T>> {
    request(async |handle| {
        let mut found = Vec::new();
        for all in [
            RouteMessageBuilder::<Ipv4Addr>::new().build(),
            RouteMessageBuilder::<Ipv6Addr>::new().build(),
        ] {
            // A router has a million routes, so they are never all in memory.
            let mut routes = handle.route().get(all).execute();
            while let Some(route) = routes.try_next().await? {
                if is_default(&route) {
                    found.extend(find(&route));
                }
            }
        }
        Ok(found)
    })
    .context("cannot list the routes")
}

/// The interface by which packets leave to an address; `None` if they do not.
///
/// # Errors
///
/// Netlink does not answer.
pub fn route_to(address: IpAddr) -> Result<Option<u32>> {
    let route = route(address)?;
    Ok(route.and_then(|route| interfaces_of(&route).first().copied()))
}

/// Whom packets to an address are handed to: itself, or a router; `None` if nothing leads
/// there.
///
/// # Errors
///
/// Netlink does not answer.
pub fn next_hop(address: IpAddr) -> Result<Option<IpAddr>> {
    let Some(route) = route(address)? else {
        return Ok(None);
    };
    let router = gateways_in(&route.attributes).next();
    Ok(Some(router.unwrap_or(address)))
}

/// The route of packets that leave to an address.
fn route(address: IpAddr) -> Result<Option<RouteMessage>> {
    request(async |handle| {
        let wanted = match address {
            IpAddr::V4(address) => RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(address, 32)
                .build(),
            IpAddr::V6(address) => RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(address, 128)
                .build(),
        };
        let mut routes = handle.route().get(wanted).execute();
        // An address that nothing leads to is an error to netlink.
        Ok(routes.try_next().await.ok().flatten())
    })
    .context("cannot ask for a route")
}

/// Whether a route leads to the rest of the world. VPNs lay two halves, or IPv6's global
/// addresses (2000::/3), over the default route so that they need not replace it.
fn is_default(route: &RouteMessage) -> bool {
    let longest = match route.header.address_family {
        AddressFamily::Inet => 1,
        AddressFamily::Inet6 => 3,
        _ => return false,
    };
    route.header.kind == RouteType::Unicast && route.header.destination_prefix_length <= longest
}

/// The routers that these attributes of a route, or of one of its ways, name.
fn gateways_in(attributes: &[RouteAttribute]) -> impl Iterator<Item = IpAddr> {
    attributes.iter().filter_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(router)) => Some((*router).into()),
        RouteAttribute::Gateway(RouteAddress::Inet6(router))
        | RouteAttribute::Via(RouteVia::Inet6(router)) => Some((*router).into()),
        _ => None,
    })
}

fn gateways_of(route: &RouteMessage) -> Vec<IpAddr> {
    let mut gateways: Vec<IpAddr> = gateways_in(&route.attributes).collect();
    for attribute in &route.attributes {
        if let RouteAttribute::MultiPath(hops) = attribute {
            gateways.extend(hops.iter().flat_map(|hop| gateways_in(&hop.attributes)));
        }
    }
    gateways
}

fn interfaces_of(route: &RouteMessage) -> Vec<u32> {
    let mut interfaces = Vec::new();
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(index) => interfaces.push(*index),
            RouteAttribute::MultiPath(hops) => {
                interfaces.extend(hops.iter().map(|hop| hop.interface_index));
            }
            _ => {}
        }
    }
    interfaces
}
