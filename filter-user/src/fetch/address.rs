//! Which addresses are those of everybody: to others, only the operator leads.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is one that everybody may reach, not one of this host or of its networks.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public4(address),
        IpAddr::V6(address) => is_public6(address),
    }
}

fn is_public4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || a == 0
        // Shared address space (RFC 6598), protocol assignments (RFC 6890), benchmarks (RFC 2544),
        // and what is reserved.
        || (a == 100 && b & 0xc0 == 64)
        || (a, b, c) == (192, 0, 0)
        || (a == 198 && b & 0xfe == 18)
        || a >= 240)
}

fn is_public6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    let [.., a, b, c, d] = address.octets();
    let last = Ipv4Addr::new(a, b, c, d);
    if let Some(inner) = address.to_ipv4() {
        // Mapped or compatible; `::1` is among the latter.
        return is_public4(inner);
    }
    match (first, second) {
        // NAT64 (RFC 6052), and what is local to a network (RFC 8215).
        (0x64, 0xff9b) => address.segments()[2] == 0 && is_public4(last),
        // 6to4 (RFC 3056).
        (0x2002, _) => {
            let [_, _, a, b, c, d, ..] = address.octets();
            is_public4(Ipv4Addr::new(a, b, c, d))
        }
        // Teredo (RFC 4380).
        (0x2001, 0) => false,
        // Only 2000::/3 is given out (RFC 4291).
        _ => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_hosts_and_their_networks_are_not_public() {
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "::",
            "::1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:0a00:0001::1",
            "2001::1",
            "::127.0.0.1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "1.1.1.1",
            "203.0.113.7",
            "2606:4700::1111",
            "64:ff9b::1.1.1.1",
            "::ffff:1.1.1.1",
        ] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }
}
