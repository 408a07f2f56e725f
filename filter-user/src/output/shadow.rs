//! What a rehearsal found: packets that the candidate would judge otherwise.

use std::{fmt, net::IpAddr};

use serde::Serialize;
use xdpfw_common::{
    Reason,
    abi::{Difference, Event, Otherwise, ProtocolKind},
};

use super::table;
use crate::{
    datapath::{Differences, Record},
    names::icmp::{self, Family},
    netlink::Interface,
    policy::Protocol,
    text::thousands,
};

/// Rows of the table. JSON has all.
const ROWS: usize = 40;

/// What a rehearsal found. In JSON, `xdpfw.shadow/1`.
#[derive(Debug, Serialize)]
pub struct Shadow {
    schema: &'static str,
    /// Packets that would be judged otherwise.
    differences: u64,
    /// By rule and port, the most packets first.
    by_rule: Vec<Row>,
    /// The first packet of each of these, in the same order.
    samples: Vec<Sample>,
    /// Packets for which there was no room in the list.
    unlisted: u64,
}

/// Packets of one kind that are judged otherwise for the same reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Row {
    packets: u64,
    old: Decision,
    new: Decision,
    /// `None` where it is not known.
    protocol: Option<String>,
    /// This host's port; `None` for protocols without.
    port: Option<u16>,
    /// The type of an ICMP message: its name or number.
    #[serde(rename = "type")]
    message: Option<String>,
}

/// A verdict and what it is due to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Decision {
    verdict: &'static str,
    reason: &'static str,
    rule: Option<String>,
}

/// A packet.
#[derive(Debug, Serialize)]
struct Sample {
    old: Decision,
    new: Decision,
    interface: String,
    protocol: Option<String>,
    source: Option<End>,
    destination: Option<End>,
    /// The control bits of a TCP segment, a letter each.
    flags: Option<String>,
    length: u32,
}

/// An address, with a port where the protocol has ports.
#[derive(Debug, Serialize)]
struct End {
    address: IpAddr,
    port: Option<u16>,
}

impl Shadow {
    /// What a candidate would judge otherwise than the generation in front of it. Interfaces that
    /// are known go by their name.
    pub fn new(
        live: &Record,
        candidate: &Record,
        differences: &Differences,
        known: &[Interface],
    ) -> Self {
        let mut of: Vec<(Row, &Difference)> = differences
            .of
            .iter()
            .map(|(key, difference)| (Row::of(key, difference, live, candidate), difference))
            .collect();
        of.sort_by(|(one, _), (other, _)| {
            let key = |row: &Row| (row.protocol.clone(), row.port, row.message.clone());
            let by_packets = other.packets.cmp(&one.packets);
            by_packets.then_with(|| key(one).cmp(&key(other)))
        });
        let sample =
            |(row, difference): &(Row, &Difference)| Sample::of(row, &difference.sample, known);
        Self {
            schema: "xdpfw.shadow/1",
            differences: differences.packets(),
            samples: of.iter().map(sample).collect(),
            by_rule: of.into_iter().map(|(row, _)| row).collect(),
            unlisted: differences.crowded_out,
        }
    }

    /// How many packets would be judged otherwise.
    pub const fn differences(&self) -> u64 {
        self.differences
    }
}

impl Row {
    fn of(key: &Otherwise, difference: &Difference, live: &Record, candidate: &Record) -> Self {
        let kind = key.kind();
        let local = key.local();
        let message = |family| {
            let number = u8::try_from(local).ok()?;
            let name = icmp::name_of(family, number).map(str::to_owned);
            Some(name.unwrap_or_else(|| format!("type {number}")))
        };
        Self {
            packets: difference.packets,
            old: Decision::of(key.live_reason(), key.live_rule(), live),
            new: Decision::of(key.next_reason(), key.next_rule(), candidate),
            protocol: kind.map(|kind| protocol(kind, local)),
            port: kind.and_then(ProtocolKind::transport).map(|_| local),
            message: match kind {
                Some(ProtocolKind::Icmp) => message(Family::Icmp),
                Some(ProtocolKind::Icmp6) => message(Family::Icmp6),
                _ => None,
            },
        }
    }

