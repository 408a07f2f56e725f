//! What the kernel program and userspace agree on: names, sizes, keys and values of every
//! map and global, in a module for each subject.
//!
//! All structs are `repr(C)` without implicit padding. Ports and addresses are in network
//! byte order, as the packet has them, wherever they are arrays of bytes; everything else
//! is in the host's byte order.

mod bans;
mod bridges;
mod config;
mod cookies;
mod counters;
mod deadline;
mod event;
mod flows;
mod limits;
mod ports;
mod probe;
mod programs;
mod rehearsal;
mod scan;
mod tables;

pub use self::{
    bans::{
        BAN_BLOCK_COUNT, BAN_BLOCKS, BANNED, BANNED_NETS, BANS, BANS_ANY, BANS_HARD, BANS_OF_LISTS,
        BLOCK_BITS4, BLOCK_BITS6, Ban, BanBlock, BanKey, EXACT, MAX_BANS, MAX_TRUSTED, Source,
        TRUSTED, TRUSTED_BY_POLICY, TRUSTED_GATEWAY, TRUSTED_RESOLVER, TRUSTED_SESSION, Trusted,
        V4, ban_key, ban_place, ban_source,
    },
    bridges::{BridgePort, OwnAddress},
    config::{
        Config, DHCP_CLIENTS, DHCP_SERVER, ICMP_ERRORS_PASS, ICMP_ERRORS_RELATED, REPLIES_FLOWS,
        REPLIES_OFF, REPLIES_SOCKETS,
    },
    cookies::{
        COOKIE_BITS, COOKIE_SACK, COOKIE_SCALE, COOKIE_TIMESTAMPS, COOKIES_FOR, COOKIES_FROM,
        MAX_SYN_COUNTS, SYN_COUNTS, SynCount,
    },
    counters::{
        BLOCKS, Block, COUNTERS, Counter, INTERFACE_NAME, INTERFACE_PLACES, INTERFACE_SLOTS,
        INTERFACES_COUNTED, InterfaceSlots, OTHER_INTERFACES, OVERFLOWS, Overflows, PER_OVERFLOW,
        PORTS_PER_BLOCK, RULE_HITS, RULE_SLOTS, port_counter,
    },
    deadline::{NO_DEADLINE, WAY_AFTER, WAY_BEFORE},
    event::{
        Event, HEAD, LISTENED, LISTENERS, LISTENING, Listened, Listener, MISSED, Missed,
        NOTICE_BAN, NOTICE_LIMIT, NOTICE_SCAN, NOTICES, REPORTS, REPORTS_AT_ONCE,
        REPORTS_PER_SECOND, RING_BYTES, Report, WANTS_DIAGNOSTICS, WANTS_HEAD, Wanted, lot,
        threshold,
    },
    flows::{
        FLOW_COUNTS, FLOW_TABLE_COUNT, FlowCounts, FlowKey, FlowState, NOTE_BLOCKS, NOTES,
        NOTES_PER_BLOCK, Note, NoteBlock, Origin, SENT, SENT_WORDS, Table, flow_counts, flow_table,
        note_place, sent_place,
    },
    limits::{LIMITED, Limit, LimitKey, MAX_LIMITED, TOLD},
    ports::{PORTS, PortBitmaps, Side},
    probe::Judged,
    programs::{BARE_MARK, BARE_MARK_CB, NEXT},
    rehearsal::{
        CROWDED_OUT, DIFFERENCES, Difference, MAX_DIFFERENCES, NO_KIND, Otherwise, REHEARSAL_MAPS,
        SENTENCE, Sentence,
    },
    scan::{
        FOUND, FOUND_BANNED, FOUND_CAPPED, FOUND_TRUSTED, MAX_OPENER_BANS, OPENER_BANS,
        OPENER_BANS_PER_MINUTE, OpenerBan, OpenerOrigin, PORT_BITS, SCAN_SAMPLE, SCAN_SHIFT,
        SCAN_STATE, SCAN_TAGS, SCANNER_COUNT, SCANNERS, ScanConfig, ScanState, Scanner,
    },
    tables::{
        ACTION_ALLOW, ACTION_COOKIES, ACTION_DENY, ACTION_LIMIT, EdgeKey, Ends, LocalKey, MAX_ENDS,
        MAX_RULES, NO_RULE, Node, ProtocolKind, Question,
    },
};

