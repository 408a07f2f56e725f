//! The filter in the kernel: generations, the interfaces they are attached to, and their
//! counters. Only this module imports aya.
//!
//! ```text
//! /run/xdpfw/bpf/<network namespace>/abi-<version>/
//!     current              program array with one element: the program in force
//!     dispatcher           program that interfaces run; jumps to `current`
//!     dispatcher_l3        the same for those without a link layer (tun)
//!     links/<ifindex>      keeps the dispatcher attached to an interface
//!     current_egress       the same as `current` for what leaves
//!     dispatcher_egress    program that interfaces run for what leaves
//!     dispatcher_egress_l3 the same for those without a link layer
//!     egress/<ifindex>     keeps it attached to an interface, with TCX
//!     clsact/<ifindex>     says that we made the interface's clsact qdisc, without TCX
//!     generations/<n>/     program, recorder, record, and the maps that it shares, among them
//!                          `next`: what passes goes on to the program in it;
//!                          of one with a deadline: gate, gate_egress, deadline, ways,
//!                          ways_egress; until the policy file says the same: unsaved;
//!                          of one in front of a candidate: candidate, candidate_egress, sentence
//!     generations/<n>/shadow/  the candidate: program, recorder, record, its own flows,
//!                          differences, crowded_out, unsaved
//! ```
//!
//! A change of policy builds a whole new generation beside the old one and then
//! stores its program in `current`: one store, for all interfaces at once. So
//! whenever a command dies, the old generation or the new one is in force. What
//! it leaves behind is removed by the next command that changes something.

mod attach;
mod bans;
mod bridges;
mod clock;
mod counters;
mod deadline;
mod error;
mod flows;
mod foreign;
mod frags;
mod gate;
mod generation;
mod interfaces_counted;
mod listening;
mod lock;
mod memory;
mod object;
mod own_directory;
mod pins;
mod probe;
mod record;
mod rehearsal;
mod runtime;
mod scan;
mod shares;
mod store;
mod strays;
mod syscall;
mod then;
mod trusted;
mod unsaved;

pub use self::{
    attach::{Attached, Changes, Egress, EgressRefusal, Foreign, Refusal},
    bans::{Bans, MANUAL},
    bridges::Bridges,
    clock::{Clock, clocks},
    counters::{CounterMaps, Snapshot},
    deadline::Deadline,
    error::Error,
    flows::{Flow, FlowMaps, Usage, memory as flow_memory},
    frags::wants_frags,
    gate::Term,
    generation::Generation,
    listening::Listening,
    lock::Lock,
    memory::{cpus, memory},
    object::{Probe, maker},
    probe::PacketProbe,
    record::{Change, Purpose, Record},
    rehearsal::{Differences, Rehearsal},
    runtime::is_mounted,
    scan::{Scans, prefix_of as source_prefix},
    store::{Candidate, Live, Older, Store},
    strays::Stray,
    then::{NextProgram, Then},
    trusted::TrustedMap,
    unsaved::Unsaved,
};

/// Whether TCX programs of others get what the filter lets pass on an interface.
pub fn has_tcx_behind(index: u32) -> bool {
    attach::has_ingress(index)
}

/// Where our bpffs belongs, and where the one is that all programs share.
pub fn bpffs_places() -> [std::path::PathBuf; 2] {
    [runtime::pins_path(), "/sys/fs/bpf".into()]
}
