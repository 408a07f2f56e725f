//! What the kernel program and userspace must agree on, and the packet logic that both
//! compile: the ABI, the header views, the verdict, flows.
//!
//! Nothing here allocates, panics or touches a map. The kernel program and the tests plug in
//! their own [`Frame`](wire::Frame) and [`Host`](verdict::Host).

#![no_std]

pub mod abi;
pub mod flows;
pub mod limit;
pub mod reason;
pub mod scan;
pub mod verdict;
pub mod wire;

pub use reason::{Reason, Verdict};
pub use wire::Transport;
