//! Whom this host asks for names.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use super::network_namespace_name;

/// Where the C library looks (resolv.conf(5)).
const FILE: &str = "/etc/resolv.conf";
/// Where systemd-resolved says whom it asks itself, as it has the host ask it.
const BEHIND_RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

/// The name servers of this network namespace. Its file may not be what is in `/etc`, as for
/// `ip netns exec` (ip-netns(8)). A file that cannot be read names none.
pub fn resolvers() -> Vec<IpAddr> {
    let own = network_namespace_name()
        .map(|name| Path::new("/etc/netns").join(name).join("resolv.conf"))
        .filter(|path| path.exists());
    let files = match own {
        Some(own) => vec![own],
        None => [FILE, BEHIND_RESOLVED].map(PathBuf::from).to_vec(),
    };
    let texts = files.iter().filter_map(|path| fs::read(path).ok());
    let mut found: Vec<IpAddr> = texts
        .flat_map(|text| named_in(&String::from_utf8_lossy(&text)))
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// The name servers that a file names.
fn named_in(text: &str) -> Vec<IpAddr> {
    let of = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words.next().filter(|word| *word == "nameserver");
        let address = address.and(words.next())?;
        // A link-local one has its interface behind it: `fe80::1%eth0`.
        let address = address
            .split_once('%')
            .map_or(address, |(address, _)| address);
        Some(address.parse::<IpAddr>().ok()?.to_canonical())
    };
    text.lines().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_are_read_as_the_c_library_reads_them() {
        let text = "# nameserver 192.0.2.1\nnameserver 192.0.2.53\n  nameserver\tfe80::1%eth0 # x\n\
                    nameserver\nnameserver ns.example\nsearch nameserver\noptions nameserver\n";
        let found: Vec<String> = named_in(text).iter().map(IpAddr::to_string).collect();
        assert_eq!(found, ["192.0.2.53", "fe80::1"]);
    }
}
