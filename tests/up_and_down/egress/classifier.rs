//! Classifiers of a few instructions, without an object file, and where they are attached.

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
use aya::programs::{SchedClassifier, TcAttachType};
use aya_obj::generated::{
    BPF_F_BEFORE, bpf_attach_type, bpf_attr, bpf_cmd, bpf_insn, bpf_prog_type,
};
use xdpfw_common::abi::BARE_MARK_CB;
use xdpfw_tests::{Host, ifindex};

/// Where `struct __sk_buff` in linux/bpf.h has `cb`.
const CB: usize = 48;
/// Its size.
const CONTEXT: usize = 192;

/// A loaded classifier.
pub(super) struct Classifier(OwnedFd);

impl Classifier {
    /// One that returns the same of each packet.
    pub(super) fn that_returns(value: i32) -> Result<Self> {
        // Opcodes as in linux/bpf.h: move a number to a register, return.
        Self::load(&[
            instruction(0xb7, 0, 0, 0, value),
            instruction(0x95, 0, 0, 0, 0),
        ])
    }

    /// One that returns what the dispatcher wrote in front of it.
    pub(super) fn that_returns_the_mark() -> Result<Self> {
        let offset = i16::try_from(CB + BARE_MARK_CB * size_of::<u32>())?;
        // Load a word from the context, return.
        Self::load(&[
            instruction(0x61, 0, 1, offset, 0),
            instruction(0x95, 0, 0, 0, 0),
        ])
    }

    /// One that is pinned.
    pub(super) fn from_pin(path: &Path) -> Result<Self> {
        open_pin(path).map(Self)
    }

    fn load(program: &[bpf_insn]) -> Result<Self> {
        let licence = c"GPL";
        let mut attributes = attributes();
        // SAFETY: all zeros are a valid value of this member.
        let load = unsafe { &mut attributes.__bindgen_anon_3 };
        load.prog_type = bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS as u32;
        load.insns = program.as_ptr() as u64;
        load.insn_cnt = program.len() as u32;
        load.license = licence.as_ptr() as u64;
        let fd = bpf(bpf_cmd::BPF_PROG_LOAD, &mut attributes).context("cannot load a program")?;
        // SAFETY: just opened, and nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Pins it.
    pub(super) fn pin(&self, path: &Path) -> Result<()> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        let mut attributes = attributes();
        attributes.__bindgen_anon_4.pathname = path.as_ptr() as u64;
        attributes.__bindgen_anon_4.bpf_fd = self.0.as_raw_fd() as u32;
        bpf(bpf_cmd::BPF_OBJ_PIN, &mut attributes).context("cannot pin a program")?;
        Ok(())
    }

    /// Has an interface run it for what leaves, first or last, until the result is dropped.
    pub(super) fn attach(&self, host: &Host, interface: &str, first: bool) -> Result<OwnedFd> {
        let index = u32::try_from(ifindex(host, interface)?)?;
        let mut attributes = attributes();
        attributes.link_create.__bindgen_anon_1.prog_fd = self.0.as_raw_fd() as u32;
        attributes.link_create.__bindgen_anon_2.target_ifindex = index;
        attributes.link_create.attach_type = bpf_attach_type::BPF_TCX_EGRESS as u32;
        attributes.link_create.flags = if first { BPF_F_BEFORE } else { 0 };
        let fd = host.enter(|| Ok(bpf(bpf_cmd::BPF_LINK_CREATE, &mut attributes)?))?;
        // SAFETY: just opened, and nobody else's.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    /// Makes it the only program of a program array.
    pub(super) fn put_into_slot(&self, array: &Path) -> Result<()> {
        let (array, key, program) = (open_pin(array)?, 0_u32, self.0.as_raw_fd());
        let mut attributes = attributes();
        attributes.__bindgen_anon_2.map_fd = array.as_raw_fd() as u32;
        attributes.__bindgen_anon_2.key = std::ptr::from_ref(&key) as u64;
        attributes.__bindgen_anon_2.__bindgen_anon_1.value = std::ptr::from_ref(&program) as u64;
        bpf(bpf_cmd::BPF_MAP_UPDATE_ELEM, &mut attributes).context("cannot fill the slot")?;
        Ok(())
    }

    /// What it returns of a packet, in whose control buffer the mark's place has this value.
    pub(super) fn run(&self, left: u32) -> Result<u32> {
        let packet = [0_u8; 64];
        let mut context = [0_u8; CONTEXT];
        let place = CB + BARE_MARK_CB * size_of::<u32>();
        context[place..place + size_of::<u32>()].copy_from_slice(&left.to_ne_bytes());
        let mut attributes = attributes();
        // SAFETY: all zeros are a valid value of this member.
        let test = unsafe { &mut attributes.test };
        test.prog_fd = self.0.as_raw_fd() as u32;
        test.data_in = packet.as_ptr() as u64;
        test.data_size_in = packet.len() as u32;
        test.ctx_in = context.as_ptr() as u64;
        test.ctx_size_in = CONTEXT as u32;
        test.repeat = 1;
        bpf(bpf_cmd::BPF_PROG_TEST_RUN, &mut attributes).context("cannot run a program")?;
        // SAFETY: the kernel has written this member.
        Ok(unsafe { attributes.test.retval })
    }
}

/// Takes the program out of a program array.
pub(crate) fn empty_slot(array: &Path) -> Result<()> {
    let (array, key) = (open_pin(array)?, 0_u32);
    let mut attributes = attributes();
    attributes.__bindgen_anon_2.map_fd = array.as_raw_fd() as u32;
    attributes.__bindgen_anon_2.key = std::ptr::from_ref(&key) as u64;
    match bpf(bpf_cmd::BPF_MAP_DELETE_ELEM, &mut attributes) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        result => result.map(drop).context("cannot empty the slot"),
    }
}

/// Detaches a link that is pinned.
pub(super) fn detach(link: &Path) -> Result<()> {
    let link = open_pin(link)?;
    let mut attributes = attributes();
    attributes.link_detach.link_fd = link.as_raw_fd() as u32;
    bpf(bpf_cmd::BPF_LINK_DETACH, &mut attributes).context("cannot detach a link")?;
    Ok(())
}

/// The numbers of the TCX programs that an interface runs for what leaves, the first one
/// first.
pub(super) fn tcx_programs(host: &Host, interface: &str) -> Result<Vec<u32>> {
    let (_, programs) =
        host.enter(|| Ok(SchedClassifier::query_tcx(interface, TcAttachType::Egress)?))?;
    Ok(programs.iter().map(|program| program.id()).collect())
}

fn open_pin(path: &Path) -> Result<OwnedFd> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = attributes();
    attributes.__bindgen_anon_4.pathname = name.as_ptr() as u64;
    let fd = bpf(bpf_cmd::BPF_OBJ_GET, &mut attributes)
        .with_context(|| format!("cannot open {}", path.display()))?;
    // SAFETY: just opened, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
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
