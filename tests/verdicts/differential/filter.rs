//! Runs frames through the programs in force, as if they had come in.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use aya::programs::{ProgramError, TestRun as _, TestRunOptions, Xdp};
use aya_obj::programs::XdpAttachType;
use rand::RngExt as _;
use rustix::io::Errno;
use xdpfw_common::abi::{BARE_MARK, names};
use xdpfw_model::{Opinion, Random, Verdict};

use super::{
    counts::{CountMaps, Counts},
    subject::Interface,
};

/// The shortest frame that the kernel runs a program on, in bytes.
pub(crate) const SHORTEST: usize = 14;

/// A frame, and where it comes in.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    pub(crate) interface: Interface,
    pub(crate) entry: Entry,
    pub(crate) frame: Vec<u8>,
    /// Bytes of the frame that are in its first buffer.
    pub(crate) first_buffer: usize,
    /// XDP metadata that another program left in front of the frame.
    pub(crate) metadata: Vec<u8>,
}

/// Where a frame meets the filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// At the dispatcher that interfaces run.
    Dispatcher,
    /// At the one that interfaces without a link layer run: the frame has no Ethernet
    /// header.
    DispatcherL3,
    /// At the program that it jumps to.
    Generation,
}

impl Entry {
    /// One of them.
    pub(crate) fn choose(random: &mut Random) -> Self {
        match random.random_range(0..10) {
            0..4 => Self::Dispatcher,
            4..6 => Self::DispatcherL3,
            _ => Self::Generation,
        }
    }

    /// Whether frames have an Ethernet header there.
    pub(crate) fn has_ethernet(self) -> bool {
        self != Self::DispatcherL3
    }

    /// What another program left in front of a frame: mostly nothing, at times our own
    /// mark of packets without an Ethernet header, forged. The generation's program
    /// believes it, since only dispatchers call that one.
    pub(crate) fn choose_metadata(self, random: &mut Random, frame: &[u8]) -> Vec<u8> {
        // The longest frame that leaves room for metadata in its first buffer.
        const LONGEST: usize = 2000;
        let words = random.random_range(1..=8);
        let is_marked = random.random_ratio(1, 8);
        if is_marked && self != Self::Generation && frame.len() <= LONGEST {
            BARE_MARK.to_ne_bytes().repeat(words)
        } else {
            Vec::new()
        }
    }
}

impl Arrival {
    /// The same with all of the frame in the first buffer.
    pub(crate) fn whole(self) -> Self {
        Self {
            first_buffer: self.frame.len(),
            ..self
        }
    }

    /// The same for the model, so many milliseconds after the policy's time begins.
    pub(crate) fn to_model(&self, at: i64) -> xdpfw_model::Arrival<'_> {
        xdpfw_model::Arrival {
            at,
            has_ethernet: self.entry.has_ethernet(),
            ..xdpfw_model::Arrival::ethernet(&self.interface.name, &self.frame)
        }
    }
}

/// The program in force, and its counters.
pub(crate) struct Filter {
    generation: Xdp,
    dispatcher: Xdp,
    dispatcher_l3: Xdp,
    /// Where the generation is pinned.
    pub(crate) directory: PathBuf,
    maps: CountMaps,
}

impl Filter {
    /// Opens the programs pinned here, of which this generation is in force.
    pub(crate) fn open(pins: &Path, generation: &Path) -> Result<Self> {
        Ok(Self {
            generation: open(&generation.join("program"))?,
            dispatcher: open(&pins.join(names::DISPATCHER))?,
            dispatcher_l3: open(&pins.join(names::DISPATCHER_L3))?,
            directory: generation.to_owned(),
            maps: CountMaps::open(generation)?,
        })
    }

    /// What the program does with a frame.
    pub(crate) fn run(&self, arrival: &Arrival) -> Result<Verdict> {
        let program = match arrival.entry {
            Entry::Dispatcher => &self.dispatcher,
            Entry::DispatcherL3 => &self.dispatcher_l3,
            Entry::Generation => &self.generation,
        };
        // `XDP_DROP` and `XDP_PASS` in linux/bpf.h.
        match test_run(
            program,
            &arrival.metadata,
            &arrival.frame,
            arrival.first_buffer,
            arrival.interface.index,
        )? {
            1 => Ok(Verdict::Drop),
            2 => Ok(Verdict::Pass),
            other => bail!("the program returned {other} for {arrival:02x?}"),
        }
    }

    /// All counters.
    pub(crate) fn counts(&self) -> Result<Counts> {
        self.maps.read()
    }

    /// Whether the counters that a packet with this opinion changes are as expected.
    pub(crate) fn agrees(&self, expected: &Counts, opinion: &Opinion) -> Result<bool> {
        self.maps.agree(expected, opinion)
    }
}

/// Opens a pinned program.
fn open(pin: &Path) -> Result<Xdp> {
    Xdp::from_pin(pin, XdpAttachType::Interface)
        .with_context(|| format!("cannot open {}", pin.display()))
}

/// What a program returns for a frame with so many bytes in its first buffer, and this
/// metadata in front.
fn test_run(
    program: &Xdp,
    metadata: &[u8],
    frame: &[u8],
    first_buffer: usize,
    interface: u32,
) -> Result<u32, ProgramError> {
    let data = [metadata, frame].concat();
    // `struct xdp_md` in linux/bpf.h: data, its end, metadata (which begins at 0), the
    // interface that the frame came in by, its queue, the interface that it leaves by.
    let start = metadata.len() as u32;
    let context = [start, start + first_buffer as u32, 0, interface, 0, 0];
    let result = program.test_run(TestRunOptions {
        data_in: Some(&data),
        ctx_in: Some(bytemuck::cast_slice(&context)),
        ..TestRunOptions::new()
    })?;
    Ok(result.return_value)
}

/// Whether the kernel lays no more into a frame's first buffer than it is told to: they
/// do since Linux 6.18, and refuse before.
pub(crate) fn can_split(pins: &Path, interface: &Interface) -> Result<bool> {
    let program = open(&pins.join(names::DISPATCHER))?;
    match test_run(&program, &[], &[0; 64], SHORTEST, interface.index) {
        Ok(_) => Ok(true),
        Err(ProgramError::SyscallError(error))
            if Errno::from_io_error(&error.io_error) == Some(Errno::INVAL) =>
        {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}
