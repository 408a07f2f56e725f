//! The maps, in a module for each subject, each with all code that uses them.

pub mod atomic;
pub mod bans;
pub mod bridges;
pub mod counters;
pub mod flows;
pub mod limits;
pub mod members;
pub mod opener_bans;
pub mod scan;
pub mod tables;
