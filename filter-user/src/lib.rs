//! xdpfw, a host packet filter on eBPF/XDP: the library behind the command line.
//!
//! Layers, each of which knows only those below: [`commands`] (and [`output`], which renders)
//! → [`engine`] → [`datapath`] and [`analysis`] → [`compiler`] → [`policy`] → [`ports`] and
//! [`names`]. [`netlink`] and [`system`] read the host, [`crowdsec`] a service, and know none of
//! them.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests write to directories of their own"
    )
)]

pub mod analysis;
pub mod cli;
pub mod commands;
pub mod compiler;
pub mod crowdsec;
pub mod datapath;
pub mod duration;
pub mod engine;
pub mod fetch;
mod lists;
pub mod names;
pub mod netlink;
pub mod output;
mod own_thread;
pub mod policy;
pub mod ports;
pub mod system;
mod text;
