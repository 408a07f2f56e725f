//! A generation: one program with its maps, pinned together in one directory.

use anyhow::{Context as _, Result};
use aya::programs::ProgramInfo;
use ipnet::IpNet;
use xdpfw_common::abi::{
    ABI_VERSION, BANNED_NETS, BANS, Holds, INTERFACES_COUNTED, LISTENING, NEXT, NOTES, SENT,
    SHARED_MAPS, SharedMap, Wanted, names,
};

use super::{
    Bans, Bridges, Deadline, Error, FlowMaps, PacketProbe, Scans, Term, TrustedMap, Unsaved, bans,
    counters::{self, CounterMaps, Snapshot},
    gate::{Entry, Gate},
    interfaces_counted,
    listening::{self, LOG, Listening},
    object::{self, LOG_RECORDS, Object, Rings},
    pins::{PROGRAM, PinDirectory, RECORD, RECORDER, SHADOW},
    record::{Purpose, Record},
    rehearsal::{Differences, Rehearsal},
    scan, shares, then,
};
use crate::compiler::Tables;

/// A generation that is pinned in its directory.
#[derive(Clone, Debug)]
pub struct Generation {
    pub(super) directory: PinDirectory,
    program_id: u32,
    gate: Option<Gate>,
    record: Record,
    /// The version of its state.
    version: u32,
}

/// What a new generation finds.
pub(super) struct Legacy<'a> {
    /// Whose flows it takes over.
    pub(super) flows_of: Option<&'a Generation>,
    /// Whose counters.
    pub(super) counters_of: Option<&'a Generation>,
    /// Whose listeners.
    pub(super) in_force: Option<&'a Generation>,
}

/// A generation that was just built, and is not in force yet.
pub(super) struct Built {
    pub(super) entry: Entry,
    pub(super) object: Object,
    pub(super) generation: Generation,
    /// What it came to, for those who want to know.
    pub(super) summary: String,
}

impl Generation {
    /// The generation pinned in a directory.
    pub(super) fn open(directory: PinDirectory) -> Result<Self> {
        Ok(Self {
            program_id: program_id(&directory)?.context("a generation has no program")?,
            gate: Gate::open(&directory)?,
            record: Record::from_pin(&directory.pin(RECORD))?,
            directory,
            version: ABI_VERSION,
        })
    }

    /// The same generation, as it is now.
    pub(super) fn reopened(&self) -> Result<Self> {
        let gate = Gate::open(&self.directory)?;
        Ok(Self {
            gate,
            ..self.clone()
        })
    }

