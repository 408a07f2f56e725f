//! A packet that the program reports.

mod ban;
mod fields;
mod notice;

use std::{fmt, net::IpAddr, time::Duration};

use anyhow::{Context as _, Result};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde::Serialize;
use xdpfw_common::abi::{Event, ProtocolKind, REPORTS_PER_SECOND};

use crate::{
    compiler::Clocks,
    datapath::{Record, clocks},
    names::icmp::{self, Family},
    policy::Protocol,
    text::thousands,
};

pub use self::ban::BanNews;
pub(in crate::output) use self::fields::{Field, Logged};
pub use self::notice::Notice;

/// A packet, what became of it, and why. In JSON, one object of `xdpfw.event/1`.
#[derive(Debug, Serialize)]
pub struct Seen {
    schema: &'static str,
    /// When it came in.
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
    /// The control bits of a TCP segment, a letter each: `S`, `SA`.
    flags: Option<String>,
    length: u32,
    /// Identifiers of its VLANs, the outer one first.
    vlan: Vec<u16>,
}

/// Events that were not shown. In JSON, one object of `xdpfw.event/1` of another kind.
#[derive(Clone, Debug, Serialize)]
pub struct Lost {
    schema: &'static str,
    at: Timestamp,
    event: &'static str,
    /// All of them.
    count: u64,
    /// Those above what a processor reports in a second.
    suppressed: u64,
}

/// What the wall clock shows, next to the clock that packets are reported by.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    wall: Timestamp,
    boot: Duration,
}

impl WallClock {
    /// As both are now.
    pub fn now() -> Self {
        let Clocks { wall, boot } = clocks();
        Self { wall, boot }
    }

    /// What the wall clock showed when so many nanoseconds of `CLOCK_BOOTTIME` had passed.
    pub fn at(&self, boot: u64) -> Timestamp {
        let now = i128::try_from(self.boot.as_nanos()).unwrap_or(i128::MAX);
        let ago =
            SignedDuration::from_nanos((now - i128::from(boot)).clamp(0, i64::MAX.into()) as i64);
        self.wall.checked_sub(ago).unwrap_or(self.wall)
    }
}

/// Widths of the columns that events are shown in. They grow with what was shown, so that a
/// long word moves the lines behind it along, and no more.
#[derive(Debug)]
pub struct Columns {
    interface: usize,
    reason: usize,
    protocol: usize,
    source: usize,
    destination: usize,
}

/// An address, with a port where the protocol has ports.
#[derive(Debug, Serialize)]
struct Endpoint {
    address: IpAddr,
    port: Option<u16>,
}

impl Seen {
    /// What an event of the generation with this record says, about a packet that came in at
    /// this time by this interface.
    ///
    /// # Errors
    ///
    /// The event has no reason that is known.
    pub fn new(event: &Event, at: Timestamp, record: &Record, interface: String) -> Result<Self> {
        let reason = event.reason().context("an event without a reason")?;
        let known = event.addresses();
        let kind = event.kind();
        let has_ports = matches!(kind, Some(ProtocolKind::Tcp | ProtocolKind::Udp));
        let end = |address, port: u16| Endpoint {
            address,
            port: has_ports.then_some(port),
        };
        let rule = event.rule().and_then(|slot| record.rule_in(slot));
        let local = event.local();
        let message = |family| {
            let number = u8::try_from(local).ok()?;
            let name = icmp::name_of(family, number).map(str::to_owned);
            Some(name.unwrap_or_else(|| format!("type {number}")))
        };
        Ok(Self {
            schema: "xdpfw.event/1",
            at,
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
            source: known.map(|(source, _)| end(source, event.remote())),
            destination: known.map(|(_, destination)| end(destination, local)),
            flags: event.flags().map(|flags| flags.to_string()),
            length: event.len,
            vlan: event.vlans().collect(),
        })
    }
}

impl Lost {
    /// So many lost, and so many suppressed.
    pub fn new(lost: u64, suppressed: u64) -> Self {
        Self {
            schema: "xdpfw.event/1",
            at: Timestamp::now(),
            event: "lost",
            count: lost + suppressed,
            suppressed,
        }
    }

