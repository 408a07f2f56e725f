//! Takes a second look at a program in force: what was compiled, and what the verifier says
//! of it beyond what the kernel remembers.
//!
//! The verifier's statistics come with its log alone, which aya drops when a program
//! loads. So the program is read from the object and loaded once more, with the maps of
//! the one in force, read-only data and all, and with its types: they tell the verifier
//! which functions it may go through once, whoever calls them.

use std::{
    collections::{HashMap, HashSet},
    ffi::{CStr, CString},
    fs, io,
    os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use aya::{
    maps::{MapFd, MapInfo},
    programs::ProgramInfo,
};
use aya_obj::{
    ProgramSection,
    generated::{BPF_F_XDP_HAS_FRAGS, bpf_attach_type, bpf_attr, bpf_cmd, bpf_insn, bpf_prog_type},
};

use crate::report::{Row, Statistics};

/// Bytes of one BPF instruction.
const INSTRUCTION: u32 = size_of::<bpf_insn>() as u32;
/// The verifier's log holds its statistics, and nothing else (`BPF_LOG_STATS` in
/// linux/bpf_verifier.h).
const LOG_STATISTICS: u32 = 4;
/// The kernel's name for a program or map ends here (`BPF_OBJ_NAME_LEN`).
const NAME: usize = 15;

/// The compiled object.
pub(super) struct Object(aya_obj::Object);

/// A program, ready to be loaded; its maps stay open as long as it lives.
struct Program {
    instructions: Vec<bpf_insn>,
    license: CString,
    kind: ProgramSection,
    /// Which function is of which type, and the length of an entry.
    functions: (Vec<u8>, u32),
    types: OwnedFd,
    _maps: HashMap<String, MapFd>,
}

/// A name as the kernel has it.
pub(super) fn kernel_name(name: &str) -> &str {
    name.get(..NAME).unwrap_or(name)
}

impl Object {
    /// Reads an object file.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let object = aya_obj::Object::parse(&bytes)
            .with_context(|| format!("{} is no eBPF object", path.display()))?;
        Ok(Self(object))
    }

    /// What became of the program of this name, which was loaded as `loaded`.
    pub(super) fn measure(
        &self,
        name: &str,
        policy: &'static str,
        loaded: &ProgramInfo,
    ) -> Result<Row> {
        let program = self.program(name, loaded)?;
        let log = program
            .verify()
            .with_context(|| format!("cannot load {name} once more"))?;
        let (verified, statistics) = Statistics::read(&log)
            .with_context(|| format!("the verifier's log has no statistics: {log:?}"))?;
        // Else they would be another program's.
        ensure!(
            loaded.verified_instruction_count() == Some(verified),
            "{name}: {verified} instructions verified when loaded once more, \
             {:?} when xdpfw loaded it",
            loaded.verified_instruction_count()
        );
        Ok(Row {
            program: name.into(),
            policy,
            compiled: program.instructions.len(),
            kept: loaded
                .size_translated()
                .context("the kernel tells no size")?
                / INSTRUCTION,
            machine_code: loaded.size_jitted(),
            verified,
            statistics,
        })
    }

    /// A program with the maps of the one that is loaded.
    fn program(&self, name: &str, loaded: &ProgramInfo) -> Result<Program> {
        let mut object = self.0.clone();
        let mut maps = HashMap::new();
        for id in loaded.map_ids()?.context("the kernel tells no maps")? {
            let map = MapInfo::from_id(id)?;
            let name = map.name_as_str().context("a map without a name")?;
            maps.insert(name.to_owned(), map.fd()?);
        }
        let text: HashSet<usize> = object
            .functions
            .keys()
            .map(|&(section, _)| section)
            .collect();
        let in_object = std::mem::take(&mut object.maps);
        object.relocate_maps(
            in_object.iter().map(|(name, map)| {
                // Maps of other programs, which are not loaded, have no descriptor.
                let fd = maps.get(kernel_name(name));
                let fd = fd.map_or(-1, |fd| fd.as_fd().as_raw_fd());
                (name.as_str(), fd, map)
            }),
            &text,
        )?;
        object.relocate_calls(&text)?;
        let program = object.programs.get(name);
        let program = program.with_context(|| format!("no program {name} in the object"))?;
        let function = object.functions.get(&program.function_key());
        let function = function.context("a program without code")?;
        let functions = function.func_info.func_info_bytes();
        Ok(Program {
            instructions: function.instructions.clone(),
            license: program.license.clone(),
            kind: program.section.clone(),
            functions: (functions, u32::try_from(function.func_info_rec_size)?),
            types: types(loaded)?,
            _maps: maps,
        })
    }
}

impl Program {
    /// Has the kernel verify it, and returns what the verifier writes.
    fn verify(&self) -> Result<String> {
        let mut log = vec![0_u8; 1 << 16];
        // SAFETY: a union of plain integers, all of which may be zero.
        let mut attributes: bpf_attr = unsafe { std::mem::zeroed() };
        // SAFETY: as above; the fields of this command are written, not read.
        let load = unsafe { &mut attributes.__bindgen_anon_3 };
        match self.kind {
            ProgramSection::Xdp { frags, .. } => {
                load.prog_type = bpf_prog_type::BPF_PROG_TYPE_XDP as u32;
                load.expected_attach_type = bpf_attach_type::BPF_XDP as u32;
                load.prog_flags = if frags { BPF_F_XDP_HAS_FRAGS } else { 0 };
            }
            _ => load.prog_type = bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS as u32,
        }
        let (functions, entry) = &self.functions;
        load.prog_btf_fd = u32::try_from(self.types.as_raw_fd())?;
        load.func_info_rec_size = *entry;
        load.func_info = functions.as_ptr() as u64;
        load.func_info_cnt = u32::try_from(functions.len())? / entry;
        load.insn_cnt = u32::try_from(self.instructions.len())?;
        load.insns = self.instructions.as_ptr() as u64;
        load.license = self.license.as_ptr() as u64;
        load.log_level = LOG_STATISTICS;
        load.log_size = u32::try_from(log.len())?;
        load.log_buf = log.as_mut_ptr() as u64;
        // SAFETY: what the attributes point to outlives the call.
        drop(unsafe { descriptor(bpf_cmd::BPF_PROG_LOAD, &mut attributes) }?);
        let log = CStr::from_bytes_until_nul(&log).context("the verifier's log has no end")?;
        Ok(log.to_string_lossy().into_owned())
    }
}

/// The types of a program that is loaded.
fn types(loaded: &ProgramInfo) -> Result<OwnedFd> {
    // SAFETY: a union of plain integers, all of which may be zero.
    let mut attributes: bpf_attr = unsafe { std::mem::zeroed() };
    attributes.__bindgen_anon_6.__bindgen_anon_1.btf_id =
        loaded.btf_id().context("a program without types")?;
    // SAFETY: the attributes point to nothing.
    unsafe { descriptor(bpf_cmd::BPF_BTF_GET_FD_BY_ID, &mut attributes) }
        .context("cannot open the program's types")
}

/// Calls the kernel, which makes a descriptor.
///
/// # Safety
///
/// What the attributes of this command point to is valid.
unsafe fn descriptor(command: bpf_cmd, attributes: &mut bpf_attr) -> Result<OwnedFd> {
    // SAFETY: the kernel reads `attributes` up to the given size; the rest is the caller's
    // promise.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_long,
            std::ptr::from_mut(attributes),
            size_of::<bpf_attr>(),
        )
    };
    ensure!(result >= 0, io::Error::last_os_error());
    // SAFETY: a descriptor that the kernel has just made, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(RawFd::try_from(result)?) })
}
