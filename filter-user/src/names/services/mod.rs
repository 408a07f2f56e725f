//! The names of ports: which number a name means, and which name a number is shown with.
//! It ships its tables and must never ask the network or the host's own files.
//!
//! Two tables: the names in common use, written by hand, and behind them the IANA registry.
//! The registry gives almost every service both TCP and UDP, whatever it uses, so what a
//! bare name means (`allow ssh`) follows a rule of its own:
//!
//! - The table of common names states the protocols: `ssh` is TCP 22, `ntp` UDP 123, `dns`
//!   both. A protocol may be stated as "when said so": `https` is TCP 443, and who serves
//!   HTTP/3 says `udp https`, `udp 443` or `http3`.
//! - For any other name, one that is registered for TCP means TCP, and one that is
//!   registered only for UDP means UDP.
//! - A name that is registered for several ports means the lowest.

mod suggest;
mod table;

use xdpfw_common::Transport;

pub use suggest::{common_names, registered_names, suggest};
use table::{COMMON, Entry, IANA};

/// What a bare name means: the ports that the service really uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Service {
    /// The name it is displayed with, where an alias was looked up.
    pub name: &'static str,
    /// Its TCP port, if it uses TCP.
    pub tcp: Option<u16>,
    /// Its UDP port, if it uses UDP.
    pub udp: Option<u16>,
}

impl std::fmt::Display for Service {
    /// Its ports as a rule has them: `tcp 1521`, `tcp+udp 53`, `tcp 2013 and udp 2007`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.tcp, self.udp) {
            (Some(tcp), Some(udp)) if tcp == udp => write!(f, "tcp+udp {tcp}"),
            (Some(tcp), Some(udp)) => write!(f, "tcp {tcp} and udp {udp}"),
            (Some(tcp), None) => write!(f, "tcp {tcp}"),
            (None, Some(udp)) => write!(f, "udp {udp}"),
            (None, None) => Ok(()),
        }
    }
}

impl Service {
    /// Its port for one protocol, if it uses that.
    pub fn port(&self, transport: Transport) -> Option<u16> {
        match transport {
            Transport::Tcp => self.tcp,
            Transport::Udp => self.udp,
        }
    }
}

/// The ports that a bare name means, as in `allow ssh`; case does not matter.
pub fn lookup(name: &str) -> Option<Service> {
    // Every common name has a bare meaning, so one that finds nothing here is not common.
    first_ports(COMMON.called(name).filter(|entry| entry.bare)).or_else(|| {
        let mut service = first_ports(IANA.called(name))?;
        if service.tcp.is_some() {
            service.udp = None;
        }
        Some(service)
    })
}

/// What the IANA registry calls by this name, where people call another port so: the port that
/// a bare name means, and the registry's.
pub fn registered_elsewhere(name: &str) -> Option<(Service, Service)> {
    let used = first_ports(COMMON.called(name).filter(|entry| entry.bare))?;
    let registered = first_ports(IANA.called(name))?;
    let in_use = |port: Option<u16>| {
        port.is_some_and(|port| COMMON.called(name).any(|entry| entry.port == port))
    };
    (!in_use(registered.tcp) && !in_use(registered.udp)).then_some((used, registered))
}

/// The words of a rule that people mean by a name that is no single port.
pub fn in_other_words(name: &str) -> Option<&'static str> {
    const WORDS: [(&str, &str); 3] = [
        ("mosh", "udp 60000-61000"),
        ("traceroute", "udp 33434-33534"),
        // FreeBSD's and OpenBSD's, which took VRRP's number.
        ("carp", "proto vrrp"),
    ];
    let mut words = WORDS.into_iter();
    words
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, words)| words)
}

/// The port that a name means together with a protocol, as in `allow udp https`; case does
/// not matter. `None` when the name does not exist or has no such port; [`lookup`] tells
/// which.
pub fn port_for(name: &str, protocol: Transport) -> Option<u16> {
    first_ports(COMMON.called(name))
        .or_else(|| first_ports(IANA.called(name)))?
        .port(protocol)
}

/// The name that a port is shown with: what an operator would call it where that is known
/// (`rdp`), else the registry's name.
pub fn name_of(protocol: Transport, port: u16) -> Option<&'static str> {
    COMMON
        .at(protocol, port)
        .or_else(|| IANA.at(protocol, port))
        .map(|entry| entry.names.name)
}

/// Whether a port has a name in common use, and not only one in the registry.
pub fn is_common(protocol: Transport, port: u16) -> bool {
    COMMON.at(protocol, port).is_some()
}

