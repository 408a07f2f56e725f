//! Random conversations between a host and its peers, as packets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rand::{RngExt as _, seq::IndexedRandom as _};
use xdpfw_model::{Policy, Random, Sender, What};
use xdpfw_tests::packets::{self, flags};

/// Ports that rules do not care about, mostly.
const CLIENT_PORTS: [u16; 4] = [32_768, 40_000, 50_000, 60_999];
/// What a TCP segment may say of itself.
const SEGMENTS: [u8; 8] = [
    flags::SYN,
    flags::SYN | flags::ACK,
    flags::ACK,
    flags::ACK,
    flags::ACK | flags::PSH,
    flags::ACK | flags::FIN,
    flags::RST,
    flags::RST | flags::ACK,
];

/// A conversation that may be going on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Talk {
    /// Who sends at this end.
    pub(super) sender: Sender,
    /// By which of the interfaces its packets leave.
    pub(super) interface: usize,
    local: SocketAddr,
    remote: SocketAddr,
    protocol: Protocol,
}

#[derive(Clone, Copy, Debug)]
enum Protocol {
    Tcp,
    Udp,
    /// Its identifier is the local port.
    Ping,
    /// SCTP, which has ports.
    Sctp,
    /// GRE, which has none.
    Gre,
}

const SCTP: u8 = 132;
const GRE: u8 = 47;

/// From which end of a conversation a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// From the local end, or whom the host forwards for.
    Out,
    /// From the peer.
    In,
}

impl Talk {
    /// The conversation with this number, on a host under this policy: some with ports that
    /// its rules name.
    pub(super) fn choose(random: &mut Random, policy: &Policy, number: u16) -> Self {
        let [mine, theirs] = match random.random_range(0..10) {
            0..6 => [
                Ipv4Addr::new(198, 51, 100, 1).into(),
                Ipv4Addr::new(192, 0, 2, number as u8).into(),
            ],
            6..9 => [
                Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(),
                Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, number).into(),
            ],
            _ => [
                Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1).into(),
                Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, number).into(),
            ],
        };
        let [local, remote] = [mine, theirs].map(|address: IpAddr| {
            let port = choose_port(random, policy);
            SocketAddr::new(address, port)
        });
        Self {
            sender: match number % 3 {
                2 => Sender::Another,
                _ => Sender::Host,
            },
            interface: usize::from(number % 2),
            local,
            remote,
            protocol: match random.random_range(0..10) {
                0..6 => Protocol::Tcp,
                6..8 => Protocol::Udp,
                8 => Protocol::Ping,
                _ if random.random() => Protocol::Sctp,
                _ => Protocol::Gre,
            },
        }
    }

    /// The nearest other conversation: another port at either end, or the peer's neighbour.
    pub(super) fn neighbour(&self, random: &mut Random) -> Self {
        let mut other = *self;
        match random.random_range(0..3) {
            0 => other.remote.set_port(self.remote.port() ^ 1),
            1 => other.local.set_port(self.local.port() ^ 1),
            _ => other.remote.set_ip(match self.remote.ip() {
                IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() ^ 1 << 9).into(),
                IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() ^ 1 << 20).into(),
            }),
        }
        other
    }

    /// A packet of it.
    pub(super) fn packet(&self, random: &mut Random, way: Way) -> Vec<u8> {
        let (from, to) = match way {
            Way::Out => (self.local, self.remote),
            Way::In => (self.remote, self.local),
        };
        match self.protocol {
            Protocol::Tcp => {
                let bits = SEGMENTS.choose(random).copied().unwrap_or(flags::ACK);
                packets::tcp(from, to, bits)
            }
            Protocol::Udp => packets::udp(from, to, b"x"),
            Protocol::Ping => {
                let [request, reply] = if from.is_ipv4() { [8, 0] } else { [128, 129] };
                // Mostly what the way suggests.
                let is_request = (way == Way::Out) != random.random_ratio(1, 8);
                let kind = if is_request { request } else { reply };
                packets::echo(from.ip(), to.ip(), kind, self.local.port())
            }
            Protocol::Sctp => {
                let ports = [from.port(), to.port()].map(u16::to_be_bytes);
                let rest = [0; 8];
                let header = [ports.as_flattened(), &rest].concat();
                packets::ip(from.ip(), to.ip(), SCTP, &header)
            }
            Protocol::Gre => packets::ip(from.ip(), to.ip(), GRE, &[0; 8]),
        }
    }

    /// An error that a router sends, about a packet that left.
    pub(super) fn error(&self, random: &mut Random) -> Vec<u8> {
        let about = self.packet(random, Way::Out);
        let (router, kind): (IpAddr, _) = match self.local.ip() {
            IpAddr::V4(_) => (Ipv4Addr::new(203, 0, 113, 1).into(), [3, 1]),
            IpAddr::V6(_) => (
                Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1).into(),
                [1, 3],
            ),
        };
        packets::icmp_error(router, self.local.ip(), kind, &about)
    }
}

/// A port that a rule names, or any.
fn choose_port(random: &mut Random, policy: &Policy) -> u16 {
    let rule = policy
        .rules
        .choose(random)
        .filter(|_| random.random_ratio(1, 3));
    let ranges = match rule.map(|rule| &rule.what) {
        Some(What::Tcp(ports) | What::Udp(ports) | What::TcpUdp(ports)) => &ports.ranges[..],
        _ => &[],
    };
    match ranges.choose(random) {
        Some(&(first, last)) => random.random_range(first..=last),
        None => CLIENT_PORTS.choose(random).copied().unwrap_or(1),
    }
}
