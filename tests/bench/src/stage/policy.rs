//! Writes the same policy in the language of each filter: drop everything that comes in, but
//! for some TCP ports.

use std::{
    collections::BTreeSet,
    fmt::{self, Write as _},
    ops::RangeInclusive,
};

/// The port that every policy opens.
pub(crate) const OPEN: u16 = 443;
/// A port that no policy opens.
pub(crate) const CLOSED: u16 = 23;
/// The peer's prefix: all others are strangers'.
const PEERS: &str = "10.0.0.0/16";

/// What is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    /// One port, for all.
    OnePort,
    /// So many rules of a port and a prefix each; the last is for the peer.
    Rules(u32),
    /// So many ports, for all. At most all but [`CLOSED`].
    Ports(u32),
    /// One port, for so many prefixes, the peer's among them.
    Prefixes(u32),
}

/// What a rule lets in: ports from prefixes, or from all.
struct Rule {
    ports: Vec<Range>,
    from: Vec<String>,
}

/// Neighbouring ports.
type Range = RangeInclusive<u16>;

/// Where nft filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    /// As soon as the driver has made a packet: the earliest there is.
    Ingress,
    /// Before connections are tracked.
    Raw,
    /// Where most people do, with connections tracked.
    Input,
}

/// How nft gets long lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A rule for each.
    Plain,
    /// One rule, and a set of them.
    Sets,
}

impl Policy {
    /// As a policy file of xdpfw.
    pub(crate) fn xdpfw<'a>(self, interfaces: impl Iterator<Item = &'a str>) -> String {
        let interfaces = list(interfaces.map(|name| format!("\"{name}\"")));
        let mut text = format!("version = 1\ninterfaces = [{interfaces}]\ndefault = \"drop\"\n");
        for rule in self.rules() {
            let ports = list_of(&rule.ports);
            let _ = write!(text, "\n[[rule]]\nallow = \"tcp {ports}\"\n");
            if !rule.from.is_empty() {
                let from = list(rule.from.iter().map(|prefix| format!("\"{prefix}\"")));
                let _ = writeln!(text, "from = [{from}]");
            }
        }
        text
    }

    /// As a file for `nft -f` that puts it in the place of what was there.
    pub(crate) fn nft<'a>(
        self,
        hook: Hook,
        form: Form,
        interfaces: impl Iterator<Item = &'a str>,
    ) -> String {
        let (family, chain, before) = match hook {
            Hook::Ingress => (
                "netdev",
                format!(
                    "type filter hook ingress devices = {{ {} }} priority -500; policy drop;",
                    list(interfaces)
                ),
                "ether type arp accept\n",
            ),
            Hook::Raw => (
                "ip",
                "type filter hook prerouting priority raw; policy drop;".into(),
                "",
            ),
            Hook::Input => (
                "inet",
                "type filter hook input priority filter; policy drop;".into(),
                "ct state established,related accept\niif lo accept\n",
            ),
        };
        let (sets, rules) = match form {
            Form::Plain => (String::new(), self.nft_rules()),
            Form::Sets => self.nft_set(),
        };
        format!(
            "table {family} bench\ndelete table {family} bench\ntable {family} bench {{\n\
             {sets}chain c {{\n{chain}\n{before}{rules}}}\n}}\n"
        )
    }

    /// The prefixes as a file for `ipset restore` that puts them in the place of what was
    /// there. None where an ipset is no match for the policy.
    pub(crate) fn ipset(self) -> Option<String> {
        let Self::Prefixes(count) = self else {
            return None;
        };
        let mut text = format!(
            "create bench hash:net maxelem {count} -exist\n\
             create bench-new hash:net maxelem {count}\n"
        );
        for prefix in prefixes(count) {
            let _ = writeln!(text, "add bench-new {prefix}");
        }
        text += "swap bench bench-new\ndestroy bench-new\n";
        Some(text)
    }

    /// How many rules it takes without sets.
    pub(crate) fn plain_rules(self) -> usize {
        let each = |rule: &Rule| rule.ports.len() * rule.from.len().max(1);
        self.rules().iter().map(each).sum()
    }

    fn rules(self) -> Vec<Rule> {
        match self {
            Self::OnePort => vec![Rule::new(vec![OPEN..=OPEN], vec![])],
            Self::Rules(count) => {
                let pairs = ports_and_prefixes(count);
                pairs
                    .map(|(port, prefix)| Rule::new(vec![port..=port], vec![prefix]))
                    .collect()
            }
            Self::Ports(count) => vec![Rule::new(ports(count), vec![])],
            Self::Prefixes(count) => {
                let from = prefixes(count).collect();
                vec![Rule::new(vec![OPEN..=OPEN], from)]
            }
        }
    }

    /// One rule for each prefix and range.
    fn nft_rules(self) -> String {
        let mut text = String::new();
        for rule in self.rules() {
            for range in rule.ports.iter().map(shown) {
                if rule.from.is_empty() {
                    let _ = writeln!(text, "tcp dport {range} accept");
                }
                for prefix in &rule.from {
                    let _ = writeln!(text, "ip saddr {prefix} tcp dport {range} accept");
                }
            }
        }
        text
    }

    /// A set, and the rule that asks it.
    fn nft_set(self) -> (String, String) {
        let (kind, elements, rule) = match self {
            Self::OnePort | Self::Ports(_) => (
                "inet_service",
                list(
                    self.rules()
                        .iter()
                        .flat_map(|rule| rule.ports.iter().map(shown)),
                ),
                "tcp dport @s accept".into(),
            ),
            Self::Rules(count) => (
                "ipv4_addr . inet_service",
                list(ports_and_prefixes(count).map(|(port, prefix)| format!("{prefix} . {port}"))),
                "ip saddr . tcp dport @s accept".into(),
            ),
            Self::Prefixes(count) => (
                "ipv4_addr",
                list(prefixes(count)),
                // The port first: most packets then never get to the set.
                format!("tcp dport {OPEN} ip saddr @s accept"),
            ),
        };
        let set =
            format!("set s {{\ntype {kind}\nflags interval\nelements = {{ {elements} }}\n}}\n");
        (set, rule + "\n")
    }
}

