//! Makes random packets that are aimed at a policy: at the ports, addresses and protocols of
//! its rules, and at those just beside them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rand::{
    RngExt as _,
    seq::{IndexedRandom as _, SliceRandom as _},
};

use super::{
    chance,
    headers::{self, Draft, Payload},
    mutate, one_of, weighted,
};
use crate::{
    Random,
    policy::{Policy, Ports, Prefix, Rule, What},
};

/// Ports that something besides rules looks at.
const PORTS: [u16; 14] = [
    0, 53, 67, 68, 443, 546, 547, 1023, 1024, 32_767, 32_768, 49_152, 60_999, 65_535,
];
/// ICMP and ICMPv6 types that pass by themselves, and those beside them.
const ICMP_TYPES: [u8; 29] = [
    0, 1, 2, 3, 4, 5, 8, 10, 11, 12, 13, 30, 127, 128, 129, 130, 131, 132, 133, 134, 135, 136, 137,
    138, 142, 143, 144, 160, 255,
];
/// Those of them that are errors, in one version or the other.
const ICMP_ERRORS: [u8; 6] = [1, 2, 3, 4, 11, 12];
/// Protocols that are something else in the other family, or nothing at all.
const PROTOCOLS: [u8; 22] = [
    0, 1, 2, 2, 4, 33, 41, 43, 44, 47, 50, 51, 58, 59, 60, 89, 99, 132, 135, 136, 253, 255,
];

/// A source of packets.
#[derive(Clone, Debug)]
pub struct PacketSource {
    ports: Vec<u16>,
    v4: Vec<Ipv4Addr>,
    v6: Vec<Ipv6Addr>,
    icmp_types: Vec<u8>,
    protocols: Vec<u8>,
    rules: Vec<Rule>,
    has_jumbo_frames: bool,
}

