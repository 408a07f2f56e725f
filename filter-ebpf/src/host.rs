//! The host, as the verdict sees it: the compiled policy and the sockets.

use aya_ebpf::{EbpfContext, programs::XdpContext};
use xdpfw_common::verdict::Host;

use crate::{maps::tables::Tables, sockets::Sockets};

/// A context of a program that packets come in on.
pub trait Ingress: EbpfContext {
    /// Index of the interface that the packet came in on.
    fn ingress_interface(&self) -> u32;
}

impl Ingress for XdpContext {
    #[inline(always)]
    fn ingress_interface(&self) -> u32 {
        // SAFETY: the context lives as long as the run of the program.
        unsafe { (*self.ctx).ingress_ifindex }
    }
}

/// The kernel that the program runs in.
pub struct Kernel<'a, C> {
    tables: Tables<'a, C>,
    sockets: Sockets<'a, C>,
}

impl<'a, C> Kernel<'a, C> {
    /// The kernel in which the packet of `ctx` is judged.
    #[inline(always)]
    pub const fn new(ctx: &'a C) -> Self {
        Self {
            tables: Tables::new(ctx),
            sockets: Sockets::new(ctx),
        }
    }
}

impl<'a, C: Ingress> Host for Kernel<'a, C> {
    type Tables = Tables<'a, C>;
    type Sockets = Sockets<'a, C>;

    #[inline(always)]
    fn tables(&self) -> &Self::Tables {
        &self.tables
    }

    #[inline(always)]
    fn sockets(&self) -> &Self::Sockets {
        &self.sockets
    }
}
