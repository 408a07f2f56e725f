//! Which stations of a link hand over an operator's packets.

use std::net::IpAddr;

use anyhow::Result;
use xdpfw_common::wire::ethernet::Mac;

use crate::{
    analysis::Knock,
    netlink::{next_hop, stations_of},
    policy::Policy,
};

/// A station that no rule names.
const UNNAMED: Mac = [0; 6];

/// The stations that packets of a peer may come from.
#[derive(Debug)]
pub(super) struct Stations {
    known: Vec<Mac>,
    /// Whether it may be another one, of which nothing is known.
    or_any: bool,
}

impl Stations {
    /// Of a peer whose packets come without an Ethernet header, or in others.
    pub(super) const fn none() -> Self {
        Self {
            known: Vec::new(),
            or_any: false,
        }
    }

    /// Of a peer on a link, or behind a router.
    ///
    /// # Errors
    ///
    /// Netlink does not answer.
    pub(super) fn of(peer: IpAddr) -> Result<Self> {
        let hop = next_hop(peer)?.unwrap_or(peer);
        let mut known = stations_of(hop)?;
        let or_any = known.is_empty();
        if hop != peer && !or_any {
            // Routers that share an address send from their own, and the way back may be
            // another one.
            known.push(UNNAMED);
        }
        Ok(Self { known, or_any })
    }

    /// A packet as each of them would send it, as far as these policies tell them apart.
    pub(super) fn frames(&self, knock: &Knock, policies: &[&Policy]) -> Vec<Knock> {
        let rules = policies.iter().flat_map(|policy| &policy.rules);
        let named: Vec<Mac> = rules
            .flat_map(|rule| rule.matches.mac.iter().map(|mac| mac.0))
            .collect();
        let mut senders = match named.is_empty() {
            true => Vec::new(),
            false => self.known.clone(),
        };
        if self.or_any {
            senders.extend(named);
        }
        if senders.is_empty() || self.or_any {
            senders.push(UNNAMED);
        }
        senders.sort_unstable();
        senders.dedup();
        let sent_by = |sender: Mac| {
            let mut knock = knock.clone();
            knock.frame[SENDER..SENDER + sender.len()].copy_from_slice(&sender);
            knock
        };
        senders.into_iter().map(sent_by).collect()
    }
}

/// Where a frame has the address of its sender: behind that of its receiver.
const SENDER: usize = size_of::<Mac>();
