//! What a rule matches: read from words of the command line or the policy file, and written
//! as such words.

use std::{
    borrow::Cow,
    collections::HashSet,
    fmt,
    hash::Hash,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use xdpfw_common::Transport;

use super::{
    MacAddress, Protocol,
    list::parse_sources,
    prefix::{self, ItemError, PrefixText},
    words::{self, Meaning},
};
use crate::{
    names::{icmp::TypeSpec, services},
    ports::{PortSpec, PortWord},
    text::write_list,
};

/// Why a rule cannot have SYN cookies.
pub const NO_COOKIES: &str = "only rules that allow TCP answer with SYN cookies (leave it out)";

/// What a rule matches: packets that meet every condition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Match {
    /// The protocols.
    pub protocol: Protocol,
    /// This host's ports; any, unless the protocol has ports.
    pub local: PortSpec,
    /// The ICMP types; any, unless the protocol is one of the two.
    pub types: TypeSpec,
    /// The peers' ports; any, unless the protocol has ports.
    pub remote: PortSpec,
    /// Where packets come from; none is everywhere, unless there are lists.
    pub from: Vec<IpNet>,
    /// The lists whose prefixes packets come from, too, by name.
    pub from_lists: Vec<String>,
    /// Where packets go to; none is everywhere.
    pub to: Vec<IpNet>,
    /// The interfaces they come in by; none is every one.
    pub on: Vec<String>,
    /// The Ethernet addresses they come from, on the link; none is every one, and those of
    /// packets without a link layer.
    pub mac: Vec<MacAddress>,
}

/// The words of a rule, each part as it was given; `None` where it was left out.
#[derive(Clone, Debug, Default)]
pub struct MatchSpec<'a> {
    /// What follows `allow` or `deny`.
    pub words: Vec<&'a str>,
    /// The peers' ports.
    pub remote: Option<Vec<&'a str>>,
    /// The source prefixes.
    pub from: Option<Vec<&'a str>>,
    /// The destination prefixes.
    pub to: Option<Vec<&'a str>>,
    /// The interfaces.
    pub on: Option<Vec<&'a str>>,
    /// The MAC addresses.
    pub mac: Option<Vec<&'a str>>,
}

/// A part of a rule's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What follows `allow` or `deny`.
    Words,
    /// The peers' ports.
    Remote,
    /// The source prefixes.
    From,
    /// The destination prefixes.
    To,
    /// The interfaces.
    On,
    /// The MAC addresses.
    Mac,
}

/// Why words make no rule; its `Display` is one line that ends with the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct MatchError {
    /// Where the mistake is.
    pub part: Part,
    /// In which word of the part, counted from 0.
    pub item: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// The families a rule can match packets of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Families {
    /// IPv4.
    pub ipv4: bool,
    /// IPv6.
    pub ipv6: bool,
}

impl Families {
    const BOTH: Self = Self {
        ipv4: true,
        ipv6: true,
    };

    /// Those of any of these prefixes; of none, both.
    fn of(prefixes: &[IpNet]) -> Self {
        if prefixes.is_empty() {
            return Self::BOTH;
        }
        let is_ipv4 = |net: &IpNet| matches!(net, IpNet::V4(_));
        Self {
            ipv4: prefixes.iter().any(is_ipv4),
            ipv6: !prefixes.iter().all(is_ipv4),
        }
    }

    const fn and(self, other: Self) -> Self {
        Self {
            ipv4: self.ipv4 && other.ipv4,
            ipv6: self.ipv6 && other.ipv6,
        }
    }

    const fn is_none(self) -> bool {
        !self.ipv4 && !self.ipv6
    }
}

impl<'a> MatchSpec<'a> {
    /// The words of a rule without options: `tcp 443`.
    pub fn of_words(text: &'a str) -> Self {
        Self {
            words: text.split_whitespace().collect(),
            ..Self::default()
        }
    }
}

