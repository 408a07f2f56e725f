//! The meaning of a policy: its rules as plain values, beside the words that xdpfw reads.

use std::{
    fmt::{self, Write as _},
    net::IpAddr,
};

use crate::packet::{Content, Ip};

/// A policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The filtered interfaces.
    pub interfaces: Vec<String>,
    /// Whether what no rule matches passes.
    pub default_pass: bool,
    /// Whether later fragments pass.
    pub fragments_pass: bool,
    /// Whether frames pass that carry neither IP nor ARP, and are not needed by the link.
    pub non_ip_pass: bool,
    /// What tells answers from other packets.
    pub replies: Replies,
    /// Whether all ICMP errors pass, and not those alone that are about a packet from here.
    pub icmp_errors_pass: bool,
    /// Whether answers to a DHCP client pass.
    pub dhcp_client: bool,
    /// Whether answers pass to what the host asked groups.
    pub discovery: bool,
    /// First and last port that the host hands out to clients.
    pub ephemeral: (u16, u16),
    /// When its time begins, in seconds after 1970.
    pub begins: i64,
    /// The rules, in their order.
    pub rules: Vec<Rule>,
}

/// The `replies` knob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replies {
    /// What left.
    Flows,
    /// Sockets.
    Sockets,
    /// Nothing.
    Off,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Its packets pass.
    Allow,
    /// Its packets are dropped.
    Deny,
}

/// A rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name.
    pub id: String,
    /// What it does.
    pub action: Action,
    /// What packets carry.
    pub what: What,
    /// The peers' ports, if it asks for them.
    pub remote: Option<Ports>,
    /// Where packets come from; nowhere means anywhere.
    pub from: Vec<Prefix>,
    /// Where packets go to; nowhere means anywhere.
    pub to: Vec<Prefix>,
    /// Where packets come in; nowhere means anywhere.
    pub on: Vec<String>,
    /// The Ethernet addresses that packets come from; none means anyone's.
    pub mac: Vec<Mac>,
    /// When it ends, in seconds after the policy's time begins; if it does.
    pub until: Option<i64>,
}

/// An Ethernet address.
pub type Mac = [u8; 6];

/// Where a packet comes in, when, and from whom on the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The name of the interface.
    pub interface: &'a str,
    /// The source of its frame, if there is one.
    pub mac: Option<Mac>,
    /// How many milliseconds after the policy's time begins.
    pub at: i64,
}

/// What a rule's packets carry.
#[derive(Clone, Debug)]
pub enum What {
    /// TCP to these ports.
    Tcp(Ports),
    /// UDP to these ports.
    Udp(Ports),
    /// Both to these ports.
    TcpUdp(Ports),
    /// ICMP of these types.
    Icmp(Types),
    /// ICMPv6 of these types.
    Icmp6(Types),
    /// Another protocol.
    Protocol {
        /// As it is written.
        word: String,
        /// Its number.
        number: u8,
    },
    /// Anything.
    Any,
}

/// Ports, and how they are written.
#[derive(Clone, Debug)]
pub struct Ports {
    /// As they are written.
    pub words: String,
    /// First and last of each range.
    pub ranges: Vec<(u16, u16)>,
}

/// ICMP types, and how they are written.
#[derive(Clone, Debug)]
pub struct Types {
    /// As they are written.
    pub words: String,
    /// The types; `None` is every type.
    pub numbers: Option<Vec<u8>>,
}

/// Addresses that begin alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// The first address.
    pub address: IpAddr,
    /// Bits that count.
    pub len: u8,
}

impl Ports {
    fn contain(&self, port: u16) -> bool {
        self.ranges
            .iter()
            .any(|&(first, last)| first <= port && port <= last)
    }
}

impl Ports {
    /// Whether there is no other port.
    fn are_all(&self) -> bool {
        let mut ranges = self.ranges.clone();
        ranges.sort_unstable();
        let mut missing = 0;
        for (first, last) in ranges {
            if u32::from(first) <= missing {
                missing = missing.max(u32::from(last) + 1);
            }
        }
        missing > u32::from(u16::MAX)
    }
}

impl Types {
    fn contain(&self, number: u8) -> bool {
        self.numbers
            .as_ref()
            .is_none_or(|numbers| numbers.contains(&number))
    }
}

