//! Detaches links. The program is off the interface when it returns.

use std::{io, os::fd::AsRawFd as _, path::Path};

use anyhow::{Context as _, Result};
use aya_obj::generated::bpf_cmd;

use crate::datapath::{
    pins::PinDirectory,
    syscall::{attributes, bpf, open_pin},
};

/// Detaches the link pinned under this name, if there is one, and removes the pin.
///
/// The pin alone would do, but only some time later: the kernel frees a link
/// in deferred work, and its interface stays filtered until then.
pub(in crate::datapath) fn remove(links: &PinDirectory, name: &str) -> Result<()> {
    if links.has(name) {
        detach(&links.pin(name))
            .with_context(|| format!("cannot detach {}", links.shown(name).display()))?;
    }
    links.remove_all(name)
}

fn detach(path: &Path) -> io::Result<()> {
    let link = open_pin(path)?;
    let mut detach = attributes();
    detach.link_detach.link_fd = link.as_raw_fd() as u32;
    bpf(bpf_cmd::BPF_LINK_DETACH, &mut detach).map(drop)
}
