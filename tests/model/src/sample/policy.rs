//! Makes random policies. Ports and prefixes come from small pools, so that rules overlap,
//! contain and contradict each other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rand::{RngExt as _, seq::SliceRandom as _};

use super::{MACS, chance, one_of, weighted};
use crate::{
    Random,
    policy::{Action, Mac, Policy, Ports, Prefix, Replies, Rule, Types, What},
};

/// The most rules a random policy has.
const MAX_RULES: usize = 60;

/// Ports where something begins, ends or is special.
const EDGES: [u16; 20] = [
    1, 22, 53, 67, 68, 80, 443, 546, 547, 1023, 1024, 3389, 8000, 32_767, 32_768, 49_151, 49_152,
    60_999, 61_000, 65_535,
];

/// Services that both transports have.
const SERVICES: [(&str, u16); 5] = [
    ("domain", 53),
    ("http", 80),
    ("kerberos", 88),
    ("msrpc", 135),
    ("https", 443),
];

/// ICMP types by name.
const ICMP: [(&str, u8); 6] = [
    ("echo-request", 8),
    ("echo-reply", 0),
    ("destination-unreachable", 3),
    ("time-exceeded", 11),
    ("parameter-problem", 12),
    ("redirect", 5),
];

/// ICMPv6 types by name.
const ICMP6: [(&str, u8); 6] = [
    ("echo-request", 128),
    ("echo-reply", 129),
    ("destination-unreachable", 1),
    ("packet-too-big", 2),
    ("time-exceeded", 3),
    ("parameter-problem", 4),
];

/// Other protocols by name.
const PROTOCOLS: [(&str, u8); 4] = [("gre", 47), ("esp", 50), ("ospf", 89), ("sctp", 132)];

/// Prefixes that lie in each other, and beside each other.
const PREFIXES_V4: [([u8; 4], u8); 14] = [
    ([0, 0, 0, 0], 0),
    ([128, 0, 0, 0], 1),
    ([10, 0, 0, 0], 8),
    ([10, 1, 0, 0], 16),
    ([10, 1, 2, 0], 24),
    ([10, 1, 2, 128], 25),
    ([10, 1, 2, 128], 31),
    ([10, 1, 2, 129], 32),
    ([10, 1, 3, 0], 24),
    ([192, 0, 2, 0], 24),
    ([192, 0, 2, 77], 32),
    ([198, 51, 100, 0], 22),
    ([224, 0, 0, 0], 4),
    ([255, 255, 255, 255], 32),
];

/// The same of IPv6; one of them has all that IPv4 addresses look like there, which
/// cannot be named itself.
const PREFIXES_V6: [([u16; 8], u8); 14] = [
    ([0, 0, 0, 0, 0, 0, 0, 0], 0),
    ([0x2000, 0, 0, 0, 0, 0, 0, 0], 3),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32),
    ([0x2001, 0xdb8, 1, 0, 0, 0, 0, 0], 48),
    ([0x2001, 0xdb8, 1, 2, 0, 0, 0, 0], 64),
    ([0x2001, 0xdb8, 1, 2, 0x8000, 0, 0, 0], 65),
    ([0x2001, 0xdb8, 1, 2, 0x8000, 0, 0, 1], 128),
    ([0x2001, 0xdb8, 1, 3, 0, 0, 0, 0], 64),
    ([0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0], 56),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
    ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),
    ([0, 0, 0, 0, 0, 0, 0, 0], 80),
    ([0, 0, 0, 0, 0, 0, 0, 0], 96),
    ([0, 0, 0, 0, 0, 0, 0, 1], 128),
];

/// When rules end, in seconds: soon, or never in a test.
const ENDS: [i64; 5] = [2, 2, 3600, 7200, 86_400];

/// What the rules of one policy are drawn from.
struct Pools {
    ports: Vec<u16>,
    prefixes: Vec<Prefix>,
    interfaces: Vec<String>,
    ephemeral: (u16, u16),
}

