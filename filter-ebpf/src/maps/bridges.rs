//! Knows the ports of bridges, and this host's addresses there. The loader fills both.

use aya_ebpf::{macros::map, maps::HashMap};
use xdpfw_common::abi::{BridgePort, FlowKey, OwnAddress};

/// Written by the loader; the verifier sees a constant.
#[unsafe(no_mangle)]
static HAS_BRIDGES: u32 = 0;

// The loader sets how many entries each map has room for.
#[map]
static BRIDGE_PORTS: HashMap<u32, BridgePort> = HashMap::with_max_entries(1, 0);

#[map]
static OWN_ADDRESSES: HashMap<OwnAddress, u32> = HashMap::with_max_entries(1, 0);

/// The port of a bridge that an interface is.
#[inline(always)]
pub fn port(interface: u32) -> Option<&'static BridgePort> {
    // SAFETY: a reference, so aligned and initialised.
    if unsafe { core::ptr::read_volatile(&HAS_BRIDGES) } == 0 {
        return None;
    }
    // SAFETY: nothing writes to the maps once the loader has filled them.
    unsafe { BRIDGE_PORTS.get(interface) }
}

/// Whether a packet has come in and leaves by ports of one bridge, in this host's own name,
/// with this link-layer address as its source. Such a one is forged.
///
/// Of a packet that came in by an interface that is not known, the link-layer address tells:
/// what this host sends there has the bridge's.
#[inline(always)]
pub fn is_forged(key: &FlowKey, came_in_by: u32, leaves_by: u32, mac: &[u8; 6]) -> bool {
    let Some(port) = port(leaves_by) else {
        return false;
    };
    let own = OwnAddress {
        address: key.local,
        family: key.family.into(),
    };
    // SAFETY: nothing writes to the maps once the loader has filled them.
    if unsafe { OWN_ADDRESSES.get(own) }.is_none() {
        return false;
    }
    // SAFETY: as above.
    match unsafe { BRIDGE_PORTS.get(came_in_by) } {
        Some(other) => other.bridge == port.bridge,
        None => *mac != port.mac,
    }
}