    /// `tcp 8443`, `icmp echo-request`, `proto gre`.
    fn what(&self) -> String {
        let parts = [
            self.protocol.clone(),
            self.port.map(|port| port.to_string()),
            self.message.clone(),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        match parts.is_empty() {
            true => "-".to_owned(),
            false => parts.join(" "),
        }
    }
}

fn protocol(kind: ProtocolKind, local: u16) -> String {
    match (kind, u8::try_from(local)) {
        (ProtocolKind::Other, Ok(number)) => Protocol::Other(number).to_string(),
        _ => kind.as_str().to_owned(),
    }
}

impl Decision {
    fn of(reason: Option<Reason>, slot: Option<u32>, record: &Record) -> Self {
        let rule = slot.and_then(|slot| {
            let index = record.slots.iter().position(|&other| other == slot)?;
            record.policy.rules.get(index)
        });
        Self {
            verdict: reason.map_or("unknown", |reason| reason.verdict().as_str()),
            reason: reason.map_or("unknown", Reason::as_str),
            rule: rule.map(|rule| rule.id.to_string()),
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = self.rule.as_deref().unwrap_or(self.reason);
        write!(f, "{} {why}", self.verdict)
    }
}

impl Sample {
    fn of(row: &Row, packet: &Event, known: &[Interface]) -> Self {
        let ends = packet.addresses();
        let end = |address, port| End {
            address,
            port: row.port.map(|_| port),
        };
        let interface = known.iter().find(|one| one.index == packet.interface);
        Self {
            old: row.old.clone(),
            new: row.new.clone(),
            interface: match interface {
                Some(interface) => interface.name.clone(),
                None => format!("if{}", packet.interface),
            },
            protocol: row.protocol.clone(),
            source: ends.map(|(source, _)| end(source, packet.remote())),
            destination: ends.map(|(_, destination)| end(destination, packet.local())),
            flags: row
                .protocol
                .as_ref()
                .and_then(|_| packet.flags())
                .map(|flags| flags.to_string()),
            length: packet.len,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.address, self.port) {
            (address, None) => write!(f, "{address}"),
            (IpAddr::V6(address), Some(port)) => write!(f, "[{address}]:{port}"),
            (address, Some(port)) => write!(f, "{address}:{port}"),
        }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.source, &self.destination) {
            (Some(source), Some(destination)) => write!(f, "{source} -> {destination}")?,
            _ => write!(f, "{} bytes", self.length)?,
        }
        match self.flags.as_deref() {
            Some("") => write!(f, " [none]")?,
            Some(flags) => write!(f, " [{flags}]")?,
            None => {}
        }
        write!(f, " on {}", self.interface)
    }
}

impl fmt::Display for Shadow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.differences == 0 {
            return writeln!(f, "no packet would be judged otherwise so far");
        }
        let s = if self.differences == 1 { "" } else { "s" };
        let differences = thousands(self.differences);
        writeln!(f, "{differences} packet{s} would be judged otherwise\n")?;
        let heads = ["packets", "in force", "candidate", "what", "the first one"];
        let mut table = table::table(&heads, &[0]);
        for (row, sample) in self.by_rule.iter().zip(&self.samples).take(ROWS) {
            table.add_row([
                thousands(row.packets),
                row.old.to_string(),
                row.new.to_string(),
                row.what(),
                sample.to_string(),
            ]);
        }
        f.write_str(&table::lines(&table))?;
        let hidden = self.by_rule.len().saturating_sub(ROWS);
        if hidden > 0 {
            let s = if hidden == 1 { "" } else { "s" };
            let hidden = thousands(hidden as u64);
            writeln!(f, "{hidden} more row{s} (say `xdpfw --json shadow`)")?;
        }
        if self.unlisted > 0 {
            let unlisted = thousands(self.unlisted);
            writeln!(
                f,
                "{unlisted} of the packets are not listed: there are too many kinds"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use bytemuck::Zeroable as _;
    use xdpfw_common::abi::{NO_KIND, NO_RULE};

    use super::*;

    /// The control bits of a SYN.
    const SYN: u8 = 1 << 1;

    /// A policy of one rule, that counts in this slot.
    fn record(id: u32, slot: u32) -> Record {
        Record::of_tests(&[(id, "https", slot)])
    }

    fn difference(packets: u64, kind: u8, local: u16) -> (Otherwise, Difference) {
        let address = |last| Ipv4Addr::new(192, 0, 2, last).to_ipv6_mapped().octets();
        let key = Otherwise {
            live_slot: NO_RULE,
            next_slot: NO_RULE,
            live_reason: Reason::DefaultPass.slot() as u8,
            next_reason: Reason::DefaultDrop.slot() as u8,
            kind,
            local: local.to_be_bytes(),
            ..Otherwise::zeroed()
        };
        let sample = Event {
            source: address(7),
            destination: address(1),
            interface: 3,
            len: 54,
            remote: 40_000_u16.to_be_bytes(),
            local: local.to_be_bytes(),
            kind: if kind == NO_KIND { 0 } else { kind },
            family: 4,
            flags: SYN,
            ..Event::zeroed()
        };
        let difference = Difference {
            packets,
            sample,
            ..Difference::zeroed()
        };
        (key, difference)
    }

    #[test]
    fn most_packets_come_first_with_rule_port_and_sample() {
        let mut by_rule = difference(9, ProtocolKind::Tcp as u8, 443);
        by_rule.0.live_slot = 5;
        by_rule.0.live_reason = Reason::RuleAllow.slot() as u8;
        let mut opened = difference(2, ProtocolKind::Icmp as u8, 8);
        (opened.0.next_slot, opened.0.next_reason) = (0, Reason::RuleAllow.slot() as u8);
        opened.0.live_reason = Reason::DefaultDrop.slot() as u8;
        let differences = Differences {
            of: vec![opened, difference(1, NO_KIND, 0), by_rule],
            crowded_out: 4,
        };
        let shadow = Shadow::new(&record(7, 5), &record(8, 0), &differences, &[]);
        let text = shadow.to_string();
        let lines: Vec<String> = text
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(
            lines,
            [
                "16 packets would be judged otherwise",
                "",
                "packets in force candidate what the first one",
                "9 pass r7 drop default tcp 443 192.0.2.7:40000 -> 192.0.2.1:443 [S] on if3",
                "2 drop default pass r8 icmp echo-request 192.0.2.7 -> 192.0.2.1 on if3",
                // Of a later fragment, nobody knows more.
                "1 pass default drop default - 192.0.2.7 -> 192.0.2.1 on if3",
                "4 of the packets are not listed: there are too many kinds",
            ]
        );
    }

    #[test]
    fn nothing_found_is_said() {
        let shadow = Shadow::new(&record(7, 5), &record(8, 0), &Differences::default(), &[]);
        let text = shadow.to_string();
        assert_eq!(text, "no packet would be judged otherwise so far\n");
    }
}
