//! What is known of bans: those in force, and those that were, as long as they are remembered.

use std::collections::BTreeMap;

use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};
use xdpfw_common::abi::Ban;

use super::{BanEvent, BanLine, Banned};
use crate::{
    datapath::{Deadline, MANUAL},
    duration::Seconds,
};

/// How long it is remembered that somebody was banned, after that is over: thirty days.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(30 * 24);

/// A ban, in force or not.
#[derive(Clone, Debug)]
struct Known {
    ban: Banned,
    /// When it was ended before its time.
    ended: Option<Timestamp>,
}

impl Known {
    /// Since when it is over; `None` if it is not.
    fn over_since(&self, now: Timestamp) -> Option<Timestamp> {
        self.ended.or(self.ban.until.filter(|until| *until <= now))
    }
}

/// The bans by prefix, the last of each origin.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownBans {
    of: BTreeMap<IpNet, Vec<Known>>,
}

impl KnownBans {
    /// Adds what a line says, which comes after those that were added.
    pub(super) fn add(&mut self, line: BanLine) {
        let bans = self.of.entry(line.prefix).or_default();
        let known = bans
            .iter_mut()
            .find(|known| known.ban.origin == line.origin);
        match (line.event, known) {
            (BanEvent::Ban, Some(known)) => {
                *known = Known {
                    ban: line.into(),
                    ended: None,
                };
            }
            (BanEvent::Ban, None) => bans.push(Known {
                ban: line.into(),
                ended: None,
            }),
            (BanEvent::Unban, Some(known)) => {
                known.ended.get_or_insert(line.at);
            }
            (BanEvent::Unban, None) => {}
        }
    }

    /// Those in force, by prefix.
    pub(super) fn in_force(&self, now: Timestamp) -> impl Iterator<Item = &Banned> {
        let all = self.of.values().flatten();
        all.filter(move |known| known.over_since(now).is_none())
            .map(|known| &known.ban)
    }

    /// Those of a prefix in force.
    pub(super) fn of(&self, prefix: &IpNet, now: Timestamp) -> impl Iterator<Item = &Banned> {
        let bans = self.of.get(prefix).into_iter().flatten();
        bans.filter(move |known| known.over_since(now).is_none())
            .map(|known| &known.ban)
    }

    /// The prefixes.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = IpNet> {
        self.of.keys().copied()
    }

    /// How many times a prefix was banned, if it is now: it comes back if that was over, and is
    /// remembered.
    pub(super) fn times(&self, prefix: &IpNet, origin: &str, now: Timestamp) -> u32 {
        let bans = self.of.get(prefix).into_iter().flatten();
        let known = { bans }.find(|known| known.ban.origin == origin);
        match known.map(|known| (known.ban.times, known.over_since(now))) {
            Some((times, None)) => times,
            Some((times, Some(since))) if now.duration_since(since) < REMEMBERED => {
                times.saturating_add(1)
            }
            _ => 1,
        }
    }

    /// The lines that say the same, without what is forgotten.
    pub(super) fn lines(&self, now: Timestamp) -> Vec<BanLine> {
        let mut lines = Vec::new();
        for known in self.of.values().flatten() {
            if known
                .over_since(now)
                .is_some_and(|since| now.duration_since(since) >= REMEMBERED)
            {
                continue;
            }
            lines.push(known.ban.line());
            lines.extend(known.ended.map(|at| known.ban.end(at)));
        }
        lines
    }

    /// A prefix as the kernel is to have it: the longest and hardest of its bans; `None` if it is
    /// not banned.
    pub(super) fn in_kernel(&self, prefix: &IpNet, now: Timestamp) -> Option<Ban> {
        let bans = self.of(prefix, now).map(|ban| {
            let left = ban.until.map(|until| until.duration_since(now));
            let until = left.map_or(u64::MAX, |left| {
                Deadline::after(left.try_into().unwrap_or_default()).nanoseconds()
            });
            Ban {
                until,
                packets: 0,
                origins: MANUAL,
                hard: ban.hard.into(),
                len: 0,
                padding: [0; 2],
            }
        });
        bans.reduce(|one, other| Ban {
            until: one.until.max(other.until),
            hard: one.hard | other.hard,
            ..one
        })
    }
}

/// How long a ban is to be that is the so-manieth of its source: so many times as long as was said.
pub(super) fn prolonged(lasts: Seconds, times: u32, repeat: &[u32]) -> Seconds {
    let index = usize::try_from(times.saturating_sub(1)).unwrap_or(usize::MAX);
    let factor = repeat.get(index).or(repeat.last()).copied().unwrap_or(1);
    lasts.times(factor)
}
