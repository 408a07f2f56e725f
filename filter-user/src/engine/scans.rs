//! Who scans, and what came of it.

use std::collections::HashMap;

use anyhow::Result;
use ipnet::IpNet;
use jiff::Timestamp;
use xdpfw_common::{
    abi::{FOUND_BANNED, FOUND_CAPPED, FOUND_TRUSTED, OpenerBan, OpenerOrigin},
    scan::{Kind, likely_ports},
};

use super::Engine;
use crate::datapath::{Deadline, Live, Scans, source_prefix};

/// A source that scans.
#[derive(Clone, Debug, PartialEq)]
pub struct Scanning {
    /// Who: an IPv4 address, or an IPv6 /64.
    pub source: IpNet,
    /// With what.
    pub kind: Kind,
    /// Distinct ports, about.
    pub ports: u32,
    /// The first packet that counts.
    pub first: Timestamp,
    /// The last one.
    pub last: Timestamp,
    /// Packets a second between them, about.
    pub rate: u64,
    /// What came of it.
    pub fate: Fate,
}

/// What came of a source that scans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It may open nothing until then.
    Banned(Timestamp),
    /// It was banned, and is not any more.
    WasBanned,
    /// The policy bans nobody for a scan.
    NoBan,
    /// It is trusted.
    Trusted,
    /// Nobody is banned for packets of this kind.
    OtherKind,
    /// Too many were banned in the same minute.
    Capped,
}

/// A ban by the program itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opener {
    /// Who: an IPv4 address, or an IPv6 /64.
    pub source: IpNet,
    /// Why.
    pub origin: OpenerOrigin,
    /// Since when.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Packets that were dropped for it.
    pub packets: u64,
}

impl Engine {
    /// Who scans, the busiest first.
    ///
    /// # Errors
    ///
    /// Nothing is filtered, or the kernel refuses.
    pub fn scanning(&self) -> Result<Vec<Scanning>> {
        let live = self.must_be_up()?;
        let scans = live.generation.scans()?;
        let banned: HashMap<IpNet, OpenerBan> = scans.banned()?.into_iter().collect();
        let now = Timestamp::now();
        let at = |moment| now.saturating_sub(scans.since(moment)).unwrap_or(now);
        let mut scanning = Vec::new();
        for one in scans.found()? {
            let Some(kind) = Kind::from_number(one.kind) else {
                continue;
            };
            let source = source_prefix(&one.source());
            let fate = match (kind, banned.get(&source)) {
                (_, Some(ban)) => Fate::Banned(wall(ban.until)),
                (Kind::Syn, None) => match one.mark {
                    FOUND_TRUSTED => Fate::Trusted,
                    FOUND_CAPPED => Fate::Capped,
                    FOUND_BANNED => Fate::WasBanned,
                    _ => Fate::NoBan,
                },
                _ => Fate::OtherKind,
            };
            let ports = likely_ports(one.count.max(one.slow_count).into());
            let seconds = scans
                .since(one.first)
                .saturating_sub(scans.since(one.last))
                .as_secs()
                .max(1);
            scanning.push(Scanning {
                source,
                kind,
                ports,
                first: at(one.first),
                last: at(one.last),
                // Of few packets, none may have been counted; each port takes one.
                rate: u64::from(one.packets.max(ports)).div_ceil(seconds),
                fate,
            });
        }
        scanning.sort_by_key(|one| (std::cmp::Reverse(one.rate), one.source, one.kind as u8));
        Ok(scanning)
    }

    /// Whom the program has banned by itself; nobody, while nothing is filtered.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn openers(&self) -> Result<Vec<Opener>> {
        match self.scans()? {
            Some(scans) => openers_of(&scans),
            None => Ok(Vec::new()),
        }
    }

    /// Ends bans by the program itself: those of prefixes, or all. Who was banned.
    pub(super) fn unban_openers(&self, prefixes: Option<&[IpNet]>) -> Result<Vec<IpNet>> {
        let Some(mut scans) = self.scans()? else {
            return Ok(Vec::new());
        };
        let all: Vec<IpNet>;
        let prefixes = match prefixes {
            Some(prefixes) => prefixes,
            None => {
                all = scans.banned()?.into_iter().map(|(who, _)| who).collect();
                &all
            }
        };
        let mut ended = Vec::new();
        for prefix in prefixes {
            if scans.unban(prefix)? {
                // Else the next packet over a limit would ban it again.
                if let Some(live) = &self.live {
                    live.generation.forget_shares(prefix)?;
                }
                ended.push(*prefix);
            }
        }
        Ok(ended)
    }

    fn scans(&self) -> Result<Option<Scans>> {
        let live = self.live.as_ref();
        live.map(|live: &Live| live.generation.scans()).transpose()
    }
}

/// Whom the program has banned by itself.
pub(super) fn openers_of(scans: &Scans) -> Result<Vec<Opener>> {
    let banned = scans.banned()?.into_iter();
    let mut openers: Vec<Opener> = banned
        .filter_map(|(source, ban)| {
            Some(Opener {
                source,
                origin: OpenerOrigin::of(ban.origin)?,
                since: wall(ban.since),
                until: wall(ban.until),
                packets: ban.packets,
            })
        })
        .collect();
    openers.sort_by_key(|one| one.source);
    Ok(openers)
}

fn wall(nanoseconds: u64) -> Timestamp {
    Deadline::of(nanoseconds).on_the_wall()
}
