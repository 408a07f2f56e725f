//! Builds the tables: for each port, ICMP type and protocol, the node where the way to a
//! decision begins.

use xdpfw_common::{
    Transport,
    abi::{
        ACTION_DENY, ACTION_LIMIT, DHCP_CLIENTS, LocalKey, NO_RULE, Node, PORTS, ProtocolKind, Side,
    },
};

use super::{
    MAX_PORT_RULES, Resolved, Tables, TooComplex,
    diagram::{Candidate, Diagram},
    dimension::{ANY_FAMILY, FamilySet, for_each_range},
    places,
};
use crate::{names::icmp::Family, policy::Protocol};

/// Tables in the making.
pub(super) struct Builder<'a> {
    pub(super) rules: &'a [Resolved<'a>],
    pub(super) diagram: Diagram<'a>,
    pub(super) tables: Tables,
}

impl Builder<'_> {
    /// Opens the ports to which a DHCP server answers.
    pub(super) fn open_dhcp_client(&mut self) {
        let Tables { config, listed, .. } = &mut self.tables;
        if config.dhcp_client != 0 {
            for port in DHCP_CLIENTS {
                listed.open(Transport::Udp, port);
            }
        }
    }

    /// Adds the local ports of a transport.
    pub(super) fn add_ports(&mut self, transport: Transport) -> Result<(), TooComplex> {
        let kind = ProtocolKind::from(transport);
        let mut ranges = Vec::new();
        let mut matching = 0;
        let rules = self.rules;
        let of_transport = (0_u32..)
            .zip(rules)
            .filter(|(_, rule)| rule.rule.matches.protocol.includes(transport));
        for_each_range(
            of_transport.map(|(index, rule)| (index, &rule.local)),
            |rule| self.diagram.decides(rule),
            |range, rules| {
                matching += rules.len();
                if matching > MAX_PORT_RULES {
                    return Err(TooComplex::Combinations(places(&rules)));
                }
                ranges.push((range, rules));
                Ok(())
            },
        )?;
        let any = |rule: &Resolved<'_>| rule.local.is_any();
        let rest = self.rest(kind, ANY_FAMILY, any)?;
        let mut free = vec![self.passes_all(transport, rest); PORTS];
        for (range, rules) in ranges {
            let matches = !rules.is_empty() || self.tables.config.default_pass != 0;
            let rules = rules.into_iter().map(Candidate::sure).collect();
            let node = self.diagram.node(rules, transport as usize, ANY_FAMILY)?;
            for port in range.first..=range.last {
                free[usize::from(port)] = self.passes_all(transport, node);
                if node != rest {
                    self.tables.local.push((LocalKey::new(kind, port), node));
                    self.tables.listed.insert(Side::Local, transport, port);
                }
                if matches {
                    self.tables.listed.open(transport, port);
                }
            }
        }
        for (port, _) in (0..=u16::MAX).zip(free).filter(|&(_, free)| free) {
            self.tables.listed.free(transport, port);
        }
        Ok(())
    }

    /// Whether whatever answers something and gets to a node passes.
    fn passes_all(&self, transport: Transport, node: Node) -> bool {
        let passes = match node.slot {
            NO_RULE => self.tables.config.default_pass != 0,
            // Over TCP, a limit is for what opens connections.
            _ if node.action == ACTION_LIMIT => transport == Transport::Tcp,
            _ => node.action != ACTION_DENY,
        };
        node.asks == 0 && passes
    }

    /// Adds the types of ICMP or ICMPv6.
    pub(super) fn add_icmp(
        &mut self,
        kind: ProtocolKind,
        families: FamilySet,
    ) -> Result<(), TooComplex> {
        let (protocol, family) = if matches!(kind, ProtocolKind::Icmp) {
            (Protocol::Icmp, Family::Icmp)
        } else {
            (Protocol::Icmp6, Family::Icmp6)
        };
        let rest = self.rest(kind, families, |rule| {
            let matching = &rule.rule.matches;
            [protocol, Protocol::Any].contains(&matching.protocol) && matching.types.is_any()
        })?;
        if !self
            .rules
            .iter()
            .any(|rule| [protocol, Protocol::Ping].contains(&rule.rule.matches.protocol))
        {
            return Ok(());
        }
        for message in 0..=u8::MAX {
            let matching = |rule: &Resolved<'_>| rule.rule.matches.matches_type(family, message);
            self.add_value(kind, u16::from(message), families, rest, matching)?;
        }
        Ok(())
    }

    /// Adds the protocols that rules name by their numbers.
    pub(super) fn add_protocols(&mut self) -> Result<(), TooComplex> {
        let is_any = |rule: &Resolved<'_>| rule.rule.matches.protocol == Protocol::Any;
        let rest = self.rest(ProtocolKind::Other, ANY_FAMILY, is_any)?;
        let mut named: Vec<u8> = self
            .rules
            .iter()
            .filter_map(|rule| match rule.rule.matches.protocol {
                Protocol::Other(number) => Some(number),
                _ => None,
            })
            .collect();
        named.sort_unstable();
        named.dedup();
        for number in named {
            let matching = |rule: &Resolved<'_>| {
                [Protocol::Other(number), Protocol::Any].contains(&rule.rule.matches.protocol)
            };
            self.add_value(
                ProtocolKind::Other,
                u16::from(number),
                ANY_FAMILY,
                rest,
                matching,
            )?;
        }
        Ok(())
    }

    /// Sets the node for what no rule of a kind names.
    fn rest(
        &mut self,
        kind: ProtocolKind,
        families: FamilySet,
        matches: impl Fn(&Resolved<'_>) -> bool,
    ) -> Result<Node, TooComplex> {
        let is_for = |rule: &Resolved<'_>| match kind.transport() {
            Some(transport) => rule.rule.matches.protocol.includes(transport),
            None => true,
        };
        let rules = self.matching(|rule| is_for(rule) && matches(rule));
        let transport = kind.transport().map_or(0, |transport| transport as usize);
        let node = self.diagram.node(rules, transport, families)?;
        self.tables.config.rest[kind as usize] = node;
        Ok(node)
    }

    /// Adds a value of a kind without ports.
    fn add_value(
        &mut self,
        kind: ProtocolKind,
        value: u16,
        families: FamilySet,
        rest: Node,
        matches: impl Fn(&Resolved<'_>) -> bool,
    ) -> Result<(), TooComplex> {
        let rules = self.matching(matches);
        let node = self.diagram.node(rules, 0, families)?;
        if node != rest {
            self.tables.local.push((LocalKey::new(kind, value), node));
            self.tables.config.listed_kinds |= kind.bit();
        }
        Ok(())
    }

    /// The rules that match, up to the first that decides.
    fn matching(&self, matches: impl Fn(&Resolved<'_>) -> bool) -> Vec<Candidate> {
        let mut found = Vec::new();
        for (index, _) in (0_u32..).zip(self.rules).filter(|(_, rule)| matches(rule)) {
            found.push(Candidate::sure(index));
            if self.diagram.decides(index) {
                break;
            }
        }
        found
    }

    pub(super) fn finish(self) -> Tables {
        let Self {
            diagram,
            mut tables,
            ..
        } = self;
        for (key, _) in &tables.remote {
            let transport = Transport::ALL[usize::from(key.kind)];
            let port = u16::from_be_bytes(key.value);
            tables.listed.insert(Side::Remote, transport, port);
        }
        tables.config.questions = diagram.asked;
        tables.unreached = (0..diagram.reached.len())
            .filter(|&rule| !diagram.reached[rule])
            .collect();
        tables.edges = diagram.edges;
        tables
    }
}
