//! Loads the embedded eBPF object with the tables of a compiled policy.

use std::{
    io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader, include_bytes_aligned,
    maps::{Array, Map, MapData, MapError, ProgramArray},
    programs::{ProgramFd, SchedClassifier, TestRun as _, TestRunOptions, Xdp},
};
use aya_obj::programs::XdpAttachType;
use bytemuck::NoUninit;
use xdpfw_common::abi::{
    BANNED, BANNED_NETS, BANS, DIFFERENCES, INTERFACES_COUNTED, InterfaceSlots, LIMITED, LISTENED,
    Listened, MAX_DIFFERENCES, MAX_LIMITED, MAX_SYN_COUNTS, OPENER_BANS, REHEARSAL_MAPS, REPORTS,
    SCAN_STATE, SCAN_TAGS, SCANNERS, SHARED_MAPS, SYN_COUNTS, ScanState, SharedMap, flow_table,
    names,
};

use super::{Bridges, Clock, Error, Purpose, Record, flows, scan, syscall};
use crate::{
    compiler::{Prefix, Tables},
    policy::Policy,
};

/// The object, built for the kernel's virtual machine.
static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/xdpfw-filter"));

/// Tells this program from others that build generations differently: its version, and a checksum of
/// the object.
pub fn maker() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!("xdpfw {version} {}", env!("XDPFW_EBPF_CHECKSUM"))
}

/// Map of aya-log's records; defined by that crate.
pub(super) const LOG_RECORDS: &str = "AYA_LOGS";
/// Bytes of the ring buffer of aya-log's records: a hundred of them.
const LOG_BYTES: u32 = 1 << 14;
/// Bytes of the smallest ring buffer. aya rounds them up to a page.
const SMALLEST_RING: u32 = 1;

/// The shortest frame that the kernel runs a program on, in bytes: an Ethernet header.
const SHORTEST_FRAME: usize = 14;

/// The size of the ring buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rings {
    /// Of a program that can be listened to.
    Whole,
    /// As small as can be.
    Smallest,
}

/// The object, loaded.
pub(super) struct Object {
    ebpf: Ebpf,
}

/// A program's name in one flavour of the object: with `frags`, it takes packets in
/// several buffers.
pub(super) fn flavour(program: &str, frags: bool) -> String {
    let suffix = if frags { names::FRAGS } else { "" };
    format!("{program}{suffix}")
}

/// Entries for the sources that limits know, or for the rules that answer with SYN cookies; as few as can
/// be where there are none.
pub(super) fn limited(map: SharedMap, policy: &Policy) -> u32 {
    let (is_used, most) = match map {
        LIMITED => (policy.has_limits(), MAX_LIMITED),
        _ => (policy.has_cookies(), MAX_SYN_COUNTS),
    };
    if is_used { most } else { 1 }
}