    /// Builds a generation and pins it in a new directory. With a `term`, it is behind a gate; with
    /// a `rehearsal`, in front of a candidate.
    pub(super) fn build(
        directory: PinDirectory,
        record: Record,
        tables: &Tables,
        legacy: &Legacy<'_>,
        term: Option<&Term<'_>>,
        rehearsal: Option<&Rehearsal<'_>>,
    ) -> Result<Built> {
        let &Legacy {
            flows_of,
            counters_of,
            in_force,
        } = legacy;
        let same_next = flows_of.filter(|other| other.record.then == record.then);
        let taken_over = |map: SharedMap| {
            let from = match map.holds {
                Holds::Counters => counters_of,
                Holds::Rehearsal | Holds::Trust => None,
                Holds::Events => in_force,
                Holds::Bans if map == BANS || map == BANNED_NETS => {
                    in_force.filter(|other| has_room(other, map, &record))
                }
                Holds::Bans => in_force.filter(|other| {
                    let capacity = |of: &Record| scan::capacity(map, &of.policy);
                    capacity(&other.record) == capacity(&record)
                }),
                Holds::Limits => in_force.filter(|other| {
                    let size = |of: &Record| object::limited(map, &of.policy);
                    size(&other.record) == size(&record)
                }),
                // These have one size.
                Holds::Flows if map == NOTES || map == SENT => flows_of,
                Holds::Next => same_next,
                Holds::Flows => {
                    flows_of.filter(|other| other.record.flow_sizes() == record.flow_sizes())
                }
            };
            from.filter(|from| from.keeps(map))
                .map(|from| from.directory.pin(map.pin))
        };
        // What leaves is not looked at where nothing is recorded.
        let bridges = match record.policy.records_flows() {
            true => Bridges::of_host()?,
            false => Bridges::default(),
        };
        let mut object = Object::load(tables, &record, &bridges, Rings::Whole, taken_over)?;
        let (name, recorder) = program_names(&record, rehearsal.is_some())?;
        let name = &name;
        for map in SHARED_MAPS {
            object.pin_map(map.name, &directory.pin(map.pin))?;
        }
        let candidate = match rehearsal {
            Some(rehearsal) => Some(rehearsal.build(&mut object, &directory)?),
            None => None,
        };
        let recorder = match record.policy.records_flows() {
            true => Some(object.pin_classifier(recorder, &directory.pin(RECORDER))?),
            false => candidate.and_then(|candidate| candidate.recorder),
        };
        object.pin_map(LOG_RECORDS, &directory.pin(LOG))?;
        record.pin(&directory.pin(RECORD))?;
        object.pin_program(name, &directory.pin(PROGRAM))?;
        if let Some(next) = &record.then {
            // Behind our own: the array holds programs of one flavour, that of the first.
            let array = directory.pin(NEXT.pin);
            then::fill(next, &array, record.frags, same_next.is_some())?;
        }
        let program = ProgramInfo::from_pin(directory.pin(PROGRAM))?;
        let summary = format!(
            "generation {}: {} local and {} remote ports, {} prefixes, {} edges, {} instructions verified",
            record.generation,
            tables.local.len(),
            tables.remote.len(),
            tables.prefixes(),
            tables.edges.len(),
            program.verified_instruction_count().unwrap_or_default()
        );
        let entry = Entry {
            program: object.program_fd(name)?,
            recorder,
        };
        let entry = match term {
            Some(term) => Gate::build(&mut object, &directory, record.frags, entry, term.behind)?,
            None => entry,
        };
        Ok(Built {
            entry,
            object,
            generation: Self {
                program_id: program.id(),
                gate: Gate::open(&directory)?,
                directory,
                record,
                version: ABI_VERSION,
            },
            summary,
        })
    }

    /// The same, which another version made.
    pub(super) fn of_version(self, version: u32) -> Self {
        Self { version, ..self }
    }

