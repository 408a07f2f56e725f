//! A packet that a traced generation reports.

use std::{fmt, net::IpAddr};

use anyhow::{Context as _, Result};
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;
use xdpfw_common::abi::{Event, ProtocolKind};

use crate::{
    datapath::Record,
    names::icmp::{self, Family},
    policy::Protocol,
};

/// A packet, what became of it, and why. In JSON, one object of `xdpfw.event/1`.
#[derive(Debug, Serialize)]
pub struct Seen {
    schema: &'static str,
    /// When the report was read.
    at: Timestamp,
    interface: String,
    verdict: &'static str,
    reason: String,
    /// What contradicts itself in a malformed packet.
    malformation: Option<&'static str>,
    rule: Option<String>,
    protocol: Option<String>,
    /// The type of an ICMP message: its name or number.
    #[serde(rename = "type")]
    message: Option<String>,
    source: Option<Endpoint>,
    destination: Option<Endpoint>,
    length: u32,
}

/// An address, with a port where the protocol has ports.
#[derive(Debug, Serialize)]
struct Endpoint {
    address: IpAddr,
    port: Option<u16>,
}

impl Seen {
    /// What an event of the generation with this record says, about a packet that came in by
    /// this interface.
    ///
    /// # Errors
    ///
    /// The event has no reason that is known.
    pub fn new(event: &Event, record: &Record, interface: String) -> Result<Self> {
        let reason = event.reason().context("an event without a reason")?;
        let known = event.kind().zip(event.addresses());
        let kind = known.map(|(kind, _)| kind);
        let has_ports = matches!(kind, Some(ProtocolKind::Tcp | ProtocolKind::Udp));
        let end = |address, port: u16| Endpoint {
            address,
            port: has_ports.then_some(port),
        };
        let rule = event.rule().and_then(|slot| {
            let index = record.slots.iter().position(|&other| other == slot)?;
            record.policy.rules.get(index)
        });
        let local = event.local();
        let message = |family| {
            let number = u8::try_from(local).ok()?;
            let name = icmp::name_of(family, number).map(str::to_owned);
            Some(name.unwrap_or_else(|| format!("type {number}")))
        };
        Ok(Self {
            schema: "xdpfw.event/1",
            at: Timestamp::now(),
            interface,
            verdict: reason.verdict().as_str(),
            reason: reason.to_string(),
            malformation: event
                .malformation()
                .map(|malformation| malformation.as_str()),
            rule: rule.map(|rule| rule.id.to_string()),
            protocol: kind.map(|kind| match (kind, u8::try_from(local)) {
                (ProtocolKind::Other, Ok(number)) => Protocol::Other(number).to_string(),
                _ => kind.as_str().to_owned(),
            }),
            message: match kind {
                Some(ProtocolKind::Icmp) => message(Family::Icmp),
                Some(ProtocolKind::Icmp6) => message(Family::Icmp6),
                _ => None,
            },
            source: known.map(|(_, (source, _))| end(source, event.remote())),
            destination: known.map(|(_, (_, destination))| end(destination, local)),
            length: event.len,
        })
    }

    /// The columns behind time and interface.
    fn packet(&self) -> String {
        let mut text = format!("{:<4}  {:<10} ", self.verdict, self.reason);
        if let Some(malformation) = self.malformation {
            text.push_str(malformation);
        } else if let (Some(protocol), Some(source), Some(destination)) =
            (&self.protocol, &self.source, &self.destination)
        {
            text.push_str(&format!("{protocol:<6} {source} -> {destination}"));
        }
        for more in [&self.message, &self.rule].into_iter().flatten() {
            text.push_str(&format!("  {more}"));
        }
        text.trim_end().to_owned()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address, self.port) {
            (address, None) => write!(f, "{address}"),
            (IpAddr::V6(address), Some(port)) => write!(f, "[{address}]:{port}"),
            (address, Some(port)) => write!(f, "{address}:{port}"),
        }
    }
}

impl fmt::Display for Seen {
    /// Time, interface, verdict, reason, protocol, addresses, and what decided, in columns.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.to_zoned(TimeZone::system());
        let time = at.strftime("%H:%M:%S%.3f");
        write!(f, "{time}  {:<8}  {}", self.interface, self.packet())
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use xdpfw_common::{Reason, abi::NO_RULE, wire::Malformation};

