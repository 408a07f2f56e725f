//! The embedded eBPF object, loaded with the tables of a compiled policy.

use std::{io, path::Path};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader, Pod, include_bytes_aligned,
    maps::{HashMap, ProgramArray},
    programs::{ProgramFd, Xdp},
};
use xdpfw_common::abi::names;

use crate::{
    compiler::Tables,
    exit::{Exit, Failure},
};

/// The object, built for the kernel's virtual machine.
static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/xdpfw-filter"));

/// Map of aya-log's records; defined by that crate.
const LOG_RECORDS: &str = "AYA_LOGS";
/// Smallest ring buffer on every architecture: the largest page size there is.
const SMALLEST_RING: u32 = 1 << 16;

/// The object, loaded.
pub(super) struct Object {
    ebpf: Ebpf,
}

/// Pins of maps that the object is to share rather than to create.
#[derive(Default)]
pub(super) struct Shared<'a> {
    /// Counters of totals and ports.
    pub(super) counters: Option<&'a Path>,
    /// Counters of rules.
    pub(super) rule_hits: Option<&'a Path>,
}

impl Object {
    /// Loads the object's maps, with the tables in them; no program yet.
    pub(super) fn load(tables: &Tables, shared: &Shared<'_>, traced: bool) -> Result<Self> {
        let entries = |len: usize| u32::try_from(len.max(1));
        let mut loader = EbpfLoader::new();
        loader
            .override_global(names::CONFIG, bytemuck::bytes_of(&tables.config), true)
            .override_global(names::LISTED, bytemuck::bytes_of(&*tables.listed), true)
            .map_max_entries(names::LOCAL_PORTS, entries(tables.local.len())?)
            .map_max_entries(names::REMOTE_PORTS, entries(tables.remote.len())?)
            .map_max_entries(names::DECISIONS, entries(tables.decisions.len())?);
        if !traced {
            loader.map_max_entries(LOG_RECORDS, SMALLEST_RING);
        }
        if let Some(pin) = shared.counters {
            loader.map_pin_path(names::COUNTERS, pin);
        }
        if let Some(pin) = shared.rule_hits {
            loader.map_pin_path(names::RULE_HITS, pin);
        }
        let mut object = Self {
            ebpf: loader.load(OBJECT).map_err(refused)?,
        };
        object.fill::<[u8; 4], u32>(names::LOCAL_PORTS, &tables.local)?;
        object.fill::<[u8; 4], u32>(names::REMOTE_PORTS, &tables.remote)?;
        object.fill::<[u32; 2], [u32; 2]>(names::DECISIONS, &tables.decisions)?;
        Ok(object)
    }

    /// Fills a hash map, as which the entries' own types are plain arrays.
    fn fill<K, V>(
        &mut self,
        name: &str,
        entries: &[(impl bytemuck::Pod, impl bytemuck::Pod)],
    ) -> Result<()>
    where
        K: Pod + bytemuck::Pod,
        V: Pod + bytemuck::Pod,
    {
        let map = self.ebpf.map_mut(name).context("no such map")?;
        let mut map = HashMap::<_, K, V>::try_from(map)?;
        for &(key, value) in entries {
            map.insert(
                bytemuck::cast::<_, K>(key),
                bytemuck::cast::<_, V>(value),
                0,
            )
            .with_context(|| format!("cannot fill the map {name}"))?;
        }
        Ok(())
    }

    /// Pins a map.
    pub(super) fn pin_map(&self, name: &str, path: &Path) -> Result<()> {
        self.ebpf
            .map(name)
            .context("no such map")?
            .pin(path)
            .with_context(|| format!("cannot pin {}", path.display()))
    }

    /// Loads a program and pins it.
    pub(super) fn pin_program(&mut self, name: &str, path: &Path) -> Result<()> {
        let program = self.program(name)?;
        program.load().map_err(refused)?;
        program
            .pin(path)
            .with_context(|| format!("cannot pin {}", path.display()))
    }

    /// The kernel's handle of a loaded program.
    pub(super) fn program_fd(&mut self, name: &str) -> Result<ProgramFd> {
        Ok(self.program(name)?.fd()?.try_clone()?)
    }

    fn program(&mut self, name: &str) -> Result<&mut Xdp> {
        Ok(self
            .ebpf
            .program_mut(name)
            .context("no such program")?
            .try_into()?)
    }
}

/// Puts a program in force: one store, seen by all interfaces at once.
pub(super) fn store_program(current: &Path, program: &ProgramFd) -> Result<()> {
    let map = aya::maps::MapData::from_pin(current)?;
    let mut current = ProgramArray::try_from(aya::maps::Map::ProgramArray(map))?;
    current
        .set(0, program, 0)
        .context("cannot put the generation in force")?;
    Ok(())
}

/// What the kernel said, without the verifier's pages.
fn refused(error: impl std::error::Error + Send + Sync + 'static) -> anyhow::Error {
    let error = anyhow::Error::new(error);
    let not_permitted = error.chain().any(|cause| {
        let io: Option<&io::Error> = cause.downcast_ref();
        io.and_then(io::Error::raw_os_error) == Some(libc::EPERM)
    });
    if not_permitted {
        return Failure::new(
            Exit::Privilege,
            "the kernel does not permit BPF here; it takes CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON",
        )
        .into();
    }
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    Failure::kernel(format!(
        "the kernel refused the program: {first} (needs Linux 5.15 with BPF and XDP)"
    ))
    .into()
}