impl Prefix {
    /// Whether an address is in it; never one of the other family.
    pub fn contains(&self, address: IpAddr) -> bool {
        // Shifting out all bits leaves none that could differ.
        match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                let difference = ours.to_bits() ^ theirs.to_bits();
                difference
                    .checked_shr(32 - u32::from(self.len))
                    .is_none_or(|rest| rest == 0)
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                let difference = ours.to_bits() ^ theirs.to_bits();
                difference
                    .checked_shr(128 - u32::from(self.len))
                    .is_none_or(|rest| rest == 0)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

impl Rule {
    /// Whether it is for this packet.
    pub fn matches(&self, entry: Entry<'_>, packet: &Ip) -> bool {
        self.matches_content(packet.content) && self.matches_ends(entry, packet)
    }

    /// Whether it is for what comes in here, from and to these addresses.
    pub fn matches_ends(&self, entry: Entry<'_>, packet: &Ip) -> bool {
        let is_in = |prefixes: &[Prefix], address| {
            prefixes.is_empty() || prefixes.iter().any(|prefix| prefix.contains(address))
        };
        (self.on.is_empty() || self.on.iter().any(|name| name == entry.interface))
            && self.until.is_none_or(|until| entry.at < 1000 * until)
            && (self.mac.is_empty() || entry.mac.is_some_and(|mac| self.mac.contains(&mac)))
            && is_in(&self.from, packet.source)
            && is_in(&self.to, packet.destination)
    }

    fn matches_content(&self, content: Content) -> bool {
        let from_remote = |port| self.remote.as_ref().is_none_or(|ports| ports.contain(port));
        match (&self.what, content) {
            (_, Content::LaterFragment { .. }) => false,
            (What::Any, _) => true,
            (
                What::Tcp(ports) | What::TcpUdp(ports),
                Content::Tcp {
                    source,
                    destination,
                    ..
                },
            )
            | (
                What::Udp(ports) | What::TcpUdp(ports),
                Content::Udp {
                    source,
                    destination,
                },
            ) => ports.contain(destination) && from_remote(source),
            (What::Icmp(types), Content::Icmp(message))
            | (What::Icmp6(types), Content::Icmp6(message)) => types.contain(message.number),
            (What::Protocol { number, .. }, Content::Other { protocol, .. }) => *number == protocol,
            _ => false,
        }
    }

    /// Whether it is for a fragment other than the first of this protocol, if that is known,
    /// over IPv4 or else IPv6. `None`: that depends on what only the first fragment has.
    pub fn matches_fragment(&self, protocol: Option<u8>, is_v4: bool) -> Option<bool> {
        let numbers: &[u8] = match self.what {
            What::Any => return Some(true),
            What::Tcp(_) => &[6],
            What::Udp(_) => &[17],
            What::TcpUdp(_) => &[6, 17],
            What::Icmp(_) if is_v4 => &[1],
            What::Icmp6(_) if !is_v4 => &[58],
            What::Icmp(_) | What::Icmp6(_) => &[],
            What::Protocol { number, .. } => return protocol.map(|protocol| protocol == number),
        };
        let is_for_all = match &self.what {
            What::Tcp(ports) | What::Udp(ports) | What::TcpUdp(ports) => {
                let remote = self.remote.as_ref();
                ports.are_all() && remote.is_none_or(Ports::are_all)
            }
            What::Icmp(types) | What::Icmp6(types) => {
                (0..=u8::MAX).all(|number| types.contain(number))
            }
            What::Protocol { .. } | What::Any => true,
        };
        match protocol {
            _ if numbers.is_empty() => Some(false),
            None => None,
            Some(protocol) if !numbers.contains(&protocol) => Some(false),
            Some(_) => is_for_all.then_some(true),
        }
    }

    /// Whether a packet of a family can match it, IPv4 or else IPv6.
    pub fn is_for(&self, v4: bool) -> bool {
        let has = |prefixes: &[Prefix]| {
            let mut families = prefixes.iter().map(|prefix| prefix.address.is_ipv4());
            prefixes.is_empty() || families.any(|is_v4| is_v4 == v4)
        };
        let is_kind = match self.what {
            What::Icmp(_) => v4,
            What::Icmp6(_) => !v4,
            _ => true,
        };
        is_kind && has(&self.from) && has(&self.to)
    }

    /// As in the policy file.
    fn write(&self, begins: i64, toml: &mut String) -> fmt::Result {
        let action = match self.action {
            Action::Allow => "allow",
            Action::Deny => "deny",
        };
        writeln!(toml, "\n[[rule]]\nid = {:?}", self.id)?;
        writeln!(toml, "{action} = \"{}\"", self.what)?;
        if let Some(remote) = &self.remote {
            writeln!(toml, "remote_ports = {:?}", remote.words)?;
        }
        for (key, prefixes) in [("from", &self.from), ("to", &self.to)] {
            if !prefixes.is_empty() {
                let words: Vec<String> = prefixes.iter().map(Prefix::to_string).collect();
                writeln!(toml, "{key} = {words:?}")?;
            }
        }
        if !self.on.is_empty() {
            writeln!(toml, "on = {:?}", self.on)?;
        }
        if !self.mac.is_empty() {
            let words: Vec<String> = self.mac.iter().map(mac_text).collect();
            writeln!(toml, "mac = {words:?}")?;
        }
        if let Some(until) = self.until {
            let until = jiff::Timestamp::from_second(begins + until).map_err(|_| fmt::Error)?;
            writeln!(toml, "until = \"{until}\"")?;
        }
        Ok(())
    }
}

fn mac_text(mac: &Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(ports) => write!(f, "tcp {}", ports.words),
            Self::Udp(ports) => write!(f, "udp {}", ports.words),
            Self::TcpUdp(ports) => write!(f, "tcp+udp {}", ports.words),
            Self::Icmp(types) => write!(f, "icmp {}", types.words),
            Self::Icmp6(types) => write!(f, "icmp6 {}", types.words),
            Self::Protocol { word, .. } => write!(f, "proto {word}"),
            Self::Any => f.write_str("any"),
        }
    }
}