impl PacketSource {
    /// Packets that concern a policy.
    pub fn aimed_at(policy: &Policy) -> Self {
        let mut source = Self {
            ports: PORTS.to_vec(),
            v4: vec![
                Ipv4Addr::new(203, 0, 113, 7),
                Ipv4Addr::new(10, 1, 2, 3),
                Ipv4Addr::new(224, 0, 0, 251),
                Ipv4Addr::BROADCAST,
            ],
            v6: vec![
                Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 0, 0, 0, 3),
                Ipv4Addr::new(10, 1, 2, 3).to_ipv6_mapped(),
                Ipv4Addr::new(10, 1, 2, 3).to_ipv6_compatible(),
                Ipv6Addr::LOCALHOST,
                Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 7),
                Ipv6Addr::new(0xfec0, 0, 0, 0, 0, 0, 0, 7),
            ],
            icmp_types: ICMP_TYPES.to_vec(),
            protocols: PROTOCOLS.to_vec(),
            rules: policy.rules.clone(),
            has_jumbo_frames: false,
        };
        for port in [policy.ephemeral.0, policy.ephemeral.1] {
            source.ports.extend(around(port));
        }
        for rule in &policy.rules {
            if let What::Tcp(ports) | What::Udp(ports) | What::TcpUdp(ports) = &rule.what {
                for &(first, last) in &ports.ranges {
                    source.ports.extend(around(first));
                    source.ports.extend(around(last));
                }
            }
            for &(first, last) in rule.remote.iter().flat_map(|ports| &ports.ranges) {
                source.ports.extend(around(first));
                source.ports.extend(around(last));
            }
            if let What::Icmp(types) | What::Icmp6(types) = &rule.what {
                source.icmp_types.extend(types.numbers.iter().flatten());
            }
            if let What::Protocol { number, .. } = rule.what {
                source.protocols.push(number);
            }
            for prefix in rule.from.iter().chain(&rule.to) {
                match prefix.address {
                    IpAddr::V4(address) => {
                        let hosts = u32::MAX.checked_shr(prefix.len.into()).unwrap_or(0);
                        source.v4.extend(
                            edges(address.to_bits().into(), hosts.into())
                                .map(|bits| Ipv4Addr::from_bits(bits as u32)),
                        );
                    }
                    IpAddr::V6(address) => {
                        let hosts = u128::MAX.checked_shr(prefix.len.into()).unwrap_or(0);
                        source
                            .v6
                            .extend(edges(address.to_bits(), hosts).map(Ipv6Addr::from_bits));
                    }
                }
            }
        }
        source
    }

    /// The same, and now and then one as long as interfaces with a large MTU have it.
    pub fn with_jumbo_frames(self) -> Self {
        Self {
            has_jumbo_frames: true,
            ..self
        }
    }

    /// An Ethernet frame: mostly well made, often not.
    pub fn frame(&self, random: &mut Random) -> Vec<u8> {
        self.bytes(random, true)
    }

    /// The same without the Ethernet header, as interfaces without a link layer have it.
    pub fn bare_packet(&self, random: &mut Random) -> Vec<u8> {
        self.bytes(random, false)
    }

    fn bytes(&self, random: &mut Random, has_ethernet: bool) -> Vec<u8> {
        let is_jumbo = self.has_jumbo_frames && chance(random, 3);
        let mut draft = self.draft(random, has_ethernet, is_jumbo);
        if is_jumbo {
            // Nothing worse, or its headers might go on where no program can read.
            if chance(random, 40) {
                mutate::truncate(random, &mut draft);
            }
            return draft.bytes;
        }
        if chance(random, 40) {
            mutate::mutate(random, &mut draft);
        }
        draft.bytes
    }

    /// A frame in which nothing is wrong on purpose. Most are meant for a rule, but each
    /// of their fields may be another's.
    fn draft(&self, random: &mut Random, has_ethernet: bool, is_jumbo: bool) -> Draft {
        let rule = self.rules.choose(random).filter(|_| chance(random, 60));
        let is_v4 = match rule {
            Some(rule) if !chance(random, 5) => {
                let mut families = [true, false];
                families.shuffle(random);
                families.into_iter().find(|&v4| rule.is_for(v4))
            }
            _ => None,
        };
        let is_v4 = is_v4.unwrap_or_else(|| chance(random, 50));
        let [from, to]: [&[Prefix]; 2] = rule.map_or([&[], &[]], |rule| [&rule.from, &rule.to]);
        let mut payload = self.payload(random, is_v4, rule, true);
        if is_jumbo {
            payload.enlarge(random);
        }
        let mut draft = Draft {
            is_v4,
            ..Draft::default()
        };
        if has_ethernet {
            headers::link(random, &mut draft);
        }
        if is_v4 {
            let ends = [from, to].map(|prefixes| self.v4(random, prefixes));
            headers::ipv4(random, &mut draft, ends, &payload);
        } else {
            let ends = [from, to].map(|prefixes| self.v6(random, prefixes));
            headers::ipv6(random, &mut draft, ends, &payload);
        }
        draft
    }

    /// An ICMP error about what one of the rules would let in, or about anything.
    fn icmp_error(&self, random: &mut Random, is_v4: bool, protocol: u8, number: u8) -> Payload {
        let rule = self.rules.choose(random).filter(|_| chance(random, 70));
        let [from, to]: [&[Prefix]; 2] = rule.map_or([&[], &[]], |rule| [&rule.from, &rule.to]);
        let payload = self.payload(random, is_v4, rule, false).turned();
        let mut quoted = Draft {
            is_v4,
            ..Draft::default()
        };
        if is_v4 {
            let ends = [to, from].map(|prefixes| self.v4(random, prefixes));
            headers::ipv4(random, &mut quoted, ends, &payload);
        } else {
            let ends = [to, from].map(|prefixes| self.v6(random, prefixes));
            headers::ipv6(random, &mut quoted, ends, &payload);
        }
        if chance(random, 10) {
            mutate::mutate(random, &mut quoted);
        }
        headers::icmp_error(random, protocol, number, &quoted)
    }

    /// What a packet carries; an ICMP error `quotes` a packet, mostly.
    fn payload(
        &self,
        random: &mut Random,
        is_v4: bool,
        rule: Option<&Rule>,
        quotes: bool,
    ) -> Payload {
        let what = rule.map(|rule| &rule.what).filter(|_| !chance(random, 10));
        let local = match what {
            Some(What::Tcp(ports) | What::Udp(ports) | What::TcpUdp(ports)) => Some(ports),
            _ => None,
        };
        let source = self.port(random, rule.and_then(|rule| rule.remote.as_ref()));
        let destination = self.port(random, local);
        let kind = match what {
            Some(What::Tcp(_)) => Kind::Tcp,
            Some(What::Udp(_)) => Kind::Udp,
            Some(What::TcpUdp(_)) => one_of(random, &[Kind::Tcp, Kind::Udp]),
            Some(What::Icmp(_) | What::Icmp6(_)) => Kind::Icmp,
            Some(What::Protocol { .. }) => Kind::Other,
            Some(What::Any) | None => weighted(
                random,
                &[
                    (40, Kind::Tcp),
                    (30, Kind::Udp),
                    (17, Kind::Icmp),
                    (13, Kind::Other),
                ],
            ),
        };
        match kind {
            Kind::Tcp => headers::tcp(random, source, destination),
            Kind::Udp if chance(random, 5) => {
                let dhcp = [(67, 68), (547, 546), (68, 67), (546, 547), (1234, 546)];
                let (source, destination) = one_of(random, &dhcp);
                headers::udp(random, source, destination)
            }
            Kind::Udp => headers::udp(random, source, destination),
            Kind::Icmp => {
                let number = self.icmp_type(random, what);
                let belongs = !chance(random, 5);
                let protocol = if is_v4 == belongs { 1 } else { 58 };
                if quotes && ICMP_ERRORS.contains(&number) && chance(random, 85) {
                    let is_v4 = is_v4 != chance(random, 3);
                    return self.icmp_error(random, is_v4, protocol, number);
                }
                headers::icmp(random, protocol, number)
            }
            Kind::Other => {
                let protocol = match what {
                    Some(&What::Protocol { number, .. }) => number,
                    _ if chance(random, 20) => random.random(),
                    _ => one_of(random, &self.protocols),
                };
                headers::other(random, protocol)
            }
        }
    }

    /// A port: one of these, or any.
    fn port(&self, random: &mut Random, ports: Option<&Ports>) -> u16 {
        match ports.and_then(|ports| ports.ranges.choose(random)) {
            Some(&(first, last)) if !chance(random, 15) => {
                let within = random.random_range(first..=last);
                one_of(random, &[first, within, last])
            }
            _ if chance(random, 10) => random.random(),
            _ => one_of(random, &self.ports),
        }
    }

    fn icmp_type(&self, random: &mut Random, what: Option<&What>) -> u8 {
        let numbers = match what {
            Some(What::Icmp(types) | What::Icmp6(types)) => types.numbers.as_deref(),
            _ => None,
        };
        match numbers.and_then(|numbers| numbers.choose(random)) {
            Some(&number) if !chance(random, 15) => number,
            _ if chance(random, 10) => random.random(),
            _ => one_of(random, &self.icmp_types),
        }
    }

    /// An address in one of these prefixes, or any.
    fn v4(&self, random: &mut Random, prefixes: &[Prefix]) -> Ipv4Addr {
        match prefixes.choose(random) {
            Some(&Prefix {
                address: IpAddr::V4(address),
                len,
            }) if !chance(random, 15) => {
                let hosts = u32::MAX.checked_shr(len.into()).unwrap_or(0);
                Ipv4Addr::from_bits(address.to_bits() | random.random::<u32>() & hosts)
            }
            _ => one_of(random, &self.v4),
        }
    }

    /// The same of IPv6.
    fn v6(&self, random: &mut Random, prefixes: &[Prefix]) -> Ipv6Addr {
        match prefixes.choose(random) {
            Some(&Prefix {
                address: IpAddr::V6(address),
                len,
            }) if !chance(random, 15) => {
                let hosts = u128::MAX.checked_shr(len.into()).unwrap_or(0);
                Ipv6Addr::from_bits(address.to_bits() | random.random::<u128>() & hosts)
            }
            _ => one_of(random, &self.v6),
        }
    }
}

/// What a packet carries.
#[derive(Clone, Copy)]
enum Kind {
    Tcp,
    Udp,
    Icmp,
    Other,
}

/// A port and its neighbours.
fn around(port: u16) -> [u16; 3] {
    [port.wrapping_sub(1), port, port.wrapping_add(1)]
}

/// The first and the last address of a prefix, one within, and those beside it.
fn edges(first: u128, hosts: u128) -> [u128; 5] {
    [
        first,
        first | hosts,
        first | hosts & 0x5a5a_5a5a_5a5a_5a5a_5a5a_5a5a_5a5a_5a5a,
        first.wrapping_sub(1),
        (first | hosts).wrapping_add(1),
    ]
}
