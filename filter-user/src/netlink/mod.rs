//! Asks rtnetlink for the interfaces of this network namespace and their addresses. It must
//! never know of policies or tables.

mod addresses;
mod interfaces;

use anyhow::Result;
use rtnetlink::Handle;

pub use self::{
    addresses::interface_with,
    interfaces::{Interface, LinkLayer, Mode, detach_xdp, interfaces},
};

/// Asks the kernel over a connection of its own.
fn request<T>(work: impl AsyncFnOnce(Handle) -> Result<T>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?
        .block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection()?;
            tokio::spawn(connection);
            work(handle).await
        })
}
