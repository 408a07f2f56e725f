//! The filter in the kernel: generations, the interfaces they are attached to,
//! and their counters. Nothing outside this module knows of eBPF.
//!
//! ```text
//! /run/xdpfw/bpf/<network namespace>/abi-<version>/
//!     current              program array with one element: the program in force
//!     dispatcher           program that interfaces run; jumps to `current`
//!     dispatcher_l3        the same for those without a link layer (tun)
//!     links/<ifindex>      keeps the dispatcher attached to an interface
//!     generations/<n>/     program, record, counters, overflows, rule_hits
//! ```
//!
//! A change of policy builds a whole new generation beside the old one and then
//! stores its program in `current`: one store, for all interfaces at once. So
//! whenever a command dies, the old generation or the new one is in force. What
//! it leaves behind is removed by the next command that changes something.

mod counters;
mod generation;
mod interface;
mod link;
mod lock;
mod object;
mod pins;
mod record;
mod refusal;
mod runtime;
mod slots;
mod store;
mod syscall;
mod trace;

pub use counters::{CounterMaps, Snapshot};
pub use generation::Generation;
pub use interface::{Interface, LinkLayer, Mode, environment, interface_with, interfaces};
pub use lock::Lock;
pub use record::Record;
pub use refusal::Refusal;
pub use store::{Attached, Change, Counters, Live, Store};
pub use trace::{Events, follow_diagnostics};
