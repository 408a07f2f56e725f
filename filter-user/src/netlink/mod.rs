//! Asks rtnetlink for the interfaces of this network namespace and their addresses. It must
//! never know of policies or tables.

mod addresses;
mod interfaces;

use std::thread;

use anyhow::Result;
use rtnetlink::Handle;

pub use self::{
    addresses::interface_with,
    interfaces::{Interface, LinkLayer, Mode, detach_xdp, interfaces},
};

/// Asks the kernel over a connection of its own; from any thread, also one that drives
/// asynchronous tasks.
fn request<T: Send>(work: impl AsyncFnOnce(Handle) -> Result<T> + Send) -> Result<T> {
    let ask = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()?
            .block_on(async {
                let (connection, handle, _) = rtnetlink::new_connection()?;
                tokio::spawn(connection);
                work(handle).await
            })
    };
    // A runtime cannot start within another one, which the caller may be in.
    thread::scope(|scope| scope.spawn(ask).join())
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