/// The first port of each protocol among entries with one name.
fn first_ports<'a>(entries: impl Iterator<Item = &'a Entry>) -> Option<Service> {
    let mut found = None;
    for entry in entries {
        let service = found.get_or_insert(Service {
            name: entry.names.name,
            tcp: None,
            udp: None,
        });
        let port = match entry.transport {
            Transport::Tcp => &mut service.tcp,
            Transport::Udp => &mut service.udp,
        };
        port.get_or_insert(entry.port);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(name: &str) -> (Option<u16>, Option<u16>) {
        let service = lookup(name).unwrap_or_else(|| panic!("{name} is missing"));
        (service.tcp, service.udp)
    }

    #[test]
    fn a_bare_name_means_the_protocols_in_use() {
        for (names, expected) in [
            ("ssh SSH", (Some(22), None)),
            ("http www", (Some(80), None)),
            ("https HttpS", (Some(443), None)),
            ("http3 quic", (None, Some(443))),
            ("dns domain", (Some(53), Some(53))),
            ("ntp", (None, Some(123))),
            ("snmp", (None, Some(161))),
            ("syslog", (None, Some(514))),
            ("dhcp bootps", (None, Some(67))),
            ("tftp", (None, Some(69))),
            ("telnet", (Some(23), None)),
            ("rdp ms-wbt-server", (Some(3389), None)),
            ("smb microsoft-ds", (Some(445), None)),
            ("postgresql postgres", (Some(5432), None)),
            ("mysql mariadb", (Some(3306), None)),
            ("mssql", (Some(1433), None)),
            ("mongodb", (Some(27017), None)),
            ("redis", (Some(6379), None)),
            ("elasticsearch", (Some(9200), None)),
            ("memcached memcache", (Some(11211), None)),
            ("docker", (Some(2375), None)),
            ("kubernetes-api k8s", (Some(6443), None)),
            ("wireguard", (None, Some(51820))),
            ("openvpn", (None, Some(1194))),
            ("sip", (Some(5060), Some(5060))),
            ("submissions smtps", (Some(465), None)),
            ("minecraft", (Some(25565), None)),
            ("oracle oracle-db", (Some(1521), None)),
            ("afs", (None, Some(7000))),
            ("spark", (Some(4040), None)),
            ("jupyter", (Some(8888), None)),
            ("solr", (Some(8983), None)),
        ] {
            for name in names.split(' ') {
                assert_eq!(ports(name), expected, "{name}");
            }
        }
    }

    #[test]
    fn a_registered_name_means_tcp_unless_it_has_only_udp() {
        // Registered for both.
        assert_eq!(ports("gopher"), (Some(70), None));
        assert_eq!(port_for("gopher", Transport::Udp), Some(70));
        // Registered for UDP.
        assert_eq!(ports("babel"), (None, Some(6696)));
        assert_eq!(port_for("babel", Transport::Tcp), None);
        // Today's and yesterday's spelling.
        assert_eq!(ports("whoispp"), ports("whois++"));
        // Two ports of one name.
        assert_eq!(ports("msp"), (Some(18), None));
    }

    #[test]
    fn a_name_that_the_registry_gives_to_another_port_is_known() {
        for (name, used, registered) in [
            ("oracle", (Some(1521), None), (None, Some(2005))),
            ("afs", (None, Some(7000)), (Some(1483), Some(1483))),
            ("irc", (Some(6667), None), (Some(194), Some(194))),
        ] {
            let (one, other) = registered_elsewhere(name).unwrap();
            assert_eq!((one.tcp, one.udp), used, "{name}");
            assert_eq!((other.tcp, other.udp), registered, "{name}");
        }
        for name in [
            "ssh",
            "https",
            "spark",
            "syslog",
            "openvpn",
            "no-such-service",
        ] {
            assert_eq!(registered_elsewhere(name), None, "{name}");
        }
    }

    #[test]
    fn a_protocol_can_be_said() {
        for (name, transport, port) in [
            ("https", Transport::Udp, Some(443)),
            ("openvpn", Transport::Tcp, Some(1194)),
            ("dns", Transport::Udp, Some(53)),
            // The registry has it; nothing uses it.
            ("ntp", Transport::Tcp, None),
            ("ssh", Transport::Udp, None),
            ("no-such-service", Transport::Tcp, None),
        ] {
            assert_eq!(port_for(name, transport), port, "{name}");
        }
    }

    #[test]
    fn a_port_is_shown_with_the_name_in_use() {
        for (transport, port, name) in [
            (Transport::Tcp, 22, Some("ssh")),
            (Transport::Tcp, 23, Some("telnet")),
            (Transport::Udp, 53, Some("dns")),
            (Transport::Tcp, 80, Some("http")),
            (Transport::Tcp, 443, Some("https")),
            (Transport::Udp, 443, Some("https")),
            (Transport::Tcp, 3389, Some("rdp")),
            (Transport::Tcp, 9200, Some("elasticsearch")),
            (Transport::Udp, 51820, Some("wireguard")),
            (Transport::Tcp, 9090, Some("prometheus")),
            // From the registry.
            (Transport::Tcp, 70, Some("gopher")),
            (Transport::Udp, 123, Some("ntp")),
            (Transport::Tcp, 0, None),
            (Transport::Tcp, 65535, None),
            (Transport::Udp, 52869, None),
        ] {
            assert_eq!(name_of(transport, port), name, "{transport:?} {port}");
        }
    }
}
