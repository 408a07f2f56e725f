//! Finds scans: sources that send to many closed ports of this host.
//!
//! Each source has a place in a table of fixed size, by a hash that nobody outside can compute, apart
//! for each [kind](Kind) of packets; there, a bit for each port that it tried, and the time. A source
//! is found once so many bits are set within a window as so many ports are expected to set; and again
//! in a window of hours, for scans that take their time.
//!
//! A packet that tells nothing new only reads, so that CPUs do not fight over a place. A place that is
//! taken is given up at once if what is known there is old; else with a probability that falls with
//! each port that is known, so that a flood of forged sources does not drive out who really scans.
//!
//! Pure; the table is the caller's.

mod count;
mod kind;
mod place;
mod sketch;
mod tag;

pub use self::{
    count::{expected_bits, likely_ports},
    kind::Kind,
    place::{Place, PortMark},
    sketch::{Slot, note},
    tag::Tag,
};
