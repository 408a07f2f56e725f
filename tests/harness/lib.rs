//! The harness of the end-to-end tests, and of the programs beside them (bench, demo,
//! verifier): hosts in network namespaces, veth pairs between them, servers, packets, the
//! binary.
//!
//! What goes wrong with the surroundings (no root, no `ip`, a packet lost on the
//! way) is an `Err` that names it; a claim about xdpfw that does not hold is a
//! panic at the caller's line ([`Xdpfw::ok`], [`Xdpfw::fails`]). Nothing is ever
//! skipped.
//!
//! ```no_run
//! use xdpfw_tests::{Lab, Sender, packets};
//!
//! # fn main() -> anyhow::Result<()> {
//! let lab = Lab::new()?;
//! lab.host.xdpfw(["up", "eth0"]).ok();
//! let mut sender = Sender::new(&lab.peer, lab.link().far())?;
//! let from = lab.link().far().at(40_000);
//! sender.send_all((1..=65_535).map(|port| packets::syn(from, lab.link().near().at(port))))?;
//! let stats = lab.host.xdpfw(["stats"]).json();
//! # Ok(())
//! # }
//! ```

mod device;
mod family;
mod host;
mod interrupt;
pub mod json;
mod kernel;
mod link;
mod namespace;
mod output;
pub mod packets;
mod probe;
mod process;
pub mod sample;
mod sender;
pub mod servers;
mod state;
mod tally;
pub mod task;
mod tmux;
mod tun;
mod xdpfw;

pub use device::Counters;
pub use family::Family;
pub use host::{Host, packaged, unpacked_file};
pub use interrupt::Interrupted;
pub use kernel::{assert_nothing_is_left, ifindex, pinned, xdp, xdp_mode};
pub use link::{End, Lab, Link, add_ipv6, link};
pub use output::{assert_is_one_error, text};
pub use probe::{is_dropped, is_dropped_on};
pub use process::{Process, capture};
pub use sender::{Sender, packet_socket};
pub use state::{
    State, generation, interfaces_up, is_traced, policy_mode, policy_text, state, wait_until,
};
pub use tally::Tally;
pub use tmux::Tmux;
pub use tun::Tun;
pub use xdpfw::{CAPABILITIES, Xdpfw};

/// How long tests wait for what must come.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
