//! Tests of the packet path with traffic on real interfaces: what passes, what is dropped,
//! and that each packet is counted once.

mod decisions;
mod explain;
mod flood;
mod jumbo;
mod neighbour;
mod reports;
mod scan;
