//! Detaches links, and hands them over to another version's programs.

use std::{
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    path::Path,
};

use anyhow::{Context as _, Result};
use aya_obj::generated::bpf_cmd;

use crate::datapath::{
    pins::PinDirectory,
    syscall::{attributes, bpf, detach_link, open_pin, pin},
};

/// Detaches the link pinned under this name, if there is one, and removes the pin.
///
/// The pin alone would do, but only some time later: the kernel frees a link
/// in deferred work, and its interface stays filtered until then.
pub(in crate::datapath) fn remove(links: &PinDirectory, name: &str) -> Result<()> {
    let detach = || match links.open_pin(name)? {
        Some(link) => detach_link(&link),
        None => Ok(()),
    };
    detach().with_context(|| format!("cannot detach {}", links.shown(name).display()))?;
    links.remove_all(name)
}

/// Pins a link in its new place, has it run another program, and removes it from its old place.
/// In this order, the next command finds it wherever this one was killed.
pub(in crate::datapath) fn hand_over(
    link: &OwnedFd,
    name: &str,
    program: &Path,
    (old, new): (&PinDirectory, &PinDirectory),
) -> Result<()> {
    let moved = || -> Result<()> {
        let program = open_pin(program)?;
        if !new.has(name) {
            pin(link.as_fd(), &new.pin(name))?;
        }
        let mut update = attributes();
        update.link_update.link_fd = link.as_raw_fd() as u32;
        update.link_update.__bindgen_anon_1.new_prog_fd = program.as_raw_fd() as u32;
        match bpf(bpf_cmd::BPF_LINK_UPDATE, &mut update) {
            // Its interface is gone.
            Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => new.remove(name)?,
            result => drop(result?),
        }
        old.remove(name)
    };
    moved().with_context(|| format!("cannot hand over {}", old.shown(name).display()))
}
