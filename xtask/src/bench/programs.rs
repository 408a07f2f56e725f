//! Owns the programs that are measured: loaded from the yardsticks' object, or
//! taken from where xdpfw pinned its own.

use std::{
    net::{Ipv4Addr, UdpSocket},
    path::Path,
};

use anyhow::{Context as _, Result};
use aya::{Ebpf, programs::Xdp};
use aya_obj::programs::XdpAttachType;
use rustix::net::netdevice::name_to_index;
use xdpfw_tests::Host;

/// Drops every packet unseen.
pub(super) const NOOP: &str = "noop";
/// Parses, counts and drops.
pub(super) const FLOOR: &str = "floor";
/// Sends probes of one port after another.
const GENERATOR: &str = "generator";

/// The programs that the filter is compared with, and the one that makes traffic.
pub(super) struct Yardsticks(Ebpf);

impl Yardsticks {
    /// Loads them into the kernel.
    pub(super) fn load(object: &Path) -> Result<Self> {
        let mut ebpf =
            Ebpf::load_file(object).with_context(|| format!("cannot load {}", object.display()))?;
        for name in [NOOP, FLOOR, GENERATOR] {
            let program: &mut Xdp = ebpf
                .program_mut(name)
                .with_context(|| format!("no program {name} in {}", object.display()))?
                .try_into()?;
            program
                .load()
                .with_context(|| format!("the kernel refuses the program {name}"))?;
        }
        Ok(Self(ebpf))
    }

    pub(super) fn get(&self, name: &str) -> Result<&Xdp> {
        let program = self.0.program(name).context("no such program")?;
        Ok(program.try_into()?)
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Result<&mut Xdp> {
        let program = self.0.program_mut(name).context("no such program")?;
        Ok(program.try_into()?)
    }

    pub(super) fn generator(&self) -> Result<&Xdp> {
        self.get(GENERATOR)
    }
}

/// The program pinned at `path`.
pub(super) fn pinned(path: &Path) -> Result<Xdp> {
    Xdp::from_pin(path, XdpAttachType::Interface)
        .with_context(|| format!("cannot open the program at {}", path.display()))
}

/// The kernel's number for an interface of `host`.
pub(super) fn index(host: &Host, interface: &str) -> Result<u32> {
    host.enter(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        name_to_index(&socket, interface).with_context(|| format!("no interface {interface}"))
    })
}

/// The context (`struct xdp_md`) of a frame of `len` bytes that came in, through its
/// first queue, by the interface with this index.
pub(super) fn context(len: usize, interface: u32) -> Result<Vec<u8>> {
    let [data, data_meta, rx_queue_index, egress_ifindex] = [0; 4];
    let fields = [
        data,
        u32::try_from(len)?,
        data_meta,
        interface,
        rx_queue_index,
        egress_ifindex,
    ];
    Ok(fields.into_iter().flat_map(u32::to_ne_bytes).collect())
}
