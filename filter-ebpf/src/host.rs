//! The host, as the verdict sees it: the compiled policy and the sockets.

use xdpfw_common::verdict::Host;

use crate::{ingress::Ingress, maps::tables::Tables, sockets::Sockets};

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
