//! Tests of what the command line reads and writes: words, files, JSON, signals.

mod completion;
mod json;
mod running;
mod stats;
mod log;
mod log_targets;
mod usage;
mod watch;
