//! The end of an XDP link: the program is off the interface when it returns.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use anyhow::{Context as _, Result};
use aya_obj::generated::{bpf_attr, bpf_cmd};

use super::bpffs;

/// Detaches the link pinned at `path`, if there is one, and removes the pin.
///
/// The pin alone would do, but only some time later: the kernel frees a link
/// in deferred work, and its interface stays filtered until then.
pub(super) fn remove(path: &Path) -> Result<()> {
    if path.exists() {
        detach(path).with_context(|| format!("cannot detach {}", path.display()))?;
    }
    bpffs::remove_file(path)
}

fn detach(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut get = zeroed();
    get.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    let fd = bpf(bpf_cmd::BPF_OBJ_GET, &get)?;
    // SAFETY: just opened, and nobody else's.
    let link = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut detach = zeroed();
    detach.link_detach.link_fd = link.as_raw_fd() as u32;
    bpf(bpf_cmd::BPF_LINK_DETACH, &detach).map(drop)
}

fn zeroed() -> bpf_attr {
    // SAFETY: a union of plain integers, all of which may be zero.
    unsafe { std::mem::zeroed() }
}

/// The bpf(2) system call, for the two commands that aya does not offer.
fn bpf(command: bpf_cmd, attributes: &bpf_attr) -> io::Result<i32> {
    // SAFETY: the kernel reads `attributes` up to the given size, and what they
    // point to outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            std::ptr::from_ref(attributes),
            size_of::<bpf_attr>(),
        )
    };
    match i32::try_from(result) {
        Ok(result @ 0..) => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}
