//! What carries a WireGuard tunnel, from wg(8): the kernel's module and programs in userspace
//! answer it alike.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::listing::{Listing, PATIENCE};

/// What a tunnel's packets look like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outside {
    /// Where the packets of its other end come from.
    pub endpoint: SocketAddr,
    /// The UDP port of this host that they come to.
    pub port: u16,
}

/// How packets of an address come that are in the tunnel of this interface; `None` if that is
/// no WireGuard tunnel, wg(8) is not there, or the other end has not been heard of.
pub fn outside_of(interface: &str, inside: IpAddr) -> Option<Outside> {
    // Not `dump`, which would show the private key.
    let [port, allowed, endpoints] = ["listen-port", "allowed-ips", "endpoints"]
        .map(|what| Listing::start("wg", &["show", interface, what]))
        .map(|listing| listing?.read(PATIENCE));
    find(inside, &port?, &allowed?, &endpoints?)
}

/// Finds the peer whose tunnel an address is in, among lines of `key TAB values`.
fn find(inside: IpAddr, port: &str, allowed: &str, endpoints: &str) -> Option<Outside> {
    let nets = |line: &str| -> Option<(String, u8)> {
        let (key, nets) = line.split_once('\t')?;
        let nets = nets.split_whitespace().filter_map(|net| net.parse().ok());
        let longest = nets
            .filter(|net: &IpNet| net.contains(&inside))
            .map(|net| net.prefix_len())
            .max()?;
        Some((key.to_owned(), longest))
    };
    let (peer, _) = allowed
        .lines()
        .filter_map(nets)
        .max_by_key(|(_, len)| *len)?;
    let endpoint = endpoints
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .find(|(key, _)| *key == peer)?
        .1;
    Some(Outside {
        endpoint: endpoint.trim().parse().ok()?,
        port: port.trim().parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWED: &str = "a=\t10.7.0.0/24 2001:db8::/64\nb=\t10.7.0.9/32\nc=\t(none)\n";

    #[test]
    fn the_peer_is_the_one_with_the_longest_prefix() {
        let endpoints = "a=\t192.0.2.7:51820\nb=\t[2001:db8:1::7]:4000\nc=\t(none)\n";
        let find = |inside: &str| find(inside.parse().unwrap(), "51821\n", ALLOWED, endpoints);
        let endpoint = |inside: &str| find(inside).map(|outside| outside.endpoint.to_string());
        assert_eq!(endpoint("10.7.0.2").as_deref(), Some("192.0.2.7:51820"));
        assert_eq!(endpoint("2001:db8::2").as_deref(), Some("192.0.2.7:51820"));
        assert_eq!(
            endpoint("10.7.0.9").as_deref(),
            Some("[2001:db8:1::7]:4000")
        );
        assert_eq!(endpoint("10.8.0.1"), None);
        assert_eq!(find("10.7.0.2").map(|outside| outside.port), Some(51_821));
    }

    #[test]
    fn a_peer_that_was_not_heard_of_comes_from_nowhere() {
        let inside = "10.7.0.2".parse().unwrap();
        assert_eq!(find(inside, "51820\n", ALLOWED, "a=\t(none)\n"), None);
    }
}
