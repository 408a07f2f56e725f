//! Judges packets that nobody has sent, as the filter would.

use std::net::{IpAddr, Ipv6Addr};

use anyhow::{Context as _, Result};
use xdpfw_common::{
    Reason,
    abi::{Judged, ProtocolKind},
    wire::{Malformation, ip, tcp::Flags},
};

use super::{
    Engine, Error,
    causes::{Cause, Causes},
};
use crate::{
    compiler::{self, Tables, simulate::Simulation},
    datapath::{PacketProbe, Purpose, Record},
    policy::{Carried, MacAddress, Packet, Policy, Rule},
    ports::PortRange,
};

/// Judges as the generation in force does, by the flows that it knows. It counts nothing and
/// records nothing.
pub struct Judge {
    probe: PacketProbe,
    record: Record,
    /// Of no policy: they serve to read packets.
    tables: Tables,
    causes: Causes,
}

/// What would become of a packet.
#[derive(Clone, Debug)]
pub struct Judgement<'a> {
    /// Why it would pass or be dropped.
    pub reason: Reason,
    /// What is wrong with a malformed one.
    pub malformation: Option<Malformation>,
    /// The rule that decides.
    pub rule: Option<&'a Rule>,
    /// What it is, as far as it was read.
    pub seen: Option<Seen>,
}

/// A packet as it was read.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it goes to.
    pub destination: IpAddr,
    /// The Ethernet address it comes from.
    pub mac: MacAddress,
    /// What it carries.
    pub carries: Carried,
    /// The control bits of TCP.
    pub flags: Flags,
}

impl Engine {
    /// What judges as the filter does.
    ///
    /// # Errors
    ///
    /// Nothing is filtered, or the kernel refuses.
    pub fn judge(&self) -> Result<Judge> {
        let live = self.must_be_up()?;
        let record = live.generation.record().clone();
        let Record {
            policy,
            environment,
            slots,
            ..
        } = &record;
        let mut tables = compiler::compile(policy, environment, slots)
            .map_err(|error| Error::TooComplex(error.message(policy)))?;
        tables.config.established_only = u32::from(record.purpose == Purpose::Panic);
        Ok(Judge {
            probe: live.generation.probe(&tables)?,
            tables: compiler::compile(&Policy::default(), environment, &[])
                .map_err(|error| Error::TooComplex(error.message(policy)))?,
            record,
            causes: Causes::open(&live.generation)?,
        })
    }
}

impl Judge {
    /// The policy by which it judges.
    pub const fn policy(&self) -> &Policy {
        &self.record.policy
    }

    /// The ports that are called ephemeral.
    pub const fn ephemeral(&self) -> PortRange {
        self.record.environment.ephemeral
    }

    /// Judges a frame with an Ethernet header that comes in by the interface with this index.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn judge(&self, frame: &[u8], interface: u32) -> Result<Judgement<'_>> {
        let judged: Judged = self.probe.judge(frame, interface)?;
        let reason = judged.reason().context("a verdict without a reason")?;
        let reason = match (self.record.purpose, reason) {
            // As the gate counts it.
            (Purpose::Bypass, _) => Reason::Bypass,
            (_, reason) => reason,
        };
        let rule = judged.rule().and_then(|slot| self.record.rule_in(slot));
        Ok(Judgement {
            reason,
            malformation: judged.malformation(),
            rule,
            seen: self.read(frame, interface),
        })
    }

    /// The bans that a source is in.
    ///
    /// # Errors
    ///
    /// The journal of bans is damaged, or the kernel refuses.
    pub fn causes(&self, source: IpAddr) -> Result<Vec<Cause>> {
        self.causes.of(source)
    }

    /// What a frame is, read as the program reads it.
    fn read(&self, frame: &[u8], interface: u32) -> Option<Seen> {
        let outcome = Simulation::of(&self.tables).judge(frame, interface);
        let fields = outcome.fields()?;
        let (version, source, destination) = ip::addresses(frame, fields.network)?;
        let address = |address: Ipv6Addr| match version {
            4 => address.to_ipv4_mapped().map_or(address.into(), IpAddr::V4),
            _ => address.into(),
        };
        let (local, remote) = (fields.local, fields.remote);
        let number = u8::try_from(local);
        Some(Seen {
            source: address(source),
            destination: address(destination),
            mac: MacAddress(*frame.get(6..12)?.first_chunk()?),
            carries: match fields.kind {
                ProtocolKind::Tcp => Carried::Tcp { local, remote },
                ProtocolKind::Udp => Carried::Udp { local, remote },
                ProtocolKind::Icmp => Carried::Icmp(number.ok()?),
                ProtocolKind::Icmp6 => Carried::Icmp6(number.ok()?),
                ProtocolKind::Other => Carried::Other(number.ok()?),
            },
            flags: fields.flags,
        })
    }
}

impl Seen {
    /// The same as rules see it, on an interface.
    pub const fn packet<'a>(&self, interface: &'a str) -> Packet<'a> {
        Packet {
            source: self.source,
            destination: self.destination,
            interface: Some(interface),
            mac: Some(self.mac),
            carries: self.carries,
        }
    }
}
