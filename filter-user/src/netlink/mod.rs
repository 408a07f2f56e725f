//! Asks netlink for the interfaces of this network namespace, their addresses, drivers and traffic
//! control, default routes and tracked connections. It must never know of policies or tables.

mod addresses;
mod conntrack;
mod ethtool;
mod exchange;
mod interfaces;
mod layers;
mod native;
mod neighbours;
mod routes;
pub mod traffic;

use anyhow::{Result, ensure};
use rtnetlink::Handle;

pub use self::{
    addresses::{interface_with, own_addresses},
    conntrack::{Tracked, tracked_connections, tracks_connections},
    ethtool::{Queues, Settings, set_queues, settings},
    interfaces::{Interface, LinkLayer, Mode, has_native_peer, interfaces, put_xdp, take_xdp_off},
    layers::{Master, MasterKind, Unseen, carriers, with_all_below},
    native::{NativeXdp, native_xdp},
    neighbours::stations_of,
    routes::{default_gateways, default_route_interfaces, next_hop, route_to},
};

use crate::own_thread::in_own_thread;

/// Asks the kernel over a connection of its own; from any thread, also one that drives
/// asynchronous tasks.
fn request<T: Send>(work: impl AsyncFnOnce(Handle) -> Result<T> + Send) -> Result<T> {
    let ask = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?
            .block_on(async {
                let (connection, handle, _) = rtnetlink::new_connection()?;
                let connection = tokio::spawn(connection);
                // As long as there is a handle, it ends by an error alone; an answer ends with
                // it, and looks like a whole one.
                let answer = work(handle.clone()).await?;
                ensure!(!connection.is_finished(), "the kernel's answer broke off");
                Ok(answer)
            })
    };
    // A runtime cannot start within another one, which the caller may be in.
    in_own_thread(ask)
}