use self::flows::FLOW_TABLES;

/// Version of everything in this module. Of the pins of another version, only those
/// [shared maps](SHARED_MAPS) are used again that still mean the same.
pub const ABI_VERSION: u32 = 10;

/// Names of the programs, of the globals, and of the maps that each generation has for
/// itself. Those that generations share are in [`SHARED_MAPS`].
pub mod names {
    pub use super::{
        bans::names::*, bridges::names::*, config::names::*, counters::names::*,
        deadline::names::*, event::names::*, flows::names::*, limits::names::*, ports::names::*,
        probe::names::*, programs::names::*, rehearsal::names::*, scan::names::*, tables::names::*,
    };
}

/// A map that a new generation takes over from the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedMap {
    /// Its name in the object, at most 15 bytes, so that the kernel shows all of it.
    pub name: &'static str,
    /// The name of its pin in a generation's directory.
    pub pin: &'static str,
    /// What is in it.
    pub holds: Holds,
    /// The first [`ABI_VERSION`] whose map of this name means the same: what is in the map of that
    /// or a later version is taken over.
    pub since: u32,
}

/// What a shared map holds, which tells when a generation begins with a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Counters, which users set to zero.
    Counters,
    /// Flows, which last as long as the filter is up.
    Flows,
    /// Who listens, and what waits to be read.
    Events,
    /// Who is banned, which outlasts every change.
    Bans,
    /// Who did how much of what is limited.
    Limits,
    /// Who is never banned. It goes by the policy, so each generation has its own.
    Trust,
    /// The program that runs behind the filter, which a change may replace.
    Next,
    /// What a rehearsal found, which lasts as long as it does.
    Rehearsal,
}

impl SharedMap {
    const fn of_counters(name: &'static str, pin: &'static str) -> Self {
        Self {
            name,
            pin,
            holds: Holds::Counters,
            since: 7,
        }
    }

    const fn of_events(name: &'static str, pin: &'static str) -> Self {
        Self {
            name,
            pin,
            holds: Holds::Events,
            since: 9,
        }
    }

    const fn of_bans(name: &'static str, pin: &'static str) -> Self {
        Self {
            name,
            pin,
            holds: Holds::Bans,
            since: 10,
        }
    }

    const fn of_limits(name: &'static str, pin: &'static str) -> Self {
        Self {
            name,
            pin,
            holds: Holds::Limits,
            since: 10,
        }
    }

    const fn of_rehearsal(name: &'static str, pin: &'static str) -> Self {
        Self {
            name,
            pin,
            holds: Holds::Rehearsal,
            since: 8,
        }
    }

    const fn of_flows(name: &'static str, pin: &'static str) -> Self {
        Self {
            name,
            pin,
            holds: Holds::Flows,
            since: 7,
        }
    }
}

/// Every map that all generations share.
pub const SHARED_MAPS: &[SharedMap] = &[
    COUNTERS,
    OVERFLOWS,
    RULE_HITS,
    INTERFACES_COUNTED,
    NOTES,
    SENT,
    FLOW_COUNTS,
    FLOW_TABLES[0][0],
    FLOW_TABLES[0][1],
    FLOW_TABLES[0][2],
    FLOW_TABLES[1][0],
    FLOW_TABLES[1][1],
    FLOW_TABLES[1][2],
    REPORTS[0],
    REPORTS[1],
    REPORTS[2],
    REPORTS[3],
    LISTENING,
    MISSED,
    LISTENED,
    BANS,
    BANNED_NETS,
    BAN_BLOCKS,
    TRUSTED,
    BANNED,
    SCANNERS,
    SCAN_TAGS,
    SCAN_STATE,
    OPENER_BANS,
    LIMITED,
    SYN_COUNTS,
    NEXT,
];

/// Reads a setting of the kernel program. Volatile, since its value is written after compilation.
#[inline(always)]
pub fn setting<T: Copy>(field: &T) -> T {
    // SAFETY: a reference, so aligned and initialised.
    unsafe { core::ptr::read_volatile(field) }
}
