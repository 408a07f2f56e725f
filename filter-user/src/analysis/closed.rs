//! Finds the services of this host that a policy closes to everybody, for want of a rule. Its
//! author may not have thought of them.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
};

use ipnet::IpNet;
use xdpfw_common::{Transport, abi::DHCP_CLIENTS};

use super::evaluate::{Decision, Matches, evaluate, matches_interface};
use crate::{
    policy::{DefaultAction, Match, Policy},
    ports::{PortRange, PortSpec},
    system::{Socket, SocketState},
};

/// Ports that somebody serves and nobody reaches, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closed {
    /// Those that this host's own sockets listen on.
    pub listening: Vec<(Transport, u16)>,
    /// Those that are published for containers and the like.
    pub published: Vec<(Transport, u16)>,
}

impl Closed {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.listening.is_empty() && self.published.is_empty()
    }
}

/// The ports of these sockets, and of those published, that the default of a policy drops
/// whoever asks. A port that a rule denies is closed on purpose, and is not among them.
///
/// Left out are sockets on loopback addresses, which no interface reaches, and UDP sockets on
/// ephemeral ports: almost all are clients, whose answers need no rule. So is the DHCP client.
pub fn listeners_closed(
    policy: &Policy,
    ephemeral: PortRange,
    sockets: &[Socket],
    published: &[(Transport, u16)],
) -> Closed {
    let is_service = |socket: &&Socket| {
        let port = socket.local.port();
        let is_client = socket.transport == Transport::Udp
            && (ephemeral.contains(port) || policy.dhcp_client && DHCP_CLIENTS.contains(&port));
        socket.state == SocketState::Listening && !socket.local.ip().is_loopback() && !is_client
    };
    // A port is open if any of its sockets can be reached.
    let mut listening: BTreeMap<(Transport, u16), bool> = BTreeMap::new();
    for socket in sockets.iter().filter(is_service) {
        let service = Service {
            transport: socket.transport,
            port: socket.local.port(),
            address: socket.local.ip(),
        };
        let closed = service.is_closed(policy, ephemeral);
        let all = listening
            .entry((service.transport, service.port))
            .or_insert(true);
        *all &= closed;
    }
    let is_closed = |&&(transport, port): &&(Transport, u16)| {
        let address = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        Service {
            transport,
            port,
            address,
        }
        .is_closed(policy, ephemeral)
    };
    let mut published: Vec<_> = published.iter().filter(is_closed).copied().collect();
    published.sort_unstable();
    published.dedup();
    Closed {
        listening: listening
            .into_iter()
            .filter_map(|(port, closed)| closed.then_some(port))
            .collect(),
        published,
    }
}

/// Who serves a port.
#[derive(Clone, Copy, Debug)]
struct Service {
    transport: Transport,
    port: u16,
    /// The address it serves, as sockets have it: `0.0.0.0` is every IPv4 one, `::` is every one.
    address: IpAddr,
}

impl Service {
    /// Whether the default drops what anybody sends to it.
    fn is_closed(&self, policy: &Policy, ephemeral: PortRange) -> bool {
        evaluate(policy, |matching| self.matched_by(matching, ephemeral))
            == Decision::Default(DefaultAction::Drop)
    }

    /// Whether a rule matches what comes to it, from anywhere by any interface.
    fn matched_by(&self, matching: &Match, ephemeral: PortRange) -> Matches {
        if !matching.protocol.includes(self.transport)
            || !matching.local.contains(self.port, ephemeral)
        {
            return Matches::No;
        }
        let remote = match matching.remote == PortSpec::any() {
            true => Matches::Yes,
            false => Matches::Perhaps,
        };
        let from = self.some_of(&matching.sources());
        let to = match self.address.is_unspecified() || matching.to.is_empty() {
            true => self.some_of(&matching.to),
            false if matching.to.iter().any(|net| net.contains(&self.address)) => Matches::Yes,
            false => Matches::No,
        };
        let on = matches_interface(matching, None);
        remote.min(from).min(to).min(on)
    }

