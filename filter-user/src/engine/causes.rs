//! Why a source is banned: by hand, by lists, by the program itself.

use std::{cell::OnceCell, net::IpAddr};

use anyhow::Result;
use ipnet::IpNet;
use jiff::Timestamp;

use super::{Banned, Engine, History, bans, lists, scans};
use crate::datapath::{Bans, Generation, Scans};

/// A ban that a source is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Who is banned.
    pub prefix: IpNet,
    /// By whom.
    pub by: By,
    /// Until when; `None` is for good, or as long as a list has it.
    pub until: Option<Timestamp>,
    /// What for, if that was said.
    pub why: Option<String>,
}

/// Who bans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// Somebody's command: `manual` or another origin. Or the program itself: `scan` or `limit`.
    Origin(String),
    /// The list of this name, which goes on to.
    List(String),
}

/// What tells why sources are banned in a generation.
pub(super) struct Causes {
    table: Bans,
    scans: Scans,
    /// Once anybody asks.
    known: OnceCell<Known>,
}

/// Bans, as they were when somebody asked first.
struct Known {
    journal: Vec<Banned>,
    openers: Vec<scans::Opener>,
    /// Lists by the bits of their bans.
    lists: Vec<(u32, String)>,
}

impl Causes {
    pub(super) fn open(generation: &Generation) -> Result<Self> {
        Ok(Self {
            table: generation.bans()?,
            scans: generation.scans()?,
            known: OnceCell::new(),
        })
    }

    /// The bans that a source is in.
    pub(super) fn of(&self, source: IpAddr) -> Result<Vec<Cause>> {
        let known = match self.known.get() {
            Some(known) => known,
            None => {
                let known = Known {
                    journal: bans::all_in_force()?,
                    openers: scans::openers_of(&self.scans)?,
                    lists: lists::numbers(&History::own())?,
                };
                self.known.get_or_init(|| known)
            }
        };
        let mut causes: Vec<Cause> = known
            .journal
            .iter()
            .filter(|ban| ban.prefix.contains(&source))
            .map(|ban| Cause {
                prefix: ban.prefix,
                by: By::Origin(ban.origin.clone()),
                until: ban.until,
                why: ban.why.clone(),
            })
            .collect();
        for (prefix, ban) in self.table.around(source)? {
            let lists = known.lists.iter();
            let lists = lists.filter(|(number, _)| ban.origins >> number & 1 != 0);
            causes.extend(lists.map(|(_, name)| Cause {
                prefix,
                by: By::List(name.clone()),
                until: None,
                why: None,
            }));
        }
        let openers = known.openers.iter();
        let openers = openers.filter(|opener| opener.source.contains(&source));
        causes.extend(openers.map(|opener| Cause {
            prefix: opener.source,
            by: By::Origin(opener.origin.as_str().to_owned()),
            until: Some(opener.until),
            why: None,
        }));
        Ok(causes)
    }
}

impl Engine {
    /// The bans that a source is in; none, while nothing is filtered.
    ///
    /// # Errors
    ///
    /// The journal is damaged, or the kernel refuses.
    pub fn causes(&self, source: IpAddr) -> Result<Vec<Cause>> {
        match self.live() {
            Some(live) => Causes::open(&live.generation)?.of(source),
            None => Ok(Vec::new()),
        }
    }
}
