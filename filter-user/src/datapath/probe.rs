//! Asks a generation what it would do with packets that nobody has sent. It counts nothing,
//! and no packet on its way meets it.

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result};
use aya::{
    maps::{Array, MapData},
    programs::ProgramFd,
};
use xdpfw_common::abi::Judged;

use super::{
    Bridges, Record,
    object::{Object, Rings},
    syscall,
};
use crate::compiler::Tables;

/// A program that judges as a generation does, and counts nothing.
pub struct PacketProbe {
    program: ProgramFd,
    judged: Array<MapData, [u32; 3]>,
}

/// The context that XDP programs run with (`struct xdp_md` in linux/bpf.h).
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct RunContext {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress_ifindex: u32,
    rx_queue_index: u32,
    egress_ifindex: u32,
}

impl PacketProbe {
    /// A probe of the generation that a record and the tables of its policy would make, with
    /// no flow recorded. Nothing is pinned.
    ///
    /// # Errors
    ///
    /// The kernel refuses it.
    pub fn load(record: &Record, tables: &Tables) -> Result<Self> {
        Self::of(&mut Object::load(
            tables,
            record,
            &Bridges::default(),
            Rings::Smallest,
            |_| None,
        )?)
    }

    /// The probe of an object. It lives on without it.
    pub(super) fn of(object: &mut Object) -> Result<Self> {
        let (program, judged) = object.load_probe()?;
        Ok(Self {
            program,
            judged: Array::try_from(judged)?,
        })
    }

    /// Judges a frame with an Ethernet header that comes in by the interface with this index.
    ///
    /// # Errors
    ///
    /// There is no such interface in this network namespace, or the kernel refuses.
    pub fn judge(&self, frame: &[u8], interface: u32) -> Result<Judged> {
        let context = RunContext {
            data: 0,
            data_end: u32::try_from(frame.len())?,
            data_meta: 0,
            ingress_ifindex: interface,
            rx_queue_index: 0,
            egress_ifindex: 0,
        };
        syscall::test_run(self.program.as_fd(), frame, bytemuck::bytes_of(&context))
            .context("cannot run the filter on a packet of our own")?;
        let judged = self.judged.get(&0, 0)?;
        Ok(bytemuck::cast(judged))
    }
}
