//! The cases of docs/CONFORMANCE.md, one file per subject.

pub(crate) mod aggregates;
pub(crate) mod ethernet;
pub(crate) mod extensions;
pub(crate) mod flags;
pub(crate) mod fragments;
pub(crate) mod icmp;
pub(crate) mod ipv4;
pub(crate) mod ipv6;
pub(crate) mod ports;
pub(crate) mod protocols;
pub(crate) mod transport;
pub(crate) mod truncated;