    /// So many more.
    pub fn add(&mut self, lost: u64, suppressed: u64) {
        *self = Self::new(
            self.count - self.suppressed + lost,
            self.suppressed + suppressed,
        );
    }

    /// Whether nothing was lost.
    pub const fn is_nothing(&self) -> bool {
        self.count == 0
    }
}

impl Default for Lost {
    fn default() -> Self {
        Self::new(0, 0)
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.count == 1 { "" } else { "s" };
        write!(f, "{} event{s} not shown", thousands(self.count))?;
        match self.suppressed {
            0 => Ok(()),
            suppressed => write!(
                f,
                ", {} of them above {} a second for a reason",
                thousands(suppressed),
                thousands(REPORTS_PER_SECOND)
            ),
        }
    }
}

impl Default for Columns {
    /// As wide as most packets need: no column moves for another protocol or service.
    fn default() -> Self {
        Self {
            interface: 8,
            reason: 10,
            protocol: 6,
            source: 0,
            destination: 0,
        }
    }
}

impl Columns {
    /// A packet in a line: time, interface, verdict, reason, protocol, addresses, and what else
    /// is known.
    pub fn line(&mut self, seen: &Seen) -> String {
        let at = seen.at.to_zoned(TimeZone::system());
        let interface = padded(&seen.interface, &mut self.interface);
        let packet = self.packet(seen);
        format!("{}  {interface}  {packet}", at.strftime("%H:%M:%S%.3f%:z"))
    }

    /// A notice in a line: time, interface, and what it says.
    pub fn notice(&mut self, notice: &Notice) -> String {
        let (at, interface) = notice.place();
        let at = at.to_zoned(TimeZone::system());
        let interface = padded(interface, &mut self.interface);
        format!("{}  {interface}  {notice}", at.strftime("%H:%M:%S%.3f%:z"))
    }

    /// The columns behind time and interface.
    fn packet(&mut self, seen: &Seen) -> String {
        let reason = padded(&seen.reason, &mut self.reason);
        let mut text = format!("{:<4}  {reason} ", seen.verdict);
        if let Some(malformation) = seen.malformation {
            text.push_str(malformation);
        } else if let (Some(source), Some(destination)) = (&seen.source, &seen.destination) {
            // Of a later fragment, only the addresses are known.
            let protocol = seen.protocol.as_deref().unwrap_or("-");
            let protocol = padded(protocol, &mut self.protocol);
            let source = padded(&source.to_string(), &mut self.source);
            let destination = padded(&destination.to_string(), &mut self.destination);
            text.push_str(&format!("{protocol} {source} -> {destination}"));
        }
        let flags = seen.flags.as_deref().map(|flags| match flags {
            "" => "[none]".to_owned(),
            flags => format!("[{flags}]"),
        });
        for more in [&flags, &seen.message, &seen.vlans(), &seen.rule]
            .into_iter()
            .flatten()
        {
            text.push_str(&format!("  {more}"));
        }
        text.trim_end().to_owned()
    }
}

impl Seen {
    /// `vlan 10`; with one tag inside another, `vlan 7.10`.
    fn vlans(&self) -> Option<String> {
        let numbers: Vec<String> = self.vlan.iter().map(u16::to_string).collect();
        (!numbers.is_empty()).then(|| format!("vlan {}", numbers.join(".")))
    }
}

