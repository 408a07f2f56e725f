//! xdpfw, a host packet filter on eBPF/XDP: the library behind the command line.
//!
//! [`policy`] and [`compiler`] are pure; [`kernel`] is the only place that talks
//! to eBPF; [`commands`] has a file for each command; [`view`] renders.

pub mod cli;
pub mod commands;
pub mod compiler;
pub mod exit;
pub mod host;
pub mod icmp;
pub mod kernel;
pub mod policy;
pub mod ports;
pub mod protocols;
pub mod services;
pub mod text;
pub mod view;
