//! The names that this host itself has for ports: `/etc/services`, as services(5) has it.

use std::{collections::HashMap, fs};

use xdpfw_common::Transport;

/// The ports of this host's own names, in lower case.
#[derive(Clone, Debug, Default)]
pub struct HostServices(HashMap<(Transport, String), u16>);

impl HostServices {
    /// Those of `/etc/services`; none if that cannot be read.
    pub fn read() -> Self {
        Self::parse(&fs::read_to_string("/etc/services").unwrap_or_default())
    }

    /// Those of a text. Of several with one name, the first counts, as with getservbyname(3).
    pub fn parse(text: &str) -> Self {
        let mut ports = HashMap::new();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let (Some(name), Some((port, protocol))) = (
                words.next(),
                words.next().and_then(|word| word.split_once('/')),
            ) else {
                continue;
            };
            let mut transports = Transport::ALL.into_iter();
            let transport = transports.find(|transport| transport.as_str() == protocol);
            let (Some(transport), Ok(port)) = (transport, port.parse()) else {
                continue;
            };
            for name in [name].into_iter().chain(words) {
                let key = (transport, name.to_ascii_lowercase());
                ports.entry(key).or_insert(port);
            }
        }
        Self(ports)
    }

    /// The port that a name means here; case does not matter.
    pub fn port(&self, transport: Transport, name: &str) -> Option<u16> {
        self.0.get(&(transport, name.to_ascii_lowercase())).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_aliases_are_read() {
        let text = "# a comment\nssh\t22/tcp # Secure\nhttp 80/tcp www WorldWideWeb\n\
                    domain 53/udp\nssh 2222/tcp\nbroken\nodd 1/sctp\nlarge 70000/tcp\n";
        let services = HostServices::parse(text);
        for (transport, name, port) in [
            (Transport::Tcp, "ssh", Some(22)),
            (Transport::Tcp, "WWW", Some(80)),
            (Transport::Udp, "domain", Some(53)),
            (Transport::Tcp, "domain", None),
            (Transport::Tcp, "odd", None),
            (Transport::Tcp, "large", None),
        ] {
            assert_eq!(services.port(transport, name), port, "{name}");
        }
    }
}