impl Object {
    /// Loads the object's maps, with the tables in them; no program yet. `taken_over` tells
    /// where a map is pinned that another generation has, too.
    pub(super) fn load(
        tables: &Tables,
        record: &Record,
        bridges: &Bridges,
        rings: Rings,
        taken_over: impl Fn(SharedMap) -> Option<PathBuf>,
    ) -> Result<Self> {
        let entries = |len: usize| u32::try_from(len.max(1));
        let mut loader = EbpfLoader::new();
        loader
            .override_global(names::CONFIG, bytemuck::bytes_of(&tables.config), true)
            .override_global(names::LISTED, bytemuck::bytes_of(&*tables.listed), true)
            .override_global(names::ENDS, bytemuck::bytes_of(&tables.ends), true)
            .map_max_entries(names::LOCAL, entries(tables.local.len())?)
            .map_max_entries(names::EDGES, entries(tables.edges.len())?)
            .map_max_entries(names::REMOTE_PORTS, entries(tables.remote.len())?)
            .map_max_entries(names::INTERFACES, entries(tables.interfaces.len())?)
            .map_max_entries(names::MACS, entries(tables.macs.len())?);
        let tries = [
            (names::SOURCES, &tables.sources),
            (names::DESTINATIONS, &tables.destinations),
        ];
        for (names, prefixes) in tries {
            for (name, prefixes) in names.into_iter().zip(prefixes) {
                loader.map_max_entries(name, entries(prefixes.len())?);
            }
        }
        let clock = record.clock.ticks_per_second;
        loader.override_global(names::TICKS_PER_SECOND, &clock, true);
        for (origin, table) in flows::all_tables() {
            let entries = flows::capacity(table, record.flow_sizes());
            loader.map_max_entries(flow_table(origin, table).name, entries);
        }
        let has_bridges = u32::from(!bridges.ports.is_empty());
        loader
            .override_global(names::HAS_BRIDGES, &has_bridges, true)
            .map_max_entries(names::BRIDGE_PORTS, entries(bridges.ports.len())?)
            .map_max_entries(names::OWN_ADDRESSES, entries(bridges.own.len())?);
        let has_members = u32::from(!bridges.members.is_empty());
        loader
            .override_global(names::HAS_MEMBERS, &has_members, true)
            .map_max_entries(names::MEMBERS, entries(bridges.members.len())?)
            .map_max_entries(names::JOINED, entries(record.joined.len())?);
        // These are written while packets read them, and aya writes them when it opens them: with
        // what they hold. A tag that a packet writes in between is lost, and made again by its source's
        // next packets.
        let listened = global::<{ size_of::<Listened>() }>(taken_over(LISTENED))?;
        let counted = global::<{ size_of::<InterfaceSlots>() }>(taken_over(INTERFACES_COUNTED))?;
        let banned = global::<{ size_of::<u32>() }>(taken_over(BANNED))?;
        let scan_tags = global::<{ scan::TAGS_LEN }>(taken_over(SCAN_TAGS))?;
        let generation = record.generation as u32;
        // Where nothing is listened to, nobody is banned either, but by tables that are there.
        let [exact, nets] = match rings {
            Rings::Whole => record.ban_room,
            Rings::Smallest => [1; 2],
        };
        let scans = match taken_over(SCAN_STATE) {
            Some(pin) => bytemuck::cast(global::<{ size_of::<ScanState>() }>(Some(pin))?),
            None => scan::new_state()?,
        };
        let scanning = scan::config(&record.policy, &record.clock, &scans.secret);
        loader
            .override_global(names::GENERATION, &generation, true)
            .override_global(names::LISTENED, listened.as_slice(), true)
            .override_global(names::BANNED, banned.as_slice(), true)
            .override_global(names::SCAN_TAGS, scan_tags.as_slice(), true)
            .map_max_entries(names::LIMITS, entries(tables.limits.len())?)
            .map_max_entries(BANS.name, exact)
            .map_max_entries(BANNED_NETS.name, nets)
            .override_global(names::SCAN, bytemuck::bytes_of(&scanning), true)
            .override_global(names::INTERFACES_COUNTED, counted.as_slice(), true);
        for map in [LIMITED, SYN_COUNTS] {
            loader.map_max_entries(map.name, limited(map, &record.policy));
        }
        for map in [SCANNERS, OPENER_BANS] {
            if let Some(capacity) = scan::capacity(map, &record.policy) {
                loader.map_max_entries(map.name, capacity);
            }
        }
        match rings {
            Rings::Whole => {
                loader.map_max_entries(LOG_RECORDS, LOG_BYTES);
            }
            Rings::Smallest => shrink_rings(&mut loader),
        }
        let differences = match record.purpose {
            Purpose::Rehearsal => MAX_DIFFERENCES,
            _ => 1,
        };
        loader.map_max_entries(DIFFERENCES.name, entries(differences)?);
        for map in SHARED_MAPS.iter().chain(REHEARSAL_MAPS) {
            if let Some(path) = taken_over(*map) {
                loader.map_pin_path(map.name, path);
            }
        }
        let object = Self {
            ebpf: loader.load(OBJECT).map_err(refused)?,
        };
        if taken_over(SCAN_STATE).is_none() {
            object.set(SCAN_STATE.name, &scans)?;
        }
        object.fill(names::LOCAL, &tables.local, |&key| key)?;
        object.fill(names::EDGES, &tables.edges, |&key| key)?;
        object.fill(names::REMOTE_PORTS, &tables.remote, |&key| key)?;
        object.fill(names::INTERFACES, &tables.interfaces, |&key| key)?;
        object.fill(names::MACS, &tables.macs, |&key| key)?;
        object.fill(names::LIMITS, &tables.limits, |&key| key)?;
        object.fill(names::BRIDGE_PORTS, &bridges.ports, |&key| key)?;
        object.fill(names::OWN_ADDRESSES, &bridges.own, |&key| key)?;
        object.fill(names::MEMBERS, &bridges.members, |&key| key)?;
        let joined: Vec<(u32, u32)> = record.joined.iter().map(|&index| (index, 0)).collect();
        object.fill(names::JOINED, &joined, |&key| key)?;
        for ([v4, v6], [prefixes4, prefixes6]) in tries {
            object.fill(v4, prefixes4, trie_key::<8>)?;
            object.fill(v6, prefixes6, trie_key::<20>)?;
        }
        Ok(object)
    }

