//! Who reaches a service: the packets that would tell, and what their verdicts mean.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use ipnet::IpNet;
use xdpfw_common::{Reason, Transport};

use super::{Host, Question, Reach, Service, Way};
use crate::{
    policy::{Policy, Protocol, Rule},
    ports::PortRange,
};

/// A port that clients take on any system.
const CLIENT_PORT: u16 = 51_000;
/// Most sources of a rule that are asked for.
const SOURCES: usize = 8;
/// Most packets that are asked for a service, beside those of strangers.
const QUESTIONS: usize = 256;
/// Most addresses of an interface that are asked for, of each family.
const ADDRESSES: usize = 64;

/// Strangers: addresses of documentation (RFC 5737, RFC 3849), and of well-known networks where
/// rules name those.
const STRANGERS4: [Ipv4Addr; 4] = [
    Ipv4Addr::new(203, 0, 113, 77),
    Ipv4Addr::new(198, 51, 100, 77),
    Ipv4Addr::new(192, 0, 2, 77),
    Ipv4Addr::new(9, 9, 9, 77),
];
const STRANGERS6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0x77),
    Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0x77),
    Ipv6Addr::new(0x2620, 0xfe, 0, 0, 0, 0, 0, 0x77),
];
const NEIGHBOUR: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x77);

/// What asks who reaches services, under a policy.
#[derive(Debug)]
pub struct Asking<'a> {
    policy: &'a Policy,
    ephemeral: PortRange,
    host: &'a Host,
    strangers: (Ipv4Addr, Ipv6Addr),
}

impl<'a> Asking<'a> {
    /// Under this policy, on this host.
    pub fn new(policy: &'a Policy, ephemeral: PortRange, host: &'a Host) -> Self {
        let is_named = |address: IpAddr| {
            let mut named = policy.rules.iter().flat_map(|rule| &rule.matches.from);
            named.any(|net| net.contains(&address))
        };
        let mut v4 = STRANGERS4.into_iter();
        let mut v6 = STRANGERS6.into_iter();
        Self {
            policy,
            ephemeral,
            host,
            strangers: (
                v4.find(|&one| !is_named(one.into()))
                    .unwrap_or(STRANGERS4[0]),
                v6.find(|&one| !is_named(one.into()))
                    .unwrap_or(STRANGERS6[0]),
            ),
        }
    }

    /// Who reaches a service; `judge` says why a packet would pass or be dropped.
    ///
    /// # Errors
    ///
    /// Whatever `judge` says.
    pub fn reach(
        &self,
        service: &Service,
        judge: &mut dyn FnMut(&Question<'_>) -> Result<Reason>,
    ) -> Result<Reach> {
        if service.address.is_loopback() {
            return Ok(Reach::Local);
        }
        let (transport, port) = (service.transport, service.port);
        let rules = self.policy.rules.iter();
        let rules: Vec<&Rule> = rules
            .filter(|rule| is_for(rule, transport, port, self.ephemeral))
            .collect();
        let ways = match ways(service, self.host, &rules) {
            Ok(ways) => ways,
            Err(reach) => return Ok(reach),
        };
        let (mut passed, mut denied) = (0, 0);
        for way in &ways {
            match judge(&question(service, way, self.stranger(way)))? {
                reason if lets_in(reason) => passed += 1,
                Reason::RuleDeny => denied += 1,
                _ => {}
            }
        }
        if passed == ways.len() {
            return Ok(Reach::All);
        }
        if passed > 0 {
            return Ok(Reach::Some);
        }
        let allowing = rules.iter().filter(|rule| rule.action.lets_in());
        let questions = allowing.flat_map(|rule| {
            let of = |way| self.questions(service, way, rule);
            ways.iter().flat_map(of)
        });
        for (asked, question) in questions.enumerate() {
            // What nobody can look through is no reason to call it closed.
            if asked == QUESTIONS || lets_in(judge(&question)?) {
                return Ok(Reach::Some);
            }
        }
        Ok(match denied == ways.len() {
            true => Reach::Denied,
            false => Reach::Closed,
        })
    }

    /// Somebody whom no rule names.
    const fn stranger(&self, way: &Way) -> IpAddr {
        match way.address {
            IpAddr::V4(_) => IpAddr::V4(self.strangers.0),
            IpAddr::V6(own) if own.is_unicast_link_local() => IpAddr::V6(NEIGHBOUR),
            IpAddr::V6(_) => IpAddr::V6(self.strangers.1),
        }
    }

    /// Packets that a rule is for.
    fn questions<'q>(&self, service: &Service, way: &'q Way, rule: &Rule) -> Vec<Question<'q>> {
        let matching = &rule.matches;
        let is_its_family = |net: &&IpNet| match net {
            IpNet::V4(_) => way.address.is_ipv4(),
            IpNet::V6(_) => way.address.is_ipv6(),
        };
        let sources: Vec<IpAddr> = match matching.from.as_slice() {
            [] if matching.is_from_anywhere() => vec![self.stranger(way)],
            from => {
                let from = from.iter().filter(is_its_family).take(SOURCES);
                from.map(member).collect()
            }
        };
        let remote = match matching.remote.contains(CLIENT_PORT, self.ephemeral) {
            true => CLIENT_PORT,
            false => {
                let set = matching.remote.resolve(self.ephemeral);
                let first = set.ranges().first();
                first.map_or(CLIENT_PORT, |range| range.first.max(1))
            }
        };
        let from = |from| Question {
            remote,
            mac: matching.mac.first().copied(),
            ..question(service, way, from)
        };
        sources.into_iter().map(from).collect()
    }
}

