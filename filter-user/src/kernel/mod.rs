//! The filter in the kernel: generations, the interfaces they are attached to,
//! and their counters. Nothing outside this module knows of eBPF.
//!
//! ```text
//! /sys/fs/bpf/xdpfw/<network namespace>/abi-<version>/
//!     current              program array with one element: the program in force
//!     dispatcher           program that every interface runs; jumps to `current`
//!     links/<ifindex>      keeps the dispatcher attached to an interface
//!     generations/<n>/     program, record, counters, rule_hits
//! ```
//!
//! A change of policy builds a whole new generation beside the old one and then
//! stores its program in `current`: one store, for all interfaces at once. So
//! whenever a command dies, the old generation or the new one is in force. What
//! it leaves behind is removed by the next command that changes something.

mod bpffs;
mod counters;
mod generation;
mod interface;
mod link;
mod lock;
mod object;
mod record;
mod slots;
mod store;
mod trace;

pub use counters::{CounterMaps, Snapshot, Tally};
pub use generation::Generation;
pub use interface::{Interface, Mode, interface_with, interfaces};
pub use lock::Lock;
pub use record::Record;
pub use store::{Attached, Change, Counters, Live, Store};
pub use trace::follow;
