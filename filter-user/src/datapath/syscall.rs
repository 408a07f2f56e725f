//! The bpf(2) commands that aya does not offer.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use aya_obj::generated::{
    BPF_ANY, BPF_NOEXIST, bpf_attr, bpf_cmd, bpf_link_info, bpf_link_type, bpf_map_type,
    bpf_prog_info,
};
use bytemuck::{NoUninit, Pod};

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

/// Opens what is pinned at a path.
pub(super) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut get = attributes();
    get.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    open(bpf_cmd::BPF_OBJ_GET, &mut get)
}

/// Runs a program once on a packet, with this context.
pub(super) fn test_run(program: BorrowedFd<'_>, packet: &[u8], context: &[u8]) -> io::Result<()> {
    let mut run = attributes();
    run.test.prog_fd = program.as_raw_fd() as u32;
    run.test.data_in = packet.as_ptr() as u64;
    run.test.data_size_in = u32::try_from(packet.len()).map_err(io::Error::other)?;
    run.test.ctx_in = context.as_ptr() as u64;
    run.test.ctx_size_in = u32::try_from(context.len()).map_err(io::Error::other)?;
    run.test.repeat = 1;
    bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut run).map(drop)
}

/// Pins a program or link at a path.
pub(super) fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut pin = attributes();
    pin.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    pin.__bindgen_anon_4.bpf_fd = object.as_raw_fd() as u32;
    bpf(bpf_cmd::BPF_OBJ_PIN, &mut pin).map(drop)
}

/// What the kernel says of a link.
pub(super) fn link_info(link: &OwnedFd) -> io::Result<bpf_link_info> {
    // SAFETY: a struct of plain integers, all of which may be zero.
    let mut info: bpf_link_info = unsafe { std::mem::zeroed() };
    let mut get = attributes();
    get.info.bpf_fd = link.as_raw_fd() as u32;
    get.info.info_len = size_of::<bpf_link_info>() as u32;
    get.info.info = std::ptr::from_mut(&mut info) as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut get)?;
    Ok(info)
}

/// The interface that an XDP link is attached to, 0 if it is gone, and the link's program;
/// `None` if the link is another one.
pub(super) fn xdp_link(link: &OwnedFd) -> io::Result<Option<(u32, u32)>> {
    let info = link_info(link)?;
    if info.type_ != bpf_link_type::BPF_LINK_TYPE_XDP as u32 {
        return Ok(None);
    }
    // SAFETY: an XDP link has this member, as was just checked.
    let xdp = unsafe { info.__bindgen_anon_1.xdp };
    Ok(Some((xdp.ifindex, info.prog_id)))
}

/// Opens the program that the kernel has under this number.
pub(super) fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    let mut get = attributes();
    get.__bindgen_anon_6.__bindgen_anon_1.prog_id = id;
    open(bpf_cmd::BPF_PROG_GET_FD_BY_ID, &mut get)
}

/// The kernel's number for an open program.
pub(super) fn program_id(program: &OwnedFd) -> io::Result<u32> {
    Ok(program_info(program)?.id)
}

/// The name of the program that the kernel has under this number, as far as the kernel keeps it
/// (15 bytes). By number, only CAP_SYS_ADMIN opens a program.
pub(super) fn program_name(id: u32) -> io::Result<String> {
    name_of_program(&program_by_id(id)?)
}

/// The name of an open program; empty if it has none.
pub(super) fn name_of_program(program: &OwnedFd) -> io::Result<String> {
    let name = program_info(program)?.name;
    let bytes = name.iter().map(|byte| byte.cast_unsigned());
    let bytes: Vec<u8> = bytes.take_while(|byte| *byte != 0).collect();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn program_info(program: &OwnedFd) -> io::Result<bpf_prog_info> {
    // SAFETY: a struct of plain integers, all of which may be zero.
    let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
    let mut get = attributes();
    get.info.bpf_fd = program.as_raw_fd() as u32;
    get.info.info_len = size_of::<bpf_prog_info>() as u32;
    get.info.info = std::ptr::from_mut(&mut info) as u64;
    bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut get)?;
    Ok(info)
}

/// The link with the next number behind this one.
pub(super) fn next_link(after: u32) -> io::Result<u32> {
    let mut get = attributes();
    get.__bindgen_anon_6.__bindgen_anon_1.start_id = after;
    bpf(bpf_cmd::BPF_LINK_GET_NEXT_ID, &mut get)?;
    // SAFETY: the member that was written before the call, and which the kernel updates.
    Ok(unsafe { get.__bindgen_anon_6.next_id })
}

/// Opens the link that the kernel has under this number.
pub(super) fn link_by_id(id: u32) -> io::Result<OwnedFd> {
    let mut get = attributes();
    get.__bindgen_anon_6.__bindgen_anon_1.link_id = id;
    open(bpf_cmd::BPF_LINK_GET_FD_BY_ID, &mut get)
}

/// Detaches a link: its program is off the interface when this returns.
pub(super) fn detach_link(link: &OwnedFd) -> io::Result<()> {
    let mut detach = attributes();
    detach.link_detach.link_fd = link.as_raw_fd() as u32;
    bpf(bpf_cmd::BPF_LINK_DETACH, &mut detach).map(drop)
}

/// Makes a program array with one element.
pub(super) fn new_program_array() -> io::Result<OwnedFd> {
    let mut create = attributes();
    create.__bindgen_anon_1.map_type = bpf_map_type::BPF_MAP_TYPE_PROG_ARRAY as u32;
    create.__bindgen_anon_1.key_size = size_of::<u32>() as u32;
    create.__bindgen_anon_1.value_size = size_of::<u32>() as u32;
    create.__bindgen_anon_1.max_entries = 1;
    open(bpf_cmd::BPF_MAP_CREATE, &mut create)
}

