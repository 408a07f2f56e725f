//! Loads the yardsticks: the programs of our own that are measured beside filters, or make
//! the traffic.

use std::{collections::HashMap, path::Path};

use anyhow::{Context as _, Result, bail};
use aya::{
    Ebpf, EbpfLoader,
    maps::{MapData, ProgramArray},
    programs::{ProgramFd, SchedClassifier, Xdp},
};

/// Drops every packet unseen.
pub(crate) const NOOP: &str = "noop";
/// Lets every packet that leaves go on unseen.
pub(crate) const NOOP_EGRESS: &str = "noop_egress";
/// Passes every packet unseen.
pub(crate) const PASS: &str = "pass";
/// Reads one field and drops.
pub(crate) const TOUCH: &str = "touch";
/// Parses, counts and drops.
pub(crate) const FLOOR: &str = "floor";
/// Sends probes of one port after another, from one source after another.
pub(crate) const GENERATOR: &str = "generator";
/// Makes the packet the next probe, and jumps to the program in [`SUBJECTS`].
const VARIED: [&str; 2] = ["varied", "varied_frags"];
/// Where the programs jump to: a program array is for programs that take packets in
/// several buffers, or for those that do not.
const SUBJECTS: [&str; 2] = ["SUBJECT", "SUBJECT_FRAGS"];
/// The same for packets that leave: each goes to another peer.
const VARIED_EGRESS: &str = "varied_egress";
const SUBJECT_EGRESS: &str = "SUBJECT_EGRESS";

/// What probes differ in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    /// The first port, and how many there are.
    pub(crate) first_port: u16,
    pub(crate) ports: u16,
    pub(crate) sources: u32,
    /// Bits that no source has; so each of them counts as two sources that are one.
    pub(crate) spared: u32,
}

impl Spread {
    /// A scan of nearly all ports, from all over the world.
    pub(crate) const SCAN: Self = Self {
        first_port: 1,
        ports: 60_000,
        sources: 1_000_000,
        spared: 0,
    };

    /// The same, to ports that no policy opens.
    pub(crate) const ALL_CLOSED: Self = Self {
        first_port: 1_024,
        ..Self::SCAN
    };

    /// All of it goes to one port.
    pub(crate) const fn to(port: u16) -> Self {
        Self {
            first_port: port,
            ports: 1,
            ..Self::SCAN
        }
    }

    /// The same from so many sources.
    pub(crate) const fn with_sources(self, sources: u32) -> Self {
        Self { sources, ..self }
    }

    /// The same without the sources that have one of these bits.
    pub(crate) const fn sparing(self, spared: u32) -> Self {
        Self { spared, ..self }
    }
}

/// Our own programs, in the kernel.
pub(crate) struct Yardsticks {
    ebpf: Ebpf,
    subjects: HashMap<&'static str, ProgramArray<MapData>>,
}

impl Yardsticks {
    /// Loads them, to make probes that differ so.
    pub(crate) fn load(object: &Path, spread: Spread) -> Result<Self> {
        let mut ebpf = EbpfLoader::new()
            .override_global("FIRST_PORT", &u32::from(spread.first_port), true)
            .override_global("PORTS", &u32::from(spread.ports), true)
            .override_global("SOURCES", &spread.sources, true)
            .override_global("SPARED", &spread.spared, true)
            .load_file(object)
            .with_context(|| format!("cannot load {}", object.display()))?;
        for name in [NOOP, PASS, TOUCH, FLOOR, GENERATOR].iter().chain(&VARIED) {
            let program: &mut Xdp = ebpf
                .program_mut(name)
                .with_context(|| format!("no program {name} in {}", object.display()))?
                .try_into()?;
            program
                .load()
                .with_context(|| format!("the kernel refuses the program {name}"))?;
        }
        for name in [NOOP_EGRESS, VARIED_EGRESS] {
            let program: &mut SchedClassifier = ebpf
                .program_mut(name)
                .with_context(|| format!("no program {name} in {}", object.display()))?
                .try_into()?;
            program
                .load()
                .with_context(|| format!("the kernel refuses the program {name}"))?;
        }
        let mut subjects = HashMap::new();
        for name in SUBJECTS.into_iter().chain([SUBJECT_EGRESS]) {
            let map = ebpf
                .take_map(name)
                .with_context(|| format!("no map {name} in {}", object.display()))?;
            subjects.insert(name, ProgramArray::try_from(map)?);
        }
        Ok(Self { ebpf, subjects })
    }

    pub(crate) fn get(&self, name: &str) -> Result<&Xdp> {
        let program = self.ebpf.program(name).context("no such program")?;
        Ok(program.try_into()?)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Result<&mut Xdp> {
        let program = self.ebpf.program_mut(name).context("no such program")?;
        Ok(program.try_into()?)
    }

    /// The program that varies packets, set to hand them to `subject`.
    pub(crate) fn varied(&mut self, subject: &ProgramFd) -> Result<&Xdp> {
        // Nothing tells whether a program takes packets in several buffers, but that the
        // array takes it.
        for (name, array) in VARIED.into_iter().zip(SUBJECTS) {
            let array = self.subjects.get_mut(array).context("no such map")?;
            if array.set(0, subject, 0).is_ok() {
                return self.get(name);
            }
        }
        bail!("the kernel lets no program jump to the one that is measured")
    }

    pub(crate) fn get_egress(&self, name: &str) -> Result<&SchedClassifier> {
        let program = self.ebpf.program(name).context("no such program")?;
        Ok(program.try_into()?)
    }

    /// The program that turns packets to other peers, set to hand them to `subject`.
    pub(crate) fn varied_egress(&mut self, subject: &ProgramFd) -> Result<&SchedClassifier> {
        let array = self.subjects.get_mut(SUBJECT_EGRESS);
        array
            .context("no such map")?
            .set(0, subject, 0)
            .context("the kernel lets no program jump to the one that is measured")?;
        self.get_egress(VARIED_EGRESS)
    }
}