    use super::*;
    use crate::{
        compiler::Environment,
        datapath::Clock,
        policy::{Action, Match, MatchSpec, Policy, Rule, RuleId},
        ports::PortRange,
    };

    /// A policy of one rule, `r7`, that counts in slot 3.
    fn record() -> Record {
        Record {
            generation: 1,
            counting_since: Timestamp::UNIX_EPOCH,
            traced: true,
            frags: false,
            clock: Clock::of_tests(),
            origin: None,
            policy: Policy {
                rules: vec![Rule {
                    id: RuleId(7),
                    action: Action::Allow,
                    matches: Match::parse(&MatchSpec::of_words("https")).unwrap(),
                    comment: None,
                }],
                ..Policy::default()
            },
            environment: Environment {
                ephemeral: PortRange {
                    first: 32768,
                    last: 60999,
                },
                interfaces: Vec::new(),
            },
            slots: vec![3],
        }
    }

    /// A packet that nothing is known about.
    fn event(reason: Reason) -> Event {
        Event {
            slot: NO_RULE,
            reason: reason.slot() as u8,
            ..bytemuck::Zeroable::zeroed()
        }
    }

    fn packet(reason: Reason, kind: ProtocolKind, family: u8, [remote, local]: [u16; 2]) -> Event {
        let address = |last| match family {
            4 => std::net::Ipv4Addr::new(192, 0, 2, last)
                .to_ipv6_mapped()
                .octets(),
            _ => std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()).octets(),
        };
        Event {
            source: address(1),
            destination: address(2),
            remote: remote.to_be_bytes(),
            local: local.to_be_bytes(),
            kind: kind as u8,
            family,
            ..event(reason)
        }
    }

    #[test]
    fn an_event_is_a_line() {
        use ProtocolKind::{Icmp, Icmp6, Other, Tcp, Udp};
        let allowed = Event {
            slot: 3,
            ..packet(Reason::RuleAllow, Tcp, 4, [40_000, 443])
        };
        let malformed = Event {
            malformation: Malformation::Ipv4HeaderLength.code(),
            ..event(Reason::Malformed)
        };
        for (event, line) in [
            (
                allowed,
                "pass  rule       tcp    192.0.2.1:40000 -> 192.0.2.2:443  r7",
            ),
            (
                packet(Reason::DefaultDrop, Udp, 6, [40_000, 53]),
                "drop  default    udp    [2001:db8::1]:40000 -> [2001:db8::2]:53",
            ),
            (
                packet(Reason::DefaultDrop, Icmp, 4, [0, 8]),
                "drop  default    icmp   192.0.2.1 -> 192.0.2.2  echo-request",
            ),
            (
                packet(Reason::NeighbourDiscovery, Icmp6, 6, [0, 135]),
                "pass  neighbour-discovery icmp6  2001:db8::1 -> 2001:db8::2  neighbor-solicitation",
            ),
            (
                packet(Reason::DefaultPass, Other, 4, [0, 47]),
                "pass  default    gre    192.0.2.1 -> 192.0.2.2",
            ),
            (malformed, "drop  malformed  ipv4-header-length"),
            (event(Reason::Arp), "pass  arp"),
        ] {
            let seen = Seen::new(&event, &record(), "eth0".to_owned()).unwrap();
            assert_eq!(seen.packet(), line);
        }
    }

    #[test]
    fn a_slot_that_no_rule_counts_in_names_no_rule() {
        let event = Event {
            slot: 4,
            ..packet(Reason::RuleAllow, ProtocolKind::Tcp, 4, [40_000, 443])
        };
        let seen = Seen::new(&event, &record(), "eth0".to_owned()).unwrap();
        assert_eq!(
            seen.packet(),
            "pass  rule       tcp    192.0.2.1:40000 -> 192.0.2.2:443"
        );
    }

    #[test]
    fn an_unknown_reason_is_an_error() {
        let event = Event {
            reason: u8::MAX,
            ..event(Reason::Arp)
        };
        assert!(Seen::new(&event, &record(), String::new()).is_err());
    }
}