impl Rule {
    const fn new(ports: Vec<Range>, from: Vec<String>) -> Self {
        Self { ports, from }
    }
}

/// Ports as all the languages have them.
fn shown(range: &Range) -> String {
    match (range.start(), range.end()) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    }
}

/// Ports around the open one, each from a prefix of its own; the last is the open one,
/// for the peer.
fn ports_and_prefixes(count: u32) -> impl Iterator<Item = (u16, String)> {
    (1..=count).map(move |index| {
        let port = OPEN + ((count - index) % 10) as u16;
        let [_, _, b, c] = index.to_be_bytes();
        let prefix = if index == count {
            PEERS.to_owned()
        } else {
            format!("11.{b}.{c}.0/24")
        };
        (port, prefix)
    })
}

/// So many ports all over the range, the open one among them; neighbours are joined.
fn ports(count: u32) -> Vec<Range> {
    // An odd factor goes through all numbers before any comes twice.
    let all = (0..=u16::MAX).map(|index| OPEN.wrapping_add(index.wrapping_mul(24_971)));
    let open = all.filter(|&port| port != 0 && port != CLOSED);
    let open: BTreeSet<u16> = open.take(count as usize).collect();
    let mut ranges: Vec<Range> = Vec::new();
    for port in open {
        match ranges.last_mut() {
            Some(range) if range.end() + 1 == port => *range = *range.start()..=port,
            _ => ranges.push(port..=port),
        }
    }
    ranges
}

/// So many prefixes all over the addresses, the peer's first.
fn prefixes(count: u32) -> impl Iterator<Item = String> {
    let others = (1..=u32::MAX).filter_map(|index| {
        // As above.
        let [a, b, c, _] = (index.wrapping_mul(2_654_435_761) << 8).to_be_bytes();
        (a != 10).then(|| format!("{a}.{b}.{c}.0/24"))
    });
    std::iter::once(PEERS.to_owned())
        .chain(others)
        .take(count as usize)
}

fn list_of(ranges: &[Range]) -> String {
    let ranges: Vec<String> = ranges.iter().map(shown).collect();
    ranges.join(",")
}

fn list(things: impl Iterator<Item = impl fmt::Display>) -> String {
    let things: Vec<String> = things.map(|thing| thing.to_string()).collect();
    things.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(ranges: &[Range]) -> usize {
        ranges.iter().map(ExactSizeIterator::len).sum()
    }

    #[test]
    fn so_many_ports_are_open_and_one_is_not() {
        for count in [1, 10, 10_000, 65_534] {
            let ranges = ports(count);
            assert_eq!(open(&ranges), count as usize);
            let has = |port| ranges.iter().any(|range| range.contains(&port));
            assert!(has(OPEN) && !has(CLOSED));
        }
        assert_eq!(list_of(&ports(65_534)), "1-22,24-65535");
    }

    #[test]
    fn no_two_prefixes_are_alike() {
        let all: BTreeSet<String> = prefixes(100_000).collect();
        assert_eq!(all.len(), 100_000);
    }

    #[test]
    fn all_languages_say_the_same() {
        let policy = Policy::Rules(2);
        assert_eq!(
            policy.xdpfw(["a", "b"].into_iter()),
            "version = 1\ninterfaces = [\"a\", \"b\"]\ndefault = \"drop\"\n\n\
             [[rule]]\nallow = \"tcp 444\"\nfrom = [\"11.0.1.0/24\"]\n\n\
             [[rule]]\nallow = \"tcp 443\"\nfrom = [\"10.0.0.0/16\"]\n"
        );
        let nft = |form| policy.nft(Hook::Raw, form, std::iter::empty());
        assert!(nft(Form::Plain).contains(
            "ip saddr 11.0.1.0/24 tcp dport 444 accept\n\
             ip saddr 10.0.0.0/16 tcp dport 443 accept\n"
        ));
        assert!(nft(Form::Sets).contains("{ 11.0.1.0/24 . 444, 10.0.0.0/16 . 443 }"));
    }
}