    /// Writes the only element of an array.
    fn set<V: NoUninit>(&self, name: &str, value: &V) -> Result<()> {
        let Map::Array(map) = self.ebpf.map(name).context("no such map")? else {
            anyhow::bail!("{name} is no array");
        };
        syscall::set(map.fd().as_fd(), &0_u32, value)
            .with_context(|| format!("cannot fill the map {name}"))
    }

    /// Fills a map that was created empty.
    fn fill<E, K: NoUninit, V: NoUninit>(
        &self,
        name: &str,
        entries: &[(E, V)],
        key: impl Fn(&E) -> K,
    ) -> Result<()> {
        let (Map::HashMap(map) | Map::LpmTrie(map)) = self.ebpf.map(name).context("no such map")?
        else {
            anyhow::bail!("{name} is neither hash map nor trie");
        };
        let (keys, values): (Vec<K>, Vec<V>) = entries
            .iter()
            .map(|(entry, value)| (key(entry), *value))
            .unzip();
        syscall::update(map.fd().as_fd(), &keys, &values)
            .with_context(|| format!("cannot fill the map {name}"))
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

    /// Loads a program for what leaves and pins it.
    pub(super) fn pin_classifier(&mut self, name: &str, path: &Path) -> Result<ProgramFd> {
        let program: &mut SchedClassifier = self
            .ebpf
            .program_mut(name)
            .context("no such program")?
            .try_into()?;
        program.load().map_err(refused)?;
        program
            .pin(path)
            .with_context(|| format!("cannot pin {}", path.display()))?;
        Ok(program.fd()?.try_clone()?)
    }

    /// Loads the program that judges as this object's filter does and counts nothing; with it,
    /// the map that it writes its verdict to.
    pub(super) fn load_probe(&mut self) -> Result<(ProgramFd, Map)> {
        let program = self.program(names::PROBE)?;
        program.load().map_err(refused)?;
        let program = program.fd()?.try_clone()?;
        let judged = self.ebpf.take_map(names::JUDGED).context("no such map")?;
        Ok((program, judged))
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

/// A prefix as a trie has it (`struct bpf_lpm_trie_key` in linux/bpf.h): length, then
/// so many bytes of the address.
fn trie_key<const LEN: usize>(prefix: &Prefix) -> [u8; LEN] {
    let mut key = [0; LEN];
    let (len, address) = key.split_at_mut(size_of::<u32>());
    len.copy_from_slice(&u32::from(prefix.len).to_ne_bytes());
    address.copy_from_slice(&prefix.bits.to_be_bytes()[..address.len()]);
    key
}

/// What a global of its own section holds, which is pinned as a map; zeros, if there is none yet.
fn global<const BYTES: usize>(pin: Option<PathBuf>) -> Result<[u8; BYTES]> {
    let Some(pin) = pin else {
        return Ok([0; BYTES]);
    };
    let map = Array::<_, [u8; BYTES]>::try_from(Map::Array(MapData::from_pin(pin)?))?;
    Ok(map.get(&0, 0)?)
}

/// Makes the ring buffers as small as can be, where nobody is to listen.
fn shrink_rings(loader: &mut EbpfLoader<'_>) {
    for ring in REPORTS {
        loader.map_max_entries(ring.name, SMALLEST_RING);
    }
    loader.map_max_entries(LOG_RECORDS, SMALLEST_RING);
}

/// The program pinned at a path. Not by its number: that takes CAP_SYS_ADMIN.
pub(super) fn pinned_program(pin: &Path) -> Result<ProgramFd> {
    let program = Xdp::from_pin(pin, XdpAttachType::Interface)?;
    Ok(program.fd()?.try_clone()?)
}

/// The program for what leaves that is pinned at a path.
pub(super) fn pinned_classifier(pin: &Path) -> Result<ProgramFd> {
    let program = SchedClassifier::from_pin(pin)?;
    Ok(program.fd()?.try_clone()?)
}

/// The object, loaded as small as can be, with the log that is pinned at a path: the one way to
/// have aya-log read that one. By the number of its program, it would take CAP_SYS_ADMIN.
pub(super) fn with_log(pin: &Path) -> Result<Ebpf> {
    let mut loader = EbpfLoader::new();
    shrink_rings(&mut loader);
    loader.map_pin_path(LOG_RECORDS, pin);
    loader.load(OBJECT).map_err(refused)
}

/// The object, loaded only to learn what the kernel is like.
pub struct Probe {
    ebpf: Ebpf,
}

impl Probe {
    /// Loads its maps, as small as can be.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn load() -> Result<Self> {
        let mut loader = EbpfLoader::new();
        shrink_rings(&mut loader);
        let ebpf = loader.load(OBJECT).map_err(refused)?;
        Ok(Self { ebpf })
    }

    /// Whether this kernel has programs that take packets in several buffers.
    ///
    /// # Errors
    ///
    /// The object has no such program.
    pub(super) fn takes_frags(&mut self) -> Result<bool> {
        let program = self.program(&flavour(names::DISPATCHER, true))?;
        // Kernels before 5.18 reject the frags flag.
        Ok(program.load().is_ok())
    }

    /// The dispatcher of one flavour, loaded.
    ///
    /// # Errors
    ///
    /// The kernel refuses it.
    pub(super) fn dispatcher(&mut self, frags: bool) -> Result<ProgramFd> {
        let program = self.program(&flavour(names::DISPATCHER, frags))?;
        program.load()?;
        Ok(program.fd()?.try_clone()?)
    }

    /// The clock that flows are kept in.
    ///
    /// # Errors
    ///
    /// The kernel refuses.
    pub fn clock(&mut self) -> Result<Clock> {
        let program = self.program(names::CLOCK)?;
        program.load().map_err(refused)?;
        let packet = [0; SHORTEST_FRAME];
        Clock::measure(|| {
            let mut out = [0; SHORTEST_FRAME];
            program
                .test_run(TestRunOptions {
                    data_in: Some(&packet),
                    data_out: Some(&mut out),
                    ..TestRunOptions::new()
                })
                .context("cannot read the kernel's clock")?;
            let [time @ .., _, _, _, _, _, _] = out;
            Ok(u64::from_ne_bytes(time))
        })
    }

    fn program(&mut self, name: &str) -> Result<&mut Xdp> {
        Ok(self
            .ebpf
            .program_mut(name)
            .context("no such program")?
            .try_into()?)
    }
}

/// Puts a program, or none, into a program array: one store, seen by all interfaces at once.
pub(super) fn store_program(array: &Path, index: u32, program: Option<&ProgramFd>) -> Result<()> {
    let map = MapData::from_pin(array)?;
    let mut array = ProgramArray::try_from(Map::ProgramArray(map))?;
    match program {
        Some(program) => array.set(index, program, 0),
        None => match array.clear_index(&index) {
            // There was none.
            Err(MapError::SyscallError(error))
                if error.io_error.raw_os_error() == Some(libc::ENOENT) =>
            {
                Ok(())
            }
            result => result,
        },
    }
    .context("cannot put the generation in force")
}

/// The kernel's number for the first program of an array.
pub(super) fn program_in(array: &Path) -> Result<Option<u32>> {
    // To userspace a program array is an array of program ids
    // (`prog_fd_array_sys_lookup_elem` in kernel/bpf/arraymap.c).
    let array = Array::<_, u32>::try_from(Map::Array(MapData::from_pin(array)?))?;
    match array.get(&0, 0) {
        Ok(program) => Ok(Some(program)),
        Err(MapError::KeyNotFound) => Ok(None),
        // Not the same as nothing: what is in force must not be taken for gone.
        Err(error) => Err(error).context("cannot read a program array"),
    }
}

/// What the kernel said, without the verifier's pages.
fn refused(error: impl std::error::Error + Send + Sync + 'static) -> anyhow::Error {
    let error = anyhow::Error::new(error);
    let not_permitted = error.chain().any(|cause| {
        let io: Option<&io::Error> = cause.downcast_ref();
        io.and_then(io::Error::raw_os_error) == Some(libc::EPERM)
    });
    if not_permitted {
        return Error::NotPermitted.into();
    }
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    // Of the verifier's pages, what it says last, in front of its statistics.
    let reason = text
        .lines()
        .skip(1)
        .take_while(|line| {
            !["verification time", "processed"]
                .iter()
                .any(|s| line.starts_with(s))
        })
        .last()
        .map_or_else(String::new, |line| format!(", {}", line.trim()));
    Error::ProgramRefused(format!("{first}{reason}")).into()
}
