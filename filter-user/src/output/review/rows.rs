//! The parts of a review: findings, services, destinations, rules.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use serde::Serialize;

use super::BUSIEST;
use crate::{
    analysis::review::{Crowd, Finding, Service},
    text::{in_line, thousands},
};

/// Something to do.
#[derive(Debug, Serialize)]
pub(super) struct FindingRow {
    pub(super) kind: &'static str,
    pub(super) object: String,
    pub(super) text: String,
    pub(super) remedy: Option<String>,
    /// Whether the review before did not have it; `None` without one.
    pub(super) new: Option<bool>,
}

/// Something that listens.
#[derive(Debug, Serialize)]
pub(super) struct ServiceRow {
    pub(super) protocol: &'static str,
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) process: Option<String>,
    pub(super) pid: Option<i32>,
    pub(super) user: Option<String>,
    pub(super) unit: Option<String>,
    pub(super) published: bool,
    pub(super) verdict: &'static str,
    /// Packets to the port that were dropped.
    pub(super) dropped: u64,
    /// Who sent some of them while `review` listened, the busiest first.
    pub(super) sources: Vec<SourceRow>,
}

/// Who sent packets, and how many.
#[derive(Debug, Serialize)]
pub(super) struct SourceRow {
    pub(super) address: IpAddr,
    pub(super) packets: u64,
}

/// The ports of clients.
#[derive(Debug, Serialize)]
pub(super) struct Ephemeral {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) in_use: u64,
    pub(super) busiest: Vec<CrowdRow>,
}

/// A destination, and the ports that connections to it take.
#[derive(Debug, Serialize)]
pub(super) struct CrowdRow {
    pub(super) protocol: &'static str,
    pub(super) remote: SocketAddr,
    pub(super) in_use: u64,
}

/// A rule, by which a later review knows it again.
#[derive(Debug, Serialize)]
pub(super) struct RuleText {
    pub(super) id: String,
    pub(super) text: String,
}

impl FindingRow {
    pub(super) fn of((finding, new): (Finding, Option<bool>)) -> Self {
        let Finding {
            kind,
            object,
            text,
            remedy,
        } = finding;
        Self {
            kind,
            object,
            text,
            remedy,
            new,
        }
    }
}

impl From<&Service> for ServiceRow {
    fn from(service: &Service) -> Self {
        let holder = service.holder.as_ref();
        Self {
            protocol: service.transport.as_str(),
            address: service.address,
            port: service.port,
            process: holder.map(|holder| holder.process.clone()),
            pid: holder.map(|holder| holder.pid),
            user: service.user.clone(),
            unit: holder.and_then(|holder| holder.unit.clone()),
            published: service.is_published,
            verdict: service.reach.as_str(),
            dropped: service.dropped,
            sources: service
                .sources
                .iter()
                .take(BUSIEST)
                .map(|&(address, packets)| SourceRow { address, packets })
                .collect(),
        }
    }
}

impl ServiceRow {
    /// The row of a table.
    pub(super) fn cells(&self) -> [String; 5] {
        let process = match (&self.process, self.pid) {
            (Some(process), Some(pid)) => format!("{} ({pid})", in_line(process)),
            (Some(process), None) => in_line(process),
            (None, _) if self.published => "published".to_owned(),
            (None, _) => "-".to_owned(),
        };
        let or_none = |text: &Option<String>| text.as_deref().map_or("-".to_owned(), in_line);
        let at = SocketAddr::new(self.address, self.port);
        [
            self.verdict.to_owned(),
            format!("{} {at}", self.protocol),
            process,
            or_none(&self.user),
            or_none(&self.unit),
        ]
    }
}

impl From<&Crowd> for CrowdRow {
    fn from(crowd: &Crowd) -> Self {
        Self {
            protocol: crowd.transport.as_str(),
            remote: crowd.remote,
            in_use: crowd.in_use,
        }
    }
}

impl fmt::Display for Ephemeral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = u64::from(self.last.saturating_sub(self.first)) + 1;
        write!(
            f,
            "ephemeral ports: {} of {} in use",
            thousands(self.in_use),
            thousands(size)
        )?;
        match self.busiest.first() {
            Some(CrowdRow {
                protocol,
                remote,
                in_use,
            }) => write!(f, ", {} to {protocol} {remote}", thousands(*in_use)),
            None => Ok(()),
        }
    }
}