    /// Whether its packets can have addresses in these prefixes; none is everywhere.
    fn some_of(&self, prefixes: &[IpNet]) -> Matches {
        let is_possible = |net: &IpNet| match (net, self.address) {
            (IpNet::V4(_), address) => {
                address.is_ipv4() || address == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
            }
            (IpNet::V6(_), address) => address.is_ipv6(),
        };
        match prefixes.iter().any(is_possible) {
            _ if prefixes.is_empty() => Matches::Yes,
            true => Matches::Perhaps,
            false => Matches::No,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::test_policy::policy;

    const EPHEMERAL: PortRange = PortRange {
        first: 32768,
        last: 60999,
    };

    fn socket(transport: Transport, local: &str, state: SocketState) -> Socket {
        Socket {
            transport,
            local: local.parse().unwrap(),
            remote: None,
            state,
            uid: 0,
            inode: 1,
        }
    }

    /// The closed ones of TCP listeners at these addresses.
    fn closed(lines: &[&str], addresses: &[&str]) -> Vec<u16> {
        let listener = |address: &&str| socket(Transport::Tcp, address, SocketState::Listening);
        let sockets: Vec<Socket> = addresses.iter().map(listener).collect();
        let closed = listeners_closed(&policy(lines, &["eth0"]), EPHEMERAL, &sockets, &[]);
        closed.listening.into_iter().map(|(_, port)| port).collect()
    }

    #[test]
    fn a_listener_is_closed_unless_a_rule_lets_somebody_in() {
        for (lines, is_closed) in [
            (&[][..], true),
            (&["allow tcp 80"], false),
            (&["allow tcp 81"], true),
            (&["allow udp 80"], true),
            (&["allow tcp+udp 80"], false),
            (&["allow tcp 1-80"], false),
            (&["allow any"], false),
            (&["allow icmp any"], true),
            (&["allow tcp 80 from 192.0.2.0/24"], false),
            (&["allow tcp 80 from 2001:db8::/32"], true),
            (&["allow tcp 80 on eth0"], false),
            // Somebody else gets in, or nobody does.
            (&["deny tcp 80 from 192.0.2.1", "allow tcp 80"], false),
            (&["deny tcp 80 from 192.0.2.1"], true),
            // Closed on purpose.
            (&["deny tcp 80"], false),
            (&["deny any"], false),
        ] {
            let expected: &[u16] = if is_closed { &[80] } else { &[] };
            assert_eq!(closed(lines, &["0.0.0.0:80"]), expected, "{lines:?}");
            assert_eq!(closed(lines, &["192.0.2.9:80"]), expected, "{lines:?}");
        }
        let all = Policy {
            default: DefaultAction::Pass,
            ..Policy::default()
        };
        let open = [socket(Transport::Tcp, "[::]:80", SocketState::Listening)];
        assert!(listeners_closed(&all, EPHEMERAL, &open, &[(Transport::Tcp, 81)]).is_empty());
    }

    #[test]
    fn families_and_addresses_of_listeners_count() {
        let v6 = &["allow tcp 80 from 2001:db8::/32"];
        assert!(closed(v6, &["[::]:80"]).is_empty());
        assert!(closed(v6, &["[2001:db8::1]:80"]).is_empty());
        let v4 = &["allow tcp 80 from 192.0.2.0/24"];
        assert!(closed(v4, &["[::]:80"]).is_empty());
        assert_eq!(closed(v4, &["[2001:db8::1]:80"]), [80]);
        // One of two is enough.
        assert!(closed(v4, &["[2001:db8::1]:80", "0.0.0.0:80"]).is_empty());
    }

    #[test]
    fn only_services_are_found_that_others_could_reach() {
        let tcp = Transport::Tcp;
        let udp = Transport::Udp;
        let listening = SocketState::Listening;
        let sockets = [
            socket(tcp, "0.0.0.0:5432", listening),
            socket(tcp, "0.0.0.0:80", listening),
            socket(tcp, "[::]:80", listening),
            socket(tcp, "127.0.0.1:81", listening),
            socket(tcp, "[::1]:82", listening),
            socket(tcp, "192.0.2.1:83", SocketState::Connected),
            socket(tcp, "192.0.2.1:84", SocketState::Closing),
            socket(tcp, "0.0.0.0:40000", listening),
            socket(udp, "0.0.0.0:53", listening),
            socket(udp, "0.0.0.0:40001", listening),
            socket(udp, "192.0.2.1:54", SocketState::Connected),
            socket(udp, "0.0.0.0:68", listening),
        ];
        let published = [(udp, 53), (tcp, 8080), (tcp, 8080), (tcp, 8081)];
        let mut policy = policy(&["allow tcp 8081"], &["eth0"]);
        let closed = listeners_closed(&policy, EPHEMERAL, &sockets, &published);
        let listening = [(tcp, 80), (tcp, 5432), (tcp, 40000), (udp, 53)];
        assert_eq!(closed.listening, listening);
        assert_eq!(closed.published, [(tcp, 8080), (udp, 53)]);
        policy.dhcp_client = false;
        let closed = listeners_closed(&policy, EPHEMERAL, &sockets, &[]);
        assert!(closed.listening.contains(&(udp, 68)));
    }
}
