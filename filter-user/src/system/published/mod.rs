//! The ports of this host that another packet filter sends on to somebody else: those that
//! docker and podman publish for containers, and port forwards of a router. Who listens there
//! is behind NAT, so no socket of this host shows it.
//!
//! The programs that made the rules are asked. What cannot be asked publishes nothing: this is
//! for hints, and no change may depend on it.

pub(super) mod iptables;
pub(super) mod nft;

use xdpfw_common::Transport;

use super::listing::{Listing, PATIENCE};
use crate::netlink::tracks_connections;

/// The ports that packet filters of this network namespace publish, in order, each once.
/// Those published on a loopback address alone are left out: no interface reaches them.
pub fn published_ports() -> Vec<(Transport, u16)> {
    // Without tracking there is no NAT; and listing rules would load the kernel's modules.
    if !tracks_connections() {
        return Vec::new();
    }
    // All start before any is waited for.
    let nft = Listing::start("nft", &["--json", "--terse", "list", "ruleset"]);
    // Without `-t nat`, which would make the kernel begin to translate.
    let iptables = ["iptables-save", "ip6tables-save"].map(|program| Listing::start(program, &[]));

    let read = |listing: Listing| listing.read(PATIENCE);
    let mut ports = Vec::new();
    if let Some(text) = nft.and_then(read) {
        ports.extend(nft::published(&text));
    }
    for text in iptables.into_iter().flatten().filter_map(read) {
        ports.extend(iptables::published(&text));
    }
    ports.sort_unstable();
    ports.dedup();
    ports
}
