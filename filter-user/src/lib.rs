//! xdpfw, a host packet filter on eBPF/XDP: the library behind the command line.
//!
//! [`policy`] and [`compiler`] are pure; [`kernel`] is the only place that talks
//! to eBPF; [`commands`] has a file for each command; [`view`] renders.

pub mod cli;
pub mod commands;
pub mod compiler;
pub mod exit;
pub mod host;
pub mod kernel;
pub mod names;
pub mod policy;
pub mod ports;
pub mod text;
pub mod view;
