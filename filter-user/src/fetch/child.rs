//! The process that fetches: what it may do, and what it does.

use std::{
    io::{self, Read as _, Write as _},
    process::ExitCode,
};

use anyhow::{Context as _, Result, ensure};
use rustix::{
    process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit},
    thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs},
};

use super::{NAME, Request, client};

/// Bytes of its address space.
const MEMORY: u64 = 1 << 30;
/// Seconds of processor time.
const PROCESSOR: u64 = 120;
/// Files that it may have open.
const FILES: u64 = 64;
/// Bytes of a request at most.
const REQUEST: u64 = 1 << 16;

/// If this process is such a one: fetches, and how it ends.
pub fn answer() -> Option<ExitCode> {
    if std::env::args_os().next()? != NAME {
        return None;
    }
    Some(match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody else is to hear of it.
            let _ = write!(io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    })
}

fn run() -> Result<()> {
    confine().context("cannot give up privileges")?;
    let mut text = String::new();
    io::stdin().take(REQUEST).read_to_string(&mut text)?;
    let request: Request = serde_json::from_str(&text)?;
    client::fetch(&request, &mut io::stdout().lock())
}

/// Gives up what it does not need.
fn confine() -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    set_no_new_privs(true)?;
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )?;
    for (resource, most) in [
        (Resource::As, MEMORY),
        (Resource::Cpu, PROCESSOR),
        (Resource::Nofile, FILES),
        (Resource::Fsize, 0),
        (Resource::Core, 0),
    ] {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit)?;
    }
    ensure!(!rustix::process::geteuid().is_root(), "this is still root");
    Ok(())
}
