//! The bpf(2) commands that aya does not offer.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use aya_obj::generated::{bpf_attr, bpf_cmd};
use bytemuck::NoUninit;

/// The kernel's own error for "this map has no such operation" (`ENOTSUPP` in
/// linux/errno.h), which no C library knows.
const ENOTSUPP: i32 = 524;

/// Attributes of a command, all zero.
pub(super) fn attributes() -> bpf_attr {
    // SAFETY: a union of plain integers, all of which may be zero.
    unsafe { std::mem::zeroed() }
}

/// Calls bpf(2).
pub(super) fn bpf(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<i32> {
    // SAFETY: the kernel reads and writes `attributes` up to the given size, and what
    // they point to outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            std::ptr::from_mut(attributes),
            size_of::<bpf_attr>(),
        )
    };
    match i32::try_from(result) {
        Ok(result @ 0..) => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Puts entries into a hash map or trie: in one call where the kernel takes batches
/// (Linux 5.6, for tries later), else one by one.
pub(super) fn update<K: NoUninit, V: NoUninit>(
    map: BorrowedFd<'_>,
    keys: &[K],
    values: &[V],
) -> io::Result<()> {
    debug_assert_eq!(keys.len(), values.len());
    if keys.is_empty() {
        return Ok(());
    }
    match update_batch(map, keys, values) {
        Err(error) if has_no_batch(&error) => keys
            .iter()
            .zip(values)
            .try_for_each(|(key, value)| update_one(map, key, value)),
        result => result,
    }
}

fn has_no_batch(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINVAL | libc::EOPNOTSUPP | ENOTSUPP)
    )
}

fn update_batch<K: NoUninit, V: NoUninit>(
    map: BorrowedFd<'_>,
    keys: &[K],
    values: &[V],
) -> io::Result<()> {
    let mut update = attributes();
    update.batch.keys = keys.as_ptr() as u64;
    update.batch.values = values.as_ptr() as u64;
    update.batch.count = u32::try_from(keys.len()).map_err(io::Error::other)?;
    update.batch.map_fd = map.as_raw_fd() as u32;
    bpf(bpf_cmd::BPF_MAP_UPDATE_BATCH, &mut update).map(drop)
}

fn update_one<K: NoUninit, V: NoUninit>(map: BorrowedFd<'_>, key: &K, value: &V) -> io::Result<()> {
    let mut update = attributes();
    let element = aya_obj::generated::bpf_attr__bindgen_ty_2 {
        map_fd: map.as_raw_fd() as u32,
        key: std::ptr::from_ref(key) as u64,
        __bindgen_anon_1: aya_obj::generated::bpf_attr__bindgen_ty_2__bindgen_ty_1 {
            value: std::ptr::from_ref(value) as u64,
        },
        flags: 0,
    };
    update.__bindgen_anon_2 = element;
    bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut update).map(drop)
}