    /// Loads what judges packets as it does, by the flows and bans that it knows, and counts nothing.
    /// `tables` are those of its policy.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn probe(&self, tables: &Tables) -> Result<PacketProbe> {
        let known = |map: SharedMap| match map.holds {
            Holds::Flows | Holds::Bans | Holds::Trust if self.keeps(map) => {
                Some(self.directory.pin(map.pin))
            }
            _ => None,
        };
        let bridges = match self.record.policy.records_flows() {
            true => Bridges::of_host()?,
            false => Bridges::default(),
        };
        let rings = Rings::Smallest;
        let mut object = Object::load(tables, &self.record, &bridges, rings, known)?;
        PacketProbe::of(&mut object)
    }

    /// Whether a map of it can be used again.
    pub fn keeps(&self, map: SharedMap) -> bool {
        self.version >= map.since && self.directory.has(map.pin)
    }

    /// What it was made from.
    pub const fn record(&self) -> &Record {
        &self.record
    }

    /// The kernel's number for its program.
    pub const fn program_id(&self) -> u32 {
        self.program_id
    }

    /// Opens its counters.
    ///
    /// # Errors
    ///
    /// The generation was removed meanwhile, or the kernel refuses.
    pub fn counters(&self) -> Result<CounterMaps> {
        CounterMaps::open(&self.directory, &self.record)
    }

    /// Reads all its counters.
    ///
    /// # Errors
    ///
    /// As for [`Generation::counters`].
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.counters()?.read()
    }

    /// Opens the bans, which all generations share.
    ///
    /// # Errors
    ///
    /// As for [`Generation::counters`].
    pub fn bans(&self) -> Result<Bans> {
        Bans::open(&self.directory)
    }

    /// Opens the table of scans, which all generations share.
    ///
    /// # Errors
    ///
    /// As for [`Generation::counters`].
    pub fn scans(&self) -> Result<Scans> {
        Scans::open(&self.directory, self.record.clock)
    }

    /// Forgets what a source has had of the limits that ban: it begins anew.
    ///
    /// # Errors
    ///
    /// As for [`Generation::counters`].
    pub fn forget_shares(&self, source: &IpNet) -> Result<()> {
        shares::forget(&self.directory, &self.record, source)
    }

    /// Opens who is never banned by it.
    ///
    /// # Errors
    ///
    /// As for [`Generation::counters`].
    pub fn trusted(&self) -> Result<TrustedMap> {
        TrustedMap::open(&self.directory)
    }

    /// Opens its flows.
    ///
    /// # Errors
    ///
    /// As for [`Generation::counters`].
    pub fn flows(&self) -> Result<FlowMaps> {
        FlowMaps::open(&self.directory)
    }

    /// The kernel's number for the program that what passes goes on to.
    ///
    /// # Errors
    ///
    /// As for [`Generation::counters`].
    pub fn next_program(&self) -> Result<Option<u32>> {
        object::program_in(&self.directory.pin(NEXT.pin))
    }

    /// When it ends; `None` if it is in force for good.
    pub fn deadline(&self) -> Option<Deadline> {
        self.gate?.deadline
    }

    /// Whether it was in force for a while only, and is over.
    pub fn is_over(&self) -> bool {
        self.deadline().is_some_and(Deadline::is_past)
    }

    /// Whether it is entered by a gate that it does not need any more.
    pub fn is_confirmed(&self) -> bool {
        self.gate.is_some_and(|gate| gate.deadline.is_none())
    }

    /// Sets when it ends, which the caller knows that it does.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn set_deadline(&self, deadline: Option<Deadline>) -> Result<()> {
        Gate::set(&self.directory, deadline)
    }

    /// Ends it at once, if it is one that ends.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn end(&self) -> Result<()> {
        self.set_deadline(Some(Deadline::passed()))
    }

    /// The policy file that is still to be replaced, if it is.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn unsaved(&self) -> Result<Option<Unsaved>> {
        Unsaved::open(&self.directory)
    }

    /// Notes that the policy file is replaced.
    ///
    /// # Errors
    ///
    /// A pin cannot be removed.
    pub fn set_saved(&self) -> Result<()> {
        Unsaved::remove(&self.directory)
    }

    /// Notes that the policy file is still to be replaced.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub(super) fn set_unsaved(&self, unsaved: &Unsaved) -> Result<()> {
        unsaved.pin(&self.directory)
    }

    /// What it is for.
    pub const fn purpose(&self) -> Purpose {
        self.record.purpose
    }

    /// The candidate that judges behind it, if there is one.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn shadow(&self) -> Result<Option<Self>> {
        let directory = self.directory.directory(SHADOW)?;
        directory.map(Self::open).transpose()
    }

    /// What it judges otherwise than the generation in front of it, if it is a candidate.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn differences(&self) -> Result<Differences> {
        Differences::read(&self.directory)
    }

    /// The programs that packets enter it by.
    pub(super) fn entry(&self) -> Result<Entry> {
        if self.gate.is_some() {
            return Gate::entry(&self.directory);
        }
        self.own_entry()
    }

    /// The same without its gate.
    pub(super) fn own_entry(&self) -> Result<Entry> {
        let recorder = match self.directory.has(RECORDER) {
            true => Some(object::pinned_classifier(&self.directory.pin(RECORDER))?),
            false => match self.shadow()? {
                Some(candidate) => candidate.own_entry()?.recorder,
                None => None,
            },
        };
        Ok(Entry {
            program: object::pinned_program(&self.directory.pin(PROGRAM))?,
            recorder,
        })
    }

    /// Removes its gate, where nothing enters by it.
    pub(super) fn remove_gate(&self) -> Result<()> {
        Gate::remove(&self.directory)
    }

    /// Hears what it reports, and what those report that come after it, for as long as the result
    /// lives. Who listens is marked below `marks`.
    pub(super) fn listen(&self, marks: &PinDirectory, wanted: Wanted) -> Result<Listening> {
        Listening::begin(&self.directory, marks, self.record.clock, wanted)
    }

    /// How many listen to it.
    ///
    /// # Errors
    ///
    /// The kernel refuses to tell.
    pub fn listeners(&self) -> Result<usize> {
        match self.keeps(LISTENING) {
            true => listening::count(&self.directory, self.record.clock),
            false => Ok(0),
        }
    }

    /// Hands each line that the program writes about itself to `logger`, until dropped.
    ///
    /// # Errors
    ///
    /// Somebody follows it already, the generation was removed meanwhile, or the kernel refuses.
    pub async fn follow_log(&self, logger: impl log::Log + 'static) -> Result<()> {
        let _mark = self
            .directory
            .mark()?
            .context("its log is followed already")?;
        listening::follow_log(&self.directory, logger).await
    }

    /// Counts more interfaces apart, by index and name.
    pub(super) fn count_interfaces(&self, interfaces: &[(u32, String)]) -> Result<()> {
        match self.keeps(INTERFACES_COUNTED) {
            true => interfaces_counted::add(&self.directory, interfaces),
            false => Ok(()),
        }
    }

    /// Sets the counters of rules to zero, in slots that no packet counts in yet.
    ///
    /// # Errors
    ///
    /// As for [`Generation::counters`].
    pub fn clear_slots(&self, slots: &[u32]) -> Result<()> {
        counters::clear_slots(&self.directory, slots)
    }
}

