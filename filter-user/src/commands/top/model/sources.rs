//! Where packets come from that are dropped, as far as they are sampled. Their number is bounded:
//! a flood from forged addresses must not fill the memory.

use std::{collections::HashMap, net::IpAddr};

use xdpfw_common::Transport;

use crate::policy::{Carried, Match};

/// Sources that are remembered.
const MOST: usize = 4096;
/// Ports whose last asker is remembered.
const MOST_PORTS: usize = 4096;

/// A dropped packet that was sampled.
#[derive(Clone, Copy, Debug)]
pub(in crate::commands::top) struct Sampled {
    pub(in crate::commands::top) source: IpAddr,
    /// What it carries, as far as that was read.
    pub(in crate::commands::top) carries: Option<Carried>,
    /// It stands for so many.
    pub(in crate::commands::top) ratio: u32,
}

/// What was heard of dropped packets.
#[derive(Debug, Default)]
pub(in crate::commands::top) struct Sampling {
    /// One packet of so many is sampled now; `None` while none is.
    pub(in crate::commands::top) ratio: Option<u32>,
    /// Why none is.
    pub(in crate::commands::top) why_not: Option<String>,
    pub(in crate::commands::top) packets: Vec<Sampled>,
    /// The time in which they came in.
    pub(in crate::commands::top) seconds: f64,
}

/// A source, as it is shown.
#[derive(Clone, Copy, Debug)]
pub(in crate::commands::top) struct SourceRow {
    pub(in crate::commands::top) address: IpAddr,
    /// Packets, about.
    pub(in crate::commands::top) packets: u64,
    pub(in crate::commands::top) rate: f64,
    /// What it sent last.
    pub(in crate::commands::top) last: Option<Carried>,
}

#[derive(Clone, Copy, Debug)]
struct Source {
    packets: u64,
    /// Since the last tick.
    fresh: u64,
    rate: f64,
    last: Option<Carried>,
}

/// The sources of dropped packets.
#[derive(Debug, Default)]
pub(in crate::commands::top) struct Sources {
    known: HashMap<IpAddr, Source>,
    askers: HashMap<(Transport, u16), (IpAddr, Carried)>,
    /// One packet of so many is sampled now; `None` while none is.
    pub(in crate::commands::top) ratio: Option<u32>,
    /// Why none is.
    pub(in crate::commands::top) why_not: Option<String>,
}

impl Sources {
    /// Takes in what was heard since the last time.
    pub(super) fn hear(&mut self, sampling: &Sampling) {
        self.ratio = sampling.ratio;
        self.why_not.clone_from(&sampling.why_not);
        for sampled in &sampling.packets {
            self.add(sampled);
        }
        self.tick(sampling.seconds);
    }

    fn add(&mut self, sampled: &Sampled) {
        let &Sampled {
            source,
            carries,
            ratio,
        } = sampled;
        if self.known.len() >= 2 * MOST && !self.known.contains_key(&source) {
            self.forget();
        }
        let known = self.known.entry(source).or_insert(Source {
            packets: 0,
            fresh: 0,
            rate: 0.0,
            last: carries,
        });
        known.packets += u64::from(ratio);
        known.fresh += u64::from(ratio);
        known.last = carries.or(known.last);
        if let Some((carries, port)) = carries.and_then(|one| Some((one, port(one)?))) {
            if self.askers.len() >= MOST_PORTS && !self.askers.contains_key(&port) {
                self.askers.clear();
            }
            self.askers.insert(port, (source, carries));
        }
    }

    /// A tick has passed, of so many seconds.
    fn tick(&mut self, seconds: f64) {
        for source in self.known.values_mut() {
            source.rate = match seconds > 0.0 {
                true => source.fresh as f64 / seconds,
                false => 0.0,
            };
            source.fresh = 0;
        }
        if self.known.len() > MOST {
            self.forget();
        }
    }

    /// Forgets those that sent least.
    fn forget(&mut self) {
        let mut packets: Vec<u64> = self.known.values().map(|one| one.packets).collect();
        let place = packets.len().saturating_sub(MOST / 2);
        let (_, &mut least, _) = packets.select_nth_unstable(place);
        let mut room = MOST / 2;
        self.known.retain(|_, source| {
            let stays = source.packets > least || (source.packets == least && room > 0);
            room = room.saturating_sub(usize::from(stays && source.packets == least));
            stays
        });
    }

    pub(super) fn rows(&self, rows: &mut Vec<SourceRow>) {
        rows.clear();
        rows.extend(self.known.iter().map(|(&address, source)| SourceRow {
            address,
            packets: source.packets,
            rate: source.rate,
            last: source.last,
        }));
    }

    pub(super) fn asker(&self, transport: Transport, port: u16) -> Option<(IpAddr, Carried)> {
        self.askers.get(&(transport, port)).copied()
    }

    pub(super) fn last(&self, address: IpAddr) -> Option<Carried> {
        self.known.get(&address)?.last
    }
}

impl SourceRow {
    /// What it sent last, in the words of a rule: `tcp 23`.
    pub(in crate::commands::top) fn last_words(&self) -> String {
        let last = self.last.map(|last| Match::for_carried(last).words());
        last.unwrap_or_default()
    }
}

const fn port(carries: Carried) -> Option<(Transport, u16)> {
    match carries {
        Carried::Tcp { local, .. } => Some((Transport::Tcp, local)),
        Carried::Udp { local, .. } => Some((Transport::Udp, local)),
        Carried::Icmp(_) | Carried::Icmp6(_) | Carried::Other(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn sampled(source: u32, ratio: u32) -> Sampled {
        Sampled {
            source: Ipv4Addr::from(source).into(),
            carries: Some(Carried::Tcp {
                local: 23,
                remote: 40_000,
            }),
            ratio,
        }
    }

    #[test]
    fn a_sample_counts_for_all_that_it_stands_for() {
        let mut sources = Sources::default();
        sources.add(&sampled(1, 64));
        sources.add(&sampled(1, 1));
        sources.tick(5.0);
        let mut rows = Vec::new();
        sources.rows(&mut rows);
        assert_eq!((rows.len(), rows[0].packets, rows[0].rate), (1, 65, 13.0));
        assert_eq!(rows[0].last_words(), "tcp 23");
        sources.tick(5.0);
        sources.rows(&mut rows);
        assert_eq!((rows[0].packets, rows[0].rate), (65, 0.0));
    }

    #[test]
    fn a_flood_of_addresses_leaves_room_for_those_that_send_much() {
        let mut sources = Sources::default();
        for _ in 0..100 {
            sources.add(&sampled(0, 1));
        }
        for source in 1..100_000 {
            sources.add(&sampled(source, 1));
            assert!(sources.known.len() <= 2 * MOST);
        }
        sources.tick(1.0);
        assert!(sources.known.len() <= MOST);
        assert!(sources.known.contains_key(&Ipv4Addr::UNSPECIFIED.into()));
    }
}