/// A word in its column, which becomes wider if it has to.
fn padded(word: &str, width: &mut usize) -> String {
    *width = (*width).max(word.chars().count());
    format!("{word:<0$}", *width)
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

#[cfg(test)]
mod tests {
    use xdpfw_common::{
        Reason,
        abi::{NO_KIND, NO_RULE},
        wire::Malformation,
    };

    use super::*;

    /// A policy of one rule, `r7`, that counts in slot 3.
    fn record() -> Record {
        Record::of_tests(&[(7, "https", 3)])
    }

    /// A packet that nothing is known about.
    fn event(reason: Reason) -> Event {
        Event {
            slot: NO_RULE,
            reason: reason.slot() as u8,
            kind: NO_KIND,
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
            flags: 0b10,
            ..packet(Reason::RuleAllow, Tcp, 4, [40_000, 443])
        };
        let malformed = Event {
            malformation: Malformation::Ipv4HeaderLength.code(),
            ..event(Reason::Malformed)
        };
        for (event, line) in [
            (
                allowed,
                "pass  rule       tcp    192.0.2.1:40000 -> 192.0.2.2:443  [S]  r7",
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
            let seen = Seen::new(&event, Timestamp::now(), &record(), "eth0".to_owned()).unwrap();
            assert_eq!(Columns::default().packet(&seen), line);
        }
    }

    #[test]
    fn tags_and_flags_follow_the_addresses() {
        let tagged = Event {
            vlans: [[0, 7], [0, 10]],
            vlan_count: 2,
            slot: 3,
            flags: 0b01_0010,
            ..packet(Reason::RuleAllow, ProtocolKind::Tcp, 4, [40_000, 443])
        };
        let seen = Seen::new(&tagged, Timestamp::now(), &record(), "eth0".to_owned()).unwrap();
        assert_eq!(
            Columns::default().packet(&seen),
            "pass  rule       tcp    192.0.2.1:40000 -> 192.0.2.2:443  [SA]  vlan 7.10  r7"
        );
        let json = serde_json::to_value(&seen).unwrap();
        assert_eq!(json["flags"], "SA");
        assert_eq!(json["vlan"], serde_json::json!([7, 10]));
        // Only TCP has flags, and what carries no IP may have tags, too.
        let tagged = Event {
            vlans: [[0, 9], [0; 2]],
            vlan_count: 1,
            ..event(Reason::Arp)
        };
        let seen = Seen::new(&tagged, Timestamp::now(), &record(), "eth0".to_owned()).unwrap();
        assert_eq!(
            Columns::default().packet(&seen),
            "pass  arp          vlan 9"
        );
        assert!(serde_json::to_value(&seen).unwrap()["flags"].is_null());
    }

    #[test]
    fn columns_stay_aligned_behind_a_long_word() {
        use ProtocolKind::{Icmp6, Tcp};
        let mut columns = Columns::default();
        let line = |columns: &mut Columns, event| {
            let seen = Seen::new(&event, Timestamp::now(), &record(), "eth0".to_owned()).unwrap();
            columns.packet(&seen)
        };
        let long = packet(Reason::NeighbourDiscovery, Icmp6, 6, [0, 135]);
        let short = packet(Reason::DefaultDrop, Tcp, 4, [1, 2]);
        let first = line(&mut columns, long);
        let second = line(&mut columns, short);
        assert_eq!(first.find("icmp6"), second.find("tcp"), "{first}\n{second}");
        assert_eq!(first.find("->"), second.find("->"));
    }

    #[test]
    fn what_is_lost_is_a_sentence_and_an_object() {
        assert_eq!(Lost::new(1, 0).to_string(), "1 event not shown");
        assert_eq!(Lost::new(1234, 0).to_string(), "1,234 events not shown");
        assert_eq!(
            Lost::new(4, 1230).to_string(),
            "1,234 events not shown, 1,230 of them above 10,000 a second for a reason"
        );
        let json = serde_json::to_value(Lost::new(2, 0)).unwrap();
        assert_eq!(
            (&json["event"], &json["count"]),
            (&"lost".into(), &2.into())
        );
    }

    #[test]
    fn a_slot_that_no_rule_counts_in_names_no_rule() {
        let event = Event {
            slot: 4,
            ..packet(Reason::RuleAllow, ProtocolKind::Tcp, 4, [40_000, 443])
        };
        let seen = Seen::new(&event, Timestamp::now(), &record(), "eth0".to_owned()).unwrap();
        assert_eq!(
            Columns::default().packet(&seen),
            "pass  rule       tcp    192.0.2.1:40000 -> 192.0.2.2:443  [none]"
        );
    }

    #[test]
    fn an_unknown_reason_is_an_error() {
        let event = Event {
            reason: u8::MAX,
            ..event(Reason::Arp)
        };
        assert!(Seen::new(&event, Timestamp::now(), &record(), String::new()).is_err());
    }
}