/// Whether a table of bans is as big as it has to be.
fn has_room(of: &Generation, map: SharedMap, record: &Record) -> bool {
    let wanted = record.ban_room[usize::from(map == BANNED_NETS)];
    of.keeps(map) && bans::room_of(of.directory.pin(map.pin)).is_ok_and(|room| room >= wanted)
}

/// The names of the program that a record is of, and of its egress half.
fn program_names(record: &Record, is_rehearsed: bool) -> Result<(String, &'static str)> {
    let (program, recorder) = match is_rehearsed {
        _ if record.purpose.passes_all() => (names::BYPASS, names::RECORDER),
        true => (names::FILTER_REHEARSED, names::RECORDER_REHEARSED),
        false => (names::FILTER, names::RECORDER),
    };
    let then = match record.then {
        Some(_) if program == names::FILTER_REHEARSED => {
            return Err(Error::RehearsedThen.into());
        }
        Some(_) => names::THEN,
        None => "",
    };
    let program = object::flavour(&format!("{program}{then}"), record.frags);
    Ok((program, recorder))
}

/// Whether a program is what packets enter the generation by that is pinned in a directory.
pub(super) fn is_entered_by(directory: &PinDirectory, program: u32) -> Result<bool> {
    if program_id(directory)? == Some(program) {
        return Ok(true);
    }
    let gate = Gate::open(directory)?;
    Ok(gate.is_some_and(|gate| gate.program_id == program))
}

/// The kernel's number for the program pinned in a generation's directory.
/// `None` if the directory was left by a command that was killed.
fn program_id(directory: &PinDirectory) -> Result<Option<u32>> {
    Ok(directory.program_id(PROGRAM)?)
}