/// Whether a packet gets in for this reason whenever it comes; an answer does only while this
/// host has asked.
const fn lets_in(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::RuleAllow | Reason::DefaultPass | Reason::Bypass
    )
}

fn is_for(rule: &Rule, transport: Transport, port: u16, ephemeral: PortRange) -> bool {
    let matching = &rule.matches;
    matching.protocol == Protocol::Any
        || matching.protocol.includes(transport) && matching.local.contains(port, ephemeral)
}

/// The ways to a service; without any, who reaches it nevertheless.
fn ways(service: &Service, host: &Host, rules: &[&Rule]) -> Result<Vec<Way>, Reach> {
    let address = service.address;
    if host.filtered.is_empty() {
        return Err(Reach::Unfiltered);
    }
    if !address.is_unspecified() {
        let ways = host.ways.iter().filter(|way| way.address == address);
        let ways: Vec<Way> = ways.cloned().collect();
        if !ways.is_empty() {
            return Ok(ways);
        }
        if host.own.contains(&address) {
            return Err(Reach::Unfiltered);
        }
        // A group, a broadcast address, one that may come.
        let way = |(index, interface): &(u32, String)| Way {
            index: *index,
            interface: interface.clone(),
            address,
        };
        return Ok(host.filtered.iter().map(way).collect());
    }
    let is_its_family = |other: &IpAddr| match address {
        IpAddr::V4(_) => other.is_ipv4(),
        IpAddr::V6(_) => other.is_ipv6() || service.takes_ipv4,
    };
    let (mut chosen, mut links): (Vec<Way>, Vec<Way>) = (Vec::new(), Vec::new());
    // Where no rule asks for an address, one is as good as another.
    let asks = rules.iter().any(|rule| !rule.matches.to.is_empty());
    let most = if asks { ADDRESSES } else { 1 };
    for way in host.ways.iter().filter(|way| is_its_family(&way.address)) {
        let list = match is_link_local(way.address) {
            true => &mut links,
            false => &mut chosen,
        };
        let is_alike = |other: &&Way| {
            other.index == way.index && other.address.is_ipv4() == way.address.is_ipv4()
        };
        if list.iter().filter(is_alike).count() < most {
            list.push(way.clone());
        }
    }
    // Few mean the link alone who let in others.
    if chosen.is_empty() {
        chosen = links;
    }
    if !chosen.is_empty() {
        return Ok(chosen);
    }
    let mut own = host.own.iter().filter(|own| is_its_family(own));
    Err(match own.any(|own| !own.is_loopback()) {
        true => Reach::Unfiltered,
        false => Reach::Local,
    })
}

const fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

const fn question<'a>(service: &Service, way: &'a Way, from: IpAddr) -> Question<'a> {
    Question {
        way,
        transport: service.transport,
        port: service.port,
        from,
        remote: CLIENT_PORT,
        mac: None,
    }
}

/// An address of a prefix that a host may have.
fn member(net: &IpNet) -> IpAddr {
    net.hosts().next().unwrap_or(net.addr())
}