impl Policy {
    /// The first rule for a packet: its place, and what it does.
    pub fn decision(&self, entry: Entry<'_>, packet: &Ip) -> Option<(usize, Action)> {
        let mut rules = self.rules.iter().enumerate();
        let (index, rule) = rules.find(|(_, rule)| rule.matches(entry, packet))?;
        Some((index, rule.action))
    }

    /// The same for a packet of which nobody knows whose frame it is in; `None` also where
    /// that matters.
    pub fn decision_from_anyone(
        &self,
        (interface, at): (&str, i64),
        packet: &Ip,
    ) -> Option<(usize, Action)> {
        let of = |mac| self.decision(Entry { interface, mac, at }, packet);
        let mut named = self.rules.iter().flat_map(|rule| &rule.mac);
        let decision = of(None);
        let is_same = named.all(|&mac| of(Some(mac)) == decision);
        decision.filter(|_| is_same)
    }

    /// The moments at which rules end, in milliseconds after its time begins; each once, and a
    /// rule may end at each.
    pub fn ends(&self) -> impl Iterator<Item = i64> {
        let ends = self.rules.iter().filter_map(|rule| rule.until);
        let ends: std::collections::BTreeSet<i64> = ends.map(|until| 1000 * until).collect();
        ends.into_iter()
    }

    /// A policy without rules.
    pub fn empty() -> Self {
        Self {
            interfaces: Vec::new(),
            default_pass: false,
            fragments_pass: true,
            non_ip_pass: true,
            replies: Replies::Flows,
            icmp_errors_pass: false,
            dhcp_client: true,
            discovery: false,
            ephemeral: (32_768, 60_999),
            begins: 0,
            rules: Vec::new(),
        }
    }

    /// The policy file.
    pub fn to_toml(&self) -> String {
        let word = |pass| if pass { "pass" } else { "drop" };
        let mut toml = format!(
            "version = 1\ninterfaces = {:?}\ndefault = \"{}\"\nfragments = \"{}\"\n\
             non_ip = \"{}\"\n\
             replies = \"{}\"\nicmp_errors = \"{}\"\ndhcp_client = {}\n\
             discovery = {}\n",
            self.interfaces,
            word(self.default_pass),
            word(self.fragments_pass),
            word(self.non_ip_pass),
            match self.replies {
                Replies::Flows => "flows",
                Replies::Sockets => "sockets",
                Replies::Off => "off",
            },
            if self.icmp_errors_pass {
                "pass"
            } else {
                "related"
            },
            self.dhcp_client,
            self.discovery,
        );
        for rule in &self.rules {
            // A string takes everything.
            let _ = rule.write(self.begins, &mut toml);
        }
        toml
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_its_length_says() {
        let contains = |prefix: &str, len, address: &str| {
            let address = address.parse().unwrap();
            let prefix = Prefix {
                address: prefix.parse().unwrap(),
                len,
            };
            prefix.contains(address)
        };
        assert!(contains("10.1.2.128", 25, "10.1.2.255"));
        assert!(!contains("10.1.2.128", 25, "10.1.2.127"));
        assert!(contains("0.0.0.0", 0, "255.255.255.255"));
        assert!(contains("10.1.2.3", 32, "10.1.2.3"));
        assert!(!contains("10.1.2.3", 32, "10.1.2.2"));
        assert!(contains("2001:db8::", 32, "2001:db8:ffff::1"));
        assert!(!contains("2001:db8::", 32, "2001:db9::"));
        assert!(contains("::", 0, "::ffff:10.1.2.3"));
        assert!(!contains("::1", 128, "::"));
        assert!(!contains("0.0.0.0", 0, "::ffff:10.1.2.3"));
        assert!(!contains("::", 0, "10.1.2.3"));
    }
}
