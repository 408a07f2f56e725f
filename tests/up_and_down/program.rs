//! XDP programs of others, of a few instructions and without an object file: each counts what
//! it gets and has one verdict.

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use aya_obj::generated::{
    BPF_F_XDP_HAS_FRAGS, bpf_attach_type, bpf_attr, bpf_cmd, bpf_insn, bpf_map_type, bpf_prog_info,
    bpf_prog_type,
};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use xdpfw_tests::{Host, ifindex};

/// `XDP_DROP` in linux/bpf.h.
pub(crate) const DROP: i32 = 1;
/// `XDP_PASS`.
pub(crate) const PASS: i32 = 2;

/// A bpffs of a test's own, unmounted when this is dropped.
pub(crate) struct Pins(PathBuf);

impl Pins {
    pub(crate) fn mount(host: &Host) -> Result<Self> {
        let path = host.directory().join("pins");
        fs::create_dir_all(&path)?;
        mount("bpf", &path, "bpf", MountFlags::empty(), Some(c"mode=0700"))
            .context("cannot mount a bpffs")?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        let _ = unmount(&self.0, UnmountFlags::DETACH);
    }
}

/// A program that counts the packets it gets, and drops those that have metadata in front.
pub(crate) struct Program {
    program: OwnedFd,
    count: OwnedFd,
}

/// What a program is loaded with.
#[derive(Clone, Copy)]
pub(crate) struct Loaded {
    pub(crate) name: &'static str,
    pub(crate) verdict: i32,
    pub(crate) frags: bool,
    pub(crate) attach_type: bpf_attach_type,
}

impl Loaded {
    /// As libbpf loads one from `SEC("xdp")`.
    pub(crate) const fn plain(name: &'static str, verdict: i32) -> Self {
        Self {
            name,
            verdict,
            frags: false,
            attach_type: bpf_attach_type::BPF_XDP,
        }
    }
}

impl Program {
    pub(crate) fn load(loaded: Loaded) -> Result<Self> {
        let mut attributes = attributes();
        // SAFETY: all zeros are a valid value of this member.
        let create = unsafe { &mut attributes.__bindgen_anon_1 };
        create.map_type = bpf_map_type::BPF_MAP_TYPE_ARRAY as u32;
        create.key_size = 4;
        create.value_size = 8;
        create.max_entries = 1;
        let count = open(bpf_cmd::BPF_MAP_CREATE, &mut attributes).context("cannot make a map")?;
        // Opcodes as in linux/bpf.h.
        let code = [
            // Metadata in front of the packet?
            instruction(0x61, 6, 1, 0, 0),
            instruction(0x61, 7, 1, 8, 0),
            instruction(0x1d, 6, 7, 2, 0),
            instruction(0xb7, 0, 0, 0, DROP),
            instruction(0x95, 0, 0, 0, 0),
            // The element of the map.
            instruction(0x62, 10, 0, -4, 0),
            instruction(0xbf, 2, 10, 0, 0),
            instruction(0x07, 2, 0, 0, -4),
            instruction(0x18, 1, 1, 0, count.as_raw_fd()),
            instruction(0, 0, 0, 0, 0),
            instruction(0x85, 0, 0, 0, 1),
            instruction(0x15, 0, 0, 2, 0),
            // Is counted up.
            instruction(0xb7, 1, 0, 0, 1),
            instruction(0xdb, 0, 1, 0, 0),
            instruction(0xb7, 0, 0, 0, loaded.verdict),
            instruction(0x95, 0, 0, 0, 0),
        ];
        let mut attributes = self::attributes();
        // SAFETY: all zeros are a valid value of this member.
        let load = unsafe { &mut attributes.__bindgen_anon_3 };
        load.prog_type = bpf_prog_type::BPF_PROG_TYPE_XDP as u32;
        load.insns = code.as_ptr() as u64;
        load.insn_cnt = code.len() as u32;
        load.license = c"GPL".as_ptr() as u64;
        load.expected_attach_type = loaded.attach_type as u32;
        load.prog_flags = if loaded.frags { BPF_F_XDP_HAS_FRAGS } else { 0 };
        for (to, from) in load.prog_name.iter_mut().zip(loaded.name.bytes()) {
            *to = from as std::ffi::c_char;
        }
        let program =
            open(bpf_cmd::BPF_PROG_LOAD, &mut attributes).context("cannot load a program")?;
        Ok(Self { program, count })
    }

