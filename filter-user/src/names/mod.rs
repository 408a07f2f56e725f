//! Names and the numbers that they stand for: services, IP protocols, ICMP types.
//!
//! The tables are part of the binary. Nothing here asks the network or the host's own files.

pub mod icmp;
mod nearest;
pub mod protocols;
pub mod services;
mod tsv;

pub(crate) use nearest::nearest;
