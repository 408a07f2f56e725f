//! Whether this host forwards packets, which makes it a router for others.

use std::{fs, path::Path};

/// Which packets this network namespace forwards between its interfaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarding {
    /// IPv4 packets, from one interface at least.
    pub ipv4: bool,
    /// IPv6 packets, from one interface at least.
    pub ipv6: bool,
}

impl Forwarding {
    /// Whether it forwards any packets.
    pub const fn is_on(self) -> bool {
        self.ipv4 || self.ipv6
    }
}

/// What this network namespace forwards. A family that the kernel does not have is not
/// forwarded.
pub fn forwarding() -> Forwarding {
    Forwarding {
        ipv4: is_on_anywhere("/proc/sys/net/ipv4/conf"),
        ipv6: is_on_anywhere("/proc/sys/net/ipv6/conf"),
    }
}

/// Whether it is on for any interface, for all, or for those to come.
fn is_on_anywhere(conf: &str) -> bool {
    let Ok(interfaces) = fs::read_dir(conf) else {
        return false;
    };
    interfaces
        .flatten()
        .any(|interface| is_on(&interface.path()))
}

fn is_on(interface: &Path) -> bool {
    fs::read_to_string(interface.join("forwarding")).is_ok_and(|value| value.trim() != "0")
}
