//! Decides whether the filter must take packets in several buffers. A program array holds one
//! flavour of the program, so all interfaces get the same.

use anyhow::Result;

use super::Probe;
use crate::netlink::{Interface, interfaces};

/// Whether the filter of this host should take packets in several buffers.
///
/// # Errors
///
/// Netlink does not answer, or the kernel refuses even the other flavour.
pub fn wants_frags(probe: &mut Probe) -> Result<bool> {
    // Filtered or not: such an interface may be joined later.
    Ok(interfaces()?.iter().any(delivers_frags) && probe.takes_frags()?)
}

/// Whether an interface's packets may come in several buffers.
pub(super) fn delivers_frags(interface: &Interface) -> bool {
    // Drivers put up to about 3 KiB into one buffer under XDP, the least 2 KiB.
    const ONE_BUFFER: u32 = 2000;
    // Loopback has a large MTU everywhere, and its own kind of buffers.
    interface.mtu > ONE_BUFFER && interface.name != "lo"
}