impl Policy {
    /// A random policy for a host with these interfaces and ephemeral ports.
    pub fn random(random: &mut Random, interfaces: &[&str], ephemeral: (u16, u16)) -> Self {
        let pools = Pools::random(random, interfaces, ephemeral);
        let most = one_of(random, &[4, 15, 40, MAX_RULES]);
        let count = random.random_range(0..=most);
        let mut ids: Vec<usize> = (1..=count).collect();
        // A rule's place decides, not its name.
        ids.shuffle(random);
        let replies = weighted(
            random,
            &[
                (60, Replies::Flows),
                (25, Replies::Sockets),
                (15, Replies::Off),
            ],
        );
        Self {
            interfaces: interfaces.iter().map(|&name| name.to_owned()).collect(),
            default_pass: chance(random, 25),
            fragments_pass: chance(random, 50),
            non_ip_pass: chance(random, 60),
            replies,
            icmp_errors_pass: chance(random, 20),
            dhcp_client: chance(random, 50),
            // Nothing was asked, so it must change nothing.
            discovery: replies == Replies::Flows && chance(random, 50),
            ephemeral,
            begins: 0,
            rules: ids
                .into_iter()
                .map(|id| pools.rule(random, format!("r{id}")))
                .collect(),
        }
    }
}

impl Pools {
    fn random(random: &mut Random, interfaces: &[&str], ephemeral: (u16, u16)) -> Self {
        let mut ports = Vec::new();
        for _ in 0..random.random_range(4..16) {
            ports.push(match random.random_range(0..3) {
                0 => one_of(random, &EDGES),
                1 => random.random_range(1..=u16::MAX),
                // Near another one.
                _ => ports.last().map_or(1, |&port: &u16| {
                    port.saturating_add(random.random_range(0..3))
                }),
            });
        }
        let v4 = PREFIXES_V4.map(|(address, len)| Prefix {
            address: Ipv4Addr::from(address).into(),
            len,
        });
        let v6 = PREFIXES_V6.map(|(address, len)| Prefix {
            address: Ipv6Addr::from(address).into(),
            len,
        });
        let mut prefixes = [v4, v6].concat();
        for _ in 0..4 {
            prefixes.push(random_prefix(random));
        }
        prefixes.shuffle(random);
        prefixes.truncate(random.random_range(2..=prefixes.len()));
        let mut interfaces: Vec<String> = interfaces.iter().map(|&name| name.to_owned()).collect();
        // One that is not there.
        interfaces.push("eth77".to_owned());
        Self {
            ports,
            prefixes,
            interfaces,
            ephemeral,
        }
    }

    fn rule(&self, random: &mut Random, id: String) -> Rule {
        let what = self.what(random);
        let is_wide = match &what {
            What::Any => true,
            What::Tcp(ports) | What::Udp(ports) | What::TcpUdp(ports) => ports.words == "any",
            _ => false,
        };
        let has_ports = matches!(what, What::Tcp(_) | What::Udp(_) | What::TcpUdp(_));
        let mut rule = Rule {
            id,
            action: one_of(random, &[Action::Allow, Action::Deny]),
            remote: (has_ports && chance(random, 25)).then(|| self.ports(random)),
            from: self.prefixes(random, if is_wide { 70 } else { 35 }),
            to: self.prefixes(random, 20),
            on: self.interfaces(random, 20),
            mac: self.macs(random, 12),
            until: chance(random, 25).then(|| one_of(random, &ENDS)),
            what,
        };
        if !rule.is_for(true) && !rule.is_for(false) {
            // That would be refused. Without one side, the other is all that is asked.
            rule.to.clear();
            if !rule.is_for(true) && !rule.is_for(false) {
                rule.from.clear();
            }
        }
        // Most of the rules behind one that matches everything would never be seen.
        let is_unbound = rule.remote.is_none()
            && rule.from.is_empty()
            && rule.to.is_empty()
            && rule.on.is_empty()
            && rule.mac.is_empty()
            && rule.until.is_none();
        if is_wide && is_unbound && !chance(random, 5) {
            rule.from = vec![one_of(random, &self.prefixes)];
        }
        rule
    }

    fn what(&self, random: &mut Random) -> What {
        match random.random_range(0..100) {
            0..35 => What::Tcp(self.ports(random)),
            35..50 => What::Udp(self.ports(random)),
            50..62 => What::TcpUdp(self.ports(random)),
            62..71 => What::Icmp(types(random, &ICMP)),
            71..80 => What::Icmp6(types(random, &ICMP6)),
            80..90 => {
                let (word, number) = one_of(random, &PROTOCOLS);
                if chance(random, 50) {
                    return What::Protocol {
                        word: word.to_owned(),
                        number,
                    };
                }
                let number = one_of(random, &[2, 4, 41, 47, 50, 99, 103, 132, 253]);
                What::Protocol {
                    word: number.to_string(),
                    number,
                }
            }
            _ => What::Any,
        }
    }