impl Match {
    /// Whether it has the same words, in whatever order.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let Self {
            protocol,
            local,
            types,
            remote,
            from,
            from_lists,
            to,
            on,
            mac,
        } = self;
        *protocol == other.protocol
            && has_same(local.words(), other.local.words())
            && has_same(types.words(), other.types.words())
            && has_same(remote.words(), other.remote.words())
            && has_same(from, &other.from)
            && has_same(from_lists, &other.from_lists)
            && has_same(to, &other.to)
            && has_same(on, &other.on)
            && has_same(mac, &other.mac)
    }

    /// Every packet.
    pub fn everything() -> Self {
        Self {
            protocol: Protocol::Any,
            local: PortSpec::any(),
            types: TypeSpec::any(),
            remote: PortSpec::any(),
            from: Vec::new(),
            from_lists: Vec::new(),
            to: Vec::new(),
            on: Vec::new(),
            mac: Vec::new(),
        }
    }

    /// Reads the words of a rule.
    ///
    /// # Errors
    ///
    /// The first mistake.
    pub fn parse(text: &MatchSpec<'_>) -> Result<Self, MatchError> {
        let error = |part| {
            move |message| MatchError {
                part,
                item: 0,
                message,
            }
        };
        let item_error = |part| {
            move |(item, message): ItemError| MatchError {
                part,
                item,
                message,
            }
        };
        let Meaning {
            protocol,
            local,
            types,
        } = words::parse(&text.words).map_err(error(Part::Words))?;
        let (from, from_lists) = match &text.from {
            None => (Vec::new(), Vec::new()),
            Some(words) => parse_sources(words).map_err(item_error(Part::From))?,
        };
        let matching = Self {
            protocol,
            local,
            types,
            remote: match &text.remote {
                None => PortSpec::any(),
                Some(words) => remote_ports(protocol, words).map_err(item_error(Part::Remote))?,
            },
            from,
            from_lists,
            to: match &text.to {
                None => Vec::new(),
                Some(words) => prefix::parse_prefixes(words).map_err(item_error(Part::To))?,
            },
            on: match &text.on {
                None => Vec::new(),
                Some(words) => prefix::parse_interfaces(words).map_err(item_error(Part::On))?,
            },
            mac: match &text.mac {
                None => Vec::new(),
                Some(words) => prefix::parse_macs(words).map_err(item_error(Part::Mac))?,
            },
        };
        matching
            .check_families()
            .map_err(|(part, message)| error(part)(message))?;
        Ok(matching)
    }

    /// The families it can match packets of.
    pub fn families(&self) -> Families {
        let protocol = Families {
            ipv4: self.protocol != Protocol::Icmp6,
            ipv6: !self.protocol.is_ipv4_only(),
        };
        protocol
            .and(Families::of(&self.sources()))
            .and(Families::of(&self.to))
    }

    /// Refuses a rule that no packet of either family can match.
    fn check_families(&self) -> Result<(), (Part, String)> {
        if !self.families().is_none() {
            return Ok(());
        }
        // A list may have both.
        for (part, prefixes) in [(Part::From, &self.from), (Part::To, &self.to)] {
            let families = Families::of(prefixes);
            let (family, remedy) = match self.protocol {
                Protocol::Icmp if !families.ipv4 => ("IPv4", "say icmp6"),
                Protocol::Icmp6 if !families.ipv6 => ("IPv6", "say icmp"),
                Protocol::AH if !families.ipv4 => {
                    ("IPv4", "over IPv6, say the protocol behind it, or any")
                }
                _ => continue,
            };
            return Err((
                part,
                format!(
                    "{} is for {family}, and {} is not ({remedy})",
                    self.protocol,
                    PrefixText(&prefixes[0])
                ),
            ));
        }
        Err((
            Part::To,
            format!(
                "no packet goes from {} to {}, which are not of one family (say a rule for each)",
                PrefixText(&self.from[0]),
                PrefixText(&self.to[0])
            ),
        ))
    }

    /// Whether it matches packets wherever they come from.
    pub const fn is_from_anywhere(&self) -> bool {
        self.from.is_empty() && self.from_lists.is_empty()
    }

    /// Where packets come from, as users write it.
    pub fn from_words(&self) -> Vec<String> {
        let prefixes = self.from.iter().map(|net| PrefixText(net).to_string());
        let lists = self.from_lists.iter().map(|name| format!("@{name}"));
        prefixes.chain(lists).collect()
    }

    /// Where packets come from, for those who know nothing of what is in lists: an address of each
    /// family stands for a list, which nothing else is for. None is everywhere.
    pub fn sources(&self) -> Cow<'_, [IpNet]> {
        if self.from_lists.is_empty() {
            return Cow::Borrowed(&self.from);
        }
        let lists = self.from_lists.iter();
        let stands = lists.flat_map(|name| Self::placeholder(name));
        Cow::Owned(self.from.iter().copied().chain(stands).collect())
    }

    /// What stands for a list whose prefixes are not known.
    pub fn placeholder(name: &str) -> [IpNet; 2] {
        // FNV-1a.
        let hash = name.bytes().fold(0x811c_9dc5, |sum: u32, byte| {
            (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        // In 0.0.0.0/8, which nobody has (RFC 1122), and in the discard prefix (RFC 6666).
        let (v4, v6) = (hash & 0xff_ffff, (0x0100_u128 << 112) | u128::from(hash));
        [
            IpAddr::from(Ipv4Addr::from(v4)).into(),
            IpAddr::from(Ipv6Addr::from(v6)).into(),
        ]
    }

    /// Whether it is for TCP by name, whose new connections can be answered with SYN cookies.
    pub fn has_cookies(&self) -> bool {
        let mut transports = self.protocol.transports().iter();
        self.protocol.has_ports() && transports.any(|one| *one == Transport::Tcp)
    }

    /// The service's name, when the rule is for a single named local port.
    pub fn service(&self) -> Option<&'static str> {
        let [PortWord::Port(port)] = *self.local.words() else {
            return None;
        };
        let transport = *self.protocol.transports().first()?;
        services::name_of(transport, port)
    }

    /// Whether one of its lists of prefixes, interfaces and MAC addresses has more than so many.
    pub fn has_more_than(&self, items: usize) -> bool {
        let Self {
            from,
            from_lists,
            to,
            on,
            mac,
            ..
        } = self;
        [from.len() + from_lists.len(), to.len(), on.len(), mac.len()]
            .into_iter()
            .any(|len| len > items)
    }

    /// The words without the options: `tcp 80,443`, `icmp echo-request`, `proto gre`.
    pub fn words(&self) -> String {
        let protocol = self.protocol;
        let word = protocol.as_str();
        match (protocol, protocol.icmp()) {
            (Protocol::Any | Protocol::Ping, _) => word.to_owned(),
            (Protocol::Other(_), _) => format!("{word} {protocol}"),
            (_, Some(family)) => format!("{word} {}", self.types.text(family)),
            _ => format!("{word} {}", self.local),
        }
    }

    /// The words of the ICMP types; none if every type is meant.
    pub fn type_words(&self) -> Vec<String> {
        match self.protocol.icmp() {
            None if self.protocol == Protocol::Ping => vec!["echo-request".to_owned()],
            Some(family) if !self.types.is_any() => self
                .types
                .words()
                .iter()
                .map(|word| word.text(family))
                .collect(),
            _ => Vec::new(),
        }
    }
}

impl fmt::Display for Match {
    /// As on the command line: `tcp 443 --remote-port 1024-65535 --from 192.0.2.0/24`.
    ///
    /// With a precision, `{:.3}`, lists of prefixes, interfaces and MAC addresses are cut after so many
    /// items; that does not read back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limit = f.precision().unwrap_or(usize::MAX);
        f.write_str(&self.words())?;
        if self.remote != PortSpec::any() {
            write!(f, " --remote-port {}", self.remote)?;
        }
        if !self.is_from_anywhere() {
            f.write_str(" --from ")?;
            write_list(f, self.from_words().iter(), limit)?;
        }
        if !self.to.is_empty() {
            f.write_str(" --to ")?;
            write_list(f, self.to.iter().map(PrefixText), limit)?;
        }
        if !self.on.is_empty() {
            f.write_str(" --on ")?;
            write_list(f, self.on.iter(), limit)?;
        }
        if !self.mac.is_empty() {
            f.write_str(" --mac ")?;
            write_list(f, self.mac.iter(), limit)?;
        }
        Ok(())
    }
}

/// The peers' ports, for a protocol that has ports.
fn remote_ports(protocol: Protocol, words: &[&str]) -> Result<PortSpec, ItemError> {
    let ports = words::ports(protocol, words).map_err(|message| {
        let wrong = |word: &&str| words::ports(protocol, &[*word]).is_err();
        (words.iter().position(wrong).unwrap_or(0), message)
    })?;
    if protocol.has_ports() || ports == PortSpec::any() {
        return Ok(ports);
    }
    let message = match protocol {
        Protocol::Any => {
            "`any` names no protocol for its remote ports (say tcp, udp or tcp+udp)".to_owned()
        }
        protocol => format!("{protocol} has no ports (leave the remote ports out)"),
    };
    Err((0, message))
}

/// Whether two lists hold the same, in whatever order.
fn has_same<T: Eq + Hash>(one: &[T], other: &[T]) -> bool {
    one == other || one.iter().collect::<HashSet<_>>() == other.iter().collect()
}