    /// Loads one and pins it.
    pub(crate) fn pinned(loaded: Loaded, path: &Path) -> Result<Self> {
        let program = Self::load(loaded)?;
        pin(&program.program, path)?;
        Ok(program)
    }

    /// Pins the map that it counts in.
    pub(crate) fn pin_map(&self, path: &Path) -> Result<()> {
        pin(&self.count, path)
    }

    /// The packets that it has got.
    pub(crate) fn packets(&self) -> Result<u64> {
        let (key, mut value) = (0_u32, 0_u64);
        let mut attributes = attributes();
        attributes.__bindgen_anon_2.map_fd = self.count.as_raw_fd() as u32;
        attributes.__bindgen_anon_2.key = std::ptr::from_ref(&key) as u64;
        attributes.__bindgen_anon_2.__bindgen_anon_1.value = std::ptr::from_mut(&mut value) as u64;
        bpf(bpf_cmd::BPF_MAP_LOOKUP_ELEM, &mut attributes)?;
        Ok(value)
    }

    /// The kernel's number for it.
    pub(crate) fn id(&self) -> Result<u32> {
        // SAFETY: a struct of plain numbers, all of which may be zero.
        let mut info: bpf_prog_info = unsafe { std::mem::zeroed() };
        let mut attributes = attributes();
        attributes.info.bpf_fd = self.program.as_raw_fd() as u32;
        attributes.info.info_len = size_of::<bpf_prog_info>() as u32;
        attributes.info.info = std::ptr::from_mut(&mut info) as u64;
        bpf(bpf_cmd::BPF_OBJ_GET_INFO_BY_FD, &mut attributes)?;
        Ok(info.id)
    }

    /// Has an interface run it in its driver, until the result is dropped.
    pub(crate) fn attach(&self, host: &Host, interface: &str) -> Result<OwnedFd> {
        let index = u32::try_from(ifindex(host, interface)?)?;
        let mut attributes = attributes();
        attributes.link_create.__bindgen_anon_1.prog_fd = self.program.as_raw_fd() as u32;
        attributes.link_create.__bindgen_anon_2.target_ifindex = index;
        attributes.link_create.attach_type = bpf_attach_type::BPF_XDP as u32;
        // `XDP_FLAGS_DRV_MODE` in linux/if_link.h.
        attributes.link_create.flags = 1 << 2;
        let link = host.enter(|| Ok(bpf(bpf_cmd::BPF_LINK_CREATE, &mut attributes)?))?;
        ensure!(link >= 0);
        // SAFETY: just opened, and nobody else's.
        Ok(unsafe { OwnedFd::from_raw_fd(link) })
    }
}

fn pin(object: &OwnedFd, path: &Path) -> Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = attributes();
    attributes.__bindgen_anon_4.pathname = path.as_ptr() as u64;
    attributes.__bindgen_anon_4.bpf_fd = object.as_raw_fd() as u32;
    bpf(bpf_cmd::BPF_OBJ_PIN, &mut attributes).context("cannot pin")?;
    Ok(())
}

fn instruction(code: u8, to: u8, from: u8, offset: i16, number: i32) -> bpf_insn {
    bpf_insn {
        code,
        _bitfield_align_1: [],
        _bitfield_1: bpf_insn::new_bitfield_1(to, from),
        off: offset,
        imm: number,
    }
}

fn attributes() -> bpf_attr {
    // SAFETY: a union of plain numbers, all of which may be zero.
    unsafe { std::mem::zeroed() }
}

fn open(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<OwnedFd> {
    let fd = bpf(command, attributes)?;
    // SAFETY: just opened, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn bpf(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<i32> {
    // SAFETY: the kernel reads and writes `attributes` up to the given size, and what they
    // point to outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            std::ptr::from_mut(attributes),
            size_of::<bpf_attr>(),
        )
    };
    i32::try_from(result)
        .ok()
        .filter(|result| *result >= 0)
        .ok_or_else(io::Error::last_os_error)
}
