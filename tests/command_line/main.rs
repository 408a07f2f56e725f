//! Tests of what the command line reads and writes: words, files, JSON, signals.

mod balance;
mod completion;
mod json;
mod listeners;
mod log;
mod log_targets;
mod running;
mod stats;
mod top;
mod usage;
mod watch;
