//! The maps, in a module for each subject, with all that reads or writes them.

pub mod counters;
pub mod tables;
