//! The maps, in a module for each subject, each with all code that uses them.

pub mod counters;
pub mod tables;