/// Calls a command that opens something.
pub(super) fn open(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<OwnedFd> {
    let fd = bpf(command, attributes)?;
    // SAFETY: just opened, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
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
            .try_for_each(|(key, value)| update_one(map, key, value, BPF_ANY)),
        result => result,
    }
}

/// Whether the kernel does not take batches of this kind of map.
pub(super) fn has_no_batch(error: &io::Error) -> bool {
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

/// Puts an entry into a hash map, where there is none of this key.
pub(super) fn insert<K: NoUninit, V: NoUninit>(
    map: BorrowedFd<'_>,
    key: &K,
    value: &V,
) -> io::Result<()> {
    update_one(map, key, value, BPF_NOEXIST)
}

/// Puts an entry into a map, in place of what is there.
pub(super) fn set<K: NoUninit, V: NoUninit>(
    map: BorrowedFd<'_>,
    key: &K,
    value: &V,
) -> io::Result<()> {
    update_one(map, key, value, BPF_ANY)
}

/// Removes entries of a hash map or trie; those that are not there are no error. In one call where
/// the kernel takes batches.
pub(super) fn remove<K: NoUninit>(map: BorrowedFd<'_>, keys: &[K]) -> io::Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    let mut delete = attributes();
    delete.batch.keys = keys.as_ptr() as u64;
    delete.batch.count = u32::try_from(keys.len()).map_err(io::Error::other)?;
    delete.batch.map_fd = map.as_raw_fd() as u32;
    match bpf(bpf_cmd::BPF_MAP_DELETE_BATCH, &mut delete) {
        Ok(_) => return Ok(()),
        // It stops at the first that is not there.
        Err(error) if has_no_batch(&error) || error.raw_os_error() == Some(libc::ENOENT) => {}
        Err(error) => return Err(error),
    }
    for key in keys {
        let mut delete = attributes();
        delete.__bindgen_anon_2.map_fd = map.as_raw_fd() as u32;
        delete.__bindgen_anon_2.key = std::ptr::from_ref(key) as u64;
        match bpf(bpf_cmd::BPF_MAP_DELETE_ELEM, &mut delete) {
            Err(error) if error.raw_os_error() != Some(libc::ENOENT) => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn update_one<K: NoUninit, V: NoUninit>(
    map: BorrowedFd<'_>,
    key: &K,
    value: &V,
    flags: u32,
) -> io::Result<()> {
    let mut update = attributes();
    let element = aya_obj::generated::bpf_attr__bindgen_ty_2 {
        map_fd: map.as_raw_fd() as u32,
        key: std::ptr::from_ref(key) as u64,
        __bindgen_anon_1: aya_obj::generated::bpf_attr__bindgen_ty_2__bindgen_ty_1 {
            value: std::ptr::from_ref(value) as u64,
        },
        flags: flags.into(),
    };
    update.__bindgen_anon_2 = element;
    bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut update).map(drop)
}

/// Reads so many elements of an array from the `first` on, each of so many words: of an array per
/// CPU, those of all CPUs one after the other.
pub(super) fn elements(
    map: BorrowedFd<'_>,
    first: u32,
    count: usize,
    words: usize,
) -> io::Result<Vec<u64>> {
    let (mut keys, mut values) = (vec![0_u32; count], vec![0_u64; count * words]);
    // The kernel goes on behind a key (`generic_map_lookup_batch` in kernel/bpf/syscall.c).
    let before = first.checked_sub(1);
    let read = lookup_batch(map, before, &mut keys, &mut values)?;
    match read.count == count {
        true => Ok(values),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// What one call has read of a map.
struct Batch {
    /// How many entries.
    count: usize,
    /// Where the next one goes on; `None` at the end.
    next: Option<u32>,
}

/// Reads entries of a map from where the kernel went on to, as far as there is room for keys.
fn lookup_batch<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    from: Option<u32>,
    keys: &mut [K],
    values: &mut [V],
) -> io::Result<Batch> {
    let mut next = 0_u32;
    let mut lookup = attributes();
    lookup.batch.in_batch = from.as_ref().map_or(0, |from| &raw const *from as u64);
    lookup.batch.out_batch = &raw mut next as u64;
    lookup.batch.keys = keys.as_mut_ptr() as u64;
    lookup.batch.values = values.as_mut_ptr() as u64;
    lookup.batch.count = u32::try_from(keys.len()).map_err(io::Error::other)?;
    lookup.batch.map_fd = map.as_raw_fd() as u32;
    let next = match bpf(bpf_cmd::BPF_MAP_LOOKUP_BATCH, &mut lookup) {
        Ok(_) => Some(next),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => None,
        Err(error) => return Err(error),
    };
    // SAFETY: the member that was written before the call, and which the kernel updates.
    let count = unsafe { lookup.batch.count } as usize;
    Ok(Batch { count, next })
}

/// Reads all entries of a hash map that has room for so many. Packets go on meanwhile.
pub(super) fn entries<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    capacity: u32,
) -> io::Result<Vec<(K, V)>> {
    let room = capacity as usize;
    let (mut keys, mut values) = (vec![K::zeroed(); room], vec![V::zeroed(); room]);
    let mut found = Vec::new();
    // Where the kernel goes on: the number of a bucket (`__htab_map_lookup_and_delete_batch`
    // in kernel/bpf/hashtab.c).
    let mut bucket: Option<u32> = None;
    loop {
        let Batch { count, next } = lookup_batch(map, bucket, &mut keys, &mut values)?;
        found.extend(keys.iter().copied().zip(values.iter().copied()).take(count));
        if next.is_none() {
            return Ok(found);
        }
        bucket = next;
    }
}