    fn ports(&self, random: &mut Random) -> Ports {
        let count = weighted(random, &[(80, 1), (12, 2), (8, 5)]);
        let (words, ranges): (Vec<String>, Vec<(u16, u16)>) =
            (0..count).map(|_| self.range(random, count == 1)).unzip();
        Ports {
            words: words.join(","),
            ranges,
        }
    }

    fn range(&self, random: &mut Random, may_be_any: bool) -> (String, (u16, u16)) {
        let port = one_of(random, &self.ports);
        match random.random_range(0..100) {
            0..50 => (port.to_string(), (port, port)),
            50..75 => {
                let other = one_of(random, &self.ports);
                let (first, last) = (port.min(other), port.max(other));
                (format!("{first}-{last}"), (first, last))
            }
            75..80 => {
                let (name, port) = one_of(random, &SERVICES);
                (name.to_owned(), (port, port))
            }
            80..93 => {
                let (name, range) = one_of(
                    random,
                    &[
                        ("well-known", (0, 1023)),
                        ("registered", (1024, 49_151)),
                        ("dynamic", (49_152, 65_535)),
                        ("high", (1024, 65_535)),
                        ("ephemeral", self.ephemeral),
                    ],
                );
                (name.to_owned(), range)
            }
            _ if may_be_any => ("any".to_owned(), (0, 65_535)),
            _ => (port.to_string(), (port, port)),
        }
    }

    fn prefixes(&self, random: &mut Random, percent: u32) -> Vec<Prefix> {
        if !chance(random, percent) {
            return Vec::new();
        }
        let count = weighted(random, &[(70, 1), (20, 2), (10, 5)]);
        (0..count).map(|_| one_of(random, &self.prefixes)).collect()
    }

    fn macs(&self, random: &mut Random, percent: u32) -> Vec<Mac> {
        if !chance(random, percent) {
            return Vec::new();
        }
        let count = weighted(random, &[(70, 1), (30, 2)]);
        (0..count).map(|_| one_of(random, &MACS)).collect()
    }

    fn interfaces(&self, random: &mut Random, percent: u32) -> Vec<String> {
        if !chance(random, percent) {
            return Vec::new();
        }
        let mut names = self.interfaces.clone();
        names.shuffle(random);
        names.truncate(weighted(random, &[(80, 1), (20, 2)]));
        names
    }
}

/// ICMP types by name, number or range, several of them, or all.
fn types(random: &mut Random, names: &[(&str, u8)]) -> Types {
    if chance(random, 20) {
        return Types {
            words: "any".to_owned(),
            numbers: None,
        };
    }
    let (mut words, mut numbers) = (Vec::new(), Vec::new());
    for _ in 0..weighted(random, &[(70, 1), (20, 2), (10, 4)]) {
        match random.random_range(0..10) {
            0..5 => {
                let (name, number) = one_of(random, names);
                words.push(name.to_owned());
                numbers.push(number);
            }
            5..8 => {
                let number = random.random();
                words.push(u8::to_string(&number));
                numbers.push(number);
            }
            _ => {
                let first: u8 = random.random_range(0..250);
                let last = random.random_range(first + 1..=u8::MAX);
                words.push(format!("{first}-{last}"));
                numbers.extend(first..=last);
            }
        }
    }
    Types {
        words: words.join(","),
        numbers: Some(numbers),
    }
}

/// A prefix of any length.
fn random_prefix(random: &mut Random) -> Prefix {
    let (address, len) = if chance(random, 50) {
        let len = random.random_range(1..=32);
        let address = random.random::<u32>() & u32::MAX << (32 - len);
        (IpAddr::from(Ipv4Addr::from(address)), len)
    } else {
        let len = random.random_range(1..=128);
        let address = random.random::<u128>() & u128::MAX << (128 - len);
        (IpAddr::from(Ipv6Addr::from(address)), len)
    };
    Prefix {
        address,
        len: len as u8,
    }
}
